package format

import (
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/proof/testkit"
)

// formatsPage is what users paste from.
func formatsPage(t *testing.T) testkit.Page {
	t.Helper()
	return testkit.ReadPage(t, "docs/formats.md")
}

func TestTheMappingInTheDocsCompiles(t *testing.T) {
	var config struct {
		Ingest struct {
			Format  string
			Mapping *Mapping
		}
	}
	if err := yaml.Unmarshal([]byte(formatsPage(t).Block(t, "format: mapping")), &config); err != nil {
		t.Fatal(err)
	}
	f, err := New(config.Ingest.Format, config.Ingest.Mapping)
	if err != nil {
		t.Fatal(err)
	}
	got := describe(t, f, []byte(`{"ts":1795428303,"user":{"id":7},"client":{"address":"203.0.113.7"},"http":{"status":401},"took":2,"result":"bad_password"}`))
	want := `{"time":"2026-11-23T10:05:03.000Z","tenant":"acme","account":"7","status":401,"latency_us":2000,"ip":"203.0.113.7","auth":"failure"}`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Every key that the docs have a gateway write is read by its preset.
func TestTheGatewayConfigurationsInTheDocsAreRead(t *testing.T) {
	page := formatsPage(t)
	for _, c := range []struct{ format, block, key string }{
		{"nginx", "log_format weir", `"([a-z0-9_]+)":"\$`},
		{"envoy", "json_format:", `(?m)^ {8}([a-z0-9_]+): "%`},
	} {
		keys := regexp.MustCompile(c.key).FindAllStringSubmatch(page.Block(t, c.block), -1)
		if len(keys) < 12 {
			t.Errorf("%s: only %d keys were found", c.format, len(keys))
		}
		root := rootOf(t, c.format)
		for _, k := range keys {
			if root.children[k[1]] == nil {
				t.Errorf("%s does not read %q", c.format, k[1])
			}
		}
	}
}

func rootOf(t *testing.T, format string) *pathNode {
	t.Helper()
	return &testFormat(t, format).(*carried).Format.(*objectFormat).root
}

// section is the part of the page under a heading.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, text, ok := strings.Cut(page, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("docs/formats.md has no section %s", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// Every key in the table of a preset is read by it, and every field there exists.
func TestTheTablesOfThePresetsAreTrue(t *testing.T) {
	page := formatsPage(t)
	for _, format := range []string{"nginx", "envoy-gateway", "envoy", "traefik", "caddy", "cloudflare-logpush"} {
		rows := regexp.MustCompile("(?m)^\\| (.*`.*) \\| (.*) \\|$").FindAllStringSubmatch(section(t, page.Text, format), -1)
		if len(rows) < 8 {
			t.Errorf("%s: only %d rows were found", format, len(rows))
		}
		root := rootOf(t, format)
		for _, row := range rows {
			for _, key := range inBackticks(row[1]) {
				if root.children[key] == nil {
					t.Errorf("%s does not read %q", format, key)
				}
			}
			for _, name := range inBackticks(row[2]) {
				if _, ok := event.Lookup(name); !ok && name != "http.log.access" && name != "enable_ja4_fingerprinting" {
					t.Errorf("%s: there is no field %q", format, name)
				}
			}
		}
	}
}

func inBackticks(s string) (all []string) {
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(s, -1) {
		all = append(all, m[1])
	}
	return all
}

func TestEveryFormatHasASection(t *testing.T) {
	page := formatsPage(t)
	for _, name := range Names() {
		if !strings.Contains(page.Text, "\n| `"+name+"` |") {
			t.Errorf("%s is not in the table", name)
		}
		if name != "weir" {
			section(t, page.Text, name)
		}
	}
}

func TestThePatternInTheDocsReads(t *testing.T) {
	var config struct {
		Ingest struct{ Format, Pattern string }
	}
	if err := yaml.Unmarshal([]byte(formatsPage(t).Block(t, "format: pattern")), &config); err != nil {
		t.Fatal(err)
	}
	f, err := Config{Name: config.Ingest.Format, Pattern: config.Ingest.Pattern}.New()
	if err != nil {
		t.Fatal(err)
	}
	got := describe(t, f, []byte(`shop.example.com 192.0.2.7 - ann [23/Nov/2026:10:05:03 +0000] "GET / HTTP/1.1" 200 8 "x" rt=0.005 more`))
	want := `{"time":"2026-11-23T10:05:03.000Z","method":"GET","host":"shop.example.com","path":"/","status":200,"latency_us":5000,"response_bytes":8,"user_agent":"x","ip":"192.0.2.7","remote_user":"ann"}`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, p := range parts() {
		if !strings.Contains(section(t, formatsPage(t).Text, "pattern"), "`"+p.name+"`") {
			t.Errorf("part %s is not explained", p.name)
		}
	}
}

func TestTheOtherNamesOfAMappingInTheDocsCompile(t *testing.T) {
	var m Mapping
	if err := yaml.Unmarshal([]byte("time: {from: t}\n"+strings.ReplaceAll("\n"+formatsPage(t).Block(t, "only: {"), "\n    ", "\n")), &m); err != nil {
		t.Fatal(err)
	}
	if _, err := New("mapping", &m); err != nil || len(m) != 3 {
		t.Errorf("%v: %v", m, err)
	}
}

// What the docs say of the heads of combined lines is so.
func TestTheTableOfCombinedIsTrue(t *testing.T) {
	rows := regexp.MustCompile("(?m)^\\| (`[^|]*)\\|([^|]*)\\|[^|]*\\|$").FindAllStringSubmatch(section(t, formatsPage(t).Text, "combined"), -1)
	if len(rows) < 8 {
		t.Fatalf("only %d rows were found", len(rows))
	}
	for _, row := range rows {
		want := strings.Trim(row[2], " `")
		for _, head := range inBackticks(row[1]) {
			if !strings.Contains(head, " -") {
				continue
			}
			if got := read(t, "combined", head+rest).Text(event.IP); got != want {
				t.Errorf("%s: ip %q, want %q", head, got, want)
			}
		}
	}
}
