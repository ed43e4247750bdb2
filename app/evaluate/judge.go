package evaluate

import (
	"slices"

	"github.com/weirdev/weir/app/traffic"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// strongWeight is the weight from which a signal that may act is evidence on its
// own.
const strongWeight = 60

// judge compares the output of rules with the truth.
type judge struct {
	truth  *traffic.Truth
	grace  int64 // ms
	rows   map[facet.Entity][]*traffic.Row
	places map[string]int // index of each campaign in the truth
	found  []found        // by campaign
}

// found holds the findings about one campaign.
type found struct {
	roles    map[traffic.Role]bool // roles of named entities
	first    int64                 // Unix ms, of the first signal about an attacker, a victim or a shared entity; 0: none
	by       string                // rule of that signal
	acted    int64                 // Unix ms, of the first action on such an entity; 0: none
	attacked int64                 // Unix ms, of the first action on an attacker
	strong   bool                  // a signal that may act, with at least strongWeight, names an attacker
	rules    map[string]int        // signals about it, by rule
	groups   map[groupRule]int     // signals about groups that it is in
}

// groupRule is a group with a rule that gave it a signal.
type groupRule struct {
	entity facet.Entity
	rule   string
}

func newJudge(truth *traffic.Truth, grace int64) *judge {
	j := &judge{truth: truth, grace: grace, rows: map[facet.Entity][]*traffic.Row{}, places: map[string]int{}}
	for i := range truth.Rows {
		r := &truth.Rows[i]
		j.rows[r.Entity] = append(j.rows[r.Entity], r)
	}
	for i, c := range truth.Campaigns {
		j.places[c.Name] = i
		j.found = append(j.found, found{roles: map[traffic.Role]bool{}, rules: map[string]int{}, groups: map[groupRule]int{}})
	}
	return j
}

// standing returns the roles in order of precedence: the first that applies to an
// entity counts.
func standing() []traffic.Role {
	return []traffic.Role{traffic.Attacker, traffic.Victim, traffic.Shared, traffic.Group, traffic.Incident}
}

// about calls yield for each row that makes a signal about an entity right at the
// given time, or because one of the signal's events is in it: an owner who comes back
// shows that somebody else was there, however long ago that was. It returns the first
// role that applies, or "".
func (j *judge) about(e facet.Entity, at int64, events []int64, yield func(*traffic.Row)) traffic.Role {
	best := len(standing())
	for _, r := range j.rows[e] {
		within := func(t int64) bool { return r.From <= t && t <= r.To }
		if (at < r.From || at > r.To+j.grace && !r.Stays) && !slices.ContainsFunc(events, within) {
			continue
		}
		if i := slices.Index(standing(), r.Role); i >= 0 {
			best = min(best, i)
			yield(r)
		}
	}
	if best == len(standing()) {
		return ""
	}
	return standing()[best]
}

// odd returns why an innocent entity looks odd at the given time, according to the
// truth.
func (j *judge) odd(e facet.Entity, at int64) (why string) {
	for _, r := range j.rows[e] {
		switch {
		case r.Role == traffic.Innocent:
			return r.Kind
		case r.Campaign != "" && at < r.From:
			why = "before " + r.Kind
		case r.Campaign != "":
			why = "after " + r.Kind
		}
	}
	return why
}

// names reports whether a signal about a role finds a campaign. A group does not,
// because it includes everybody.
func names(r traffic.Role) bool {
	return r == traffic.Attacker || r == traffic.Victim || r == traffic.Shared
}

// signal records a signal, and returns the role of its entity; "" if the signal is
// false.
func (j *judge) signal(s *signal) traffic.Role {
	return j.about(s.entity, s.time, s.events, func(r *traffic.Row) {
		if r.Campaign == "" {
			return
		}
		f := &j.found[j.places[r.Campaign]]
		f.roles[r.Role] = true
		if !names(r.Role) {
			f.groups[groupRule{s.entity, s.rule}]++
			return
		}
		f.rules[s.rule]++
		if f.first == 0 || s.time < f.first {
			f.first, f.by = s.time, s.rule
		}
		if r.Role == traffic.Attacker && s.phase >= rules.Soft && s.weight >= strongWeight {
			f.strong = true
		}
	})
}

// incidents calls yield with the kind of each incident that a signal is about.
func (j *judge) incidents(s *signal, yield func(kind string)) {
	j.about(s.entity, s.time, s.events, func(r *traffic.Row) {
		if r.Role == traffic.Incident {
			yield(r.Kind)
		}
	})
}

// act records an action, and reports whether its entity is innocent.
func (j *judge) act(e facet.Entity, a act) (wrong bool) {
	if a.action < policy.Throttle {
		return false
	}
	return j.about(e, a.time, nil, func(r *traffic.Row) {
		if r.Campaign == "" || !names(r.Role) {
			return
		}
		f := &j.found[j.places[r.Campaign]]
		if f.acted == 0 || a.time < f.acted {
			f.acted = a.time
		}
		if r.Role == traffic.Attacker && (f.attacked == 0 || a.time < f.attacked) {
			f.attacked = a.time
		}
	}) == ""
}
