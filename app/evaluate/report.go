package evaluate

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/weirdev/weir/app/traffic"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
)

// Report is the result of an evaluation. Its JSON form is described in
// docs/evaluation.md; members may be added under version 1.
type Report struct {
	V         int       `json:"v"` // 1
	From      time.Time `json:"from"`
	To        time.Time `json:"to"` // event times of the first and the last event
	Events    int64     `json:"events"`
	Clean     int64     `json:"clean_events"` // events outside all campaigns
	Unread    int64     `json:"unread_records"`
	Repeated  int64     `json:"repeated_records"`
	Campaigns int       `json:"campaigns"`
	Unseen    *Unseen   `json:"unseen,omitempty"` // of a given truth; nil: every entity is in an event
	Results   []Result  `json:"results"`          // one per set of rules
}

// Result is the result of one set of rules.
type Result struct {
	Name         string `json:"name"`
	RulesVersion string `json:"rules_version"`

	Measure
	Signals       int     `json:"signals"`
	False         int     `json:"false_signals"`
	FalsePerM     float64 `json:"false_signals_per_million"` // per million clean events
	Wrong         int     `json:"wrongly_acting_entities"`   // innocent entities that the gate would throttle, or more
	WrongPerM     float64 `json:"wrongly_acting_per_million"`
	WrongEnforced int     `json:"wrongly_enforced_entities"` // those with only the rules in phase enforce
	Innocents     []Wrong `json:"wrongly_acting"`            // the first mostInnocents of Wrong, by time
	Writes        int64   `json:"writing_requests"`          // with POST, PUT, PATCH or DELETE
	Unclassed     int64   `json:"writing_requests_without_class"`
	NanosAnEvent  float64 `json:"ns_an_event"` // ingest and detect
	IngestNanos   float64 `json:"ingest_ns_an_event"`
	DetectNanos   float64 `json:"detect_ns_an_event"`
	Entities      int     `json:"entities"` // with state at the end
	StateBytes    int     `json:"state_bytes"`
	BytesAnEntity float64 `json:"bytes_an_entity"`
	Kinds         []Kind  `json:"kinds"`
	Rules         []Rule  `json:"rules"`
	Causes        []Cause `json:"false_causes"` // the most frequent first
	Incidents     []Told  `json:"incidents"`
	Missed        []Miss  `json:"missed"`

	firstSignals map[string][]float64 // seconds, by kind, for the plots
	signalsAt    []int                // per hour
	falseAt      []int                // per hour
}

// Measure holds figures about several campaigns. Times are seconds after the
// campaign's first event; nil: nothing was found.
type Measure struct {
	Campaigns   int      `json:"campaigns"`
	Caught      int      `json:"caught"`      // an attacker, a victim or a shared entity was named
	Named       int      `json:"named"`       // an attacker was named
	VictimOnly  int      `json:"victim_only"` // only victims were named
	Acted       int      `json:"acted"`       // the gate would throttle such an entity, or more
	ActedOn     int      `json:"acted_on_attacker"`
	Strong      int      `json:"strong"` // a signal that may act, with weight 60 or more, names an attacker
	Recall      float64  `json:"recall"`
	Precision   *float64 `json:"precision"` // of the signals of the rules that found them
	FirstSignal *float64 `json:"first_signal_s"`
	FirstAction *float64 `json:"first_action_s"`
}

// Kind holds the figures about one kind of campaign, and about each of its
// variants.
type Kind struct {
	Kind string `json:"kind"`
	Measure
	ByRule   []Count   `json:"by_rule"` // campaigns found per rule, the highest number first
	Variants []Variant `json:"variants"`
}

// Variant holds the figures about one variant of a kind.
type Variant struct {
	Variant string `json:"variant"`
	Measure
}

// Count is a name with a number.
type Count struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

// Rule holds the figures about one rule's signals.
type Rule struct {
	Rule      string   `json:"rule"`
	Phase     string   `json:"phase"`
	Matching  int64    `json:"matching"` // events that meet the rule's condition; 0: it says nothing about this traffic
	Signals   int      `json:"signals"`
	Attackers int      `json:"about_attackers"`
	Victims   int      `json:"about_victims"`
	Others    int      `json:"about_groups"` // and about shared entities
	Incidents int      `json:"about_incidents"`
	False     int      `json:"false"`
	FalsePerM float64  `json:"false_per_million"`
	Precision *float64 `json:"precision"`
	Found     int      `json:"campaigns"` // campaigns of which the rule names an entity
	First     int      `json:"first"`     // those that the rule found before all others
}

