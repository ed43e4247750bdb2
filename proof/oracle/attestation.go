package oracle

import (
	"slices"
	"strings"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// attesting is the state of one rule for one entity, as described in
// docs/detectors/attestation.md.
type attesting struct {
	rule *detectors.Attestation
	onlooker

	checks []graded // in the window that ends with the newest pane
	newest int64
	level  int // the best level
	had    int64
	has    bool
	count  *counted
	weight uint8 // of the last firing
	last   int64
}

// graded is an event with its kind of shortfall; "" if it has none.
type graded struct {
	pane int64
	way  string
}

// counted is an attestation's counter.
type counted struct {
	of    string
	value int64
	time  int64
}

var (
	ways   = []string{"failed", "counter_back", "dropped", "below", "missing", "stale"}
	grades = map[string]int{"": 1, "basic": 1, "device": 2, "strong": 3}
	names  = []string{"none", "basic", "device", "strong"}
)

func newAttesting(r *detectors.Attestation, hasher facet.Hasher) *attesting {
	s := &attesting{onlooker: newOnlooker(hasher)}
	s.change(r)
	return s
}

func (s *attesting) change(r rules.Spec) {
	s.rule = r.(*detectors.Attestation)
	s.terms = terms{s.rule.Cohorts, s.rule.Wait, s.rule.Usual, s.rule.Peers, s.rule.BrokenShare}
}

// pane returns the length of a pane, ms.
func (s *attesting) pane() int64 { return s.rule.Window.Milliseconds() / panesOf }

func (s *attesting) arrive(a arrival) (*firing, bool) {
	verdict := a.event.Text(event.Attestation)
	pane := a.time / s.pane()
	if verdict == "" || pane <= s.newest-panesOf {
		return nil, false
	}
	way := s.way(a, verdict)
	if way == "" && verdict != "passed" {
		return nil, false
	}
	s.newest = max(s.newest, pane)
	s.checks = append(s.checks, graded{pane, way})
	s.checks = slices.DeleteFunc(s.checks, func(g graded) bool { return g.pane <= s.newest-panesOf })

	short := len(s.checks) - s.in("")
	patience := 200
	for _, f := range s.rule.Findings {
		if f.At > 0 {
			patience = min(patience, f.At)
		}
	}
	suspicious := short >= min(2, patience) && 100*short/len(s.checks) >= s.rule.MinShare
	var opinions []hearing
	if way == "" || suspicious {
		opinions = s.takePart(a, suspicious, way != "", s.alone())
	}
	if way == "" {
		return nil, false
	}
	v := judge(opinions)
	finding, weight := s.allowed(v, a.time)
	if weight == 0 {
		return nil, true
	}
	if !v.now {
		if *a.timer == 0 {
			*a.timer = a.time + s.rule.Wait.Milliseconds()
		}
		return nil, true
	}
	*a.timer = 0
	return s.fire(finding, weight, v, a.time), true
}

func (s *attesting) due(a arrival) *firing {
	v := judge(s.comeBack(a, s.alone()))
	finding, weight := s.allowed(v, a.time)
	if weight == 0 {
		return nil
	}
	return s.fire(finding, weight, v, a.time)
}

// way returns the event's kind of shortfall.
func (s *attesting) way(a arrival, verdict string) string {
	e, need, level := a.event, 0, 0
	for _, r := range s.rule.Required {
		if r.When.Holds(e) {
			need = max(need, r.Level)
		}
	}
	if verdict == "passed" {
		level = grades[e.Text(event.AttestationLevel)]
	}
	memory := s.rule.Memory.Milliseconds()
	remembered := s.has && a.time-s.had < memory
	back := verdict == "passed" && e.Has(event.AttestationCounter) && s.goesBack(e, a.time)
	holds := map[string]bool{
		"failed":       verdict == "failed",
		"counter_back": back,
		"dropped":      need > 0 && level == 0 && remembered && s.level >= grades["device"],
		"below":        need > 0 && verdict == "passed" && level < need,
		"missing":      need > 0 && slices.Contains([]string{"missing", "error"}, verdict),
		"stale":        need > 0 && verdict == "passed" && 1000*e.Num(event.AttestationAge) > s.rule.MaxAge.Milliseconds(),
	}
	if verdict == "passed" && (!remembered || level >= s.level) {
		if s.level = level; !s.has || s.had < a.time {
			s.had = a.time
		}
		s.has = true
	}
	for i, way := range ways {
		if holds[way] && s.rule.Findings[i].At > 0 {
			return way
		}
	}
	return ""
}

// goesBack compares the counter with the previous one, and stores it.
func (s *attesting) goesBack(e *event.Event, now int64) bool {
	next := &counted{strings.Clone(e.Text(event.AttestationID)), e.Num(event.AttestationCounter), now}
	was := s.count
	if was == nil || was.of != next.of || now-was.time >= s.rule.Memory.Milliseconds() {
		s.count = next
		return false
	}
	if next.value < was.value {
		return now >= was.time
	}
	if now >= was.time {
		s.count = next
	}
	return false
}

// in returns how many checks of the window have a kind of shortfall.
func (s *attesting) in(way string) (n int) {
	for _, g := range s.checks {
		if g.way == way {
			n++
		}
	}
	return n
}

// alone returns the end of the first pane of the window with a shortfall.
func (s *attesting) alone() int64 {
	first := s.newest
	for _, g := range s.checks {
		if g.way != "" {
			first = min(first, g.pane)
		}
	}
	return (first + 1) * s.pane()
}

// allowed returns the finding that may fire, with its weight; 0 if none may.
func (s *attesting) allowed(r ruling, now int64) (finding int, weight uint8) {
	best := -1
	for i, f := range s.rule.Findings {
		n := s.in(ways[i])
		if f.At == 0 || n < f.At || 100*n/len(s.checks) < s.rule.MinShare {
			continue
		}
		if best < 0 || f.Weight > s.rule.Findings[best].Weight {
			best = i
		}
	}
	if best < 0 || r.broken {
		return 0, 0
	}
	held := func(w int) bool { return w <= int(s.weight) && now-s.last < s.rule.Cooldown.Milliseconds() }
	w := int(s.rule.Findings[best].Weight)
	if held(w) {
		return 0, 0
	}
	if r.hearing == nil {
		if w = w * s.rule.UnjudgedPercent / 100; held(w) {
			return 0, 0
		}
	}
	return best, uint8(w)
}

func (s *attesting) fire(finding int, weight uint8, r ruling, now int64) *firing {
	s.weight, s.last = weight, now
	level := 0
	if s.has && now-s.had < s.rule.Memory.Milliseconds() {
		level = s.level
	}
	f := &firing{tier: finding, weight: weight, evidence: []facet.Evidence{
		facet.Text("finding", ways[finding]),
		facet.Number("count", int64(s.in(ways[finding]))),
		facet.Number("threshold", int64(s.rule.Findings[finding].At)),
		facet.Number("checks", int64(len(s.checks))),
		facet.Text("best_level", names[level]),
	}}
	f.evidence = append(f.evidence, r.evidence()...)
	return f
}
