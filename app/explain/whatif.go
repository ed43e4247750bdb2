package explain

import (
	"strings"

	"github.com/weirdev/weir/app/dryrun"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// Limits on the runs.
const (
	mostWhatIfSteps = 5000      // events of an entity, for one rule
	mostWhatIfWork  = 2_000_000 // events, over all runs about one firing
	mostRuns        = 300       // about one firing
)

// whatIf runs one rule again, on the events of one entity that match its condition.
// Time advances as before, even if an event is omitted.
type whatIf struct {
	detect     engine.Config
	rule       *rules.Rule
	projection facet.Projection
	entity     facet.Entity
	steps      []step
	events     []*event.Event
	watermarks []int64
	left       int // events that may still be applied
	runs       int // that may still be made
}

// whatIf prepares a whatIf; nil if there are too many events, or if they alone do
// not reproduce what happened.
func (x *Explainer) whatIf(h *history) (*whatIf, error) {
	if len(h.steps) > mostWhatIfSteps {
		return nil, nil
	}
	w := &whatIf{detect: x.o.Detect, rule: h.rule, entity: h.entity, steps: h.steps, watermarks: x.watermarks}
	w.detect.Sources, w.detect.Partitions = 1, 1
	w.projection = (&rules.Set{Rules: []*rules.Rule{h.rule}}).Projection()
	for i := range h.steps {
		e, err := x.event(h.steps[i].record)
		if err != nil {
			return nil, err
		}
		w.events = append(w.events, clone(e))
	}
	w.left, w.runs = len(h.steps), 1
	fired, ok, err := w.fires(nil, nil, len(h.steps))
	if err != nil || !ok {
		return nil, err
	}
	for i := range h.steps {
		if _, again := fired[i]; again != h.steps[i].fired {
			return nil, nil // others decide, too
		}
	}
	return w, nil
}

// clone copies an event whose texts will change.
func clone(e *event.Event) *event.Event {
	c := new(event.Event)
	for _, s := range event.Fields() {
		switch {
		case !e.Has(s.Field):
		case s.Kind.Numeric():
			c.SetNum(s.Field, e.Num(s.Field))
		default:
			c.SetText(s.Field, strings.Clone(e.Text(s.Field)))
		}
	}
	return c
}

// fires returns at which of the first n steps the rule fires, and with which tier: under
// other parameters if spec is not nil, and without the steps in drop. ok is false
// if the limit of runs is reached.
func (w *whatIf) fires(spec rules.Spec, drop map[int]bool, n int) (tiers map[int]int, ok bool, err error) {
	if w.runs--; w.runs < 0 || w.left < n {
		return nil, false, nil
	}
	w.left -= n
	rule := *w.rule
	if spec != nil {
		rule.Spec = spec
	}
	p, err := engine.NewPartition(w.detect, &rules.Set{Rules: []*rules.Rule{&rule}}, dryrun.Hasher(), 0, 1)
	if err != nil {
		return nil, false, err
	}
	var out engine.Output
	frames, offset, next := facet.NewWriter(1, 1, &w.projection), int64(0), int64(0)
	apply := func(to, watermark int64) error {
		frame := frames.Finish(facet.Section{Owner: 1, From: next, To: to, Watermark: watermark})
		next, offset = to, offset+1
		return p.Apply(offset-1, frame, &out)
	}
	tiers = map[int]int{}
	for i := range n {
		record := w.steps[i].record
		if before := int64(record); before > next {
			if err := apply(before, w.watermarks[record-1]); err != nil {
				return nil, false, err
			}
		}
		if !drop[i] {
			frames.Add(w.entity, 0, int64(record), w.events[i])
		}
		out.Reset()
		if err := apply(int64(record)+1, w.watermarks[record]); err != nil {
			return nil, false, err
		}
		for _, s := range out.Signals {
			if s.Group.Kind == 0 {
				tiers[i] = s.Tier
			}
		}
	}
	return tiers, true, nil
}

// without finds a minimal set of the steps in from without which the rule would not
// have fired at a step with as high a tier, nor earlier instead: every step in it
// is needed. nil if it fires without all of them. whole is false if the search was
// ended, so a smaller set may suffice.
func (w *whatIf) without(at, tier int, from []int) (set []int, whole bool, err error) {
	silent := func(set []int) (silent, ok bool) {
		drop := make(map[int]bool, len(set))
		for _, i := range set {
			drop[i] = true
		}
		tiers, done, e := w.fires(nil, drop, at+1)
		if e != nil {
			err = e
		}
		for i, t := range tiers {
			if t >= tier && (i == at || !w.steps[i].fired) {
				return false, done && e == nil
			}
		}
		return true, done && e == nil
	}
	if s, ok := silent(from); !ok || !s {
		return nil, ok, err
	}
	// Delta debugging: chunks, then the rest without one, then smaller chunks.
	for set, n := from, 2; ; {
		if len(set) == 1 {
			return set, true, err
		}
		smaller := []int(nil)
		for _, part := range halves(set, n) {
			s, ok := silent(part)
			if !ok {
				return set, false, err
			}
			if s {
				smaller = part
				break
			}
		}
		if smaller != nil {
			set, n = smaller, min(2, len(smaller))
			continue
		}
		finer := false
		if n > 2 {
			for i := range n {
				rest := remove(set, n, i)
				s, ok := silent(rest)
				if !ok {
					return set, false, err
				}
				if s {
					set, n, finer = rest, max(n-1, 2), true
					break
				}
			}
		}
		switch {
		case finer:
		case n < len(set):
			n = min(2*n, len(set))
		default:
			return set, true, err
		}
	}
}

// halves cuts a list into n parts of about equal length.
func halves(list []int, n int) (parts [][]int) {
	for i := range n {
		parts = append(parts, list[i*len(list)/n:(i+1)*len(list)/n])
	}
	return parts
}

// remove returns a list without the i-th of n parts.
func remove(list []int, n, i int) []int {
	rest := append([]int(nil), list[:i*len(list)/n]...)
	return append(rest, list[(i+1)*len(list)/n:]...)
}

// raised finds higher values of a demand: the lowest with which the rule would not
// have fired at a step with as high a tier, and the lowest with which it would not
// have fired at all. 0: none was found.
func (w *whatIf) raised(at, tier int, d detectors.Demand) (here, ever int64, err error) {
	spec, ok := w.rule.Spec.(detectors.Adjustable)
	if !ok {
		return 0, 0, nil
	}
	run := func(need int64, n int) (tiers map[int]int, ok bool) {
		raised := spec.Raised(d.What, need)
		if raised == nil || err != nil {
			return nil, false
		}
		tiers, ok, err = w.fires(raised, nil, n)
		return tiers, ok
	}
	need := max(d.Have, d.Need) + 1
	tiers, ok := run(need, at+1)
	if t, fired := tiers[at]; !ok || fired && t >= tier {
		return 0, 0, err
	}
	here = need
	loud, quiet := here-1, here // it fires with the one, and is silent with the other
	for {
		tiers, ok := run(quiet, len(w.steps))
		if !ok {
			return here, 0, err
		}
		if len(tiers) == 0 {
			break
		}
		loud, quiet = quiet, 2*quiet
	}
	for quiet-loud > 1 {
		mid := loud + (quiet-loud)/2
		tiers, ok := run(mid, len(w.steps))
		if !ok {
			return here, 0, err
		}
		if len(tiers) == 0 {
			quiet = mid
		} else {
			loud = mid
		}
	}
	return here, quiet, err
}
