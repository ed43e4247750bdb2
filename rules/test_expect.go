package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirdev/weir/internal/facet"
)

// Subject names an entity in a test: "account:ann" in its file.
type Subject struct {
	Kind facet.Kind
	Key  string
}

// ParseSubject reads kind:key. ok is false if there is no kind of that name, or no
// key.
func ParseSubject(text string) (s Subject, ok bool) {
	kind, key, _ := strings.Cut(text, ":")
	s.Kind, ok = facet.ParseKind(kind)
	s.Key = key
	return s, ok && key != ""
}

// String returns kind:key.
func (s Subject) String() string { return s.Kind.String() + ":" + s.Key }

// Expect is the expectation for one entity.
type Expect struct {
	Subject
	Any     bool // whatever signals it has
	Signals []ExpectSignal
	Score   int      // points when the test ends; Whatever
	Reasons []string // codes when the test ends, that of the greatest contribution first; nil: whatever they are
}

// Whatever is the expected score of an entity whose score is not checked.
const Whatever = -1

// ExpectSignal is the expected signals of one rule for an entity.
type ExpectSignal struct {
	Rule   string
	Weight uint8   // of the heaviest signal
	Times  int     // how many signals; 0: any number
	Group  Subject // that the entity is told as a member of; the zero Subject: whatever it is
}

// Fired is one signal given while a test ran.
type Fired struct {
	Subject
	Group  Subject // zero: it is no member's
	Rule   string
	Weight uint8
}

// Outcome is the outcome of a test's events.
type Outcome struct {
	Signals []Fired // in any order
	Scores  map[Subject]Scored
}

// Scored is the score of an entity when the test ends, at the time of its latest
// event.
type Scored struct {
	Points  int
	Reasons []string // codes, that of the greatest contribution first
}

// looksAt reports whether the test checks a signal.
func (t *Test) looksAt(f Fired) bool {
	if t.Rule != "" {
		return f.Rule == t.Rule && f.Kind == t.Kind
	}
	return len(t.Only) == 0 || slices.Contains(t.Only, f.Rule)
}

// said identifies the signals of one rule about one entity.
type said struct {
	Subject
	rule string
}

type amount struct {
	heaviest uint8
	signals  int
	groups   []Subject
}

// Verdict compares the outcome with the expectations: one sentence for each
// difference, none if the test passed.
func (t *Test) Verdict(o Outcome) []string {
	got := map[said]amount{}
	for _, f := range o.Signals {
		if t.looksAt(f) {
			of := said{f.Subject, f.Rule}
			a := got[of]
			got[of] = amount{max(a.heaviest, f.Weight), a.signals + 1, append(a.groups, f.Group)}
		}
	}
	var wrong []string
	report := func(of said, format string, args ...any) {
		wrong = append(wrong, t.name(of)+": "+fmt.Sprintf(format, args...))
	}
	for _, x := range t.Expect {
		for _, want := range x.Signals {
			of := said{x.Subject, want.Rule}
			if what := want.differs(got[of]); what != "" {
				report(of, "%s", what)
			}
			delete(got, of)
		}
		scored := o.Scores[x.Subject]
		if x.Score != Whatever && scored.Points != x.Score {
			report(said{x.Subject, ""}, "the score is %d, want %d", scored.Points, x.Score)
		}
		if x.Reasons != nil && !slices.Equal(scored.Reasons, x.Reasons) {
			report(said{x.Subject, ""}, "the reasons are %q, want %q", scored.Reasons, x.Reasons)
		}
	}
	for of, a := range got {
		if !slices.ContainsFunc(t.Expect, func(x Expect) bool { return x.Any && x.Subject == of.Subject }) {
			report(of, "%s of weight up to %d, want none", plural(a.signals, "signal"), a.heaviest)
		}
	}
	slices.Sort(wrong)
	return wrong
}

// differs describes how a rule's signals differ from the expected ones; "" if they
// do not.
func (want *ExpectSignal) differs(got amount) string {
	switch {
	case got.signals == 0:
		return fmt.Sprintf("no signal, want one of weight %d", want.Weight)
	case got.heaviest != want.Weight:
		return fmt.Sprintf("heaviest signal has weight %d, want %d", got.heaviest, want.Weight)
	case want.Times != 0 && got.signals != want.Times:
		return fmt.Sprintf("%s, want %d", plural(got.signals, "signal"), want.Times)
	case want.Group != Subject{} && !slices.Contains(got.groups, want.Group):
		return fmt.Sprintf("no signal as a member of %s", want.Group)
	}
	return ""
}

// name names the entity and, in a scenario, the rule of a difference.
func (t *Test) name(of said) string {
	switch {
	case t.Rule != "":
		return of.Key
	case of.rule == "":
		return of.Subject.String()
	}
	return of.Subject.String() + ": " + of.rule
}
