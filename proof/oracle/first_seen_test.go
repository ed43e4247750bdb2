package oracle

import (
	"fmt"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/rules"
)

// acquaintances compares on accounts with few values, now and then a new one.
func acquaintances() comparison {
	return comparison{
		rule: func(m *hand) string {
			watched := []string{"device", "country", "asn"}
			s := "    first_seen:\n      values: [device, country, asn]\n"
			s += m.odds(2, "      learn: status < 400\n") + m.odds(2, "      judge: method == \"POST\"\n")
			s += m.odds(3, fmt.Sprintf("      avoided: {challenge: auth == \"challenge\", solved: auth == \"success\", within: %dm}\n", m.oneOf(1, 10, 60)))
			s += fmt.Sprintf("      learn_visits: %d\n      learn_time: %dm\n", m.oneOf(1, 2, 3, 10), m.oneOf(1, 10, 60))
			fresh := m.oneOf(1, 10, 60)
			s += fmt.Sprintf("      new_for: %dm\n      doubted_for: %dm\n      memory: %dm\n", fresh, fresh*m.oneOf(1, 2), 120*m.oneOf(1, 2, 10))
			s += m.odds(1, fmt.Sprintf("      kept: %d\n", m.oneOf(2, 3, 4)))
			s += fmt.Sprintf("      cooldown: %dm\n      tiers:\n", m.oneOf(1, 10, 600))
			for i := range 1 + m.IntN(3) {
				s += fmt.Sprintf("        - {at: %d%s, weight: %d}\n", m.oneOf(1, 1, 2, 3), m.odds(3, ", with: ["+m.pick(watched...)+"]"), 10*(i+1))
			}
			return s
		},
		values: func(m *hand) []value {
			return m.values(map[event.Field][]string{
				event.Device:  {"", "d1", "d1", "d1", "d1", "d2", "d2", "d3", fmt.Sprint("a device with a long näme ", m.IntN(9)), fmt.Sprint("d", m.IntN(20))},
				event.Country: {"", "DE", "DE", "DE", "DE", "DE", "FR", fmt.Sprint("X", m.IntN(9))},
				event.ASN:     {"", "0", "1", "1", "1", "1", "2", fmt.Sprint(m.IntN(9))},
				event.Method:  {"GET", "POST", "POST"}, event.Status: {"200", "200", "200", "200", "302", "400", "403"},
				event.Auth: {"", "", "", "success", "challenge", "challenge"}, event.Tried: {"", "", "", "", "1"},
			})
		},
		model: func(s rules.Spec) model { return &acquaintance{rule: s.(*detectors.FirstSeen)} },
		spans: []int64{60_000, 600_000, 3_600_000, 7_200_000, 14_400_000},
	}
}

// TestFirstSeenInTheEngine compares whole histories.
func TestFirstSeenInTheEngine(t *testing.T) {
	x := acquaintances()
	agree(t, x.history("account"))
}

// TestFirstSeenAgreesWithItsModel sends random events to both.
func TestFirstSeenAgreesWithItsModel(t *testing.T) {
	var fired, full, doubted, open, anew uint64
	var last *acquaintance
	lastAt := int64(0)
	x := acquaintances()
	x.looked = func(m model) {
		k := m.(*acquaintance)
		if k != last {
			last, lastAt = k, 0
		}
		if k.lastAt != lastAt {
			fired++
		}
		lastAt = k.lastAt
		for _, f := range k.rule.Values {
			if len(k.of(f)) == k.rule.Kept {
				full++
			}
		}
		for _, v := range k.values {
			if v.doubted {
				doubted++
			}
		}
		if k.open {
			open++
		}
		if !k.taught && k.began != 0 {
			anew++
		}
	}
	x.agreeOn(t, "account")
	t.Logf("fired %d, full %d, doubted %d, open %d, anew %d", fired, full, doubted, open, anew)
	if n := x.histories; fired < n || full < 10*n || doubted < n || open < n || anew < n/50 {
		t.Error("too little of what matters happened")
	}
}
