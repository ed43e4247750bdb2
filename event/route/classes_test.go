package route

import (
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestEachRouteOfTheShippedClassesCanBeDerived holds the fallback to the shipped
// classes of routes: a class that names a route which no path without a template can
// get is blind for such APIs.
func TestEachRouteOfTheShippedClassesCanBeDerived(t *testing.T) {
	data, err := os.ReadFile("../../rules/default/routes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Routes []struct {
			Class  string
			Routes []string
		}
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	r, n := testTable(t), 0
	for _, c := range file.Routes {
		for _, line := range c.Routes {
			n++
			method, route, limited := strings.Cut(line, " ")
			if !limited {
				method, route = "GET", line
			}
			for _, prefix := range []string{"", "/api", "/v2", "/api/v1"} {
				for _, id := range []string{"4711", "6e1f0d5c-9b3e-4f0e-8a6b-3d4c5b6a7f80"} {
					path := prefix + strings.NewReplacer("{id}", id, "…", id+"/"+id).Replace(route)
					if got := r.Route(method, path); got != prefix+route {
						t.Errorf("%s: %s has the route %s, not %s", c.Class, path, got, prefix+route)
					}
				}
			}
		}
	}
	if n < 300 {
		t.Fatalf("only %d routes were read", n)
	}
}
