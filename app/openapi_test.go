package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/forwardauth"
	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

const (
	openAPI    = "../docs/openapi.yaml"
	asksAt     = "192.0.2.1"
	shareToken = "a token that gateways share"
)

// api is docs/openapi.yaml, as JSON.
type api struct {
	document map[string]any
	compiler *jsonschema.Compiler
}

func readAPI(t *testing.T) *api {
	t.Helper()
	text, err := os.ReadFile(openAPI)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := yaml.Load(text, &tree); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	a := &api{document: document.(map[string]any), compiler: jsonschema.NewCompiler()}
	a.compiler.AssertFormat()
	if err := a.compiler.AddResource("openapi.json", document); err != nil {
		t.Fatal(err)
	}
	return a
}

// at follows keys, and references, and returns what is there with its pointer.
func (a *api) at(keys ...string) (found map[string]any, pointer string) {
	found = a.document
	for _, k := range keys {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(k)
		found, _ = found[k].(map[string]any)
		if ref, ok := found["$ref"].(string); ok {
			pointer = strings.TrimPrefix(ref, "#")
			found, _ = a.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		}
	}
	return found, pointer
}

func (a *api) enum(t *testing.T, schema string) (values []string) {
	t.Helper()
	found, _ := a.at("components", "schemas", schema)
	for _, v := range found["enum"].([]any) {
		values = append(values, v.(string))
	}
	slices.Sort(values)
	return values
}

// operations lists the documented path, method and status of each answer.
func (a *api) operations() (all []string) {
	paths, _ := a.at("paths")
	for path := range paths {
		item, _ := a.at("paths", path)
		for method := range item {
			responses, _ := a.at("paths", path, method, "responses")
			for status := range responses {
				all = append(all, path+" "+method+" "+status)
			}
		}
	}
	slices.Sort(all)
	return all
}

