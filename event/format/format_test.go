package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/proof/testkit"
)

func TestOnlyOurOwnFormatBringsIDs(t *testing.T) {
	for _, name := range append([]string{"weir"}, presets...) {
		if got, want := testFormat(t, name).HasID(), name == "weir"; got != want {
			t.Errorf("%s has ids: %v, want %v", name, got, want)
		}
	}
	f, err := New("mapping", &Mapping{"time": {From: "t"}, "id": {From: "uuid"}})
	if err != nil || !f.HasID() {
		t.Errorf("a mapping with an id has none (%v)", err)
	}
}

func TestUnknownFormatsAreNamedWithThoseThatExist(t *testing.T) {
	_, err := New("apache", nil)
	if err == nil || !strings.Contains(err.Error(), `"apache" is not known; there are weir, combined, nginx`) {
		t.Errorf("got %v", err)
	}
	if _, err := New("nginx", &gameMapping); err == nil || !strings.Contains(err.Error(), "nginx takes no mapping") {
		t.Errorf("got %v", err)
	}
	if _, err := New("mapping", nil); err == nil || !strings.Contains(err.Error(), "there is no mapping") {
		t.Errorf("got %v", err)
	}
}

func TestEverythingWrongWithAMappingIsSaidAtOnce(t *testing.T) {
	m := Mapping{
		"acount":            {From: "a"},
		"client_ip":         {From: "a"},
		"attrs":             {From: "a"},
		"account":           {},
		"session":           {From: "a", Const: "b"},
		"device":            {From: "a..b"},
		"token":             {From: "a.b.c.d.e.f.g"},
		"path":              {From: "a", Unit: "s"},
		"latency_us":        {From: "a", Unit: "min"},
		"attestation_age_s": {From: "a", Unit: "rfc3339"},
		"auth":              {From: "a", Values: map[string]string{"ok": "succes", "no": "failure", "eh": "?"}},
		"attestation":       {Const: "strong"},
		"status":            {Const: "1000"},
		"rooted":            {From: "a", Values: map[string]string{"y": "yes"}},
		"ip":                {Const: "host"},
		"country":           {Const: "DE"},
		"tenant":            {Const: strings.Repeat("x", 65)},
		"grant":             {Const: "x", Unit: "s"},
		"token_issued":      {From: "a", Unit: "s", Values: map[string]string{"x": "1"}},
	}
	_, err := New("mapping", &m)
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		`acount: there is no such field`,
		`client_ip: this field is derived by Weir`,
		`country: this field is derived by Weir`,
		`attrs: this field cannot be mapped`,
		`account: says neither from nor const`,
		`session: says both from and const`,
		`device: from: "a..b" has an empty step`,
		`token: from: more than 6 steps`,
		`path: unit "s": this field is neither a time nor a duration`,
		`latency_us: unit "min" is not known; there are s, ms, us, ns`,
		`attestation_age_s: unit rfc3339: this field is a duration`,
		`auth: "?" is none of success, failure, challenge`,
		`auth: "succes" is none of`,
		`attestation: "strong" is none of passed`,
		`status: "1000" is no whole number from 0 to 999`,
		`rooted: "yes" is neither true nor false`,
		`ip: "host" is no address`,
		`tenant: "xxxxxxxxxxxxxxxxxxxx"…: longer than 64 bytes`,
		`grant: a const takes neither unit nor values`,
		`grant: unit "s": this field is neither`,
		`token_issued: takes a unit or values, not both`,
		`time: every event needs one`,
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("nothing says: %s", w)
		}
	}
	if got := strings.Count(err.Error(), "\n") + 1; got != len(want) {
		t.Errorf("%d problems, want %d:\n%v", got, len(want), err)
	}
}

