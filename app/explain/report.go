package explain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/weirdev/weir/app/try"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Version is the version of a report's JSON form: new members may be added under
// the same version, and existing ones keep their meaning.
const Version = 1

// Report is the whole explanation. docs/tools.md describes its JSON form. Records
// and tiers are numbered from 1, and times are RFC 3339 in UTC.
type Report struct {
	Version      int       `json:"v"`
	RulesVersion string    `json:"rules_version"`
	From         string    `json:"shown_from,omitempty"` // bounds of what is shown
	To           string    `json:"shown_to,omitempty"`
	Entity       string    `json:"entity,omitempty"` // that was asked about
	About        *int      `json:"entity_events,omitempty"`
	Others       []string  `json:"other_entities,omitempty"` // of its kind, where there is no event of it
	Records      Records   `json:"records"`
	Unread       []Unread  `json:"unread,omitempty"` // the first that are no events
	Findings     []Finding `json:"findings"`         // those that fired first, in the order of their first firing
	LeftOut      int       `json:"findings_left_out,omitempty"`
	Told         []Told    `json:"told"`   // signals that a group's rule gave its members
	Scores       []Score   `json:"scores"` // of all who are spoken of, at the latest event

	unread []try.Result
}

// Records counts the records.
type Records struct {
	Events   int    `json:"events"` // that feed rules
	First    string `json:"first,omitempty"`
	Last     string `json:"last,omitempty"`
	Dead     int    `json:"dead"`     // no event: dead letters
	Filtered int    `json:"filtered"` // their format is not about them
	Repeated int    `json:"repeated"` // sent before by their gateway
	Refused  int    `json:"refused"`  // by our own decision: they feed no rule
}

// Unread is a record that is no event.
type Unread struct {
	Record   int    `json:"record"`
	Reason   string `json:"reason"`
	Field    string `json:"field,omitempty"`
	Position int    `json:"position"` // in the record, bytes
	Explain  string `json:"explain"`  // the rest of "the record …"
}

// Finding describes how one rule handled one entity.
type Finding struct {
	Rule     string     `json:"rule"`
	Title    string     `json:"title"`
	Phase    string     `json:"phase"`
	Entity   string     `json:"entity"`
	Tenant   string     `json:"tenant,omitempty"`
	Matching int        `json:"matching"`                  // events of the entity that meet the rule's condition
	Beyond   int        `json:"matching_beyond,omitempty"` // the last of them, which were only counted
	Empty    []string   `json:"empty_fields,omitempty"`    // that the rule reads and none of the entity's events has, if none meets the condition
	Fired    int        `json:"fired"`
	Firings  []Firing   `json:"firings"` // the first of them
	HeldBack []HeldBack `json:"held_back"`
	NotFired []NotFired `json:"not_fired"` // tiers that never did
}

// Firing is one firing, and why.
type Firing struct {
	Record     int              `json:"record"`
	Time       string           `json:"time"`
	Tier       int              `json:"tier"`
	Tiers      int              `json:"tiers"` // that the rule has
	Weight     int              `json:"weight"`
	Reason     string           `json:"reason"`
	Numbers    []Number         `json:"numbers"` // of the tier, each beside what it asks for
	Evidence   []facet.Evidence `json:"evidence"`
	From       string           `json:"from,omitempty"` // the stretch whose events contributed
	To         string           `json:"to,omitempty"`
	Events     []Event          `json:"events"`
	LeftOut    int              `json:"events_left_out,omitempty"` // the ones in the middle
	Members    []string         `json:"members,omitempty"`         // who were told
	Unexplored string           `json:"unexplored,omitempty"`      // why nothing was run again
	Without    *Without         `json:"without,omitempty"`
	Raised     []Raised         `json:"raised,omitempty"`
}

// Number is a value beside its demand.
type Number struct {
	Name string `json:"name"`
	Have int64  `json:"have"`
	Need int64  `json:"need"`
	Met  bool   `json:"met"`
}

// Event is an event that the rule saw.
type Event struct {
	Record int             `json:"record"`
	Time   string          `json:"time"`
	Counts bool            `json:"counts"`         // it contributes to what the rule looks for
	Role   string          `json:"role,omitempty"` // what the evidence calls it
	Fields json.RawMessage `json:"fields"`

	text string
}

// Without is a minimal set of events without which a firing would not have
// happened: every event in it is needed.
type Without struct {
	Records []int `json:"records"` // empty: the event fires by itself, whatever came before
	Whole   bool  `json:"whole"`   // false: the search was ended, and a lesser set may do
}

