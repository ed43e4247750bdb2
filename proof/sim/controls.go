package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
)

// ordered is one control record as it is sent.
type ordered struct {
	at    time.Time
	value []byte
	said  control.Record
	fate  fate // isEvent, isRepeat or isDead
}

// controlRow is a row of the tables of control records.
type controlRow struct {
	owner   uint64
	content string
}

// order creates the control records of a plan. Where the outcome is compared with
// that of an undisturbed run, they are about entities that the comparison leaves
// out: it matters when a control is read.
func (l *load) order(plan Plan) {
	r := rand.New(rand.NewPCG(plan.Seed, 4))
	if plan.History {
		return
	}
	for n := range 4 + r.IntN(30) {
		o := ordered{at: epoch.Add(time.Duration(r.Int64N(int64(plan.Span)))), fate: isEvent}
		o.said = control.Record{ID: fmt.Sprintf("c%d", n), Time: o.at.UnixMilli(), Who: "ann", Reason: "case 7"}
		all := facet.Actions()
		action := all[r.IntN(len(all))]
		home := r.IntN(plan.Raw)
		if !plan.Pinned {
			home = 0
		}
		account, ip := fmt.Sprintf("a%d-%d", home, r.IntN(3)), fmt.Sprintf("%d.%d", home, r.IntN(2))
		if odd := []string{"late-", "old-"}[r.IntN(2)]; plan.Pinned {
			account, ip = odd+account, "198.51."+ip
		} else {
			ip = "192.0." + ip
		}
		o.said.Action, o.said.Kind, o.said.Key = action.String(), facet.Account.String(), account
		if r.IntN(3) == 0 {
			o.said.Kind, o.said.Key = facet.IP.String(), ip
		}
		switch action {
		case facet.FalsePositive, facet.TruePositive:
			o.said.Rule = []string{"", "failures", "breadth", "visits", "given-up"}[r.IntN(5)]
		case facet.Passed:
			o.said.Category = []string{"", "bot", "account_takeover"}[r.IntN(3)]
		}
		if action == facet.FalsePositive {
			o.said.Expires = o.said.Time + []int64{0, 300, 2_000, 60_000}[r.IntN(4)]
		}
		if r.IntN(10) == 0 {
			o.said.Kind, o.fate = "garbage", isDead
		}
		o.value, _ = o.said.Encode()
		l.controls = append(l.controls, o)
		for r.IntN(6) == 0 { // an answer was lost, or somebody else says it under the same id
			o.at = o.at.Add(time.Duration(r.IntN(900)) * time.Millisecond)
			if o.said.Reason = "again"; r.IntN(2) == 0 {
				o.value, _ = o.said.Encode()
			}
			l.controls = append(l.controls, o)
		}
	}
	for n := range r.IntN(4) { // what gates do is a row, and no facet
		at := epoch.Add(time.Duration(r.Int64N(int64(plan.Span))))
		o := ordered{at: at, fate: isEvent, said: control.Record{
			ID: fmt.Sprintf("s%d", n), Action: control.GateOff, Time: at.UnixMilli(), Kind: "rule", Key: "failures", Who: "ann", Reason: "case 7", Origin: control.FromCommand, Expires: at.UnixMilli() + 1,
		}}
		o.value, _ = o.said.Encode()
		l.controls = append(l.controls, o)
	}
	slices.SortStableFunc(l.controls, func(a, b ordered) int { return a.at.Compare(b.at) })
	seen := map[string]bool{}
	for i := range l.controls {
		if o := &l.controls[i]; o.fate == isEvent {
			if seen[o.said.ID] {
				o.fate = isRepeat
			}
			seen[o.said.ID] = true
		}
	}
}

// operators sends the next control record that is due.
func (w *world) operators(now time.Time) bool {
	if w.ordered == len(w.load.controls) || w.load.controls[w.ordered].at.After(now) {
		return false
	}
	o := w.load.controls[w.ordered]
	w.ordered++
	w.topics[topicControls][0].append([]kafka.Outgoing{{Key: []byte(o.said.ID), Value: o.value}})
	return true
}

type controlTrack struct{ *track }

// Append implements ingest.ControlTrack.
func (t controlTrack) Append(ctx context.Context, offset int64, owner uint64, _ int64, c *control.Record) error {
	fresh := controlRow{owner, fmt.Sprintf("%+v", *c)}
	w := t.s.p.w
	return t.add(ctx, row{offset: offset, write: func() {
		old, known := w.said[offset]
		if known {
			w.copies++
			if old.content != fresh.content {
				w.problem("control %d is written as %s and as %s", offset, old.content, fresh.content)
			}
		}
		if !known || old.owner <= owner {
			w.said[offset] = fresh
		}
	}})
}

// judgeControls checks that each control record is in the table, a repeat, or a dead
// letter, and that the ledger says so.
func (v *verdict) judgeControls() {
	expected, facets := map[fate]int64{}, int64(0)
	for i := range v.load.controls {
		o := &v.load.controls[i]
		expected[o.fate]++
		if o.fate == isEvent && !o.said.OfGates() {
			facets++
		}
		row, stored := v.said[int64(i)]
		want, err := control.Parse(o.value)
		if stored != (o.fate == isEvent) || stored && (err != nil || row.content != fmt.Sprintf("%+v", want)) {
			v.problem("control record %d, %s: stored %v, %s", i, o.value, stored, row.content)
		}
	}
	v.facets += facets
	v.counts["control"] += int(expected[isEvent])
	var l ingest.Ledger
	for _, c := range v.groups[groupControls].commits {
		p, err := ingest.ParseProgress(c.Metadata)
		if err != nil {
			v.problem("%v", err)
		}
		l = l.Plus(p.Ledger)
	}
	want := ingest.Ledger{
		Fetched: int64(len(v.load.controls)), Accepted: expected[isEvent], Repeat: expected[isRepeat], Dead: expected[isDead], Facets: facets,
	}
	if l != want {
		v.problem("ledger of controls: %+v, want %+v", l, want)
	}
}

// judgeObeyed compares the control records that count in a facet partition with the
// load.
func (v *verdict) judgeObeyed(n int32, a *audit) {
	found := 0
	for i := range v.load.controls {
		o := &v.load.controls[i]
		e := o.said.Entity()
		if o.fate != isEvent || o.said.OfGates() || facet.Partition(v.hasher.Sum(e), v.plan.Facets) != n {
			continue
		}
		said, _ := control.Parse(o.value)
		found++
		if got, want := a.controls[int64(i)], controlText(e, said.Time, said.Facet()); got != want {
			v.problem("facets/%d: control %d counts as %q, want %q", n, i, got, want)
		}
	}
	if found != len(a.controls) {
		v.problem("facets/%d: %d controls count, want %d", n, len(a.controls), found)
	}
}

func controlText(e facet.Entity, t int64, c facet.Control) string {
	return fmt.Sprintf("%+v %d %+v", e, t, c)
}
