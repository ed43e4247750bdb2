package condition

import "github.com/weirdev/weir/event"

// lint finds comparisons of a field with an impossible value: usually a mistake
// that would leave a rule silent for ever.
func lint(t *expr) []Fault {
	var faults []Fault
	for _, a := range t.args {
		faults = append(faults, lint(a)...)
	}
	switch t.op {
	case opEqual, opUnequal:
		field, other := t.args[0], t.args[1]
		if field.op == opConst {
			field, other = other, field
		}
		if field.op == opWord && other.op == opConst {
			faults = append(faults, lintDecision(t, field, other)...)
			faults = append(faults, lintValue(field, other, other.text, other.num)...)
		}
	case opIn:
		for _, s := range t.texts {
			faults = append(faults, lintValue(t.args[0], t, s, 0)...)
		}
		for _, n := range t.nums {
			faults = append(faults, lintValue(t.args[0], t, "", n)...)
		}
	}
	return faults
}

// lintDecision finds the old way of excluding what Weir refused: ingest does that
// now, and gateways that ask the gate put the id of a decision into every event.
func lintDecision(t, field, other *expr) []Fault {
	if t.op != opEqual || field.word.Field != event.Decision || other.text != "" {
		return nil
	}
	return []Fault{{t.line, t.column, `decision == "" holds for no event of a gateway that asks the gate`,
		"leave it out: events that Weir refused (decision_action from throttle on) reach no rule"}}
}

func lintValue(field, at *expr, text string, num int64) []Fault {
	if field.op != opWord {
		return nil
	}
	var what, do string
	if field.sort == Text && text != "" {
		what, do = field.word.impossibleText(text)
	} else if field.sort == Number && num != 0 {
		what, do = field.word.impossibleNumber(num)
	}
	if what == "" {
		return nil
	}
	return []Fault{{at.line, at.column, what, do}}
}
