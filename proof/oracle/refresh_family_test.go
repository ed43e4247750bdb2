package oracle

import (
	"fmt"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/rules"
)

// families compares on families of few tokens, some of which state their time of
// issue.
func families() comparison {
	return comparison{
		rule: func(m *hand) string {
			verdicts := []string{"race", "stale", "theft"}
			m.Shuffle(len(verdicts), func(i, j int) { verdicts[i], verdicts[j] = verdicts[j], verdicts[i] })
			s := "    refresh_family:\n      tiers:\n"
			for i, v := range verdicts[:1+m.IntN(3)] {
				s += fmt.Sprintf("        - {verdict: %s, weight: %d}\n", v, 10*(i+1))
			}
			s += m.odds(2, fmt.Sprintf("      grace: %ds\n", m.oneOf(0, 1, 10, 60)))
			s += m.odds(2, fmt.Sprintf("      tokens: %d\n", m.oneOf(2, 3, 5)))
			s += m.odds(2, fmt.Sprintf("      memory: %dm\n", m.oneOf(2, 5, 60)))
			s += m.odds(2, "      shown: route == \"/me\"\n")
			return s + fmt.Sprintf("      cooldown: %ds\n", m.oneOf(1, 60, 3600))
		},
		values: func(m *hand) []value {
			n := 1 + m.IntN(9)
			all := m.values(map[event.Field][]string{
				event.Token: {"", fmt.Sprint("r", n), fmt.Sprint("r", n), fmt.Sprint("r", n)}, event.Device: {"", "", "d1", "d1", "d1", "d1", "d2"},
				event.JA4: {"", "j1", "j1", "j2"}, event.UserAgent: {"", "Shop/4.2 (a)", "Shop/4.3_1 (a)", "curl/8"},
				event.Net: {"", "n1", "n1", "n2", "n3"}, event.ASN: {"", "", "1", "2"},
				event.Route: {"", "", "", "/me"}, event.KeyID: {"", "k1", "k1", "k1", "k1", "k2"},
			})
			if m.IntN(3) > 0 {
				all = append(all, value{event.TokenIssued, "", int64(1 + n/2)})
			}
			return all
		},
		model: func(s rules.Spec) model { return &lineage{rule: s.(*detectors.RefreshFamily)} },
		spans: []int64{1_000, 10_000, 30_000, 60_000, 300_000},
	}
}

// TestRefreshFamilyAgreesWithItsModel sends random uses of few tokens to both.
func TestRefreshFamilyAgreesWithItsModel(t *testing.T) {
	full := 0
	x := families()
	x.looked = func(m model) {
		if l := m.(*lineage); len(l.tokens) == l.rule.Tokens {
			full++
		}
	}
	x.agreeOn(t, "token")
	x.often(t, "race", "stale", "theft")
	if full < 300 {
		t.Errorf("only %d full lists", full)
	}
}
