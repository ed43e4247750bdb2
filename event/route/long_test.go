package route

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
)

// A client may write a path as long as he likes: what is kept of it has the
// route that all of it has.
func TestAPathThatIsTooLongKeepsItsRoute(t *testing.T) {
	table, err := New([]string{"/v1/login", "/v1/users/{id}/transfer", "/v1/files/*"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, route string }{
		{"slashes in front", strings.Repeat("/", 9000) + "v1/login", "/v1/login"},
		{"slashes between", "/v1" + strings.Repeat("/", 9000) + "login", "/v1/login"},
		{"dots", strings.Repeat("/.", 5000) + "/v1/login", "/v1/login"},
		{"escaped dots", strings.Repeat("/%2e", 3000) + "/v1/login", "/v1/login"},
		{"back and forth", strings.Repeat("/a/..", 2000) + "/v1/login", "/v1/login"},
		{"more than there is to go back", strings.Repeat("/..", 4000) + "/v1/login", "/v1/login"},
		{"a long segment", "/v1/users/" + strings.Repeat("4", 9000) + "/transfer", "/v1/users/{id}/transfer"},
		{"long parameters", "/v1;" + strings.Repeat("a", 9000) + "/login", "/v1/login"},
		{"bytes that are no text", "/v1/users/" + strings.Repeat("\xff", 4000) + "/transfer", "/v1/users/{id}/transfer"},
		{"a long host", "https://" + strings.Repeat("a", 9000) + "/v1/login", "/v1/login"},
		{"a long query", "/v1/login?" + strings.Repeat("/", 9000), "/v1/login"},
		{"a long fragment", "/v1/login#" + strings.Repeat("/", 9000), "/v1/login"},
		{"more than one route has", "/v1/files" + strings.Repeat("/aa", 5000), "/v1/files/*"},
		{"no path", strings.Repeat("a", 9000), noRoute},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, whole, refused := event.Keep(event.Path, c.path)
			if got := table.Route("GET", text); got != c.route || whole || refused != 0 || len(text) > event.Path.Spec().MaxBytes {
				t.Errorf("%q of %.80q, %d bytes, %v, %v", got, text, len(text), whole, refused)
			}
			if all := table.Route("GET", c.path); all != c.route {
				t.Errorf("all of it has the route %q", all)
			}
		})
	}
}

func TestWhateverIsWrittenIntoALongPathItsRouteStays(t *testing.T) {
	table, err := New([]string{"/v1/login", "/v1/users/{id}/transfer", "/v1/files/*"})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"/", "/.", "/..", "/%2E%2e", "/v1", "/login", "/users", "/7", "/transfer", "/files", ";a", "/" + strings.Repeat("b", 150), "\xff", "%", "/é", "A"}
	for range 2000 {
		var b strings.Builder
		for n := 8193 + r.IntN(3000); b.Len() < n; {
			p := pieces[r.IntN(len(pieces))]
			b.WriteString(strings.Repeat(p, 1+r.IntN(200)))
		}
		path := "/" + b.String()
		text, _, _ := event.Keep(event.Path, path)
		if all, kept := table.Route("GET", event.Repaired(path)), table.Route("GET", text); all != kept {
			t.Fatalf("%q has route %q, and what is kept of it, %q, %q", path, all, text, kept)
		}
	}
}
