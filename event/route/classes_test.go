package route

import (
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestEachRouteOfTheShippedClassesCanBeDerived holds the fallback to the shipped
// classes of routes: a class that names a route which no path without a template can
// get is blind for such APIs. Names that only gateways give stand apart, and no other
// does.
func TestEachRouteOfTheShippedClassesCanBeDerived(t *testing.T) {
	data, err := os.ReadFile("../../rules/default/routes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shared, given, ok := strings.Cut(string(data), "\n  # From here on: names that only gateways give.")
	if !ok {
		t.Fatal("the file does not say where names begin that only gateways give")
	}
	r := testTable(t)
	n := eachClassRoute(t, shared, func(class, method, route string) {
		if path, got := underived(r, method, route); path != "" {
			t.Errorf("%s: %s has the route %s", class, path, got)
		}
	})
	_, given, _ = strings.Cut(given, "\n  - ") // the comment goes on
	m := eachClassRoute(t, "routes:\n  - "+given, func(class, method, route string) {
		if path, _ := underived(r, method, route); path == "" {
			t.Errorf("%s: %s is derived: move it up", class, route)
		}
	})
	if n < 300 || m < 300 {
		t.Fatalf("only %d and %d routes were read", n, m)
	}
}

// eachClassRoute calls see for each route of each class, and returns their number.
func eachClassRoute(t *testing.T, text string, see func(class, method, route string)) (n int) {
	t.Helper()
	var file struct {
		Routes []struct {
			Class  string
			Routes []string
		}
	}
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	for _, c := range file.Routes {
		for _, line := range c.Routes {
			n++
			method, route, limited := strings.Cut(line, " ")
			if !limited {
				method, route = "GET", line
			}
			see(c.Class, method, route)
		}
	}
	return n
}

// underived returns a path of a route, and its route in r, if that is another one.
func underived(r *Table, method, route string) (path, got string) {
	for _, prefix := range []string{"", "/api", "/v2", "/api/v1"} {
		for _, id := range []string{"4711", "6e1f0d5c-9b3e-4f0e-8a6b-3d4c5b6a7f80"} {
			path := prefix + strings.NewReplacer("{id}", id, "…", id+"/frob").Replace(route)
			if got := r.Route(method, path); got != prefix+route {
				return path, got
			}
		}
	}
	return "", ""
}