// Cause is a group of false signals.
type Cause struct {
	Rule     string `json:"rule"`
	Entity   string `json:"entity"` // kind of entity
	Why      string `json:"why"`    // why it looks odd, or its campaign before or after; "": neither
	Signals  int    `json:"signals"`
	Entities int    `json:"entities"`
	Example  string `json:"example"`
}

// Wrong is an innocent entity on which the gate would act.
type Wrong struct {
	Entity   string    `json:"entity"` // kind:key
	Tenant   string    `json:"tenant,omitempty"`
	Why      string    `json:"why,omitempty"` // as in [Cause]
	Time     time.Time `json:"time"`          // of the first wrong action
	Action   string    `json:"action"`        // the strictest
	Enforced bool      `json:"enforced"`      // rules in phase enforce suffice
	Rules    []string  `json:"rules"`         // those that contribute most to the first wrong action, the first most
}

// mostInnocents limits the innocent entities that are listed.
const mostInnocents = 200

// Told says whether operators were told about a kind of incident.
type Told struct {
	Kind    string  `json:"kind"`
	Signals int     `json:"signals"`
	ByRule  []Count `json:"by_rule"`
}

// Miss is a campaign of which no entity was named.
type Miss struct {
	Campaign string    `json:"campaign"`
	Kind     string    `json:"kind"`
	Variant  string    `json:"variant"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Events   int       `json:"events"` // 0: unknown
	Group    bool      `json:"group"`  // a group of the campaign was named
	Groups   []Named   `json:"groups"` // mostGroups of those, the most signals first
}

// Named is a group that a rule named while a campaign was in it.
type Named struct {
	Entity  string `json:"entity"` // kind:key
	Rule    string `json:"rule"`
	Signals int    `json:"signals"`
}

// mostGroups limits the groups that are named of a missed campaign.
const mostGroups = 10

// report builds the report.
func report(o Options, truth *traffic.Truth, trials []*trial) *Report {
	one := trials[0]
	r := &Report{V: 1, Events: one.accepted, Unread: one.counts[ingest.Dead] + one.counts[ingest.Filtered], Repeated: one.counts[ingest.Repeated]}
	r.From, r.To = time.UnixMilli(one.first).UTC(), time.UnixMilli(one.run.Latest()).UTC()
	r.Clean, r.Unseen = r.Events, one.lookout.unseen(truth)
	for i := range truth.Campaigns {
		c := &truth.Campaigns[i]
		r.Clean -= int64(c.Events)
		r.Campaigns += ones(c.Began())
	}
	for _, t := range trials {
		r.Results = append(r.Results, t.result(o, truth, r))
	}
	return r
}

// result judges the output of one set of rules.
func (t *trial) result(o Options, truth *traffic.Truth, of *Report) Result {
	j := newJudge(truth, o.Grace.Milliseconds())
	r := Result{Name: t.name, RulesVersion: t.set.Version, Signals: len(t.signals), Writes: t.writes, Unclassed: t.writes - t.classed, firstSignals: map[string][]float64{}}
	hours := int(of.To.Sub(of.From)/time.Hour) + 1
	r.falseAt, r.signalsAt = make([]int, hours), make([]int, hours)
	byRule, causes := map[string]*Rule{}, newCauses(j)
	told := map[string]map[string]int{}
	for _, rule := range t.set.Rules {
		byRule[rule.ID] = &Rule{Rule: rule.ID, Phase: rule.Phase.String(), Matching: t.matching[rule.ID]}
	}
	for i := range t.signals {
		s := &t.signals[i]
		hour := min(max(0, int((s.time-t.first)/3_600_000)), hours-1)
		r.signalsAt[hour]++
		role := j.signal(s)
		byRule[s.rule].count(role)
		switch role {
		case "":
			r.False++
			r.falseAt[hour]++
			causes.add(s)
		case traffic.Incident, traffic.Group: // a route that is down has campaigns in it, too
			j.incidents(s, func(kind string) {
				if told[kind] == nil {
					told[kind] = map[string]int{}
				}
				told[kind][s.rule]++
			})
		}
	}
	r.innocents(j, t.acts)
	r.FalsePerM, r.WrongPerM = perMillion(r.False, of.Clean), perMillion(r.Wrong, of.Clean)
	r.summarise(j, byRule, of.Clean)
	r.Causes = causes.list()
	r.tell(truth, told)
	r.cost(t)
	return r
}

// innocents counts and lists the innocent entities acted on.
func (r *Result) innocents(j *judge, all map[facet.Entity][]act) {
	r.Innocents = []Wrong{}
	for _, e := range slices.SortedFunc(maps.Keys(all), byName) {
		var one Wrong
		strictest := policy.Allow
		for _, a := range all[e] {
			if !j.act(e, a) {
				continue
			}
			if one.Entity == "" {
				one = Wrong{Entity: named(e), Tenant: e.Tenant, Why: j.odd(e, a.time), Time: time.UnixMilli(a.time).UTC(), Rules: a.rules}
			}
			one.Enforced = one.Enforced || a.enforced >= policy.Throttle
			strictest = max(strictest, a.action)
		}
		if one.Entity == "" {
			continue
		}
		one.Action = strictest.String()
		r.Wrong++
		r.WrongEnforced += ones(one.Enforced)
		r.Innocents = append(r.Innocents, one)
	}
	slices.SortStableFunc(r.Innocents, func(a, b Wrong) int { return a.Time.Compare(b.Time) })
	r.Innocents = r.Innocents[:min(len(r.Innocents), mostInnocents)]
}

func ones(b bool) int {
	if b {
		return 1
	}
	return 0
}

func perMillion(n int, of int64) float64 {
	if of <= 0 {
		return 0
	}
	return float64(n) * 1e6 / float64(of)
}

func share(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// count counts a signal about a role.
func (r *Rule) count(role traffic.Role) {
	r.Signals++
	switch role {
	case traffic.Attacker:
		r.Attackers++
	case traffic.Victim:
		r.Victims++
	case traffic.Shared, traffic.Group:
		r.Others++
	case traffic.Incident:
		r.Incidents++
	default:
		r.False++
	}
}

// tally collects figures about campaigns.
type tally struct {
	Measure
	signals, actions []float64 // seconds
	right            map[string]int
}

func (y *tally) add(c *traffic.Campaign, f *found) {
	y.Campaigns++
	after := func(t int64) float64 { return float64(t-c.From) / 1000 }
	if f.first != 0 {
		y.Caught++
		y.signals = append(y.signals, after(f.first))
	}
	y.Named += ones(f.roles[traffic.Attacker])
	y.VictimOnly += ones(f.first != 0 && f.roles[traffic.Victim] && !f.roles[traffic.Attacker] && !f.roles[traffic.Shared])
	if f.acted != 0 {
		y.Acted++
		y.actions = append(y.actions, after(f.acted))
	}
	y.ActedOn += ones(f.attacked != 0)
	y.Strong += ones(f.strong)
	if y.right == nil {
		y.right = map[string]int{}
	}
	for rule, n := range f.rules {
		y.right[rule] += n
	}
}

// measure returns the figures about the campaigns. The precision is that of the
// rules that found them: the share of their signals about these campaigns among
// those and all their false ones.
func (y *tally) measure(byRule map[string]*Rule) Measure {
	y.Recall = share(y.Caught, y.Campaigns)
	y.FirstSignal, y.FirstAction = median(y.signals), median(y.actions)
	right, wrong := 0, 0
	for rule, n := range y.right {
		right, wrong = right+n, wrong+byRule[rule].False
	}
	y.Precision = ratio(right, right+wrong)
	return y.Measure
}

func ratio(n, of int) *float64 {
	if of == 0 {
		return nil
	}
	v := share(n, of)
	return &v
}

// median returns the median of values, the lower one of two; nil if there are no
// values.
func median(values []float64) *float64 {
	if len(values) == 0 {
		return nil
	}
	slices.Sort(values)
	v := values[(len(values)-1)/2]
	return &v
}

// summarise computes the figures about all campaigns, kinds, variants and rules.
func (r *Result) summarise(j *judge, byRule map[string]*Rule, clean int64) {
	type cell struct{ kind, variant string }
	all, kinds, variants := &tally{}, map[string]*tally{}, map[cell]*tally{}
	finds := map[string]map[string]int{}
	for i := range j.truth.Campaigns {
		c, f := &j.truth.Campaigns[i], &j.found[i]
		if !c.Began() {
			continue
		}
		at := cell{c.Kind, c.Variant}
		if kinds[c.Kind] == nil {
			kinds[c.Kind], finds[c.Kind] = &tally{}, map[string]int{}
		}
		if variants[at] == nil {
			variants[at] = &tally{}
		}
		for _, y := range []*tally{all, kinds[c.Kind], variants[at]} {
			y.add(c, f)
		}
		if f.first == 0 {
			r.Missed = append(r.Missed, Miss{
				Campaign: c.Name, Kind: c.Kind, Variant: c.Variant, From: time.UnixMilli(c.From).UTC(), To: time.UnixMilli(c.To).UTC(),
				Events: c.Events, Group: f.roles[traffic.Group], Groups: f.namedGroups(),
			})
		} else {
			byRule[f.by].First++
		}
		for rule := range f.rules {
			byRule[rule].Found++
			finds[c.Kind][rule]++
		}
	}
	r.Measure = all.measure(byRule)
	r.Precision = ratio(r.Signals-r.False, r.Signals)
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		k := Kind{Kind: name, Measure: kinds[name].measure(byRule), ByRule: counts(finds[name])}
		r.firstSignals[name] = kinds[name].signals
		for at, y := range variants {
			if at.kind == name {
				k.Variants = append(k.Variants, Variant{at.variant, y.measure(byRule)})
			}
		}
		slices.SortFunc(k.Variants, func(a, b Variant) int { return cmp.Compare(a.Variant, b.Variant) })
		r.Kinds = append(r.Kinds, k)
	}
	for _, name := range slices.Sorted(maps.Keys(byRule)) {
		rule := byRule[name]
		rule.FalsePerM, rule.Precision = perMillion(rule.False, clean), ratio(rule.Signals-rule.False, rule.Signals)
		r.Rules = append(r.Rules, *rule)
	}
}

// namedGroups lists the groups of a campaign that were named.
func (f *found) namedGroups() []Named {
	list := []Named{}
	for at, n := range f.groups {
		list = append(list, Named{named(at.entity), at.rule, n})
	}
	slices.SortFunc(list, func(a, b Named) int {
		return cmp.Or(b.Signals-a.Signals, cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.Rule, b.Rule))
	})
	return list[:min(len(list), mostGroups)]
}

// counts returns counts, the highest first.
func counts(of map[string]int) (list []Count) {
	for name, n := range of {
		list = append(list, Count{name, n})
	}
	slices.SortFunc(list, func(a, b Count) int { return cmp.Or(b.N-a.N, cmp.Compare(a.Name, b.Name)) })
	return list
}

// tell lists the incidents of the truth.
func (r *Result) tell(truth *traffic.Truth, told map[string]map[string]int) {
	seen := map[string]bool{}
	for _, row := range truth.Rows {
		if row.Role != traffic.Incident || seen[row.Kind] {
			continue
		}
		seen[row.Kind] = true
		t := Told{Kind: row.Kind, ByRule: counts(told[row.Kind])}
		for _, c := range t.ByRule {
			t.Signals += c.N
		}
		r.Incidents = append(r.Incidents, t)
	}
}

func (r *Result) cost(t *trial) {
	n := float64(max(1, t.accepted))
	r.IngestNanos, r.DetectNanos = float64(t.reading)/n, float64(t.applying)/n
	r.NanosAnEvent = r.IngestNanos + r.DetectNanos
	r.Entities, r.StateBytes = t.run.State()
	r.BytesAnEntity = float64(r.StateBytes) / float64(max(1, r.Entities))
}

// causes groups false signals by cause.
type causes struct {
	j    *judge
	all  map[causeKey]*Cause
	seen map[causeKey]map[facet.Entity]bool
}

type causeKey struct{ rule, entity, why string }

func newCauses(j *judge) *causes {
	return &causes{j, map[causeKey]*Cause{}, map[causeKey]map[facet.Entity]bool{}}
}

func (c *causes) add(s *signal) {
	k := causeKey{s.rule, s.entity.Kind.String(), c.j.odd(s.entity, s.time)}
	if c.all[k] == nil {
		c.all[k] = &Cause{Rule: k.rule, Entity: k.entity, Why: k.why, Example: s.entity.Key}
		c.seen[k] = map[facet.Entity]bool{}
	}
	c.all[k].Signals++
	c.seen[k][s.entity] = true
}

func (c *causes) list() (list []Cause) {
	for k, cause := range c.all {
		cause.Entities = len(c.seen[k])
		list = append(list, *cause)
	}
	slices.SortFunc(list, func(a, b Cause) int {
		return cmp.Or(b.Signals-a.Signals, cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.Why, b.Why))
	})
	return list
}
