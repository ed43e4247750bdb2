package dryrun

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// TestResult is the outcome of one test.
type TestResult struct {
	rules.Case
	Skipped  string   // why it was not run; "": it was
	Problems []string // what is not as it should be
}

// RunTests runs tests of the rules of a set, and scenarios, in their order, each in
// its own run. A test of a rule that is not in the set is skipped.
func RunTests(set *rules.Set, tests []rules.Case) ([]TestResult, error) {
	results := make([]TestResult, 0, len(tests))
	for _, c := range tests {
		if c.Test.Rule != "" && set.Rule(c.Test.Rule) == nil {
			results = append(results, TestResult{Case: c, Skipped: "there is no rule " + c.Test.Rule})
			continue
		}
		o, refused, err := runTest(set, c.Test)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %s: %w", c.File, c.Test.Line, c.Test.Name, err)
		}
		problems := append(refused, c.Test.Verdict(o)...)
		if r := set.Rule(c.Test.Rule); r != nil && len(problems) > 0 {
			why, err := hidden(set, r, c.Test)
			if err != nil {
				return nil, fmt.Errorf("%s, line %d: %s: %w", c.File, c.Test.Line, c.Test.Name, err)
			}
			if why != "" {
				problems = append(problems, why)
			}
		}
		results = append(results, TestResult{Case: c, Problems: problems})
	}
	return results, nil
}

// runTest runs one test. refused lists its events that ingest does not read.
func runTest(set *rules.Set, t *rules.Test) (o rules.Outcome, refused []string, err error) {
	var now *event.Event
	options := Defaults(set)
	options.Amend = func(e *event.Event) { setDerived(e, now) }
	r, err := New(options)
	if err != nil {
		return o, nil, err
	}
	var record []byte
	for i, step := range t.Expand() {
		now = step.Event
		if !now.Has(event.ID) {
			now.SetText(event.ID, strconv.Itoa(i+1))
		}
		record = now.AppendJSON(record[:0])
		_, _, refusal, err := r.Record(record)
		if err != nil {
			return o, nil, err
		}
		if refusal != nil && len(refused) < mostRefused {
			refused = append(refused, fmt.Sprintf("line %d: ingest does not read the event at %s: %s", step.Line, step.At, explained(refusal)))
		}
	}
	return r.outcome(), refused, nil
}

// mostRefused limits the unreadable events that are reported for one test.
const mostRefused = 3

// setDerived sets derived fields in e that a test sets itself.
func setDerived(e, test *event.Event) {
	for _, s := range event.Fields() {
		switch {
		case !s.Derived || !test.Has(s.Field):
		case s.Kind.Numeric():
			e.SetNum(s.Field, test.Num(s.Field))
		default:
			e.SetText(s.Field, test.Text(s.Field))
		}
	}
}

// explained says why a record is no event.
func explained(err error) string {
	var refusal *event.Refusal
	if !errors.As(err, &refusal) {
		return err.Error()
	}
	text := "it " + refusal.Reason.Explain()
	if refusal.Field != event.None {
		text += " (" + refusal.Field.String() + ")"
	}
	return text
}

// outcome returns what a test checks.
func (r *Run) outcome() rules.Outcome {
	o := rules.Outcome{Scores: map[rules.Subject]rules.Scored{}}
	for i := range r.Signals {
		s := &r.Signals[i]
		o.Signals = append(o.Signals, rules.Fired{Subject: subject(s.Entity), Group: subject(s.Group), Rule: s.Rule, Weight: s.Weight})
	}
	for e, u := range r.scores {
		o.Scores[subject(e)] = scored(u.Contributions, r.latest)
	}
	return o
}

func subject(e facet.Entity) rules.Subject { return rules.Subject{Kind: e.Kind, Key: e.Key} }

// scored returns the score of contributions at a time, Unix ms.
func scored(list []score.Contribution, at int64) (s rules.Scored) {
	total := score.At(list, at)
	s.Points = total.Total.Points()
	for _, why := range score.Top(list, at, len(list)) {
		s.Reasons = append(s.Reasons, why.Reason)
	}
	return s
}
