package dryrun

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirdev/weir/rules"
)

// hidden says which exceptions of a rule keep a test from its expected result; ""
// if it would fail without them, too.
func hidden(set *rules.Set, r *rules.Rule, t *rules.Test) (string, error) {
	if len(t.Expect) == 0 || len(r.Exceptions) == 0 {
		return "", nil
	}
	passes := func(exceptions []rules.Exception) (bool, error) {
		other, one := *set, *r
		one.Exceptions = exceptions
		other.Rules = slices.Clone(set.Rules)
		other.Rules[slices.Index(set.Rules, r)] = &one
		o, _, err := runTest(&other, t)
		return len(t.Verdict(o)) == 0, err
	}
	if ok, err := passes(nil); !ok || err != nil {
		return "", err
	}
	var which []string
	for i, x := range r.Exceptions {
		ok, err := passes(r.Exceptions[i : i+1])
		if err != nil {
			return "", err
		}
		if !ok {
			which = append(which, fmt.Sprintf("the exception in line %d (%s, for %s)", x.Line, x.Reason, x.Owner))
		}
	}
	if which == nil {
		return "the exceptions hide it together", nil
	}
	return strings.Join(which, " and ") + " hides it", nil
}
