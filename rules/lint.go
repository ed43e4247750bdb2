package rules

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/event"
)

// What a rule should demonstrate before it is trusted.
const (
	enoughPositive = 2 // tests in which it fires
	enoughNegative = 3 // tests in which it does not
)

// Lint configures the checks for warnings.
type Lint struct {
	Now       time.Time     // what has expired by then is told; zero: nothing has
	Retention time.Duration // for which the tables keep events; 0: it is not known
}

// Keyed is implemented by a [Spec] that keeps state for each value of some fields.
type Keyed interface {
	Keys() []event.Field
}

// expiring is something that expires.
type expiring struct {
	file *file
	at   *value
	ends int64 // Unix ms; 0: never
	what string
}

// Warnings are about what is legal and probably a mistake, in order of file and
// line. They stop nothing.
func (s *Set) Warnings(l Lint) []Problem {
	all := &Problems{}
	for _, b := range s.built {
		b.warn(l, all)
	}
	for _, x := range s.expiring {
		if x.ends > 0 && x.ends <= l.Now.UnixMilli() && !l.Now.IsZero() {
			x.file.warn(all, x.at.node, x.what, "take it out, or let it expire later")
		}
	}
	all.Sort()
	return all.List
}

// warn reports at a node, among warnings.
func (f *file) warn(all *Problems, n *yaml.Node, what, do string) {
	document := f.Document
	document.Problems = all
	document.Node(n, what, do)
}

func (b built) warn(l Lint, all *Problems) {
	r, id := b.rule, b.id.node
	if reach := r.Spec.Keeps().Reach; l.Retention > 0 && reach > l.Retention {
		b.file.warn(all, b.at.get(r.Detector).node, fmt.Sprintf("the rule looks back %s, and the tables keep events for %s", formatDuration(reach), formatDuration(l.Retention)),
			"look back less, or have the tables keep more: what made the rule fire cannot be shown, and a backfill begins with too little")
	}
	if k, ok := r.Spec.(Keyed); ok {
		for _, f := range k.Keys() {
			if unbounded(f) {
				b.file.warn(all, b.at.get(r.Detector).node, fmt.Sprintf("clients choose %s freely, so nothing bounds how many values an entity has", f),
					"use a field with few values, such as route, or count distinct values of it")
			}
		}
	}
	positive := 0
	for i := range r.Tests {
		if len(r.Tests[i].Expect) > 0 {
			positive++
		}
	}
	negative := len(r.Tests) - positive
	switch {
	case r.Phase == Enforce && negative == 0:
		b.file.warn(all, b.at.get("phase").node, "the rule acts, and no test shows whom it spares", fmt.Sprintf("add %d tests with expect: [], or begin with observe", enoughNegative))
	case positive < enoughPositive || negative < enoughNegative:
		b.file.warn(all, id, fmt.Sprintf("the rule has few tests: %d in which it fires, and %d in which it does not", positive, negative),
			fmt.Sprintf("write %d of the first kind and %d of the second", enoughPositive, enoughNegative))
	}
}

// unbounded reports whether a client can give a field unlimited values.
func unbounded(f event.Field) bool {
	spec, ok := event.Lookup(f.String())
	return ok && f != event.Route && // ingest makes a bounded number of them
		spec.Client && spec.Enum == nil && spec.Kind != event.KindBool
}

// exceptionsExpire records when the exceptions of a rule expire.
func (l *loader) exceptionsExpire(r *reader, rule *Rule, v *value) {
	for i, x := range v.get("exceptions").list() {
		if i < len(rule.Exceptions) {
			l.expiring = append(l.expiring, expiring{r.file, x, rule.Exceptions[i].Expires, "the exception for " + strings.TrimSpace(rule.Exceptions[i].Owner) + " has expired"})
		}
	}
}
