package app

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/tracing"
	"github.com/weirdev/weir/internal/tracing/tracetest"
)

const (
	traceOfTest  = "4bf92f3577b34da6a3ce929d0e0e4736"
	parentOfTest = "00-" + traceOfTest + "-00f067aa0ba902b7-0"
)

func TestWhichDecisionsAreTraced(t *testing.T) {
	r := tracetest.New(t)
	cfg := tracing.Defaults()
	cfg.Endpoint = r.URL
	tracer, err := tracing.New(cfg, "weir-gate", "test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &tracedDecisions{tracer: tracer, refusals: tracing.Rate{PerSecond: 5}, others: tracing.Rate{PerSecond: 5}}
	start := time.UnixMilli(1_763_892_000_000)
	ask := func(id string, action policy.Action, parent string, at time.Time) string {
		return d.Decided(&gate.Request{Route: "/login", Trace: emit.Trace{Parent: parent}}, &gate.Decision{ID: id, Action: action}, at, time.Millisecond, 3*time.Millisecond)
	}
	for _, tc := range []struct {
		name, parent string
		action       policy.Action
		traced       bool
	}{
		{"an allowed one", "", policy.Allow, false},
		{"one that its gateway does not sample", parentOfTest + "0", policy.Allow, false},
		{"one with a context that is none", "00-zz", policy.Challenge, false},
		{"one that its gateway samples", parentOfTest + "1", policy.Allow, true},
		{"a refusal", "", policy.Deny, true},
		{"a refusal that its gateway does not sample", parentOfTest + "0", policy.Deny, true},
	} {
		if got := ask(tc.name, tc.action, tc.parent, start); (got != "") != tc.traced || tc.traced && tc.parent != "" && got != traceOfTest {
			t.Errorf("%s: trace %q", tc.name, got)
		}
	}
	refused := 0
	for n := range 100 {
		if ask(fmt.Sprint(n), policy.Deny, "", start.Add(time.Second)) != "" {
			refused++
		}
	}
	if refused != 5 {
		t.Errorf("%d refusals of a second are traced", refused)
	}
	ask("the last", policy.Deny, parentOfTest+"1", start.Add(2*time.Second))
	closeTracer(tracer)
	decide, look := r.Spans()["decide"], r.Spans()["look up risk"]
	if decide.Trace != traceOfTest || decide.Parent != "00f067aa0ba902b7" || decide.Nanos != 3e6 || decide.Attributes["weir.action"] != "deny" || decide.Attributes["weir.decision_id"] != "the last" || decide.Attributes["http.route"] != "/login" {
		t.Errorf("decide: %+v", decide)
	}
	if look.Trace != traceOfTest || look.Parent != decide.ID || look.Nanos != 1e6 {
		t.Errorf("look up: %+v", look)
	}
}
