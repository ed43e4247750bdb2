package route

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/proof/testkit"
)

// routesPage is what users paste from.
func routesPage(t *testing.T) testkit.Page {
	t.Helper()
	return testkit.ReadPage(t, "docs/formats.md")
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
		if err := yaml.Unmarshal([]byte(page.Block(t, what)), &config); err != nil {
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
	rows := regexp.MustCompile("(?m)^\\| `(/[^`]*)` \\| `(/[^`]*)` \\|$").FindAllStringSubmatch(page.Text, -1)
	if len(rows) < 5 {
		t.Fatalf("only %d rows were found", len(rows))
	}
	for _, row := range rows {
		if got := r.Route("GET", row[1]); got != row[2] {
			t.Errorf("%s has the route %s, not %s", row[1], got, row[2])
		}
	}
	if n := len(everyFallback()); !strings.Contains(page.Text, "There are "+thousands(n)+" such routes") {
		t.Errorf("there are %s fallback routes", thousands(n))
	}
}

// thousands writes 55601 as 55,601.
func thousands(n int) string {
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}
