package rules

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weirdev/weir/condition"
	"github.com/weirdev/weir/event"
	templates "github.com/weirdev/weir/event/route"
)

const (
	maxRoutes = 2000 // of a class in one file

	// noClass removes a route from its built-in class.
	noClass = "none"

	// Requests for a token are sign-ins or not, by their grant.
	loginClass   = "login"
	refreshClass = "refresh"

	longestUsual = 128 // bytes of the usual form of a route
)

// routesKey describes the classes of routes.
func routesKey() Key {
	return ObjectKey("", Required, "one class",
		NamedKey("class", namePattern, "value of route_class for requests to these routes: login, signup, payment, …; none removes them from their class"),
		ListKey("routes", Required, 1, maxRoutes, "routes as in events, with a method and a blank in front for that method only; each also matches behind /api and a version",
			TextKey("", Required, 540, "a route, such as POST /login")))
}

// endpoint is a route, limited to a method unless that is empty.
type endpoint struct{ method, route string }

// routeClasses maps endpoints to the class of their requests.
type routeClasses map[endpoint]string

// classTable is route classes in the form in which they are looked up: by route, then
// by method.
type classTable map[string][]methodClass

// methodClass is the class of a route with a method; "" stands for all other methods.
type methodClass struct{ method, class string }

func (c routeClasses) table() classTable {
	t := classTable{}
	for e, class := range c {
		t[e.route] = append(t[e.route], methodClass{e.method, class})
	}
	for _, list := range t {
		slices.SortFunc(list, func(a, b methodClass) int { return strings.Compare(b.method, a.method) }) // any comes last
	}
	return t
}

// classifier finds classes of events. It remembers those of frequent routes.
type classifier struct {
	table classTable
	words *templates.Words // nil: none
	seed  maphash.Seed
	slots [1024]classSlot
}

// classSlot holds the class of one method and route. Another takes its place after it
// was missed often, so that routes that clients make up cost no memory each.
type classSlot struct {
	known  atomic.Pointer[classified]
	misses atomic.Uint32
}

type classified struct{ method, route, class string }

const missesToReplace = 64

func newClassifier(table classTable, words *templates.Words) *classifier {
	return &classifier{table: table, words: words, seed: maphash.MakeSeed()}
}

// classOf returns the class of an event; "" if it has none.
func (c *classifier) classOf(e *event.Event) string {
	route := e.Text(event.Route)
	if route == "" {
		return ""
	}
	class := c.remembered(e.Text(event.Method), route)
	if class == refreshClass && signsIn(e, route) {
		return loginClass
	}
	return class
}

func (c *classifier) remembered(method, route string) string {
	slot := &c.slots[maphash.String(c.seed, route)%uint64(len(c.slots))]
	known := slot.known.Load()
	if known != nil && known.route == route && known.method == method {
		return known.class
	}
	class := c.class(method, route)
	if known == nil || slot.misses.Add(1)%missesToReplace == 0 {
		slot.known.Store(&classified{strings.Clone(method), strings.Clone(route), class})
	}
	return class
}

// class returns the class of a method and a route. In the lists, a route with a method
// takes precedence over one without, the exact route over the route without its
// prefix, that over its usual form, and that over the route behind the name of an app.
// What is in no list has the class that its words say, or else that of its verb.
func (c *classifier) class(method, route string) string {
	t := c.table
	class := t.of(method, route)
	bare := withoutPrefix(route)
	if class == "" && len(bare) < len(route) {
		class = t.of(method, bare)
	}
	if class == "" {
		class = t.usual(method, bare)
	}
	if class == "" && c.words != nil {
		if prefix, rest := templates.ServicePrefix(route); len(rest) < len(bare) && c.words.IsApp(prefix) {
			class = t.usual(method, rest)
		}
		if class == "" {
			class = templates.QueryClass(method, route)
		}
		if class == "" {
			class = c.words.Class(method, route)
		}
		if class == "" {
			class = templates.VerbClass(method, route)
		}
	}
	if class == noClass {
		return ""
	}
	return class
}

