package switches

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/facet"
)

var codec = NewCodec([]byte("a secret for tests only"))

// memory is a store that can be unavailable.
type memory struct {
	forms map[string]string
	away  bool
}

func (m *memory) Switches(context.Context) (map[string]string, error) {
	if m.away {
		return nil, errors.New("away")
	}
	return maps.Clone(m.forms), nil
}

func (m *memory) PutSwitches(_ context.Context, forms map[string]string) error {
	if m.away {
		return errors.New("away")
	}
	maps.Copy(m.forms, forms)
	return nil
}

func (m *memory) DropSwitches(_ context.Context, forms map[string]string) error {
	if m.away {
		return errors.New("away")
	}
	maps.DeleteFunc(m.forms, func(id, form string) bool { return forms[id] == form })
	return nil
}

// world has its own clock.
type world struct {
	*memory
	now time.Time
}

func newWorld() *world {
	return &world{memory: &memory{forms: map[string]string{}}, now: time.UnixMilli(1_800_000_000_000)}
}

func (w *world) gate(t testing.TB, dir string, log *bytes.Buffer) *Switches {
	t.Helper()
	deps := Dependencies{Store: w.memory, Codec: codec, Detectors: map[string]string{"a": "cadence", "b": "cadence", "c": "decay"}, Directory: dir, Now: func() time.Time { return w.now }}
	if log != nil {
		deps.Logger = slog.New(slog.NewTextHandler(log, nil))
	}
	s, err := New(deps)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// object returns an object that is set now, for an hour.
func (w *world) object(scope Scope, name string) Object {
	return Object{Scope: scope, Name: name, Owner: "ann", Reason: "a test", Set: w.now.UnixMilli(), Expires: w.now.Add(time.Hour).UnixMilli()}
}

func (w *world) entity(action, key string) Object {
	o := w.object(Entity, key)
	o.Kind, o.Tenant, o.Action = "account", "shop", action
	return o
}

func put(t testing.TB, s *Switches, o Object) {
	t.Helper()
	if err := s.Put(o); err != nil {
		t.Fatal(err)
	}
}

func account(key string) facet.Entity {
	return facet.Entity{Kind: facet.Account, Tenant: "shop", Key: key}
}

func TestWhatIsSetHoldsAtOnceAndEverywhereSoon(t *testing.T) {
	w := newWorld()
	one, other := w.gate(t, "", nil), w.gate(t, "", nil)
	for _, o := range []Object{w.object(Tenant, "shop"), w.object(Route, "/login"), w.object(Rule, "x"), w.object(Detector, "cadence"), w.entity("deny", "mallory"), w.entity("allow", "alice")} {
		put(t, one, o)
	}
	check := func(name string, s *Switches) {
		t.Helper()
		a := s.Active()
		if a.Off("shop", "/feed") != "tenant:shop" || a.Off("bank", "/login") != "route:/login" || a.Off("bank", "/feed") != "" {
			t.Errorf("%s: off", name)
		}
		if !a.Mutes() || !a.Muted("a") || !a.Muted("b") || !a.Muted("x") || a.Muted("c") {
			t.Errorf("%s: muted", name)
		}
		for _, tc := range []struct {
			entities []facet.Entity
			action   policy.Action
			found    bool
		}{
			{[]facet.Entity{account("alice")}, policy.Allow, true},
			{[]facet.Entity{account("alice"), account("mallory")}, policy.Deny, true},
			{[]facet.Entity{account("bob")}, 0, false},
			{[]facet.Entity{{Kind: facet.Account, Tenant: "bank", Key: "mallory"}}, 0, false},
		} {
			if action, _, found := a.By(tc.entities); action != tc.action || found != tc.found {
				t.Errorf("%s: %v: %v %v", name, tc.entities, action, found)
			}
		}
	}
	check("at once", one)
	for _, s := range []*Switches{one, other} {
		if err := s.Agree(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	check("on another gate", other)
	if !reflect.DeepEqual(one.List(), other.List()) || len(one.List()) != 6 {
		t.Errorf("%d and %d objects", len(one.List()), len(other.List()))
	}
	put(t, one, w.object(Global, ""))
	if one.Active().Off("any", "/any") != "global" {
		t.Error("global is not off")
	}
}

func TestObjectsEndByThemselvesAndAreCleared(t *testing.T) {
	w := newWorld()
	var log bytes.Buffer
	s := w.gate(t, "", &log)
	put(t, s, w.object(Global, ""))
	w.now = w.now.Add(time.Minute)
	put(t, s, w.object(Tenant, "shop"))
	if err := s.Put(Object{Scope: Global, Owner: "x", Reason: "late", Set: 1, Expires: 5}); err == nil {
		t.Error("an older version was taken")
	}
	cleared := w.object(Global, "")
	cleared.Cleared = true
	put(t, s, cleared)
	if got := s.Active().Off("bank", ""); got != "" {
		t.Errorf("still off: %s", got)
	}
	w.now = w.now.Add(time.Hour)
	if err := s.Agree(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.Active().Off("shop", ""); got != "" || len(s.List()) != 0 {
		t.Errorf("still off: %s", got)
	}
	for _, want := range []string{"state=\"in force\" id=global", "state=\"in force\" id=tenant:shop", "state=ended id=global", "state=ended id=tenant:shop", "owner=ann", "reason=\"a test\""} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log.String())
		}
	}
	w.now = w.now.Add(keptAfter + time.Hour)
	_ = s.Agree(t.Context())
	if len(s.objects) != 0 {
		t.Errorf("%d objects are remembered", len(s.objects))
	}
}

func TestAGateWithoutTheStoreKeepsThemOverARestart(t *testing.T) {
	w := newWorld()
	dir := filepath.Join(t.TempDir(), "state")
	w.away = true
	before := w.gate(t, dir, nil)
	put(t, before, w.object(Global, ""))
	after := w.gate(t, dir, nil)
	if after.Active().Off("", "") != "global" {
		t.Fatal("forgotten")
	}
	if err := after.Agree(t.Context()); err == nil {
		t.Error("the store is away, and that is no error")
	}
	w.away = false
	other := w.gate(t, "", nil)
	for _, s := range []*Switches{after, other} {
		if err := s.Agree(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if other.Active().Off("", "") != "global" {
		t.Error("the other gate does not know")
	}
}

// TestStrangersSwitchNothing checks the store and the disk.
func TestStrangersSwitchNothing(t *testing.T) {
	w := newWorld()
	o := w.object(Global, "")
	good := codec.Encode(&o)
	dir := t.TempDir()
	forms := map[string]string{
		"global": NewCodec([]byte("another secret, of a stranger")).Encode(&o), "tenant:shop": good, // of another id
		"rule:a": strings.Replace(good, "global", "tenant", 1), "x": "", "y": strings.Repeat("a", maxObject+1), "z": good[:codeLen] + " {",
	}
	w.forms = forms
	var lines []string
	for id, form := range forms {
		if id != "tenant:shop" {
			lines = append(lines, form)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, fileName), []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	s := w.gate(t, dir, nil)
	if err := s.Agree(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.List()) != 0 || s.Active().Off("", "") != "" {
		t.Errorf("got %+v", s.List())
	}
}

// TestGatesAgreeWhateverTheOrder checks versions in any order, lost stores and
// outages.
func TestGatesAgreeWhateverTheOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		gates := []*Switches{w.gate(t, "", nil), w.gate(t, "", nil), w.gate(t, "", nil)}
		latest := map[string]Object{}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			g := rapid.SampledFrom(gates).Draw(rt, "gate")
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0, 1:
				o := w.object(Rule, fmt.Sprint(rapid.IntRange(0, 3).Draw(rt, "rule")))
				o.Cleared, o.Reason = rapid.Bool().Draw(rt, "cleared"), fmt.Sprint("reason ", rapid.IntRange(0, 9).Draw(rt, "reason"))
				if g.Put(o) == nil {
					if old, ok := latest[o.ID()]; !ok || o.newer(&old) {
						latest[o.ID()] = o
					}
				}
			case 2:
				w.away = !w.away
			case 3:
				w.forms = map[string]string{}
			case 4:
				w.now = w.now.Add(time.Millisecond)
			default:
				_ = g.Agree(context.Background())
			}
		}
		w.away = false
		for range 2 {
			for _, g := range gates {
				if err := g.Agree(context.Background()); err != nil {
					rt.Fatal(err)
				}
			}
		}
		for i, g := range gates {
			if !maps.Equal(g.objects, latest) {
				rt.Fatalf("gate %d has %+v, want %+v", i, g.objects, latest)
			}
		}
	})
}

