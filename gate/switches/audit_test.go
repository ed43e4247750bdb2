package switches

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/control"
)

// TestEveryVersionIsAControlRecord, which ingest reads, with an id of its own.
func TestEveryVersionIsAControlRecord(t *testing.T) {
	const now = 1763892000123
	at := func(o Object, lasts time.Duration) Object {
		o.Owner, o.Reason, o.Set, o.Expires = "ann", "incident", now, now+lasts.Milliseconds()
		return o
	}
	account := Object{Scope: Entity, Tenant: "shop", Kind: "account", Name: "alice"}
	blocked, released, cleared := account, account, account
	blocked.Action, released.Action, cleared.Action, cleared.Cleared = "throttle", "allow", "allow", true
	ids := map[string]bool{}
	for _, tc := range []struct {
		of   Object
		want string
	}{
		{at(blocked, time.Hour), "gate_block account alice throttle 3600000"}, {at(released, Longest), "gate_release account alice  31622400000"}, {at(cleared, Longest), "gate_clear account alice  0"},
		{at(Object{Scope: Global}, time.Hour), "gate_off global   3600000"}, {at(Object{Scope: Rule, Name: "r"}, time.Hour), "gate_off rule r  3600000"},
		{at(Object{Scope: Detector, Name: "d"}, time.Hour), "gate_off detector d  3600000"}, {at(Object{Scope: Route, Name: "/x"}, time.Hour), "gate_off route /x  3600000"},
		{at(Object{Scope: Tenant, Name: "shop"}, time.Hour), "gate_off tenant shop  3600000"}, {at(Object{Scope: Tenant, Name: "shop", Cleared: true}, Longest), "gate_on tenant shop  0"},
	} {
		if err := tc.of.Check(); err != nil {
			t.Fatal(err)
		}
		r := tc.of.Record(control.FromConsole)
		b, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		read, err := control.Parse(b)
		if err != nil || !read.OfGates() || read.Who != "ann" || read.Reason != "incident" || read.Origin != "console" || read.Time != now || read.Tenant != tc.of.Tenant {
			t.Errorf("%+v: %v", read, err)
		}
		lasts := read.Expires
		if lasts > 0 {
			lasts -= now
		}
		if got := strings.Join([]string{read.Action, read.Kind, read.Key, read.Gate, jsonOf(t, lasts)}, " "); got != tc.want {
			t.Errorf("%s, want %s", got, tc.want)
		}
		if again := tc.of.Record(control.FromGate); again.ID != r.ID || ids[r.ID] {
			t.Errorf("the id %s of %s is not its own", r.ID, tc.want)
		}
		ids[r.ID] = true
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestWhatIsSetAtAGateIsTold to the audit; where that is not possible, the operator
// hears of it.
func TestWhatIsSetAtAGateIsTold(t *testing.T) {
	w := newWorld()
	var told []Object
	for name, tc := range map[string]struct {
		audit   func(Object) error
		warning string
	}{
		"told":    {func(o Object) error { told = append(told, o); return nil }, ""},
		"no room": {func(Object) error { return errors.New("no room") }, "it is not in the audit: no room"},
		"nobody":  {nil, "this gate writes no control records"},
	} {
		s := w.gate(t, "", nil)
		s.deps.Audit = tc.audit
		o := w.object(Tenant, "shop")
		r := httptest.NewRequest("POST", "/v1/switches", bytes.NewReader([]byte(jsonOf(t, o))))
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, r)
		var added Added
		if err := json.Unmarshal(rec.Body.Bytes(), &added); err != nil || rec.Code != 200 || !strings.Contains(added.Warning, tc.warning) || (tc.warning == "") != (added.Warning == "") {
			t.Errorf("%s: %d %s (%v)", name, rec.Code, rec.Body, err)
		}
		if len(s.List()) != 1 {
			t.Errorf("%s: it does not hold", name)
		}
	}
	if len(told) != 1 || told[0].Name != "shop" || told[0].Set == 0 {
		t.Errorf("told of %+v", told)
	}
}