// signsIn reports whether a request for a token is a sign-in: its grant says so, or it
// names none and has an outcome, which only sign-ins have.
func signsIn(e *event.Event, route string) bool {
	switch e.Text(event.Grant) {
	case "password", "authorization_code":
		return true
	case "":
		return e.Has(event.Auth) && (strings.HasSuffix(route, "/token") || strings.HasSuffix(route, "/tokens"))
	}
	return false
}

// usual looks the usual form of a route up: all parameters are called {id}, and what
// belongs to somebody is below /me.
func (t classTable) usual(method, route string) string {
	var buf [longestUsual]byte
	form := usualForm(buf[:0], route, false)
	if class := pick(t[string(form)], method); class != "" {
		return class
	}
	form = usualForm(buf[:0], route, true)
	return pick(t[string(form)], method)
}

// usualForm appends the usual form of a route. It stops at a route that is longer than
// any usual one. Without owned, it leaves in place whose the rest is.
func usualForm(form []byte, route string, owned bool) []byte {
	rest := strings.TrimPrefix(route, "/")
	if owned {
		owner, below, _ := strings.Cut(rest, "/")
		switch owner {
		case "users", "customers", "accounts", "members", "profiles", "clients":
			who, further, _ := strings.Cut(below, "/")
			if !templates.IsParameter(who) && who != "me" && who != "self" && who != "current" {
				return nil
			}
			rest = further
		case "user", "customer", "account", "member", "profile", "my", "self":
			rest = below
		default:
			return nil
		}
		form = append(form, "/me"...)
	}
	for rest != "" && len(form) < longestUsual/2 {
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		if templates.IsParameter(segment) {
			segment = "{id}"
		}
		if len(segment) > longestUsual/4 {
			return nil
		}
		form = append(append(form, '/'), segment...)
	}
	if rest != "" {
		return nil
	}
	return form
}

func (t classTable) of(method, route string) string { return pick(t[route], method) }

// pick returns the class for a method; "" if there is none.
func pick(classes []methodClass, method string) string {
	for _, m := range classes {
		if m.method == method || m.method == "" {
			return m.class
		}
	}
	return ""
}

// withoutPrefix returns a route without a leading /api and version.
func withoutPrefix(route string) string {
	if rest, ok := strings.CutPrefix(route, "/api/"); ok {
		route = route[len(route)-len(rest)-1:]
	}
	if len(route) > 2 && route[1] == 'v' && (route[2] >= '0' && route[2] <= '9' || route[2] == '{') {
		if n := strings.IndexByte(route[1:], '/'); n > 0 {
			return route[n+1:]
		}
	}
	return route
}

// word returns the word route_class.
func (c routeClasses) word(words *templates.Words) condition.Word {
	if ours := shippedRoutes(); words == ours.words && maps.Equal(c, ours.classes) {
		return ours.word
	}
	return c.makeWord(words)
}

func (c routeClasses) makeWord(words *templates.Words) condition.Word {
	classes := map[string]bool{}
	var content []string
	for e, class := range c {
		if class != noClass {
			classes[class] = true
		}
		content = append(content, e.method+" "+e.route+" "+class)
	}
	slices.Sort(content)
	for _, class := range words.Classes() {
		classes[class] = true
	}
	content = append(content, "usual forms, prefixes, divided words, grants, verbs, queries") // how routes and tokens are read
	if words != nil {
		for _, class := range templates.VerbClasses() {
			classes[class] = true
		}
		content = append(content, words.Text())
	}
	sum := sha256.Sum256([]byte(strings.Join(content, "\n")))
	return condition.Word{
		Name: "route_class", Sort: condition.Text, Doc: "what the request does, by its method and route, and by its grant if it asks for a token, as the key routes says",
		Compute: newClassifier(c.table(), words).classOf, Reads: []event.Field{event.Method, event.Route, event.Grant, event.Auth}, Version: hex.EncodeToString(sum[:8]),
		Values: slices.Sorted(maps.Keys(classes)),
	}
}

// routed is where files name an endpoint.
type routed struct {
	file   string
	line   int
	copied bool // what the built-in classes say, as in a copy of their file
}