func TestUnitsOfTimesAndDurations(t *testing.T) {
	for _, c := range []struct {
		field, unit, json string
		want              int64
	}{
		{"time", "s", `1795428303`, 1795428303000},
		{"time", "s", `1795428303.1239`, 1795428303123},
		{"time", "ms", `1795428303123`, 1795428303123},
		{"time", "us", `1795428303123999`, 1795428303123},
		{"time", "ns", `1795428303123999999`, 1795428303123},
		{"time", "ns", `"1795428303123999999"`, 1795428303123},
		{"time", "s", `1.795428303e9`, 1795428303000},
		{"time", "ns", `9223372036854775807`, 9223372036854},
		{"time", "ns", `9223372036854775808`, 9223372036854}, // digits beyond what an int64 holds
		{"time", "ns", `9999999999999999999`, 9999999999999},
		{"time", "ns", `99999999999999999999.9`, 99999999999999},
		{"time", "s", `1795428303.12399999999999999999999999`, 1795428303123},
		{"time", "clf", `"23/Nov/2026:12:05:03 +0200"`, 1795428303000},
		{"time", "clf", `"23/Nov/2026:10:05:03.25 +0000"`, 1795428303250},
		{"time", "", `"23/Nov/2026:10:05:03 +0000"`, 1795428303000},
		{"time", "rfc3339", `"2026-11-23T10:05:03.1239Z"`, 1795428303123},
		{"time", "rfc3339", `"2026-11-23t12:05:03+02:00"`, 1795428303000},
		{"time", "", `1795428303123`, 1795428303123},
		{"latency_us", "", `17`, 17},
		{"latency_us", "s", `0.017`, 17000},
		{"latency_us", "ms", `1.5`, 1500},
		{"latency_us", "us", `17.9`, 17},
		{"latency_us", "ns", `1999`, 1},
		{"latency_us", "s", `1.5e-05`, 15},
		{"latency_us", "s", `"3ms"`, 3000},
		{"latency_us", "", `"0.5s"`, 500000},
		{"latency_us", "", `"17µs"`, 17},
		{"latency_us", "", `"1999ns"`, 1},
		{"latency_us", "ms", `"17us"`, 17},
		{"latency_us", "s", `0.00000000000000000000000000000000000001`, 0},
		{"latency_us", "s", `0e999`, 0},
		{"attestation_age_s", "", `90`, 90},
		{"attestation_age_s", "ms", `90500`, 90},
	} {
		t.Run(c.field+" in "+c.unit+" "+c.json, func(t *testing.T) {
			m := Mapping{"time": {From: "t"}, c.field: {From: "x", Unit: c.unit}}
			f, err := New("mapping", &m)
			if err != nil {
				t.Fatal(err)
			}
			var e event.Event
			if err := f.Decode([]byte(`{"t":1795428303000,"x":`+c.json+`}`), &e); err != nil {
				t.Fatal(err)
			}
			spec, _ := event.Lookup(c.field)
			if got := e.Num(spec.Field); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestLongTextsAreClippedNotRefused(t *testing.T) {
	long := strings.Repeat("é", 10_000)
	chain := strings.Repeat("198.51.100.1, ", 1000) + "203.0.113.7"
	for name, line := range map[string]string{
		"combined": `10.0.0.1 - ` + long + ` [23/Nov/2026:10:05:03 +0000] "GET /` + long + ` HTTP/1.1" 200 1 "` + long + `" "` + long + `" "` + chain + `"`,
		"nginx":    `{"msec":1,"remote_addr":"10.0.0.1","remote_user":"` + long + `","request_uri":"/` + long + `","http_user_agent":"` + long + `","http_referer":"` + long + `","http_x_forwarded_for":"` + chain + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			var e event.Event
			if err := testFormat(t, name).Decode([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			for _, f := range []event.Field{event.RemoteUser, event.Path, event.UserAgent, event.ForwardedFor, event.Referer} {
				got := e.Text(f)
				if limit := f.Spec().MaxBytes; len(got) > limit || len(got) < limit-20 || !utf8.ValidString(got) {
					t.Errorf("%s: %d bytes, limit %d", f, len(got), limit)
				}
			}
			if got := e.Text(event.ForwardedFor); !strings.HasSuffix(got, ", 203.0.113.7") || !strings.HasPrefix(got, " 198.51.100.1,") {
				t.Errorf("the chain is %.30q … %q", got, got[len(got)-30:])
			}
		})
	}
}

func TestRecordsThatAreTooLongAreRefused(t *testing.T) {
	for _, name := range presets {
		var e event.Event
		var refusal *event.Refusal
		err := testFormat(t, name).Decode(bytes.Repeat([]byte(" "), MaxBytes+1), &e)
		if !errors.As(err, &refusal) || refusal.Reason != event.TooLarge {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestAnEventIsResetByTheNext(t *testing.T) {
	f := testFormat(t, "nginx")
	var e event.Event
	for _, line := range []string{`{"msec":1,"account":"ann","remote_user":"bob"}`, `{"msec":2,"request_method":"GET","account":"bob"}`, `{"msec":3}`} {
		if err := f.Decode([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		want := map[int64]string{1000: "ann", 2000: "bob", 3000: ""}[e.Num(event.Time)]
		if got := e.Text(event.Account); got != want {
			t.Errorf("%s: account %q, want %q", line, got, want)
		}
	}
}

func TestManyKeysAreCheckedForRepeatsToo(t *testing.T) {
	var b strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&b, `"k%d":%d,`, i, i)
	}
	var e event.Event
	f := testFormat(t, "nginx")
	if err := f.Decode([]byte(`{`+b.String()+`"msec":1}`), &e); err != nil {
		t.Errorf("10,000 keys: %v", err)
	}
	if err := f.Decode([]byte(`{`+b.String()+`"msec":1,"k17":0}`), &e); err == nil {
		t.Error("a repeat among 10,000 keys was not seen")
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	for _, name := range presets {
		if name == "pattern" && testkit.Raced {
			continue // the race detector has sync.Pool forget at random, on which package regexp relies
		}
		t.Run(name, func(t *testing.T) {
			f, line := testFormat(t, name), firstLine(t, name)
			most := 0.0
			if name == "pattern" { // what package regexp finds
				most = 1
			}
			var e event.Event
			if n := testing.AllocsPerRun(100, func() { _ = f.Decode(line, &e) }); n > most {
				t.Errorf("%v allocations, want %v", n, most)
			}
		})
	}
}

func firstLine(t testing.TB, name string) []byte {
	t.Helper()
	input, err := os.ReadFile(filepath.Join("testdata", "logs", name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := bytes.Cut(input, []byte("\n"))
	return line
}

// fuzzFormat checks what holds for every record: no panic, the record is not
// written to, a refusal is a Refusal, and an event keeps to the field table.
func fuzzFormat(f *testing.F, name string) {
	input, err := os.ReadFile(filepath.Join("testdata", "logs", name+".log"))
	if err != nil {
		f.Fatal(err)
	}
	for line := range bytes.SplitSeq(input, []byte("\n")) {
		f.Add(line)
	}
	format := testFormat(f, name)
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		first := describe(t, format, data)
		if !bytes.Equal(before, data) {
			t.Error("the record was written to")
		}
		if again := describe(t, format, data); again != first {
			t.Errorf("read twice: %s, then %s", first, again)
		}
		var e event.Event
		if format.Decode(data, &e) == nil {
			checkEvent(t, &e)
			if c, ok := format.(*carried); ok && c.objects && !json.Valid(escapeControls([]byte(messageOf(string(data))))) {
				t.Error("what is no JSON was read")
			}
		}
	})
}

func checkEvent(t *testing.T, e *event.Event) {
	t.Helper()
	if !e.Has(event.Time) || e.Has(event.ID) {
		t.Error("no time, or an id")
	}
	for _, spec := range event.Fields() {
		switch f := spec.Field; {
		case !e.Has(f):
		case spec.Derived && f != event.Clipped:
			t.Errorf("%s was set", f)
		case spec.Kind.Numeric():
			if n := e.Num(f); n < spec.Min || n > spec.Max {
				t.Errorf("%s is %d", f, n)
			}
		default:
			if s := e.Text(f); s == "" || len(s) > spec.MaxBytes || !utf8.ValidString(s) || spec.Client && event.Repaired(s) != s {
				t.Errorf("%s is %q", f, s)
			}
		}
	}
}

func FuzzCombined(f *testing.F)     { fuzzFormat(f, "combined") }
func FuzzNginx(f *testing.F)        { fuzzFormat(f, "nginx") }
func FuzzCaddy(f *testing.F)        { fuzzFormat(f, "caddy") }
func FuzzProxyManager(f *testing.F) { fuzzFormat(f, "nginx-proxy-manager") }
func FuzzHAProxy(f *testing.F)      { fuzzFormat(f, "haproxy") }
func FuzzBalancer(f *testing.F)     { fuzzFormat(f, "aws-alb") }
func FuzzMapping(f *testing.F)      { fuzzFormat(f, "mapping") }
func FuzzPattern(f *testing.F)      { fuzzFormat(f, "pattern") }

func BenchmarkFormats(b *testing.B) {
	for _, name := range presets {
		b.Run(name, func(b *testing.B) {
			f, line := testFormat(b, name), firstLine(b, name)
			var e event.Event
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			for b.Loop() {
				if err := f.Decode(line, &e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
