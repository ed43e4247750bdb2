package oracle

import (
	"fmt"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// controlLog is the log of control records with the owner that reads it.
type controlLog struct {
	log           []order
	owner         uint64
	began, read   int   // records of the log that the owner found read, and has read
	covered, next int64 // offsets
	last          *record
}

// control sends control records, or lets the owner of their source change or repeat
// itself.
func (m *maker) control() {
	l, r := &m.controls, m.said
	switch n := r.IntN(12); {
	case n == 0 && l.last != nil:
		m.h.records = append(m.h.records, *l.last)
		return
	case n == 1: // a new owner reads some again
		back := r.IntN(min(l.read, 5) + 1)
		l.owner += 1 + uint64(r.IntN(2))
		if l.began, l.read = l.read-back, l.read-back; back > 0 {
			l.covered = l.log[l.read].offset
		}
	case n == 2 && l.owner > 0: // the former owner goes on
		s := &controlSection{Section: facet.Section{Source: int32(m.h.sources), Owner: l.owner - 1, From: l.covered, To: l.next + 1}, list: []order{m.order(l.next)}}
		m.h.records = append(m.h.records, record{controls: s})
		return
	case n == 3 && r.IntN(3) == 0: // more false positives of one entity than it keeps
		of := facet.Entity{Kind: facet.Account, Key: "a0"}
		for i := range 20 {
			c := facet.Control{Action: facet.FalsePositive, Rule: fmt.Sprintf("gone%d", i), Expires: m.now + 1_000*(1+r.Int64N(60))}
			if r.IntN(3) == 0 {
				c.Rule = fmt.Sprintf("r%02d", r.IntN(len(m.rules)))
			}
			l.log = append(l.log, order{c, l.next, m.now, of})
			l.next++
		}
	default:
		for range 1 + r.IntN(2) {
			l.log = append(l.log, m.order(l.next))
			l.next += 1 + r.Int64N(3)
		}
	}
	s := &controlSection{Section: facet.Section{Source: int32(m.h.sources), Owner: l.owner, From: l.covered, To: l.next}, before: l.read - l.began, list: l.log[l.read:]}
	if !m.harmless && r.IntN(200) == 0 { // one offset is lost
		s.From = min(s.From+1, s.To)
		if len(s.list) > 0 && s.list[0].offset < s.From {
			s.list = s.list[1:]
		}
	}
	l.read, l.covered = len(l.log), l.next
	rec := record{controls: s}
	l.last = &rec
	m.h.records = append(m.h.records, rec)
}

func (m *maker) order(offset int64) order {
	r := m.said
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	c := order{offset: offset, time: m.now}
	all := facet.Actions()
	c.Action = all[r.IntN(len(all))]
	if r.IntN(2) == 0 {
		c.Action = facet.FalsePositive
	}
	kind := []facet.Kind{facet.Account, facet.Account, facet.Device, facet.Route}[r.IntN(4)]
	key := map[facet.Kind]string{facet.Account: fmt.Sprintf("a%d", r.IntN(m.people)), facet.Device: fmt.Sprintf("d%d", r.IntN(2)), facet.Route: "/x"}[kind]
	c.of = facet.Entity{Kind: kind, Tenant: pick("", "", "", "t"), Key: key}
	switch c.Action {
	case facet.FalsePositive, facet.TruePositive:
		c.Rule = pick("", fmt.Sprintf("r%02d", r.IntN(len(m.rules)+1)), fmt.Sprintf("r%02d", r.IntN(len(m.rules))))
		if r.IntN(8) == 0 {
			c.Rule = fmt.Sprintf("gone%d", r.IntN(20))
		}
	case facet.Passed:
		c.Category = pick("", "bot", "fraud")
	}
	if c.Action == facet.FalsePositive {
		c.Expires = m.now + []int64{-1_000, 0, 1, 1_000, m.spans[r.IntN(len(m.spans))], 60_000, 3_600_000}[r.IntN(7)]
	}
	return c
}

func heldSignals(signals []score.Signal) (n int) {
	for _, s := range signals {
		if k := len(s.Evidence); k > 0 && s.Evidence[k-1].Name == "false_positive" {
			n++
		}
	}
	return n
}
