package oracle

import (
	"fmt"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/rules"
)

// recordings compares on few nonces, and on clocks that are right, wrong, set and
// stopped.
func recordings() comparison {
	return comparison{
		rule: func(m *hand) string {
			signs := []string{"reused", "wrong_clock", "backwards", "flood", "repeated", "repeated"}
			at := map[string]int{}
			s := "    replay:\n      tiers:\n"
			for i := range 1 + m.IntN(6) {
				sign := m.pick(signs...)
				at[sign] += 1 + m.IntN(3)
				s += fmt.Sprintf("        - {sign: %s, at: %d, weight: %d}\n", sign, at[sign], 10*(i+1))
			}
			s += fmt.Sprintf("      window: %ds\n", m.oneOf(60, 120, 600))
			s += m.odds(2, fmt.Sprintf("      nonces: %d\n", m.oneOf(2, 3, 5)))
			s += m.odds(2, fmt.Sprintf("      grace: %ds\n", m.oneOf(0, 1, 10, 60)))
			s += m.odds(2, fmt.Sprintf("      retries: %d\n", m.oneOf(0, 1, 3)))
			s += m.odds(2, fmt.Sprintf("      skew: %ds\n", m.oneOf(1, 10, 60)))
			s += fmt.Sprintf("      learn: %d\n", m.oneOf(2, 2, 3, 5))
			s += m.odds(2, fmt.Sprintf("      memory: %dm\n", m.oneOf(1, 2, 60)))
			s += m.odds(2, fmt.Sprintf("      room: %ds\n", m.oneOf(0, 1, 10, 60)))
			return s + fmt.Sprintf("      cooldown: %ds\n", m.oneOf(1, 60, 3600))
		},
		values: func(m *hand) []value {
			n := 1 + m.IntN(12)
			all := m.values(map[event.Field][]string{
				event.Nonce: {"", fmt.Sprint("n", n), fmt.Sprint("n", n), fmt.Sprint("m", m.IntN(1000))}, event.RequestID: {"", "q1", fmt.Sprint("q", n), fmt.Sprint("r", m.IntN(1000))},
				event.JA4: {"", "", "", "j1", "j1", "j2"}, event.UserAgent: {"", "", "Shop/4.2 (a)", "Shop/4.3_1 (a)", "curl/8"},
			})
			if m.IntN(8) == 0 {
				all = append(all, value{event.Skewed, "", 1})
			}
			all = append(all, value{event.Status, "", m.oneOf(200, 200, 200, 201, 499)}, value{event.Method, m.pick("GET", "POST", "POST", "POST", "PUT"), 0})
			// The clock of a device that is set now and then.
			setTo := []int64{0, 0, -700_000, 0}[m.now/150_000%4]
			clock := []int64{0, 0, 0, 0, 1_000, -1_000, 10_001, -60_000, -60_001, -600_000, 600_000}
			if m.IntN(4) > 0 {
				all = append(all, value{event.ClientTime, "", m.now + setTo + clock[m.IntN(1+m.IntN(len(clock)))]})
			} else if m.IntN(3) == 0 {
				all = append(all, value{event.ClientTime, "", start})
			}
			return all
		},
		model: func(s rules.Spec) model { return &recorder{rule: s.(*detectors.Replay)} },
		spans: []int64{1_000, 10_000, 60_000, 120_000, 600_000},
	}
}

// TestReplayAgreesWithItsModel sends random requests to both.
func TestReplayAgreesWithItsModel(t *testing.T) {
	var full, set uint64
	x := recordings()
	x.looked = func(m model) {
		r := m.(*recorder)
		if len(r.nonces) == r.rule.Nonces {
			full++
		}
		if len(r.clock) == r.rule.Learn && len(r.clock) > 2 && r.clock[0] == r.clock[1] && r.clock[1] == r.clock[2] {
			set++
		}
	}
	x.agreeOn(t, "device")
	x.often(t, "reused", "wrong_clock", "backwards", "flood", "repeated")
	if full < x.histories || set < x.histories/3 {
		t.Errorf("only %d full lists, %d clocks that were set", full, set)
	}
}
