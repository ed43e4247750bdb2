package oracle

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// acquaintance is the state of one rule for one entity, as described in
// docs/detectors/first_seen.md.
type acquaintance struct {
	rule *detectors.FirstSeen

	values    []*familiar // in the order in which they were first learned
	taught    bool
	began     int64 // first event that was learned from
	visited   int64 // last visit
	visits    int
	weight    uint8 // of the last firing
	lastAt    int64
	challenge answerTo
	solved    answerTo
	open      bool // whether the challenge is open
}

// familiar is a known value of the entity.
type familiar struct {
	of          event.Field
	text        string
	first, last int64
	visits      int
	atOnce      bool // known since it was first seen
	doubted     bool
}

// answerTo is a challenge or its solution.
type answerTo struct {
	device string
	at     int64
}

func (k *acquaintance) change(s rules.Spec) {
	k.rule = s.(*detectors.FirstSeen)
	for _, of := range k.rule.Values {
		for all := k.of(of); len(all) > k.rule.Kept; all = k.of(of) {
			k.drop(slices.MinFunc(all, func(a, b *familiar) int { return int(a.last - b.last) }))
		}
	}
}

func (k *acquaintance) of(f event.Field) []*familiar {
	return slices.DeleteFunc(slices.Clone(k.values), func(v *familiar) bool { return v.of != f })
}

func (k *acquaintance) drop(gone *familiar) {
	k.values = slices.DeleteFunc(k.values, func(v *familiar) bool { return v == gone })
}

func (k *acquaintance) knows(v *familiar, t int64) bool {
	since := k.rule.NewFor
	if v.doubted {
		since = k.rule.DoubtedFor
	}
	return v.atOnce || t >= v.first+since.Milliseconds()
}

func (k *acquaintance) known(f event.Field, t int64) []*familiar {
	return slices.DeleteFunc(k.of(f), func(v *familiar) bool { return !k.knows(v, t) })
}

func (k *acquaintance) find(f event.Field, text string) *familiar {
	for _, v := range k.of(f) {
		if v.text == text {
			return v
		}
	}
	return nil
}

// textOf returns a value as text; "" if the event has none, or 0.
func textOf(e *event.Event, f event.Field) string {
	if !f.Kind().Numeric() {
		return strings.Clone(e.Text(f))
	}
	if e.Num(f) == 0 {
		return ""
	}
	return fmt.Sprint(e.Num(f))
}

func (k *acquaintance) arrive(a arrival) (*firing, bool) {
	r := k.rule
	teaches, judged := r.Learn.Holds(a.event), r.Judge == nil || r.Judge.Holds(a.event)
	if a.watermark != facet.NoWatermark && (teaches || judged || k.answers(a.event)) {
		k.forget(a.watermark - a.lateness - r.Memory.Milliseconds())
	}
	isNew := map[event.Field]bool{}
	learned := k.learned(a.time)
	met := -1
	if judged && learned && k.avoided(a) {
		for _, of := range r.Values {
			text := textOf(a.event, of)
			known := k.known(of, a.time)
			familiar := slices.ContainsFunc(known, func(v *familiar) bool { return v.text == text })
			isNew[of] = text != "" && !familiar && len(known) > 0 && len(known) < r.Kept
		}
		for i, t := range r.Tiers {
			n := 0
			for _, of := range r.Values {
				if isNew[of] {
					n++
				}
			}
			if n >= t.At && !slices.ContainsFunc(t.With, func(of event.Field) bool { return !isNew[of] }) {
				met = i
			}
		}
	}
	var f *firing
	if met >= 0 {
		for _, of := range r.Values {
			if v := k.find(of, textOf(a.event, of)); isNew[of] && v != nil {
				v.doubted = true
			}
		}
		if w := r.Tiers[met].Weight; w > k.weight || a.time-k.lastAt >= r.Cooldown.Milliseconds() {
			f = &firing{tier: met, weight: w, evidence: k.describe(a, isNew)}
			k.weight, k.lastAt = w, a.time
		}
	}
	k.answer(a)
	if teaches {
		for _, of := range r.Values {
			k.teach(of, a, learned, met >= 0 && isNew[of])
		}
		if slices.ContainsFunc(r.Values, func(of event.Field) bool { return textOf(a.event, of) != "" }) {
			k.visit(a.time)
		}
	}
	return f, teaches || judged
}

