package route

import (
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
)

// Bounds are where a spelling of a path may slip past a rule about its route.
func TestRoutesAtTheirBounds(t *testing.T) {
	const (
		sixteen = "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p"
		fifteen = "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o"
	)
	longest := "/" + strings.Repeat("w", event.MaxLiteral)
	r := testTable(t, sixteen, fifteen, "/rest/2/3/4/5/6/7/8/9/10/11/12/13/14/15/*", longest, "/users/{id}/files")
	for _, c := range []struct{ name, path, want string }{
		{"sixteen segments", sixteen, sixteen},
		{"seventeen", sixteen + "/q", "/{id}/{id}/…"},
		{"one more, and back", sixteen + "/q/..", sixteen},
		{"one more, and back by an escape", sixteen + "/q/%2e%2E", sixteen},
		{"four more, and back", sixteen + "/q/r/s/t/../../../..", sixteen},
		{"four more, and one too few back", sixteen + "/q/r/s/t/../../..", "/{id}/{id}/…"},
		{"four more, and back beyond sixteen", sixteen + "/q/r/s/t/../../../../..", fifteen},
		{"back beyond sixteen, and on", sixteen + "/q/r/../../../p", sixteen},
		{"back to sixteen, and on", sixteen + "/q/r/../../s", "/{id}/{id}/…"},
		{"far out, and all the way back", strings.Repeat("/x", 300) + strings.Repeat("/..", 300) + fifteen, fifteen},
		{"far out, and not quite all the way back", strings.Repeat("/x", 300) + strings.Repeat("/..", 299) + fifteen, "/{id}/{id}/…"},
		{"a long segment beyond sixteen, and back", sixteen + "/" + strings.Repeat("9", 400) + "/..", sixteen},
		{"a rest that begins at the sixteenth", "/rest/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18", "/rest/2/3/4/5/6/7/8/9/10/11/12/13/14/15/*"},
		{"no rest", "/rest/2/3/4/5/6/7/8/9/10/11/12/13/14/15", "/~fd/{id}/…"},
		{"the longest literal", longest, longest},
		{"one byte more than the longest literal", longest + "w", "/{id}"},
		{"the longest literal in escapes", "/" + strings.Repeat("%77", event.MaxLiteral), longest},
		{"a scheme of sixteen letters", "abcdefghijklmnop://host" + fifteen, fifteen},
		{"a scheme of seventeen letters", "abcdefghijklmnopq://host" + fifteen, noRoute},
		{"what was left behind is not looked at", "/users/orders/..", "/users"},
		{"a follower behind two identifiers", "/users/4711/4712/orders", "/users/{id}/…"},
		{"a version of ten letters", "/v123456789/users", "/v{n}/users"},
		{"a version of eleven letters", "/v1234567890/users", "/{id}/{id}"},
		{"a word of 24 letters", "/" + strings.Repeat("word", 6), "/~2b"},
		{"a word of 25 letters", "/" + strings.Repeat("word", 6) + "s", "/{id}"},
		{"seven hexadecimal letters", "/facaded", "/~96"},
		{"eight hexadecimal letters", "/facadeed", "/{id}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := r.Route("GET", c.path); got != c.want {
				t.Errorf("%.80s has the route %s, want %s", c.path, got, c.want)
			}
		})
	}
}

func TestTheLargestTemplatesAreTaken(t *testing.T) {
	long := strings.Repeat("/"+strings.Repeat("x", event.MaxLiteral-1), maxTemplateBytes/event.MaxLiteral) // 480 bytes
	long += "/" + strings.Repeat("y", maxTemplateBytes-len(long)-1)
	templates := make([]string, maxTemplates)
	for i := range templates {
		templates[i] = "/" + strings.Repeat("n", i%40+1) + "/" + strings.Repeat("m", i/400+1) + "/" + strings.Repeat("o", i/40%10+1)
	}
	templates[0] = long
	r, err := New(templates)
	if err != nil {
		t.Fatalf("%.300v", err)
	}
	if got := r.Route("GET", long); got != long {
		t.Errorf("got %s", got)
	}
	if _, err := New([]string{long + "y"}); err == nil {
		t.Error("a template that is one byte longer is taken")
	}
}
