package oracle

import (
	"fmt"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/rules"
)

// objectIDs returns ids in order, with gaps, without order, and of accounts.
func objectIDs() (all []string) {
	for i := range 40 {
		all = append(all, fmt.Sprintf("order-%d", 1000+i), fmt.Sprintf("%d-1", 5000+10*i), fmt.Sprintf("item%d", i*i*i))
	}
	return append(all, "", "7", "7", "007", "x", "a1b2c3d4", "12-0034-5", "11-22", "11-23", "9999999999999999-1", "4711-x", "u4711", "0")
}

// pages returns paths of pages, with other numbers beside them.
func pages() (all []string) {
	for i := range 20 {
		all = append(all, fmt.Sprintf("/list?limit=100&page=%d", i), fmt.Sprintf("/list/2026?offset=%d&per_page=50&v=3&w=4", 50*i))
	}
	return append(all, "", "/list", "/list?", "/list?page=2x&n=17", "/list?cursor=1234567890123456", "/list?p=&pg=3", "/4711?q=a?page=3&from=5")
}

// requests compares on accounts that request objects, some of them refused.
func requests() comparison {
	ids := objectIDs()
	return comparison{
		rule: func(m *hand) string {
			s := "    id_enumeration:\n      tiers:\n"
			weight := 10
			for range 1 + m.IntN(4) {
				objects := m.oneOf(2, 3, 5, 8, 12, 30)
				s += fmt.Sprintf("        - {objects: %d", objects)
				s += m.odds(4, fmt.Sprintf(", refused: %d", 1+m.Int64N(objects))) + m.odds(4, fmt.Sprintf(", refused_percent: %d", m.oneOf(10, 33, 50, 100)))
				s += m.odds(4, fmt.Sprintf(", regular_percent: %d", m.oneOf(20, 50, 75, 100))) + m.odds(4, fmt.Sprintf(", even_percent: %d", m.oneOf(1, 20, 50)))
				s += m.odds(4, fmt.Sprintf(", new_percent: %d", m.oneOf(50, 80, 100))) + m.odds(4, fmt.Sprintf(", interval: %dms", m.oneOf(1, 500, 1000, 2000)))
				s += m.odds(5, fmt.Sprintf(", accounts: %d", m.oneOf(2, 3))) + m.odds(6, ", foreign: 2")
				s += fmt.Sprintf(", weight: %d}\n", weight)
				weight += 10
			}
			s += "      foreign: object == \"x\" || object == \"7\"\n"
			s += m.odds(4, "      of: path\n")
			s += m.odds(3, "      refused: status in [401, 403]\n") + m.odds(3, fmt.Sprintf("      step: %d\n", m.oneOf(1, 2, 10, 100)))
			s += fmt.Sprintf("      exact: %d\n", m.oneOf(16, 16, 20, 40, 128))
			s += fmt.Sprintf("      window: %dm\n", m.oneOf(1, 5, 60))
			return s + fmt.Sprintf("      cooldown: %ds\n", m.oneOf(1, 60, 3_600))
		},
		values: func(m *hand) []value {
			return m.values(map[event.Field][]string{
				event.Object: ids, event.Path: pages(), event.Account: {"", "ann", "bob", "u4711"}, event.ObjectType: {"", "a", "a", "a", "a", "b", "c", "d", "e", "f", "g", "h"},
				event.Route: {"/x", "/y"}, event.Status: {"200", "200", "204", "403", "404", "401", "500"},
			})
		},
		model: func(s rules.Spec) model { return &shopper{rule: s.(*detectors.IDEnumeration), hasher: hasher} },
		spans: []int64{1_000, 60_000, 300_000, 3_600_000},
	}
}

// TestIDEnumerationInTheEngine compares whole histories.
func TestIDEnumerationInTheEngine(t *testing.T) {
	x := requests()
	agree(t, x.history("device"))
}

// TestIDEnumerationAgreesWithItsModel sends random requests to both.
func TestIDEnumerationAgreesWithItsModel(t *testing.T) {
	var sampled, fired, kinds, estimated uint64
	var last *shopper
	times := 0
	x := requests()
	x.looked = func(m model) {
		s := m.(*shopper)
		if s != last {
			last, times = s, 0
		}
		level := 0
		for _, sh := range s.shelves {
			level = max(level, sh.level)
		}
		if level > 0 {
			sampled++
			estimated += uint64(s.fired - times)
		}
		fired += uint64(s.fired - times)
		times = s.fired
		if len(s.shelves) == 8 {
			kinds++
		}
	}
	x.agreeOn(t, "device")
	if n := x.histories; fired < 3*n || sampled < 3*n || kinds < 3*n/2 || estimated < n/6 {
		t.Errorf("too little of what matters happened: %d fired, %d of them estimates, %d with a sample, %d with all kinds", fired, estimated, sampled, kinds)
	}
}
