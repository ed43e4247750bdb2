package haproxy

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/gate/emit"
)

// taken remembers outcomes.
type taken struct {
	mu  sync.Mutex
	all []emit.Outcome
}

func (k *taken) Outcome(o emit.Outcome) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, o)
	return true
}

// TestOutcomesAreTold: what HAProxy knows of a response, without what no event has.
func TestOutcomesAreTold(t *testing.T) {
	for _, tc := range []struct {
		name   string
		args   []arg
		want   []emit.Outcome
		faults float64
	}{
		{"a response", []arg{{"decision_id", decisionID}, {"status", int32(200)}, {"latency_us", int64(1500)}, {"auth", "failure"}}, []emit.Outcome{{DecisionID: decisionID, Status: 200, LatencyMicros: 1500, Auth: "failure"}}, 0},
		{"all that may be told, as texts", []arg{{"decision_id", decisionID}, {"status", "429"}, {"response_bytes", "12"}, {"decision_action", "allow"}}, []emit.Outcome{{DecisionID: decisionID, Status: 429, ResponseBytes: 12, Action: "allow"}}, 0},
		{"what is not known", []arg{{"decision_id", decisionID}, {"status", nil}, {"latency_us", nil}, {"auth", nil}}, []emit.Outcome{{DecisionID: decisionID}}, 0},
		{"what no event has", []arg{{"decision_id", decisionID}, {"status", int32(1000)}, {"latency_us", "-1"}, {"response_bytes", "many"}, {"auth", "perhaps"}}, []emit.Outcome{{DecisionID: decisionID}}, 0},
		{"no decision", []arg{{"decision_id", nil}, {"status", int32(200)}}, nil, 0},
		{"an unknown argument", []arg{{"decision_id", decisionID}, {"stauts", int32(200)}}, []emit.Outcome{{DecisionID: decisionID}}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, k := &decider{}, &taken{}
				a := newAgent(t, d)
				a.deps.Outcomes = k
				connect, stop := serving(t, a)
				p := greeted(connect)
				p.send(notifyOf(1, Outcome, tc.args...))
				if r := p.expect(kindAck); len(r.values) != 0 {
					t.Errorf("variables %v", r.values)
				}
				if !slices.Equal(k.all, tc.want) {
					t.Errorf("%+v, want %+v", k.all, tc.want)
				}
				if n := testutil.ToFloat64(a.faults.WithLabelValues(unknown)); n != tc.faults {
					t.Errorf("%v faults", n)
				}
				if d.last.Load() != nil {
					t.Error("the gate was asked")
				}
				_ = p.c.Close()
				stop()
			})
		})
	}
}

// TestOutcomesThatNobodyWants are passed over: the gate writes no events.
func TestOutcomesThatNobodyWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t, &decider{})
		connect, stop := serving(t, a)
		p := greeted(connect)
		p.send(notifyOf(1, Outcome, arg{"decision_id", decisionID}, arg{"status", int32(200)}))
		p.expect(kindAck)
		if n := testutil.ToFloat64(a.faults.WithLabelValues(unknown)); n != 0 {
			t.Errorf("%v faults", n)
		}
		_ = p.c.Close()
		stop()
	})
}