// Raised is a demand under which a firing would not have happened.
type Raised struct {
	Name string `json:"name"`
	Now  int64  `json:"now"`
	Here int64  `json:"here"`           // with it, this event would not have made the rule fire
	Ever int64  `json:"ever,omitempty"` // with it, no event would have; 0: not found
}

// HeldBack is a series of events that would have made a rule fire, or counted, and
// did not.
type HeldBack struct {
	// By is the detector's reason, such as cooldown; or the missed number if it is
	// not the tier's first one, such as share_percent; or exception, late, or
	// not_kept.
	By        string  `json:"by"`
	Exception string  `json:"exception,omitempty"` // its line in the rule's file, reason and owner
	Tier      int     `json:"tier,omitempty"`      // that was kept from firing
	Until     string  `json:"until,omitempty"`
	Records   []int   `json:"records"`
	Nearest   *Number `json:"nearest,omitempty"` // where a number was short

	Numbers []Number `json:"numbers,omitempty"` // that held back, at the last of the records

	until int64
}

// NotFired is a tier that never fired, at the moment when it came nearest.
type NotFired struct {
	Tier    int      `json:"tier"`
	Weight  int      `json:"weight"`
	Record  int      `json:"record"` // 0: no event came so far
	Time    string   `json:"time,omitempty"`
	Numbers []Number `json:"numbers"`
}

// Told is a signal to a member of a group.
type Told struct {
	Entity string `json:"entity"`
	Group  string `json:"group"`
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
	Weight int    `json:"weight"`
	Record int    `json:"record"`
	Time   string `json:"time"`
}

// Score is an entity's score at the latest event.
type Score struct {
	Entity  string   `json:"entity"`
	Tenant  string   `json:"tenant,omitempty"`
	Points  int      `json:"points"`
	Reasons []string `json:"reasons"`
}

// Limits of the report.
const (
	mostFindings   = 20 // explained in full
	mostFirings    = 3  // of one finding
	mostEvents     = 20 // of one firing
	mostHeldBack   = 20 // records of one series that are named
	mostToldOfMany = 32
)

// Report explains the records. [ErrNoEvents] means that there is nothing to
// explain; the report then shows why.
func (x *Explainer) Report() (*Report, error) {
	if x.survey == nil {
		return x.report()
	}
	chosen, leftOut := x.survey.chosen(mostFindings)
	again, err := x.again(chosen)
	if err != nil {
		return nil, err
	}
	r, err := again.report()
	r.LeftOut = leftOut
	return r, err
}

// again reads all records again, and watches the chosen cases.
func (x *Explainer) again(chosen map[caseKey]bool) (*Explainer, error) {
	o := x.o
	o.Only = func(rule string, e facet.Entity) bool { return chosen[caseKey{rule, e}] }
	again, err := New(o)
	if err != nil {
		return nil, err
	}
	again.records, again.mostSteps = x.records, x.mostSteps
	for n := range x.records.len() {
		record, err := x.records.at(n)
		if err != nil {
			return nil, err
		}
		if err := again.take(record); err != nil {
			return nil, err
		}
	}
	return again, nil
}

// Close deletes the temporary file, if there is one.
func (x *Explainer) Close() { x.records.close() }

func (x *Explainer) report() (*Report, error) {
	r := &Report{Version: Version, RulesVersion: x.o.Rules.Version, Findings: []Finding{}, Told: []Told{}, Scores: []Score{}, unread: x.unread}
	r.Records = Records{
		Events: x.outcomes[ingest.Accepted], Dead: x.outcomes[ingest.Dead], Filtered: x.outcomes[ingest.Filtered],
		Repeated: x.outcomes[ingest.Repeated], Refused: x.outcomes[ingest.Refused],
	}
	for _, u := range x.unread {
		r.Unread = append(r.Unread, Unread{u.Line, u.Refusal.Reason, u.Refusal.Field, u.Refusal.Position, u.Refusal.Explain})
	}
	if r.Records.Events+r.Records.Refused+r.Records.Repeated == 0 {
		return r, ErrNoEvents
	}
	if r.Records.Events > 0 {
		r.Records.First, r.Records.Last = moment(x.first), moment(x.run.Latest())
	}
	if !x.o.From.IsZero() {
		r.From = moment(x.o.From.UnixMilli())
	}
	if !x.o.To.IsZero() {
		r.To = moment(x.o.To.UnixMilli())
	}
	if x.o.Entity.Kind != 0 {
		r.Entity, r.About = x.o.Entity.String(), &x.about
		if x.about == 0 {
			r.Others = x.others
		}
	}
	if err := x.findings(r); err != nil {
		return r, err
	}
	x.told(r)
	x.scores(r)
	return r, nil
}