// TestAWrongClockPinsNothing: what a gate or operator with a wrong clock sets ends in
// time, and can be cleared by those whose clocks are right.
func TestAWrongClockPinsNothing(t *testing.T) {
	w := newWorld()
	right, ahead := w.gate(t, "", nil), w.gate(t, "", nil)
	ahead.now = func() time.Time { return w.now.Add(24 * time.Hour) }
	agree := func() {
		t.Helper()
		for _, s := range []*Switches{ahead, right, ahead} {
			if err := s.Agree(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	operator := w.object(Tenant, "shop")
	operator.Set += 24 * time.Hour.Milliseconds()
	operator.Expires += 24 * time.Hour.Milliseconds()
	put(t, right, operator)
	if all := right.List(); len(all) != 1 || all[0].Set != w.now.UnixMilli() || all[0].Expires != w.now.Add(time.Hour).UnixMilli() {
		t.Errorf("the operator's clock counts: %+v", all)
	}

	put(t, ahead, w.object(Global, ""))
	agree()
	if right.Active().Off("", "") != "global" {
		t.Fatal("not in force")
	}
	w.now = w.now.Add(time.Minute)
	cleared := w.object(Global, "")
	cleared.Cleared = true
	put(t, right, cleared)
	agree()
	for name, s := range map[string]*Switches{"right": right, "ahead": ahead} {
		if got := s.Active().Off("", ""); got != "" {
			t.Errorf("%s: still off: %s", name, got)
		}
	}
	if old, now := right.objects["global"], ahead.objects["global"]; old != now || !old.Cleared || old.Expires < w.now.Add(25*time.Hour-time.Minute).UnixMilli() {
		t.Errorf("what was cleared may return: %+v, %+v", old, now)
	}
}

// TestWhatIsOverLeavesTheStore once somebody sets something, and at no gate's word.
func TestWhatIsOverLeavesTheStore(t *testing.T) {
	w := newWorld()
	s := w.gate(t, "", nil)
	put(t, s, w.object(Rule, "x"))
	long := w.object(Rule, "y")
	long.Expires += Longest.Milliseconds() / 2
	put(t, s, long)
	agree := func() {
		t.Helper()
		if err := s.Agree(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	agree()
	w.now = w.now.Add(keptAfter + 2*time.Hour)
	agree()
	w.forms["forged"] = "of a stranger"
	if len(w.forms) != 3 {
		t.Fatalf("the store has %v", w.forms)
	}
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, y := w.forms["rule:y"]; len(w.forms) != 2 || !y {
		t.Errorf("the store has %v", w.forms)
	}
}

// TestAFullGateStillClears what it has, and says what it does not take.
func TestAFullGateStillClears(t *testing.T) {
	w := newWorld()
	s := w.gate(t, "", nil)
	for i := range mostObjects {
		o := w.object(Rule, fmt.Sprint(i))
		s.objects[o.ID()] = o
	}
	if err := s.Put(w.object(Rule, "one more")); err == nil {
		t.Error("one more was taken")
	}
	w.now = w.now.Add(time.Millisecond)
	cleared := w.object(Rule, "7")
	cleared.Cleared = true
	put(t, s, cleared)
	if s.Active().Muted("7") || !s.Active().Muted("8") {
		t.Error("not cleared")
	}
	o := w.object(Rule, "from elsewhere")
	w.forms[o.ID()] = codec.Encode(&o)
	if err := s.Agree(t.Context()); err == nil || len(s.objects) != mostObjects || len(w.forms) != mostObjects+1 {
		t.Errorf("%v; %d objects, %d in the store", err, len(s.objects), len(w.forms))
	}
}

// TestDifferentSubjectsHaveDifferentIDs, whatever clients call themselves.
func TestDifferentSubjectsHaveDifferentIDs(t *testing.T) {
	seen := map[string]Object{}
	for _, o := range []Object{
		{Scope: Global}, {Scope: Route, Name: "/x"}, {Scope: Route, Name: "/x:"}, {Scope: Rule, Name: "/x"},
		{Scope: Entity, Kind: "account", Tenant: "a", Name: "b/c"}, {Scope: Entity, Kind: "account", Tenant: "a/b", Name: "c"}, {Scope: Entity, Kind: "account", Tenant: "a%2Fb", Name: "c"},
	} {
		if other, taken := seen[o.ID()]; taken {
			t.Errorf("%+v and %+v are both %s", o, other, o.ID())
		}
		seen[o.ID()] = o
	}
}

// TestALineOfAStrangerCostsNoOtherLine, however long it is.
func TestALineOfAStrangerCostsNoOtherLine(t *testing.T) {
	w := newWorld()
	dir := t.TempDir()
	one, other := w.object(Rule, "x"), w.object(Rule, "y")
	text := codec.Encode(&one) + "\n" + strings.Repeat("a", 1<<20) + "\n\n" + codec.Encode(&other) // cut short behind the last
	if err := os.WriteFile(filepath.Join(dir, fileName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := len(w.gate(t, dir, nil).List()); got != 2 {
		t.Errorf("%d objects", got)
	}
}

// TestASwitchThatCannotBeSavedHoldsAllTheSame, is in the audit, and whoever set it is
// told.
func TestASwitchThatCannotBeSavedHoldsAllTheSame(t *testing.T) {
	w := newWorld()
	dir := filepath.Join(t.TempDir(), "state")
	var log bytes.Buffer
	s := w.gate(t, dir, &log)
	told := 0
	s.deps.Audit = func(Object) error { told++; return nil }
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"scope":"global","owner":"ann","reason":"why","set":%d,"expires":%d}`, w.now.UnixMilli(), w.now.Add(time.Hour).UnixMilli())
	r := httptest.NewRequest("POST", "/v1/switches", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, r)
	if rec.Code != 500 || !strings.Contains(rec.Body.String(), "in force here, but cannot be saved") || s.Active().Off("", "") != "global" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if told != 1 {
		t.Errorf("the audit is told %d times", told)
	}
	for range 3 {
		_ = s.Agree(t.Context())
	}
	if n := strings.Count(log.String(), "cannot be saved to gate.state"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_ = s.Agree(t.Context())
	w.away = true
	if w.gate(t, dir, nil).Active().Off("", "") != "global" {
		t.Error("not saved when there is room again")
	}
}

// TestASwitchThatNamesNothingIsTold: a typing error would otherwise look like success.
func TestASwitchThatNamesNothingIsTold(t *testing.T) {
	w := newWorld()
	for _, tc := range []struct {
		scope Scope
		name  string
		known bool
	}{{Rule, "a", true}, {Rule, "aa", false}, {Detector, "decay", true}, {Detector, "a", false}, {Tenant, "shop", true}, {Route, "/x", true}} {
		var log bytes.Buffer
		s, o := w.gate(t, "", &log), w.object(tc.scope, tc.name)
		body, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("POST", "/v1/switches", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, r)
		if known := !strings.Contains(rec.Body.String(), `"warning":"the rules here have no `); rec.Code != 200 || known != tc.known {
			t.Errorf("%s: %d %s", o.ID(), rec.Code, rec.Body)
		}
		if known := !strings.Contains(log.String(), "a switch may do nothing"); known != tc.known || len(s.List()) != 1 {
			t.Errorf("%s: %s", o.ID(), log.String())
		}
	}
}

// TestClearingWhatIsNotInForceIsTold, because a typing error leaves it in force.
func TestClearingWhatIsNotInForceIsTold(t *testing.T) {
	w := newWorld()
	s := w.gate(t, "", nil)
	put(t, s, w.object(Tenant, "shop"))
	for _, tc := range []struct {
		name    string
		warning bool
	}{{"shpo", true}, {"shop", false}, {"shop", true}} {
		w.now = w.now.Add(time.Millisecond)
		o := w.object(Tenant, tc.name)
		o.Cleared = true
		if added, err := s.Add(o); err != nil || added.Warning != "" != tc.warning {
			t.Errorf("%s: %+v, %v", tc.name, added, err)
		}
	}
}

func TestObjectsThatAreRefused(t *testing.T) {
	w := newWorld()
	s := w.gate(t, "", nil)
	for name, spoil := range map[string]func(*Object){
		"no owner":              func(o *Object) { o.Owner = " " },
		"no reason":             func(o *Object) { o.Reason = "" },
		"no end":                func(o *Object) { o.Expires = 0 },
		"for years":             func(o *Object) { o.Expires = o.Set + 2*Longest.Milliseconds() },
		"an unknown scope":      func(o *Object) { o.Scope = "planet" },
		"a rule without a name": func(o *Object) { o.Name = "" },
		"a rule with an action": func(o *Object) { o.Action = "deny" },
		"an entity of no kind":  func(o *Object) { o.Scope, o.Kind, o.Action = Entity, "planet", "deny" },
		"no such action":        func(o *Object) { o.Scope, o.Kind, o.Action = Entity, "account", "explode" },
		"a name for everything": func(o *Object) { o.Scope = Global },
		"a control character":   func(o *Object) { o.Reason = "a\nb" },
	} {
		o := w.object(Rule, "x")
		spoil(&o)
		if err := s.Put(o); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestTheAdminListener(t *testing.T) {
	w := newWorld()
	s := w.gate(t, "", nil)
	body := fmt.Sprintf(`{"scope":"rule","name":"x","owner":"ann","reason":"why","set":%d,"expires":%d}`, w.now.UnixMilli(), w.now.Add(time.Hour).UnixMilli())
	for _, tc := range []struct {
		name, contentType, body string
		status                  int
	}{
		{"a form", "application/x-www-form-urlencoded", body, 415},
		{"no type", "", body, 415},
		{"no JSON", "application/json", "hello", 400},
		{"an unknown member", "application/json", `{"scpoe":"global"}`, 400},
		{"nothing said", "application/json", `{"scope":"global"}`, 409},
		{"a switch", "application/json; charset=utf-8", body, 200},
		{"the same again", "application/json", body, 409},
	} {
		r := httptest.NewRequest("POST", "/v1/switches", strings.NewReader(tc.body))
		r.Header.Set("Content-Type", tc.contentType)
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, r)
		if rec.Code != tc.status {
			t.Errorf("%s: %d %s", tc.name, rec.Code, rec.Body)
		}
	}
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/v1/switches", nil))
	if rec.Code != 200 || !strings.Contains(rec.Body.String(), `"name":"x"`) {
		t.Errorf("list: %d %s", rec.Code, rec.Body)
	}
}

func FuzzDecode(f *testing.F) {
	o := newWorld().object(Global, "")
	f.Add(codec.Encode(&o))
	f.Add("")
	f.Add(strings.Repeat("0", codeLen) + " {}")
	f.Fuzz(func(t *testing.T, form string) {
		o, err := codec.Decode(form)
		if err == nil && codec.Encode(&o) != form {
			t.Fatalf("%q is %+v", form, o)
		}
	})
}
