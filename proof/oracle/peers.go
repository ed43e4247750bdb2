package oracle

import (
	"cmp"
	"slices"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// onlooker compares an entity with the others of its cohorts, as described in
// docs/detectors/signature_mismatch.md.
type onlooker struct {
	terms
	hasher facet.Hasher
	stands map[event.Field]*stand
}

// terms are the parameters of a comparison.
type terms struct {
	cohorts      []event.Field
	wait, usual  time.Duration
	peers, share int
}

func newOnlooker(hasher facet.Hasher) onlooker {
	return onlooker{hasher: hasher, stands: map[event.Field]*stand{}}
}

// stand is the entity's standing in the cohort of one field.
type stand struct {
	name  cohortName
	marks [2]*mark // in short and in long stretches; nil: not counted
}

// mark is one entity in one stretch of a cohort.
type mark struct {
	stretch int64
	fails   bool
}

// crowded is the state of a cohort.
type crowded struct {
	newest   [2]int64
	marks    [2][]*mark // of the newest stretch and the one before
	networks []heard    // networks of failing entities
	passed   []heard    // entities that passed last
}

type heard struct {
	hash uint32
	last int64
}

func (s *onlooker) number(text string) uint32 {
	if text == "" {
		return 0
	}
	if n := uint32(s.hasher.Text(text)); n != 0 {
		return n
	}
	return 1
}

// takePart counts the entity in each of its cohorts, and asks them for verdicts if
// the event fails. Others that passed after a moment show that the entity fails
// alone.
func (s *onlooker) takePart(a arrival, suspicious, fails bool, alone int64) (opinions []hearing) {
	for i, by := range s.cohorts {
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
		for kind, length := range []time.Duration{s.wait, s.usual} {
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
			opinions = append(opinions, s.hear(i, c, a, alone))
		}
	}
	return opinions
}

// comeBack asks the cohorts in which the entity was last counted.
func (s *onlooker) comeBack(a arrival, alone int64) (opinions []hearing) {
	for i, by := range s.cohorts {
		if s.stands[by] == nil {
			continue
		}
		if c := a.recall(s.stands[by].name); c != nil && c.memory != nil {
			opinions = append(opinions, s.hear(i, c, a, alone))
		}
	}
	return opinions
}

// count counts an entity once per stretch, as failing if it fails at any time in it.
func (in *crowded) count(kind int, st *stand, stretch int64, fails bool) {
	m := st.marks[kind]
	if m != nil && m.stretch == stretch {
		m.fails = m.fails || fails
		return
	}
	if m != nil && m.stretch > stretch {
		return
	}
	if stretch > in.newest[kind] {
		in.newest[kind] = stretch
		in.marks[kind] = slices.DeleteFunc(in.marks[kind], func(m *mark) bool { return m.stretch < stretch-1 })
	}
	if stretch < in.newest[kind]-1 {
		return
	}
	m = &mark{stretch, fails}
	st.marks[kind] = m
	in.marks[kind] = append(in.marks[kind], m)
}

// counts returns the numbers of failing and passing entities in the newest
// stretches, starting with from.
func (in *crowded) counts(kind int, from int64) (fails, passes int) {
	for _, m := range in.marks[kind] {
		switch {
		case m.stretch < from:
		case m.fails:
			fails++
		default:
			passes++
		}
	}
	return fails, passes
}

// latest returns the list with a new entry. If there are more than eight, the oldest
// is dropped.
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

// hearing is the answer of one cohort.
type hearing struct {
	by                      event.Field
	first                   bool // it is the rule's first cohort
	fails, passes, networks int
	failed, broken, known   bool
	fresh                   bool // others have passed since the entity first failed
}

// hear asks a cohort for its verdict.
func (s *onlooker) hear(i int, c *cohort, a arrival, alone int64) hearing {
	in := c.memory.(*crowded)
	short, long := s.wait.Milliseconds(), s.usual.Milliseconds()
	n, enough := a.time/short, 2*s.peers
	h := hearing{by: s.cohorts[i], first: i == 0}
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
	h.failed = h.fails >= s.peers && 100*h.fails >= s.share*(h.fails+h.passes)
	h.broken = h.failed && (everywhere || h.networks >= s.peers)
	h.known = h.failed || h.passes >= s.peers
	who := s.number(a.entity.Key)
	others := slices.DeleteFunc(slices.Clone(in.passed), func(h heard) bool { return h.hash == who })
	h.fresh = h.known && !h.failed && since(others, alone) >= s.peers
	return h
}

// all sums the opinions of the partitions.
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

// ruling is the combined answer of all cohorts.
type ruling struct {
	*hearing
	broken, first, now bool
}

func judge(all []hearing) (r ruling) {
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

// evidence describes how the entity was judged.
func (r ruling) evidence() []facet.Evidence {
	if r.hearing == nil {
		return []facet.Evidence{facet.Text("judged", "too little is known of others")}
	}
	words := "others pass"
	if r.failed {
		words = "many fail, on few networks"
	}
	return []facet.Evidence{
		facet.Text("judged", words), facet.Text("cohort", r.by.String()),
		facet.Number("cohort_failing", int64(r.fails)), facet.Number("cohort_passing", int64(r.passes)), facet.Number("cohort_networks", int64(r.networks)),
	}
}