// findings fills in the findings.
func (x *Explainer) findings(r *Report) error {
	chosen := x.chosen()
	if len(chosen) > mostFindings {
		r.LeftOut = len(chosen) - mostFindings
		chosen = chosen[:mostFindings]
	}
	for _, h := range chosen {
		f, err := x.finding(h)
		if err != nil {
			return err
		}
		r.Findings = append(r.Findings, f)
	}
	if x.o.Entity.Kind == 0 {
		return nil
	}
	for _, rule := range x.o.Rules.Rules { // those that saw nothing of the entity
		if rule.Entity == x.o.Entity.Kind && !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Rule == rule.ID }) {
			f := x.header(rule, facet.Entity{Kind: rule.Entity, Key: x.o.Entity.Key})
			f.Empty = x.empty(rule)
			r.Findings = append(r.Findings, f)
		}
	}
	return nil
}

// empty lists the fields that a rule reads and none of the entity's events has: a gateway
// may not send them.
func (x *Explainer) empty(rule *rules.Rule) (names []string) {
	if x.about == 0 {
		return nil
	}
	for _, f := range rule.Fields {
		if !x.given[f] {
			names = append(names, f.String())
		}
	}
	return names
}

// chosen selects the findings: those that fired, then for each rule that did not
// the entity that came nearest; or everything about a requested entity.
func (x *Explainer) chosen() (all []*history) {
	loud := map[string]bool{}
	for _, h := range x.order {
		loud[h.rule.ID] = loud[h.rule.ID] || h.fired > 0
	}
	nearest := map[string]*history{}
	for _, h := range x.order {
		if best := nearest[h.rule.ID]; best == nil || h.nearness() > best.nearness() {
			nearest[h.rule.ID] = h
		}
	}
	for _, h := range x.order {
		if h.fired > 0 || x.o.Entity.Kind != 0 || !loud[h.rule.ID] && nearest[h.rule.ID] == h {
			all = append(all, h)
		}
	}
	slices.SortStableFunc(all, func(a, b *history) int { return cmp.Compare(a.firstFiring(), b.firstFiring()) })
	return all
}

// nearness returns how near the rule came to its mildest tier.
func (h *history) nearness() float64 {
	if len(h.tiers) == 0 {
		return -1
	}
	return h.tiers[0].met
}

// firstFiring returns the record that first made the rule fire; beyond all records
// if none did.
func (h *history) firstFiring() int {
	for _, s := range h.steps {
		if s.fired && !s.outside {
			return s.record
		}
	}
	return int(^uint(0) >> 1)
}

func (x *Explainer) header(rule *rules.Rule, e facet.Entity) Finding {
	return Finding{
		Rule: rule.ID, Title: rule.Title, Phase: rule.Phase.String(), Entity: named(e), Tenant: e.Tenant,
		Firings: []Firing{}, HeldBack: []HeldBack{}, NotFired: []NotFired{},
	}
}

func (x *Explainer) finding(h *history) (Finding, error) {
	f := x.header(h.rule, h.entity)
	f.Matching, f.Beyond, f.Fired = h.seen-h.beyond, min(h.seen-h.beyond, h.seen-len(h.steps)), h.fired
	again, err := x.whatIf(h)
	if err != nil {
		return f, err
	}
	highest := x.highest(h)
	for i := range h.steps {
		s := &h.steps[i]
		if s.outside {
			continue
		}
		f.HeldBack = h.heldBack(f.HeldBack, i)
		if !s.fired {
			continue
		}
		if len(f.Firings) == mostFirings {
			continue
		}
		one, err := x.firing(h, i, x.signal(h, s.record), again)
		if err != nil {
			return f, err
		}
		f.Firings = append(f.Firings, one)
	}
	for tier := highest + 1; tier < len(h.tiers); tier++ {
		n := h.tiers[tier]
		if len(n.demands) == 0 {
			continue
		}
		s := h.steps[n.step]
		f.NotFired = append(f.NotFired, NotFired{
			Tier: tier + 1, Weight: int(n.demands[0].Weight), Record: s.record + 1, Time: moment(s.time), Numbers: numbers(n.demands),
		})
	}
	return f, nil
}

// highest returns the highest tier with which a rule fired for an entity; -1 if it did
// not.
func (x *Explainer) highest(h *history) int {
	highest := -1
	for i := range x.run.Signals {
		if s := &x.run.Signals[i]; s.Rule == h.rule.ID && s.Entity == h.entity && s.Group.Kind == 0 && x.o.within(s.Time) {
			highest = max(highest, s.Tier)
		}
	}
	return highest
}

