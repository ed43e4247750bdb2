package oracle

import (
	"cmp"
	"slices"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// suspect is what one rule remembers of one entity, as
// docs/detectors/signature_mismatch.md has it.
type suspect struct {
	rule   *detectors.SignatureMismatch
	hasher facet.Hasher

	checks   []check // of the window that ends with the newest pane
	newest   int64
	stands   map[event.Field]*stand
	passedAs *cohortName // of the first cohort, when it passed last
	passedAt int64
	weight   uint8 // that fired last
	firedAt  int64
}

// check is an event whose check passed or failed.
type check struct {
	pane  int64
	fails bool
}

// stand is how an entity counts in the cohort of one field.
type stand struct {
	name  cohortName
	marks [2]*mark // in short and in long stretches; nil: it does not
}

// mark is one entity in one stretch of a cohort.
type mark struct {
	stretch int64
	fails   bool
}

// crowded is what is remembered of a cohort.
type crowded struct {
	newest   [2]int64
	marks    [2][]*mark
	networks []heard // of those that fail
	passed   []heard // who passed last
}

type heard struct {
	hash uint32
	last int64
}

// panesOf is into how many panes a window is cut.
const panesOf = 10

func (s *suspect) change(r rules.Spec) { s.rule = r.(*detectors.SignatureMismatch) }

func (s *suspect) number(text string) uint32 {
	if text == "" {
		return 0
	}
	if n := uint32(s.hasher.Text(text)); n != 0 {
		return n
	}
	return 1
}

func (s *suspect) arrive(a arrival) (*firing, bool) {
	fails := s.rule.Fails.Holds(a.event)
	if !fails && !s.rule.Passes.Holds(a.event) {
		return nil, false
	}
	pane := a.time / (s.rule.Window.Milliseconds() / panesOf)
	if pane <= s.newest-panesOf {
		return nil, false
	}
	s.newest = max(s.newest, pane)
	s.checks = append(s.checks, check{pane, fails})
	s.checks = slices.DeleteFunc(s.checks, func(c check) bool { return c.pane <= s.newest-panesOf })

	worst := s.tier()
	failed, share := s.share()
	least := min(2, s.rule.Tiers[0].At)
	suspicious := failed >= least && share >= s.rule.MinShare
	var opinions []hearing
	if !fails || suspicious {
		opinions = s.takePart(a, suspicious, fails)
	}
	if !fails || worst < 0 {
		return nil, fails
	}
	v := s.judge(opinions)
	weight, ok := s.allowed(worst, v, a.time)
	if !ok {
		return nil, true
	}
	if !v.now {
		if *a.timer == 0 {
			*a.timer = a.time + s.rule.Wait.Milliseconds()
		}
		return nil, true
	}
	*a.timer = 0
	return s.fire(worst, weight, v, a.time), true
}

func (s *suspect) due(a arrival) *firing {
	worst := s.tier()
	if worst < 0 {
		return nil
	}
	var opinions []hearing
	for i, by := range s.rule.Cohorts {
		if s.stands[by] == nil {
			continue
		}
		if c := a.recall(s.stands[by].name); c != nil && c.memory != nil {
			opinions = append(opinions, s.hear(i, c, a))
		}
	}
	v := s.judge(opinions)
	weight, ok := s.allowed(worst, v, a.time)
	if !ok {
		return nil
	}
	return s.fire(worst, weight, v, a.time)
}

// share is how many checks failed, and how many percent that is, rounded down.
func (s *suspect) share() (failed, percent int) {
	for _, c := range s.checks {
		if c.fails {
			failed++
		}
	}
	if failed == 0 {
		return 0, 0
	}
	return failed, 100 * failed / len(s.checks)
}

func (s *suspect) tier() int {
	failed, share := s.share()
	if failed == 0 || share < s.rule.MinShare {
		return -1
	}
	best := -1
	for i, t := range s.rule.Tiers {
		if failed >= t.At {
			best = i
		}
	}
	return best
}

// takePart has the entity count in each of its cohorts, and listens to them where the
// event fails.
func (s *suspect) takePart(a arrival, suspicious, fails bool) (opinions []hearing) {
	for i, by := range s.rule.Cohorts {
		c := a.cohort(by)
		if c == nil {
			continue
		}
		if c.memory == nil {
			c.memory = &crowded{}
		}
		in := c.memory.(*crowded)
		if st := s.stands[by]; st == nil || st.name != c.name {
			s.stands[by] = &stand{name: c.name}
		}
		for kind, length := range []time.Duration{s.rule.Wait, s.rule.Usual} {
			in.count(kind, s.stands[by], a.time/length.Milliseconds(), suspicious)
		}
		network := s.number(a.event.Text(event.Net))
		if !suspicious {
			in.passed = latest(in.passed, s.number(a.entity.Key), a.time)
		} else if network != 0 {
			in.networks = latest(in.networks, network, a.time)
		}
		f, p := in.counts(1, in.newest[1]-1)
		level := 0
		if f > 0 {
			level = min(f, 8) + 8*min(p, 7)
		}
		c.say(uint8(level))
		if fails {
			opinions = append(opinions, s.hear(i, c, a))
		} else if i == 0 {
			name := c.name
			s.passedAs, s.passedAt = &name, a.time
		}
	}
	return opinions
}

// count: an entity counts once in a stretch, as failing if it does at any time of it.
func (in *crowded) count(kind int, st *stand, stretch int64, fails bool) {
	m := st.marks[kind]
	if m != nil && m.stretch == stretch {
		m.fails = m.fails || fails
		return
	}
	if m != nil && m.stretch > stretch {
		return
	}
	in.newest[kind] = max(in.newest[kind], stretch)
	if stretch < in.newest[kind]-1 {
		return
	}
	m = &mark{stretch, fails}
	st.marks[kind] = m
	in.marks[kind] = append(in.marks[kind], m)
}

// counts are those that fail and those that pass in the newest stretches, from one
// on.
func (in *crowded) counts(kind int, from int64) (fails, passes int) {
	for _, m := range in.marks[kind] {
		switch {
		case m.stretch < from || m.stretch < in.newest[kind]-1:
		case m.fails:
			fails++
		default:
			passes++
		}
	}
	return fails, passes
}

// latest is the list with one that came now: of eight the one that came longest ago
// gives way.
func latest(list []heard, hash uint32, t int64) []heard {
	if i := slices.IndexFunc(list, func(h heard) bool { return h.hash == hash }); i >= 0 {
		list[i].last = max(list[i].last, t)
		return list
	}
	if len(list) < 8 {
		return append(list, heard{hash, t})
	}
	oldest := slices.MinFunc(list, func(a, b heard) int { return cmp.Compare(a.last, b.last) })
	list[slices.Index(list, oldest)] = heard{hash, t}
	return list
}

func since(list []heard, from int64) (n int) {
	for _, h := range list {
		if h.last >= from {
			n++
		}
	}
	return n
}

// hearing is what one cohort says.
type hearing struct {
	by                      event.Field
	first                   bool // it is the first of the rule's
	fails, passes, networks int
	failed, broken, known   bool
	fresh                   bool // others have passed since the entity failed first
}

// hear asks a cohort what it knows.
func (s *suspect) hear(i int, c *cohort, a arrival) hearing {
	in := c.memory.(*crowded)
	short, long := s.rule.Wait.Milliseconds(), s.rule.Usual.Milliseconds()
	n, enough := a.time/short, 2*s.rule.Peers
	h := hearing{by: s.rule.Cohorts[i], first: i == 0}
	from := int64(0)
	if in.newest[0] >= n {
		from = in.newest[0] * short
		h.fails, h.passes = in.counts(0, in.newest[0])
	}
	if h.fails+h.passes < enough && in.newest[0] >= n-1 {
		from = (in.newest[0] - 1) * short
		h.fails, h.passes = in.counts(0, in.newest[0]-1)
	}
	if h.fails+h.passes < enough && in.newest[1] >= a.time/long-1 {
		from = (in.newest[1] - 1) * long
		h.fails, h.passes = in.counts(1, in.newest[1]-1)
	}
	everywhere := false
	if h.fails+h.passes < enough {
		if f, p := c.all(); f+p > h.fails+h.passes {
			h.fails, h.passes, everywhere = f, p, true
		}
	}
	h.networks = since(in.networks, from)
	h.failed = h.fails >= s.rule.Peers && 100*h.fails >= s.rule.BrokenShare*(h.fails+h.passes)
	h.broken = h.failed && (everywhere || h.networks >= s.rule.Peers)
	h.known = h.failed || h.passes >= s.rule.Peers
	who := s.number(a.entity.Key)
	others := slices.DeleteFunc(slices.Clone(in.passed), func(h heard) bool { return h.hash == who })
	h.fresh = h.known && !h.failed && since(others, s.alone()) >= s.rule.Peers
	return h
}

// all adds up what partitions think.
func (h *cohort) all() (fails, passes int) {
	for _, p := range h.opinions {
		if p.until <= h.o.watermark {
			continue
		}
		for f := 1; f <= 8; f++ {
			for q := 0; q <= 7; q++ {
				if int(p.level) == f+8*q {
					fails, passes = fails+f, passes+q
				}
			}
		}
	}
	return fails, passes
}

// alone is the end of the first pane of the window in which the entity failed.
func (s *suspect) alone() int64 {
	pane := s.newest
	for _, c := range s.checks {
		if c.fails {
			pane = min(pane, c.pane)
		}
	}
	return (pane + 1) * (s.rule.Window.Milliseconds() / panesOf)
}

// ruling is what all cohorts say together.
type ruling struct {
	*hearing
	broken, first, now bool
}

func (s *suspect) judge(all []hearing) (r ruling) {
	for i := range all {
		h := &all[i]
		if h.broken {
			r.broken = true
			return r
		}
		if h.known && r.hearing == nil {
			r.hearing = h
		}
		if h.first {
			r.first, r.now = h.known, h.fresh
		}
	}
	return r
}

// allowed is the weight that may fire, if any may.
func (s *suspect) allowed(tier int, r ruling, now int64) (weight uint8, ok bool) {
	w := int(s.rule.Tiers[tier].Weight)
	cooled := func(w int) bool { return w > int(s.weight) || now-s.firedAt >= s.rule.Cooldown.Milliseconds() }
	if !cooled(w) || r.broken {
		return 0, false
	}
	if r.hearing == nil {
		w = w * s.rule.UnjudgedPercent / 100
	}
	first := s.stands[s.rule.Cohorts[0]]
	changed := s.passedAs != nil && now-s.passedAt < s.rule.Memory.Milliseconds() && (first == nil || *s.passedAs != first.name)
	if changed && !r.first || w == 0 || !cooled(w) {
		return 0, false
	}
	return uint8(w), true
}

func (s *suspect) fire(tier int, weight uint8, r ruling, now int64) *firing {
	s.weight, s.firedAt = weight, now
	failed, share := s.share()
	f := &firing{tier: tier, weight: weight, evidence: []facet.Evidence{
		facet.Number("failures", int64(failed)),
		facet.Number("threshold", int64(s.rule.Tiers[tier].At)),
		facet.Number("share_percent", int64(share)),
	}}
	if r.hearing == nil {
		f.evidence = append(f.evidence, facet.Text("judged", "too little is known of others"))
		return f
	}
	words := "others pass"
	if r.failed {
		words = "many fail, on few networks"
	}
	f.evidence = append(f.evidence, facet.Text("judged", words), facet.Text("cohort", r.by.String()),
		facet.Number("cohort_failing", int64(r.fails)), facet.Number("cohort_passing", int64(r.passes)), facet.Number("cohort_networks", int64(r.networks)))
	return f
}
