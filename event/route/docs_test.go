package route

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/event"
)

// routesPage is what users paste from.
func routesPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// fenced is the fenced block that contains what.
func fenced(t *testing.T, page, what string) string {
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

func TestTheRoutesInTheDocsCompile(t *testing.T) {
	var config struct {
		Ingest struct {
			Routes           []string
			TrustedProxies   []string `yaml:"trusted_proxies"`
			ConnectingIPFrom []string `yaml:"connecting_ip_from"`
		}
	}
	page := routesPage(t)
	for _, what := range []string{"routes:\n", "trusted_proxies:", "connecting_ip_from:"} {
		if err := yaml.Unmarshal([]byte(fenced(t, page, what)), &config); err != nil {
			t.Fatal(err)
		}
	}
	if len(config.Ingest.Routes) == 0 || len(config.Ingest.TrustedProxies) == 0 || len(config.Ingest.ConnectingIPFrom) == 0 {
		t.Fatal("nothing was read")
	}
	if _, err := New(config.Ingest.Routes); err != nil {
		t.Error(err)
	}
	if _, err := event.NewProxies(config.Ingest.TrustedProxies, config.Ingest.ConnectingIPFrom); err != nil {
		t.Error(err)
	}
}

// Every row of the docs' table of fallback routes is true, and so is their
// number.
func TestTheRoutesOfTheDocsAreTrue(t *testing.T) {
	page, r := routesPage(t), testTable(t)
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