// signal returns the signal that a rule gave an entity for a record.
func (x *Explainer) signal(h *history, record int) *score.Signal {
	for i := range x.run.Signals {
		s := &x.run.Signals[i]
		if s.SourceOffset == int64(record) && s.Rule == h.rule.ID && s.Entity == h.entity && s.Group.Kind == 0 {
			return s
		}
	}
	return &score.Signal{} // never: every firing gives one
}

// heldBack adds the reason that kept a step from firing or from counting to a list,
// in which equal reasons form one series.
func (h *history) heldBack(list []HeldBack, i int) []HeldBack {
	s := &h.steps[i]
	exception := ""
	add := func(by string, tier int, until int64) *HeldBack {
		same := func(b HeldBack) bool {
			return b.By == by && b.Exception == exception && b.Tier == tier && b.until == until
		}
		at := slices.IndexFunc(list, same)
		if at < 0 {
			b := HeldBack{By: by, Exception: exception, Tier: tier, until: until}
			if until != 0 {
				b.Until = moment(until)
			}
			list, at = append(list, b), len(list)
		}
		list[at].Records = append(list[at].Records, s.record+1)
		return &list[at]
	}
	switch {
	case s.exception != nil:
		x := s.exception
		exception = fmt.Sprintf("line %d, %s, for %s", x.Line, x.Reason, x.Owner)
		add("exception", 0, x.Expires)
	case s.late:
		add("late", 0, 0)
	case !s.kept:
		add("not_kept", 0, 0)
	}
	for _, b := range s.heldBack {
		to := add(b.By, b.Tier+1, b.Until)
		to.Numbers = nil
		for _, d := range b.Demands {
			if d.What != "" {
				to.Numbers = append(to.Numbers, Number{d.What, d.Have, d.Need, d.Met()})
			}
		}
	}
	if d := s.short; d.What != "" {
		b := add(d.What, d.Tier+1, 0)
		if b.Nearest == nil || d.Have > b.Nearest.Have {
			b.Nearest = &Number{d.What, d.Have, d.Need, false}
		}
	}
	return list
}

func (x *Explainer) firing(h *history, at int, sig *score.Signal, again *whatIf) (Firing, error) {
	s, after := &h.steps[at], h.after[at]
	f := Firing{
		Record: s.record + 1, Time: moment(s.time), Tier: sig.Tier + 1, Tiers: len(h.tiers), Weight: int(sig.Weight), Reason: sig.Reason,
		Evidence: sig.Evidence, Events: []Event{},
	}
	var demands []detectors.Demand
	for _, d := range after.Demands {
		if d.Tier == sig.Tier {
			demands = append(demands, d)
		}
	}
	f.Numbers = numbers(demands)
	if after.Last >= after.First {
		f.From, f.To = moment(after.First), moment(after.Last)
	}
	within := h.within(at, after)
	if err := x.events(&f, h, within, at, sig); err != nil {
		return f, err
	}
	for i := range x.run.Signals {
		if m := &x.run.Signals[i]; m.Group == h.entity && m.Rule == h.rule.ID && m.SourceOffset == int64(s.record) {
			f.Members = append(f.Members, named(m.Entity))
		}
	}
	if s.timer {
		f.Unexplored = "the rule waited until nothing could come any more"
		return f, nil
	}
	if again == nil {
		f.Unexplored = "the entity's events alone, if they are not too many, do not bring the firing forth: others decide, too"
		if len(h.steps) > mostWhatIfSteps {
			f.Unexplored = fmt.Sprintf("the entity has more than %d events", mostWhatIfSteps)
		}
		return f, nil
	}
	return f, x.counterfactuals(&f, h, within, at, sig.Tier, demands, again)
}

// within lists the steps up to at whose events contributed, or lie between those
// that did.
func (h *history) within(at int, after detectors.Explanation) (all []int) {
	for i := range h.steps[:at+1] {
		if s := &h.steps[i]; i == at || s.kept && !s.late && s.time >= after.First && s.time <= after.Last {
			all = append(all, i)
		}
	}
	return all
}

// events shows the events of a firing: all of a few, else the first and the last.
func (x *Explainer) events(f *Firing, h *history, within []int, at int, sig *score.Signal) error {
	shown := within
	if len(within) > mostEvents {
		f.LeftOut = len(within) - mostEvents
		shown = slices.Concat(within[:mostEvents/2], within[len(within)-mostEvents/2:])
	}
	for _, i := range shown {
		e, err := x.event(h.steps[i].record)
		if err != nil {
			return err
		}
		one := Event{Record: h.steps[i].record + 1, Time: moment(h.steps[i].time), Counts: h.steps[i].counts || i == at}
		for _, v := range sig.Evidence {
			if v.Kind == facet.EventEvidence && v.Values[1] == int64(h.steps[i].record) {
				one.Role = v.Name
			}
		}
		one.Fields, one.text = fields(e, h.rule)
		f.Events = append(f.Events, one)
	}
	return nil
}