func (k *acquaintance) forget(oldest int64) {
	had := len(k.values)
	k.values = slices.DeleteFunc(k.values, func(v *familiar) bool { return v.last <= oldest })
	if had > 0 && len(k.values) == 0 {
		k.taught = false
	}
}

func (k *acquaintance) learned(t int64) bool {
	return k.taught && (k.visits >= k.rule.LearnVisits || t >= k.began+k.rule.LearnTime.Milliseconds())
}

func (k *acquaintance) answers(e *event.Event) bool {
	c := k.rule.Avoided
	return c != nil && (c.Challenge.Holds(e) || c.Solved.Holds(e))
}

func (k *acquaintance) avoided(a arrival) bool {
	c, device := k.rule.Avoided, a.event.Text(event.Device)
	if c == nil {
		return true
	}
	return k.open && device != "" && device != k.challenge.device &&
		a.time >= k.challenge.at && a.time < k.challenge.at+c.Within.Milliseconds()
}

// answer records a challenge or a solution.
func (k *acquaintance) answer(a arrival) {
	c, this := k.rule.Avoided, answerTo{strings.Clone(a.event.Text(event.Device)), a.time}
	if c == nil || this.device == "" {
		return
	}
	// closes reports whether one solution closes a challenge.
	closes := func(solution, challenge answerTo) bool {
		return solution.device == challenge.device && solution.at >= challenge.at
	}
	if c.Challenge.Holds(a.event) && (k.challenge.device == "" || this.at >= k.challenge.at) {
		k.challenge = this
		k.open = !closes(k.solved, this)
	}
	if c.Solved.Holds(a.event) {
		k.open = k.open && !closes(this, k.challenge)
		if k.solved.device == "" || this.at >= k.solved.at {
			k.solved = this
		}
	}
}

func (k *acquaintance) teach(of event.Field, a arrival, learned, inDoubt bool) {
	text := textOf(a.event, of)
	if text == "" {
		return
	}
	if v := k.find(of, text); v != nil {
		if a.time >= v.last+3_600_000 {
			v.visits++
		}
		v.first, v.last = min(v.first, a.time), max(v.last, a.time)
		return
	}
	all, known := k.of(of), len(k.known(of, a.time))
	if len(all) == k.rule.Kept {
		give := slices.DeleteFunc(slices.Clone(all), func(v *familiar) bool { return k.knows(v, a.time) })
		if len(give) == 0 {
			give = all
		}
		k.drop(slices.MinFunc(give, func(a, b *familiar) int { return int(a.last - b.last) }))
	}
	atOnce := !learned || known == 0 || known == k.rule.Kept
	k.values = append(k.values, &familiar{of: of, text: text, first: a.time, last: a.time, visits: 1, atOnce: atOnce, doubted: inDoubt && !atOnce})
}

func (k *acquaintance) visit(t int64) {
	if !k.taught {
		k.taught, k.began, k.visited, k.visits = true, t, t, 1
		return
	}
	k.began = min(k.began, t)
	if t >= k.visited+3_600_000 {
		k.visited = t
		k.visits++
	}
}

func (k *acquaintance) describe(a arrival, isNew map[event.Field]bool) (all []facet.Evidence) {
	n := 0
	for _, of := range k.rule.Values {
		if !isNew[of] {
			continue
		}
		n++
		known := k.known(of, a.time)
		// MaxFunc returns the first among equals, the one that was learned first.
		usual := slices.MaxFunc(known, func(a, b *familiar) int {
			return cmp.Or(cmp.Compare(a.visits, b.visits), cmp.Compare(a.last, b.last))
		})
		name := usual.text
		for len(name) > 16 || !utf8.ValidString(name) {
			name = name[:len(name)-1]
		}
		all = append(all, facet.Text("new_"+of.String(), textOf(a.event, of)), facet.Text("usual_"+of.String(), name))
	}
	head := []facet.Evidence{facet.Number("new", int64(n)), facet.Number("visits", int64(k.visits)), facet.Number("known_for_ms", max(a.time-k.began, 0))}
	if k.rule.Avoided != nil {
		head = append(head, facet.Number("challenged_ms", a.time-k.challenge.at))
	}
	return append(head, all...)
}