// TestTheAPIAnswersAsDocumented gets every documented status from the gate, and
// validates bodies and headers.
func TestTheAPIAnswersAsDocumented(t *testing.T) {
	a := readAPI(t)
	up := miniredis.RunT(t)
	cfg := Defaults()
	cfg.Stream.Secret, cfg.Redis.Addrs, cfg.Gate.Access.Token = "an example, never a real secret!", []string{up.Addr()}, shareToken
	silent, err := NewGate(cfg, slog.New(slog.DiscardHandler)) // writes no events
	if err != nil {
		t.Fatal(err)
	}
	defer silent.reader.Close()
	fully := cfg
	fully.Gate.Emit.Controls, fully.Gate.Emit.BufferBytes = emit.On, 1<<20
	full, err := NewGate(fully, slog.New(slog.DiscardHandler)) // does not run, so nothing leaves its buffer
	if err != nil {
		t.Fatal(err)
	}
	defer full.reader.Close()
	for n := 0; ; n++ {
		p, err := gate.ParsePassed([]byte(fmt.Sprintf(`{"decision_id":"d-%d","challenge":"step_up","entities":{"account":"a"}}`, n)))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := full.gate.Pass(p); !ok {
			break
		}
	}
	cfg.Gate.Emit.Events, cfg.Gate.Emit.Controls = emit.On, emit.On
	g, err := NewGate(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer g.reader.Close()
	const outcome, passed = "/v1/outcome", "/v1/passed"
	const solved = `{"decision_id":"d-1","challenge":"challenge","entities":{"device":"d-81"}}`
	const decide, risk, forward = "/v1/decide", "/v1/risk/{kind}/{id}", "/v1/forward-auth/{profile}"
	question := `{"route":"/login","entities":{"ip":"` + asksAt + `"}}`
	var seen []string
	for _, c := range []struct {
		path, method, target, body string
		header                     map[string]string
		status                     int
		before                     func()
	}{
		{decide, "POST", "", question, nil, 200, nil},
		{decide, "POST", "", question, nil, 200, func() { block(t, g, policy.Throttle) }},
		{decide, "POST", "", "{", nil, 400, nil},
		{decide, "POST", "", question, map[string]string{"X-Weir-Token": "wrong"}, 401, nil},
		{decide, "GET", "", "", nil, 405, nil},
		{decide, "POST", "", `{"route":"` + strings.Repeat("x", gate.MaxBodyBytes) + `"}`, nil, 413, nil},
		{decide, "POST", "", question, map[string]string{"Content-Type": "text/plain"}, 415, nil},
		{outcome, "POST", "", `{"request_id":"r-1","status":403}`, nil, 202, nil},
		{outcome, "POST", "", "{", nil, 400, nil},
		{outcome, "POST", "", "{}", map[string]string{"X-Weir-Token": "wrong"}, 401, nil},
		{outcome, "POST", "", "{}", nil, 404, nil},
		{outcome, "GET", "", "", nil, 405, nil},
		{outcome, "POST", "", `{"request_id":"` + strings.Repeat("x", gate.MaxBodyBytes) + `"}`, nil, 413, nil},
		{outcome, "POST", "", "{}", map[string]string{"Content-Type": "text/plain"}, 415, nil},
		{passed, "POST", "", solved, nil, 202, nil},
		{passed, "POST", "", "{", nil, 400, nil},
		{passed, "POST", "", solved, map[string]string{"X-Weir-Token": "wrong"}, 401, nil},
		{passed, "POST", "", solved, nil, 404, nil},
		{passed, "GET", "", "", nil, 405, nil},
		{passed, "POST", "", `{"decision_id":"` + strings.Repeat("x", gate.MaxBodyBytes) + `"}`, nil, 413, nil},
		{passed, "POST", "", solved, map[string]string{"Content-Type": "text/plain"}, 415, nil},
		{passed, "POST", "", solved, nil, 503, nil},
		{risk, "GET", "/v1/risk/ip/" + asksAt + "?tenant=shop", "", nil, 200, nil},
		{risk, "GET", "/v1/risk/ip/nowhere", "", nil, 400, nil},
		{risk, "GET", "/v1/risk/ip/" + asksAt, "", map[string]string{"X-Weir-Token": "wrong"}, 401, nil},
		{risk, "GET", "/v1/risk/planet/mars", "", nil, 404, nil},
		{risk, "POST", "/v1/risk/ip/" + asksAt, "", nil, 405, nil},
		{forward, "GET", "/v1/forward-auth/traefik", "", nil, 429, nil},
		{forward, "GET", "/v1/forward-auth/nginx", "", nil, 403, nil},
		{forward, "GET", "/v1/forward-auth/envoy/login", "", nil, 403, func() { block(t, g, policy.Challenge) }},
		{forward, "GET", "/v1/forward-auth/generic", "", nil, 401, func() { block(t, g, policy.StepUp) }},
		{forward, "GET", "/v1/forward-auth/caddy", "", nil, 403, func() { block(t, g, policy.Deny) }},
		{forward, "GET", "/v1/forward-auth/caddy", "", nil, 200, func() { block(t, g, policy.Allow) }},
		{forward, "GET", "/v1/forward-auth/apache", "", nil, 503, nil},
		{forward, "GET", "/v1/forward-auth/caddy", "", map[string]string{"X-Weir-Token": "wrong"}, 503, nil},
		{"/healthz", "GET", "", "", nil, 200, nil},
		{"/healthz", "POST", "", "", nil, 405, nil},
		{"/readyz", "GET", "", "", nil, 200, nil},
		{"/readyz", "POST", "", "", nil, 405, nil},
		{risk, "GET", "/v1/risk/ip/192.0.2.99", "", nil, 503, up.Close},
		{decide, "POST", "", `{"entities":{"ip":"192.0.2.98"}}`, nil, 200, nil}, // degraded
		{"/readyz", "GET", "", "", nil, 200, nil},
	} {
		target := c.target
		if target == "" {
			target = c.path
		}
		if c.before != nil {
			c.before()
		}
		r := httptest.NewRequest(c.method, target, strings.NewReader(c.body))
		for name, v := range map[string]string{"X-Weir-Token": shareToken, "X-Forwarded-For": asksAt, "X-Real-Ip": asksAt} {
			r.Header.Set(name, v)
		}
		for name, v := range c.header {
			r.Header.Set(name, v)
		}
		w := httptest.NewRecorder()
		switch {
		case (c.path == outcome || c.path == passed) && c.status == http.StatusNotFound:
			silent.http.ServeHTTP(w, r)
		case c.path == passed && c.status == http.StatusServiceUnavailable:
			full.http.ServeHTTP(w, r)
		default:
			g.http.ServeHTTP(w, r)
		}
		if w.Code != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, target, w.Code, w.Body, c.status)
			continue
		}
		method := strings.ToLower(c.method)
		if w.Code == http.StatusMethodNotAllowed {
			method = strings.ToLower(w.Header().Get("Allow")) // documented with the method that is allowed
		}
		a.validate(t, c.path, method, w)
		seen = append(seen, fmt.Sprintf("%s %s %d", c.path, method, w.Code))
	}
	slices.Sort(seen)
	if seen, want := slices.Compact(seen), a.operations(); !slices.Equal(seen, want) {
		t.Errorf("answered are\n%s\ndocumented are\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
}

// block sets what gates do about the address from which the tests ask.
func block(t *testing.T, g *Gate, action policy.Action) {
	t.Helper()
	set := int64(1) // the first version
	for _, o := range g.switches.List() {
		set = o.Set + 1
	}
	if _, err := g.switches.Add(switches.Object{
		Scope: switches.Entity, Kind: "ip", Name: asksAt, Action: action.String(), Owner: "test", Reason: "test",
		Set: set, Expires: set + time.Hour.Milliseconds(),
	}); err != nil {
		t.Fatal(err)
	}
}

// validate compares an answer with what is documented.
func (a *api) validate(t *testing.T, path, method string, w *httptest.ResponseRecorder) {
	t.Helper()
	what := fmt.Sprintf("%s %s %d", method, path, w.Code)
	response, pointer := a.at("paths", path, method, "responses", fmt.Sprint(w.Code))
	if response == nil {
		t.Errorf("%s is not documented", what)
		return
	}
	headers, _ := response["headers"].(map[string]any)
	for name := range headers {
		a.check(t, what+" "+name, pointer+"/headers/"+name+"/schema", w.Header().Get(name))
	}
	content, _ := response["content"].(map[string]any)
	if content == nil {
		if w.Body.Len() > 0 {
			t.Errorf("%s has a body: %s", what, w.Body)
		}
		return
	}
	media := w.Header().Get("Content-Type")
	if content[media] == nil {
		t.Errorf("%s has the type %q", what, media)
		return
	}
	body, err := jsonschema.UnmarshalJSON(w.Body)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	a.check(t, what, pointer+"/content/"+strings.ReplaceAll(media, "/", "~1")+"/schema", body)
}

func (a *api) check(t *testing.T, what, pointer string, v any) {
	t.Helper()
	schema, err := a.compiler.Compile("openapi.json#" + pointer)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(v); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// TestTheAPIHasThePathsOfTheHandlers: a new path is documented, too.
func TestTheAPIHasThePathsOfTheHandlers(t *testing.T) {
	handlers, err := os.ReadFile("../gate/handler.go")
	if err != nil {
		t.Fatal(err)
	}
	served := []string{forwardauth.Prefix + "{profile}"}
	for _, m := range regexp.MustCompile(`mux\.Handle(?:Func)?\("([^"]*)"`).FindAllStringSubmatch(string(handlers), -1) {
		if m[1] != "/" {
			served = append(served, strings.ReplaceAll(m[1], "...", ""))
		}
	}
	paths, _ := readAPI(t).at("paths")
	var documented []string
	for path := range paths {
		documented = append(documented, path)
	}
	slices.Sort(served)
	slices.Sort(documented)
	if !slices.Equal(served, documented) {
		t.Errorf("served are %v\ndocumented are %v", served, documented)
	}
}

func TestTheAPIHasTheWordsOfTheCode(t *testing.T) {
	a := readAPI(t)
	var actions, kinds, phases []string
	for _, one := range policy.Actions() {
		actions = append(actions, one.String())
	}
	for _, one := range facet.Kinds() {
		kinds = append(kinds, one.String())
	}
	for _, one := range []rules.Phase{rules.Observe, rules.Soft, rules.Enforce} {
		phases = append(phases, one.String())
	}
	for schema, want := range map[string][]string{
		"Action": actions, "Kind": kinds, "Phase": phases, "DegradedBy": lookup.Troubles(), "Profile": forwardauth.Names(),
		"Level":       {string(policy.Low), string(policy.Medium), string(policy.High), string(policy.Critical)},
		"ProblemType": problemTypes(t),
	} {
		slices.Sort(want)
		if got := a.enum(t, schema); !slices.Equal(got, want) {
			t.Errorf("%s has %v\nthe code has %v", schema, got, want)
		}
	}
}

// problemTypes finds the types of problems in the code.
func problemTypes(t *testing.T) (all []string) {
	t.Helper()
	front, err := filepath.Glob("../gate/*.go")
	if err != nil {
		t.Fatal(err)
	}
	rooms, err := filepath.Glob("../gate/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(front, rooms...) {
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "../gate/middleware/") {
			continue // the middleware answers clients itself
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`g\.refuse\(w, http\.\w+, "([a-z-]+)"|urn:weir:problem:([a-z-]+)`).FindAllStringSubmatch(string(text), -1) {
			all = append(all, "urn:weir:problem:"+m[1]+m[2])
		}
		all = append(all, regexp.MustCompile(`https://iana\.org/assignments/http-problem-types#[a-z-]+`).FindAllString(string(text), -1)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestTheAPIHasTheMembersOfTheCode compares schemas with what is marshalled.
func TestTheAPIHasTheMembersOfTheCode(t *testing.T) {
	a := readAPI(t)
	for schema, of := range map[string]any{"Decision": gate.Decision{}, "EntityRisk": gate.EntityRisk{}, "Reason": gate.Reason{}, "Limit": gate.Limit{}} {
		found, _ := a.at("components", "schemas", schema)
		var members, always, required []string
		for i := range reflect.TypeOf(of).NumField() {
			name, options, _ := strings.Cut(reflect.TypeOf(of).Field(i).Tag.Get("json"), ",")
			members = append(members, name)
			if options != "omitempty" {
				always = append(always, name)
			}
		}
		var documented []string
		for name := range found["properties"].(map[string]any) {
			documented = append(documented, name)
		}
		for _, name := range found["required"].([]any) {
			required = append(required, name.(string))
		}
		for _, list := range [][]string{members, always, documented, required} {
			slices.Sort(list)
		}
		if !slices.Equal(members, documented) || !slices.Equal(always, required) {
			t.Errorf("%s has %v, always %v\nthe code has %v, always %v", schema, documented, required, members, always)
		}
	}
}