// classes adds a class of routes from a file; in holds the place of each endpoint
// named so far. Of two files, one that only repeats a built-in class gives way.
func (c routeClasses) classes(r *reader, v *value, builtIn routeClasses, in map[endpoint]routed) {
	class := v.get("class")
	for _, route := range v.get("routes").list() {
		method, template, both := strings.Cut(route.text, " ")
		if !both {
			method, template = "", route.text
		}
		if _, err := templates.New([]string{route.text}); err != nil && !isFallback(template) {
			r.node(route.node, fmt.Sprintf("%q is no route", route.text), "write it like POST /users/{id}/orders, as events have it in route")
			continue
		}
		e := endpoint{method, template}
		here := routed{r.name, route.node.Line, class != nil && builtIn[e] == class.text}
		if first, taken := in[e]; taken && (first.file == here.file || first.copied == here.copied) {
			r.node(route.node, fmt.Sprintf("%s has a class already", route.text), fmt.Sprintf("remove one of the two; the first is in %s, line %d", first.file, first.line))
			continue
		} else if taken && here.copied {
			continue
		}
		in[e] = here
		if class != nil {
			c[e] = class.text
		}
	}
}

// isFallback reports whether a route may be a fallback route of ingest.
func isFallback(route string) bool {
	return strings.HasPrefix(route, "/") && !strings.ContainsAny(route, " \t") && strings.HasSuffix(route, "/…")
}

// bundledRoutes and bundledWords are the names of the built-in classes in a bundle.
// Bundles contain those of the program that made them, so that another program gives
// the same answers. No file of a directory has these names, because folders whose name
// starts with a dot are ignored.
const (
	bundledRoutes = ".weir/routes.yaml"
	bundledWords  = ".weir/words.txt"
)

// shippedRoutes reads the built-in classes of this program, and their file. Sets are
// loaded often, and these are most of what small ones consist of.
var shippedRoutes = sync.OnceValue(func() shipped {
	data, err := defaults.ReadFile("default/routes.yaml")
	if err != nil {
		return shipped{err: fmt.Errorf("open the built-in routes: %w", err)}
	}
	classes, err := readRoutes(data)
	words, wrong := templates.ParseWords(templates.BuiltInWords)
	return shipped{classes, words, classes.makeWord(words), data, errors.Join(err, wrong)}
})

type shipped struct {
	classes routeClasses
	words   *templates.Words
	word    condition.Word // of the classes
	data    []byte
	err     error
}

// builtIn is what applies to a set unless its files override it.
type builtIn struct {
	classes routeClasses
	words   *templates.Words // nil in bundles of programs that had none
	files   []bundled
}

// builtInRoutes returns the built-in classes of a set, and their files.
func builtInRoutes(fsys fs.FS) (builtIn, error) {
	ours := shippedRoutes()
	data, err := readRegular(fsys, bundledRoutes) // no more than a file may have, and one byte
	if err != nil {
		return builtIn{maps.Clone(ours.classes), ours.words, []bundled{{bundledRoutes, ours.data}, {bundledWords, []byte(templates.BuiltInWords)}}}, ours.err
	}
	theirs := builtIn{maps.Clone(ours.classes), nil, []bundled{{bundledRoutes, data}}}
	if !bytes.Equal(data, ours.data) {
		if theirs.classes, err = readRoutes(data); err != nil {
			return theirs, err
		}
	}
	text, err := readRegular(fsys, bundledWords)
	if err != nil {
		return theirs, nil
	}
	theirs.files = append(theirs.files, bundled{bundledWords, text})
	if theirs.words = ours.words; string(text) != templates.BuiltInWords {
		if theirs.words, err = templates.ParseWords(string(text)); err != nil {
			return theirs, fmt.Errorf("the built-in words of routes in the bundle: %w", err)
		}
	}
	return theirs, nil
}

// readRoutes reads a file of built-in classes.
func readRoutes(data []byte) (routeClasses, error) {
	problems := &Problems{In: "the built-in routes"}
	f := newFile(bundledRoutes, problems)
	f.Read(data)
	classes := routeClasses{}
	if f.parse("routes") != nil {
		k := wordsGrammar()
		r := &reader{file: f}
		in := map[endpoint]routed{}
		for _, v := range r.read(f.root, &k).get("routes").list() {
			classes.classes(r, v, nil, in)
		}
	}
	if len(problems.List) > 0 {
		return nil, problems
	}
	return classes, nil
}
