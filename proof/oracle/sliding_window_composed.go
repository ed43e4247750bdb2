package oracle

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// windows is the state of one sliding window rule for one entity: a window, or one
// for each combination of some fields' values.
type windows struct {
	rule   *detectors.SlidingWindow
	hasher facet.Hasher
	whole  bool // without bounds

	parts     []*part // in the order of their first arrival
	pushedOut int64
	forgotten int // by parts that were dropped
}

// part is the window of one combination.
type part struct {
	values string
	until  int64 // expiry: no later event on time can depend on it
	counts int64 // the earliest time that counts
	window measured
}

// measured is one window, in one of its forms. It receives events on time that have
// the measured field.
type measured interface {
	take(a arrival, counted bool) *firing
	forget(until int64)
	change(*detectors.SlidingWindow)
	forgot() int // events dropped because a bound was reached
}

func (w *windows) form() measured {
	if paned(w.rule) {
		return &panes{rule: w.rule, hasher: w.hasher, whole: w.whole}
	}
	return &window{rule: w.rule, hasher: w.hasher, whole: w.whole}
}

// paned reports whether events are summed in panes.
func paned(r *detectors.SlidingWindow) bool {
	return r.Gap > 0 || r.Sum != event.None || r.Percentile != event.None || r.Share || r.Tiers[len(r.Tiers)-1].At > 1000
}

func (w *windows) change(s rules.Spec) {
	w.rule = s.(*detectors.SlidingWindow)
	for w.rule.By != nil && len(w.parts) > w.rule.Values {
		w.drop(w.oldest())
	}
	for _, p := range w.parts {
		p.window.change(w.rule)
	}
}

func (w *windows) forgot() int {
	n := w.forgotten
	for _, p := range w.parts {
		n += p.window.forgot()
	}
	return n
}

func (w *windows) arrive(a arrival) (f *firing, counts bool) {
	cancels := w.rule.Cancel != nil && w.rule.Cancel.Holds(a.event)
	counts = !cancels && (w.rule.Counted == nil || w.rule.Counted.Holds(a.event))
	if !cancels && !counts && w.rule.MinShare == 0 && !w.rule.Share {
		return nil, false
	}
	values, ok := w.values(a.event)
	if !ok {
		return nil, counts
	}
	w.sweep(a)
	p := w.part(values)
	if p != nil {
		p.until = max(p.until, a.time+w.reach())
	}
	if cancels {
		if p == nil && w.rule.By == nil {
			p = w.add(values, 0)
		}
		if p != nil && a.time >= p.counts {
			p.counts = a.time + 1
			p.window.forget(a.time)
		}
		return nil, false
	}
	if p != nil && a.time < p.counts || !w.measures(a.event) {
		return nil, counts
	}
	if p == nil {
		p = w.add(values, a.time+w.reach())
	}
	if f = p.window.take(a, counts); f != nil && w.rule.By != nil {
		p.until = max(p.until, a.time+w.rule.Cooldown.Milliseconds())
		f.evidence = append(f.evidence, w.named(a.event)...)
	}
	return f, counts
}

// values returns the name of an event's combination; ok is false if it lacks one of
// the fields.
func (w *windows) values(e *event.Event) (name string, ok bool) {
	for _, f := range w.rule.By {
		if !e.Has(f) {
			return "", false
		}
		name += fmt.Sprintf("%q %d ", e.Text(f), e.Num(f))
	}
	return name, true
}

// measures reports whether an event has the measured field.
func (w *windows) measures(e *event.Event) bool {
	for _, f := range []event.Field{w.rule.Distinct, w.rule.Sum, w.rule.Percentile} {
		if f != event.None && !e.Has(f) {
			return false
		}
	}
	return true
}

// sweep drops the combinations that no event on time can depend on.
func (w *windows) sweep(a arrival) {
	if a.watermark == facet.NoWatermark || w.rule.By == nil {
		return
	}
	for i := len(w.parts) - 1; i >= 0; i-- {
		if w.parts[i].until <= a.watermark-a.lateness {
			w.drop(i)
		}
	}
	if len(w.parts) == 0 {
		w.pushedOut = 0
	}
}

func (w *windows) reach() int64 { return (w.rule.Window + w.rule.Gap).Milliseconds() }

func (w *windows) drop(i int) {
	w.forgotten += w.parts[i].window.forgot()
	w.parts = slices.Delete(w.parts, i, i+1)
}

func (w *windows) part(values string) *part {
	for _, p := range w.parts {
		if p.values == values {
			return p
		}
	}
	return nil
}

// add creates the window of a combination. If the limit is reached, it replaces the
// one that expires first.
func (w *windows) add(values string, until int64) *part {
	for w.rule.By != nil && !w.whole && len(w.parts) >= w.rule.Values {
		w.drop(w.oldest())
		w.pushedOut++
		w.forgotten++
	}
	p := &part{values: values, until: until, window: w.form()}
	w.parts = append(w.parts, p)
	return p
}

func (w *windows) oldest() (least int) {
	at := int64(math.MaxInt64)
	for i, p := range w.parts {
		if p.until < at {
			least, at = i, p.until
		}
	}
	return least
}

func (w *windows) named(e *event.Event) (list []facet.Evidence) {
	for _, f := range w.rule.By {
		if f.Kind().Numeric() {
			list = append(list, facet.Number(f.String(), e.Num(f)))
		} else {
			list = append(list, facet.Text(f.String(), strings.Clone(e.Text(f))))
		}
	}
	return append(list, facet.Number("values", int64(len(w.parts))), facet.Number("pushed_out", w.pushedOut))
}
