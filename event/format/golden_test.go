package format

import (
	"bytes"
	"errors"
	stdflag "flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
)

var updateMapping = stdflag.Bool("update", false, "write generated files anew")

// gameMapping is a mapping with everything in it.
var gameMapping = Mapping{
	"time":              {From: "ts", Unit: "s"},
	"tenant":            {Const: "acme"},
	"account":           {From: "user.id"},
	"auth":              {From: "result", Values: map[string]string{"ok": "success", "bad_password": "failure"}},
	"latency_us":        {From: "took", Unit: "ms"},
	"ip":                {From: "ip"},
	"rooted":            {From: "jailbroken", Values: map[string]string{"yes": "true", "no": "false"}},
	"attestation_age_s": {From: "age", Unit: "ms"},
	"token_issued":      {From: "login_at"},
	"signature":         {Const: "unknown"},
	"request_bytes":     {From: "n"},
}

func testFormat(t testing.TB, name string) Format {
	t.Helper()
	c := Config{Name: name}
	switch name {
	case "mapping":
		c.Mapping = &gameMapping
	case "pattern":
		c.Pattern = gamePattern
	}
	f, err := c.New()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// gamePattern is a pattern with everything in it.
const gamePattern = `%{ADDRESSES:forwarded_for} %{ADDRESS:ip} (?P<account>[a-z]+|-) \[(?:%{CLF:time}|-)\] "%{REQUEST}" %{NUMBER:status} %{MILLIS:latency_us} "%{QUOTED:user_agent}"(?: %{WORD})? auth=(?P<auth>\w+|-)(?: %{TEXT})?`

// presets are the formats that read gateways' logs.
var presets = []string{
	"combined", "nginx", "nginx-proxy-manager", "envoy-gateway", "envoy", "traefik", "caddy", "haproxy", "aws-alb", "cloudflare-logpush", "mapping", "pattern",
}

func TestEveryFormatHasACorpus(t *testing.T) {
	for _, name := range Names() {
		if name != "weir" && !slices.Contains(presets, name) {
			t.Errorf("%s is tested nowhere", name)
		}
	}
}

// Each line of testdata/logs/<format>.log and what comes of it, line by line,
// in <format>.json.
func TestLinesOfGatewaysBecomeTheseEvents(t *testing.T) {
	for _, name := range presets {
		t.Run(name, func(t *testing.T) {
			input, err := os.ReadFile(filepath.Join("testdata", "logs", name+".log"))
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			f := testFormat(t, name)
			for line := range bytes.SplitSeq(bytes.TrimSuffix(input, []byte("\n")), []byte("\n")) {
				fmt.Fprintln(&got, describe(t, f, line))
			}
			compareGolden(t, filepath.Join("testdata", "logs", name+".json"), got.String(), input)
		})
	}
}

func compareGolden(t *testing.T, path, got string, input []byte) {
	t.Helper()
	if *updateMapping {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(input), "\n")
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		g, w := lineAt(gotLines, i), lineAt(wantLines, i)
		if g != w {
			t.Errorf("line %d: %s\n got %s\nwant %s", i+1, lineAt(lines, i), g, w)
		}
	}
}

func lineAt(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(none)"
}

// describe decodes a line and writes down the event, or the refusal.
func describe(t testing.TB, f Format, line []byte) string {
	t.Helper()
	var e event.Event
	err := f.Decode(line, &e)
	var refusal *event.Refusal
	switch {
	case errors.As(err, &refusal):
		return fmt.Sprintf(`{"refused":%q,"field":%q,"at":%d}`, refusal.Reason, refusal.Field, refusal.Pos)
	case err != nil:
		t.Fatalf("%q: the error is no refusal: %v", line, err)
	}
	return string(e.AppendAll(nil))
}
