package event

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// formatsPage is what users paste from.
func formatsPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// block returns the fenced block that contains what.
func block(t *testing.T, page, what string) string {
	t.Helper()
	for i, b := range strings.Split(page, "```") {
		if i%2 == 1 && strings.Contains(b, what) {
			_, text, _ := strings.Cut(b, "\n")
			return text
		}
	}
	t.Fatalf("docs/formats.md has no block with %q", what)
	return ""
}

func TestTheMappingInTheDocsCompiles(t *testing.T) {
	var config struct {
		Ingest struct {
			Format  string
			Mapping *Mapping
		}
	}
	if err := yaml.Unmarshal([]byte(block(t, formatsPage(t), "format: mapping")), &config); err != nil {
		t.Fatal(err)
	}
	f, err := NewFormat(config.Ingest.Format, config.Ingest.Mapping)
	if err != nil {
		t.Fatal(err)
	}
	got := describe(t, f, []byte(`{"ts":1795428303,"user":{"id":7},"client":{"address":"203.0.113.7"},"http":{"status":401},"took":2,"result":"bad_password"}`))
	want := `{"time":"2026-11-23T10:05:03.000Z","tenant":"acme","account":"7","status":401,"latency_us":2000,"ip":"203.0.113.7","auth":"failure"}`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTheRoutesInTheDocsCompile(t *testing.T) {
	var config struct {
		Ingest struct {
			Routes         []string
			TrustedProxies []string `yaml:"trusted_proxies"`
		}
	}
	page := formatsPage(t)
	for _, what := range []string{"routes:\n", "trusted_proxies:"} {
		if err := yaml.Unmarshal([]byte(block(t, page, what)), &config); err != nil {
			t.Fatal(err)
		}
	}
	if len(config.Ingest.Routes) == 0 || len(config.Ingest.TrustedProxies) == 0 {
		t.Fatal("nothing was read")
	}
	if _, err := NewRouter(config.Ingest.Routes); err != nil {
		t.Error(err)
	}
	if _, err := NewProxies(config.Ingest.TrustedProxies); err != nil {
		t.Error(err)
	}
}

// Every key that the docs have a gateway write is read by its preset.
func TestTheGatewayConfigurationsInTheDocsAreRead(t *testing.T) {
	page := formatsPage(t)
	for _, c := range []struct{ format, block, key string }{
		{"nginx", "log_format weir", `"([a-z0-9_]+)":"\$`},
		{"envoy", "json_format:", `(?m)^ {8}([a-z0-9_]+): "%`},
	} {
		keys := regexp.MustCompile(c.key).FindAllStringSubmatch(block(t, page, c.block), -1)
		if len(keys) < 12 {
			t.Errorf("%s: only %d keys were found", c.format, len(keys))
		}
		root := testFormat(t, c.format).(*carried).Format.(*objectFormat).root
		for _, k := range keys {
			if root.children[k[1]] == nil {
				t.Errorf("%s does not read %q", c.format, k[1])
			}
		}
	}
}

// Every row of the docs' table of fallback routes is true, and so is their
// number.
func TestTheRoutesOfTheDocsAreTrue(t *testing.T) {
	page, r := formatsPage(t), testRouter(t)
	rows := regexp.MustCompile("(?m)^\\| `(/[^`]*)` \\| `(/[^`]*)` \\|$").FindAllStringSubmatch(page, -1)
	if len(rows) < 5 {
		t.Fatalf("only %d rows were found", len(rows))
	}
	for _, row := range rows {
		if got := r.Route("GET", row[1]); got != row[2] {
			t.Errorf("%s has the route %s, not %s", row[1], got, row[2])
		}
	}
	if n := len(everyFallback()); !strings.Contains(page, "There are "+thousands(n)+" such routes") {
		t.Errorf("there are %s fallback routes", thousands(n))
	}
}

// thousands writes 55601 as 55,601.
func thousands(n int) string {
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}