// shownFields are shown for every event, in addition to the fields that the rule
// reads.
var shownFields = []event.Field{event.Account, event.ClientIP, event.Method, event.Route, event.Status}

func fields(e *event.Event, rule *rules.Rule) (asJSON json.RawMessage, text string) {
	only := new(event.Event)
	for _, s := range event.Fields() {
		if !slices.Contains(shownFields, s.Field) && !slices.Contains(rule.Fields, s.Field) {
			continue
		}
		v, ok := try.ValueOf(e, s)
		switch {
		case !ok:
			continue
		case s.Kind.Numeric():
			only.SetNum(s.Field, v.Num)
		default:
			only.SetText(s.Field, v.Text)
		}
		text += " " + s.Name + "=" + v.String()
	}
	return only.AppendAll(nil), text
}

// counterfactuals finds changes that would have prevented a firing.
func (x *Explainer) counterfactuals(f *Firing, h *history, within []int, at, tier int, demands []detectors.Demand, again *whatIf) error {
	again.runs, again.left = mostRuns, mostWhatIfWork
	var before []int
	for _, i := range within {
		if i != at {
			before = append(before, i)
		}
	}
	set, whole, err := again.without(at, tier, before)
	if err == nil && set == nil && whole && len(before) < at {
		// Earlier events take the place of the omitted ones.
		set, whole, err = again.without(at, tier, upTo(at))
	}
	if err != nil {
		return err
	}
	if whole || set != nil {
		f.Without = &Without{Records: []int{}, Whole: whole}
		for _, i := range set {
			f.Without.Records = append(f.Without.Records, h.steps[i].record+1)
		}
	}
	for _, d := range demands {
		again.runs, again.left = mostRuns, mostWhatIfWork
		here, ever, err := again.raised(at, tier, d)
		if err != nil {
			return err
		}
		if here != 0 {
			f.Raised = append(f.Raised, Raised{d.What, d.Need, here, ever})
		}
	}
	return nil
}

// upTo lists the steps before one.
func upTo(at int) (all []int) {
	for i := range at {
		all = append(all, i)
	}
	return all
}

// told lists the signals of members, for the selected findings.
func (x *Explainer) told(r *Report) {
	for i := range x.run.Signals {
		s := &x.run.Signals[i]
		if s.Group.Kind == 0 || !x.o.within(s.Time) || len(r.Told) == mostToldOfMany || x.o.Entity.Kind != 0 && (s.Entity.Kind != x.o.Entity.Kind || s.Entity.Key != x.o.Entity.Key) {
			continue
		}
		r.Told = append(r.Told, Told{named(s.Entity), named(s.Group), s.Rule, s.Reason, int(s.Weight), int(s.SourceOffset) + 1, moment(s.Time)})
	}
}

// scores lists the scores of the selected entities, in their order.
func (x *Explainer) scores(r *Report) {
	var who []string
	for _, f := range r.Findings {
		who = append(who, f.Entity)
	}
	for _, t := range r.Told {
		who = append(who, t.Entity)
	}
	scored := x.run.Scored()
	slices.SortFunc(scored, func(a, b facet.Entity) int {
		return cmp.Or(cmp.Compare(slices.Index(who, named(a)), slices.Index(who, named(b))), cmp.Compare(a.Tenant, b.Tenant))
	})
	for _, e := range scored {
		if !slices.Contains(who, named(e)) {
			continue
		}
		list := x.run.Score(e)
		total := score.At(list, x.run.Latest())
		one := Score{Entity: named(e), Tenant: e.Tenant, Points: total.Total.Points(), Reasons: []string{}}
		for _, why := range score.Top(list, x.run.Latest(), len(list)) {
			one.Reasons = append(one.Reasons, why.Reason)
		}
		r.Scores = append(r.Scores, one)
	}
}

func numbers(demands []detectors.Demand) []Number {
	list := []Number{}
	for _, d := range demands {
		list = append(list, Number{d.What, d.Have, d.Need, d.Met()})
	}
	return list
}

func named(e facet.Entity) string { return e.Kind.String() + ":" + e.Key }

func moment(ms int64) string { return string(event.AppendTime(nil, ms)) }
