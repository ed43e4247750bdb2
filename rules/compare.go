package rules

import "fmt"

// Changes says how one set of rules differs from another. Its lists are in order of
// id.
type Changes struct {
	Added, Removed []string
	Changed        []Change
	Same           int // rules that behave as before
}

// Change is a rule that behaves in another way than before.
type Change struct {
	ID   string
	What []string // what has changed; never empty
	// Lost means that the rule begins with empty windows: its state has another
	// meaning now.
	Lost bool
}

// Compare returns how is differs from was. Rules that differ only in titles,
// documentation or tests are the same.
func Compare(was, is *Set) (c Changes) {
	before := map[string]built{}
	for _, b := range was.built {
		before[b.rule.ID] = b
	}
	for _, b := range is.built {
		old, known := before[b.rule.ID]
		switch {
		case !known:
			c.Added = append(c.Added, b.rule.ID)
		case old.canonical == b.canonical:
			c.Same++
		default:
			c.Changed = append(c.Changed, changeOf(old.rule, b.rule))
		}
		delete(before, b.rule.ID)
	}
	for _, r := range was.Rules {
		if _, left := before[r.ID]; left {
			c.Removed = append(c.Removed, r.ID)
		}
	}
	return c
}

func changeOf(was, is *Rule) Change {
	c := Change{ID: is.ID, Lost: was.Slot != is.Slot}
	add := func(differs bool, format string, args ...any) {
		if differs {
			c.What = append(c.What, fmt.Sprintf(format, args...))
		}
	}
	add(was.Entity != is.Entity, "entity %s is %s", was.Entity, is.Entity)
	add(was.Detector != is.Detector, "detector %s is %s", was.Detector, is.Detector)
	add(was.when.Canonical != is.when.Canonical, "when")
	add(was.Detector == is.Detector && was.Spec.Canonical() != is.Spec.Canonical(), "%s", is.Detector)
	add(was.Phase != is.Phase, "phase %s is %s", was.Phase, is.Phase)
	add(was.Category != is.Category || was.Reason != is.Reason || was.HalfLife != is.HalfLife || was.Lowers != is.Lowers || was.Asks != is.Asks, "signal")
	add(was.canonicalExceptions() != is.canonicalExceptions(), "exceptions")
	if len(c.What) == 0 || (was.Members == nil) != (is.Members == nil) {
		add(true, "members")
	}
	return c
}
