package oracle

import (
	"fmt"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/rules"
)

// paces compares on accounts that try at intervals, some of them even.
func paces() comparison {
	return comparison{
		rule: func(m *hand) string {
			interval := m.oneOf(1, 1, 10)
			s := fmt.Sprintf("    cadence:\n      interval: %ds\n      tiers:\n", interval)
			weight := 10
			for range 1 + m.IntN(3) {
				s += fmt.Sprintf("        - {at: %d%s%s, weight: %d}\n", m.oneOf(3, 3, 4, 5, 6),
					m.odds(3, fmt.Sprintf(", values: %d", m.oneOf(1, 2, 3))), m.odds(3, fmt.Sprintf(", hours: %d", m.oneOf(1, 2, 3, 20)))+m.odds(4, fmt.Sprintf(", lasts: %dm", m.oneOf(1, 2, 5))), weight)
				weight += 10
			}
			s += m.odds(2, fmt.Sprintf("      spread: %d\n", m.oneOf(0, 1, 50, 99)))
			s += m.odds(3, fmt.Sprintf("      longest: %ds\n", m.oneOf(10, 60, 3_600)))
			s += m.odds(2, fmt.Sprintf("      memory: %dm\n", m.oneOf(1, 5, 60)))
			s += m.odds(2, "      count: auth == \"failure\"\n") + m.odds(2, "      cancel: status == 204\n")
			s += "      distinct: net\n"
			return s + fmt.Sprintf("      cooldown: %ds\n", m.oneOf(1, 60, 3_600))
		},
		values: func(m *hand) []value {
			return m.values(map[event.Field][]string{
				event.Net: {"", "n1", "n1", "n2", "n3"}, event.Auth: {"failure", "failure", "failure", "success"},
				event.Status: {"401", "401", "401", "401", "401", "401", "401", "204"},
			})
		},
		model: func(s rules.Spec) model { return &clockwork{rule: s.(*detectors.Cadence)} },
		spans: []int64{1_000, 10_000, 60_000, 300_000, 3_600_000, 23 * 3_600_000, 24 * 3_600_000},
	}
}

// TestCadenceInTheEngine compares whole histories.
func TestCadenceInTheEngine(t *testing.T) {
	x := paces()
	agree(t, x.history("account"))
}

// TestCadenceAgreesWithItsModel sends random attempts to both.
func TestCadenceAgreesWithItsModel(t *testing.T) {
	var full, fired, cleared, hours uint64
	var last *clockwork
	times := 0
	x := paces()
	x.looked = func(m model) {
		k := m.(*clockwork)
		if k != last {
			last, times = k, 0
		}
		fired += uint64(k.fired - times)
		times = k.fired
		if len(k.tries) >= 3 {
			full++
		}
		if k.cleared && len(k.tries) == 0 {
			cleared++
		}
		if len(k.active) > 1 {
			hours++
		}
	}
	x.agreeOn(t, "account")
	if n := x.histories; fired < n || full < 10*n || cleared < n || hours < 3*n {
		t.Errorf("too little of what matters happened: %d fired, %d with three attempts, %d were cleared, %d of several hours", fired, full, cleared, hours)
	}
}
