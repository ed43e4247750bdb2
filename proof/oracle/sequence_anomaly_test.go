package oracle

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
)

// order returns a rule that learns fast, and fires early.
func (m *sequencer) order(id string) string {
	s := fmt.Sprintf("    sequence_anomaly:\n      by: [%s]\n      learn: %d\n      least: %d\n      odds: %d\n      min_share: %d\n      session_gap: %dms\n      half_life: %dms\n      cooldown: %dms\n      tiers:\n",
		m.pick("app_version", "country, app_version"), m.oneOf(1, 10, 40), m.oneOf(1, 4, 10), m.oneOf(3, 4, 10), m.oneOf(1, 20, 50), m.oneOf(1_000, 2_000, 60_000),
		m.oneOf(1_000, 5_000, 60_000), m.oneOf(1_000, 5_000))
	at, weight := int64(0), int64(0)
	for range 1 + m.IntN(3) {
		at, weight = at+m.oneOf(1, 2, 3), weight+m.oneOf(1, 20)
		s += fmt.Sprintf("        - {at: %d, weight: %d}\n", at, weight)
	}
	if m.IntN(3) == 0 {
		s += "    members: {entity: device, weight: 40}\n"
	}
	return "  - id: " + id + "\n    title: A rule\n    entity: account\n    when: status >= 0\n" + s + "    signal: {category: bot, reason: r, half_life: 5s}\n    phase: soft\n"
}

func orders(seed uint64, events int) (history, *sequencer) {
	m := newMaker(seed)
	m.spans = append(m.spans, 1_000, 2_000, 5_000)
	h := m.history(events)
	sq := newSequencer(seed)
	h.rules = h.rules[:min(len(h.rules), 9)]
	for _, id := range []string{"o0", "o1"}[:1+sq.IntN(2)] {
		h.rules = append(h.rules, sq.order(id))
	}
	step := 0
	wander := 3 + sq.IntN(10)
	methods := []string{"GET", "POST", "PUT", "DELETE", "HEAD"}
	many := sq.IntN(6) == 0
	for _, p := range m.sources {
		for _, r := range p.log {
			if step++; sq.IntN(wander) == 0 {
				step = sq.IntN(len(methods))
			}
			method := methods[step%len(methods)]
			if many && sq.IntN(3) == 0 {
				method = fmt.Sprintf("M%d", sq.IntN(80))
			}
			r.values = append(r.values, value{event.Method, method, 0})
			if sq.IntN(12) > 0 {
				r.values = append(r.values, value{event.AppVersion, sq.pick("1", "1", "1", "1", "1", "1", "2"), 0})
			}
			if sq.IntN(3) == 0 {
				r.values = append(r.values, value{event.Country, "DE", 0})
			}
		}
	}
	return h, sq
}

func orderHistory(seed uint64, events int) history {
	h, _ := orders(seed, events)
	return h
}

// editedOrderHistory creates a history in which the numbers of these rules change.
func editedOrderHistory(seed uint64, events int) history {
	h, sq := orders(seed, events)
	for n := range 1 + sq.IntN(3) {
		edited := slices.Clone(h.rules)
		for i, r := range edited {
			if id := ruleID.FindStringSubmatch(r)[1]; id[0] == 'o' {
				edited[i] = sq.order(id)
			}
		}
		r := record{edit: edited, by: lane(max(0, sq.IntN(4)-1)), number: uint64(n + 1)}
		h.records = slices.Insert(h.records, n+(len(h.records)-n)*(n+2)/6, r)
	}
	return h
}

func (n *tally) tooFewOrders(histories uint64) bool {
	return histories >= 100 && (n.orders < 3*int(histories) || n.named < int(histories))
}

func TestTheEngineAgreesWithTheOracleOnOrders(t *testing.T) {
	if n, histories := agree(t, orderHistory); n.tooFewOrders(histories) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}

func TestTheEngineAgreesWithTheOracleOnEditedOrders(t *testing.T) {
	if n, histories := agree(t, editedOrderHistory); n.tooFewOrders(histories) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}

// isOrder reports whether evidence names a transition.
func isOrder(text string) bool { return strings.Contains(text, ", then ") }
