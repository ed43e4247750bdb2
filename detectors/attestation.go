package detectors

import (
	"fmt"
	"slices"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// Attestation holds the parameters of the attestation detector, which judges the
// strength of an entity's attestations.
type Attestation struct {
	Required []RequiredLevel // the highest level among the matching conditions is required
	MaxAge   time.Duration   // older attestations are stale
	Findings [shortfalls]Finding

	Window   time.Duration
	MinShare int // minimum percentage of the checks in the window

	Comparison

	Memory   time.Duration // how long the best level and the counter are remembered
	Cooldown time.Duration // event time until the same weight may fire again for the entity
}

// RequiredLevel is the level that some events require.
type RequiredLevel struct {
	When  *rules.Condition
	Level int // 1 basic, 2 device, 3 strong
}

// Finding says when a kind of shortfall fires, and with what weight. With At 0 the
// shortfall is not checked.
type Finding struct {
	At     int
	Weight uint8
}

// Kinds of shortfall, most serious first. An event counts as the first enabled kind
// that applies.
const (
	Failed      = iota // the attestation was refused
	CounterBack        // its counter went back: the key was copied
	Dropped            // the entity had a device or strong attestation, and now has none
	Below              // its level is lower than required
	Missing            // an attestation is required and there is none
	Stale              // it is too old
	shortfalls
)

var shortfallNames = [shortfalls]string{"failed", "counter_back", "dropped", "below", "missing", "stale"}

// levelNames are the attestation levels, lowest first.
var levelNames = []string{"none", "basic", "device", "strong"}

const (
	mostRequired     = 16
	mostShortfalls   = 200
	trustedLevel     = 2 // an entity that had this level and now has none has dropped
	attestationBytes = 136
	attestationPanes = 56
)

// AttestationKind describes the detector to the rules.
func AttestationKind() rules.Kind {
	const day = 24 * time.Hour
	finding := func(name, doc string) rules.Key {
		return rules.ObjectKey(name, rules.Optional, doc,
			rules.CountKey("at", rules.Required, 1, mostShortfalls, "number in the window that fires"),
			rules.CountKey("weight", rules.Required, 1, 100, "confidence of the signal, in percent"))
	}
	return rules.Kind{
		Name: "attestation",
		Doc:  "grades an entity's attestations, and tolerates outages",
		Keys: slices.Concat([]rules.Key{
			rules.DurationKey("window", rules.Required, 10*time.Second, day, "how far back it counts"),
			rules.ListKey("required", rules.Optional, 1, mostRequired, "the level that requests need; default: no level is required, and none is missing", rules.ObjectKey("", rules.Required, "some requests",
				rules.ConditionKey("when", rules.Required, "which requests"),
				rules.ChoiceKey("level", rules.Required, levelNames[1:], "the level that they need"))),
			finding("failed", "refused attestations"),
			finding("counter_back", "attestations whose counter is lower than an earlier one of the same attestation_id: a copied key"),
			finding("dropped", "requests without any attestation that need a level, from an entity that had level device or strong"),
			finding("below", "attestations of a lower level than required"),
			finding("missing", "no attestation, or one that could not be obtained, although a level is required"),
			finding("stale", "attestations older than max_age, although a level is required"),
			rules.DurationKey("max_age", rules.Optional, time.Second, 366*day, "maximum age of an attestation; default 24h"),
			rules.CountKey("min_share", rules.Optional, 1, 100, "minimum percentage of the entity's checks in the window with this finding; default 20"),
		}, comparisonKeys("build, app_version and os"), []rules.Key{
			rules.DurationKey("memory", rules.Optional, 10*time.Second, longestMemory, "how long an entity's best level and its counter are remembered; default 7d"),
			rules.DurationKey("cooldown", rules.Optional, time.Second, longestMemory, "time until the same weight may fire again for the entity; default 1h"),
		}),
		Compile: compileAttestation,
	}
}

func compileAttestation(p *rules.Params) rules.Spec {
	a := &Attestation{
		MaxAge: p.DurationOr("max_age", 24*time.Hour), Window: p.Duration("window"), MinShare: p.IntOr("min_share", 20),
		Comparison: compileComparison(p, event.Build, event.AppVersion, event.OS),
		Memory:     p.DurationOr("memory", 7*24*time.Hour), Cooldown: p.DurationOr("cooldown", time.Hour),
	}
	for _, r := range p.List("required") {
		a.Required = append(a.Required, RequiredLevel{r.Condition("when"), slices.Index(levelNames, r.Text("level"))})
	}
	looked := false
	for i, name := range shortfallNames {
		if !p.Has(name) {
			continue
		}
		looked = true
		of := p.Object(name)
		a.Findings[i] = Finding{of.Int("at"), uint8(of.Int("weight"))}
		if i >= Dropped && !p.Has("required") {
			p.Problem(name, name+" is about what requests require, and none requires anything", "say with required which requests need an attestation, or leave "+name+" out")
		}
	}
	if !looked {
		p.Problem("", "the rule looks for nothing", "add one of failed, counter_back, dropped, below, missing and stale")
	}
	if a.Memory < a.Window {
		p.Problem("memory", "what falls short is forgotten while it still counts", "make memory at least as long as the window")
	}
	return a
}

// Fields implements [rules.Spec].
func (a *Attestation) Fields() []event.Field {
	all := slices.Concat(a.Cohorts, []event.Field{
		event.Net, event.Attestation, event.AttestationLevel, event.AttestationAge, event.AttestationID, event.AttestationCounter,
	})
	for _, r := range a.Required {
		all = append(all, r.When.Fields...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// State implements [rules.Spec].
func (a *Attestation) State() string {
	return fmt.Sprintf("attestations %d of %s", a.Window.Milliseconds(), a.state())
}

// Canonical implements [rules.Spec].
func (a *Attestation) Canonical() string {
	text := fmt.Sprintf("age %d window %d share %d %s memory %d cooldown %d findings %v",
		a.MaxAge.Milliseconds(), a.Window.Milliseconds(), a.MinShare, a.Comparison.canonical(), a.Memory.Milliseconds(), a.Cooldown.Milliseconds(), a.Findings)
	for _, r := range a.Required {
		text += fmt.Sprintf(" required %d %q", r.Level, r.When.Canonical)
	}
	return text
}

// Keeps implements [rules.Spec].
func (a *Attestation) Keeps() rules.Keeps {
	p := a.peers()
	return rules.Keeps{Reach: max(a.Memory, a.Usual), After: a.Cooldown, Ahead: a.Wait, Bytes: attestationBytes + p.room(), Cohort: p.keeps()}
}

// Raised implements [Adjustable].
func (a *Attestation) Raised(what string, need int64) rules.Spec {
	i := slices.Index(shortfallNames[:], what)
	if i < 0 || need > mostShortfalls || a.Findings[i].At == 0 {
		return nil
	}
	raised := *a
	raised.Findings[i].At = max(a.Findings[i].At, int(need))
	return &raised
}

func (a *Attestation) detector(e Environment) Detector {
	return &attestation{rule: a, pane: a.Window.Milliseconds() / windowPanes, cooldown: a.Cooldown.Milliseconds(), memory: a.Memory.Milliseconds(), peers: a.peers(), hasher: e.Hasher}
}

// attestation counts an entity's shortfalls by kind, in the ten panes of a window,
// and asks the entity's cohorts before it fires.
//
// The payload is a header of 136 bytes, and a standing for each cohort:
//
//	0 newest pane i64 · 8 fired at i64 · 16 best level last seen i64 · 24 counter's time i64 (Unix ms) · 32 counter u64 · 40 hash of its attestation_id u64
//	48 weight fired u8 · 49 last reason for holding back u8 · 50 best level u8 · 51 counter present u8 · 52 unused 4
//	56 panes 10×(passes u8 · each kind of shortfall 6×u8 · unused u8), by number modulo 10
type attestation struct {
	rule                   *Attestation
	pane, cooldown, memory int64 // ms
	peers                  *peers
	hasher                 Hasher
}

// attested is a view of the payload.
type attested []byte

func (m attested) newest() int64      { return int64(le.Uint64(m)) }
func (m attested) firedAt() int64     { return int64(le.Uint64(m[8:])) }
func (m attested) bestAt() int64      { return int64(le.Uint64(m[16:])) }
func (m attested) countedAt() int64   { return int64(le.Uint64(m[24:])) }
func (m attested) counter() int64     { return int64(le.Uint64(m[32:])) }
func (m attested) counterOf() uint64  { return le.Uint64(m[40:]) }
func (m attested) firedWeight() uint8 { return m[48] }
func (m attested) held() uint8        { return m[49] }
func (m attested) hold(by uint8)      { m[49] = by }
func (m attested) bestEver() int      { return int(m[50]) }
func (m attested) counted() bool      { return m[51] != 0 }
func (m attested) in(pane int64) []byte {
	return m[attestationPanes+8*int(uint64(pane)%windowPanes):][:8]
}

func (m attested) standing(i int) standing {
	return standing(m[attestationBytes+i*standingSize:][:standingSize])
}

func (m attested) fired(weight uint8, at int64) {
	le.PutUint64(m[8:], uint64(at))
	m[48] = weight
	m.hold(nothingHeld)
}

// advance makes a pane the newest, unless there is a later one. It returns false if
// the pane is older than the window.
func (m attested) advance(pane int64) bool {
	newest := m.newest()
	if pane <= newest-windowPanes {
		return false
	}
	if pane > newest {
		for p := max(newest+1, pane-windowPanes+1); p <= pane; p++ {
			clear(m.in(p))
		}
		le.PutUint64(m, uint64(pane))
	}
	return true
}

// sums adds up the window that ends with the newest pane: passes first.
func (m attested) sums() (all [1 + shortfalls]int, checks int) {
	for p := int64(0); p < windowPanes; p++ {
		for i, n := range m.in(p)[:1+shortfalls] {
			all[i] += int(n)
			checks += int(n)
		}
	}
	return all, checks
}

// first returns the number of the oldest pane with a shortfall.
func (m attested) first() int64 {
	for p := m.newest() - windowPanes + 1; p <= m.newest(); p++ {
		for _, n := range m.in(p)[1 : 1+shortfalls] {
			if n > 0 {
				return p
			}
		}
	}
	return m.newest()
}

// passes stands for an event without a shortfall.
const passes = -1

// Apply implements Detector.
func (d *attestation) Apply(c *Context, f *Firing) bool {
	verdict := c.Event.Text(event.Attestation)
	if c.Late || verdict == "" {
		return false
	}
	m := attested(c.Own.Payload())
	if len(m) == 0 {
		if m = c.Own.Resize(attestationBytes + d.peers.room()); m == nil {
			return false
		}
	}
	pane := c.Time / d.pane
	if pane <= m.newest()-windowPanes {
		return false
	}
	way := d.shortfall(m, c, verdict)
	if way == passes && verdict != "passed" {
		return false // no attestation is required
	}
	m.advance(pane)
	n := &m.in(pane)[1+way]
	*n = uint8(min(int(*n)+1, 255))
	c.Counts = way != passes
	d.take(m, c, c.Counts)
	if !c.Counts || !d.judge(m, f, c.Time) {
		return false
	}
	if !d.peers.judged.now {
		if m.hold(heldWaiting); c.Timer == 0 {
			c.Timer = c.Time + d.rule.Wait.Milliseconds()
		}
		return false
	}
	c.Timer = 0
	d.fire(m, f, c.Time)
	return true
}

// Due implements Timed. If the cohorts' behaviour can be known at all, it is known
// by now.
func (d *attestation) Due(c *Context, f *Firing) bool {
	m := attested(c.Own.Payload())
	if len(m) == 0 {
		return false
	}
	who := d.number(c.Entity.Key)
	d.peers.judge()
	for i := range d.rule.Cohorts {
		if key := m.standing(i).key(); key != 0 {
			d.peers.hear(i, c.Recall(key), c.Time, (m.first()+1)*d.pane, who)
		}
	}
	if !d.judge(m, f, c.Time) {
		return false
	}
	d.fire(m, f, c.Time)
	return true
}

// number hashes a text to 32 bits; 0 if it is empty.
func (d *attestation) number(text string) uint32 {
	if text == "" {
		return 0
	}
	return max(uint32(d.hasher.Text(text)), 1)
}

// shortfall returns the first enabled shortfall of the event. It also learns level
// and counter.
func (d *attestation) shortfall(m attested, c *Context, verdict string) int {
	e := c.Event
	level, need := 0, 0
	if verdict == "passed" {
		level = 1 // if the event states no level
		if e.Has(event.AttestationLevel) {
			level = max(slices.Index(levelNames, e.Text(event.AttestationLevel)), 0)
		}
	}
	for i := range d.rule.Required {
		if r := &d.rule.Required[i]; r.Level > need && r.When.Holds(e) {
			need = r.Level
		}
	}
	best, known := d.best(m, c.Time), c.Time-m.bestAt() < d.memory
	var is [shortfalls]bool
	is[Failed] = verdict == "failed"
	is[CounterBack] = d.counterBack(m, c, verdict)
	is[Dropped] = need > 0 && level == 0 && best >= trustedLevel
	is[Below] = need > 0 && verdict == "passed" && level < need
	is[Missing] = need > 0 && (verdict == "missing" || verdict == "error")
	is[Stale] = need > 0 && verdict == "passed" && e.Num(event.AttestationAge) > int64(d.rule.MaxAge/time.Second)
	if verdict == "passed" && (!known || level >= best) {
		m[50] = uint8(level)
		le.PutUint64(m[16:], uint64(max(c.Time, m.bestAt())))
	}
	for way, holds := range is {
		if holds && d.rule.Findings[way].At > 0 {
			return way
		}
	}
	return passes
}

// best returns the best level that is remembered at a moment.
func (d *attestation) best(m attested, t int64) int {
	if t-m.bestAt() >= d.memory {
		return 0
	}
	return m.bestEver()
}

// counterBack reports whether the counter is lower than an earlier one of the same
// attestation.
func (d *attestation) counterBack(m attested, c *Context, verdict string) bool {
	e := c.Event
	if verdict != "passed" || !e.Has(event.AttestationCounter) {
		return false
	}
	n, of := e.Num(event.AttestationCounter), uint64(0)
	if id := e.Text(event.AttestationID); id != "" {
		of = d.hasher.Text(id)
	}
	known := m.counted() && m.counterOf() == of && c.Time-m.countedAt() < d.memory
	if known && n < m.counter() {
		return c.Time >= m.countedAt()
	}
	if known && c.Time < m.countedAt() {
		return false // the higher counter came earlier: both are in order
	}
	le.PutUint64(m[24:], uint64(c.Time))
	le.PutUint64(m[32:], uint64(n))
	le.PutUint64(m[40:], of)
	m[51] = 1
	return false
}

// take counts the entity in its cohorts, and records their answers.
func (d *attestation) take(m attested, c *Context, short bool) {
	n, checks := m.sums()
	how := uncounted
	if shorts := checks - n[0]; shorts >= min(suspectFailures, d.least()) && 100*shorts >= d.rule.MinShare*checks {
		how = failing
	} else if !short {
		how = passing
	}
	d.peers.judge()
	if how == uncounted {
		return
	}
	who, network := d.number(c.Entity.Key), d.number(c.Event.Text(event.Net))
	for i, by := range d.rule.Cohorts {
		cohort := c.Cohort(by)
		if cohort == nil {
			continue
		}
		d.peers.take(m.standing(i), cohort, how, c.Time, who, network)
		if short {
			d.peers.hear(i, cohort, c.Time, (m.first()+1)*d.pane, who)
		}
	}
}

// least returns the smallest number of shortfalls with which any finding fires.
func (d *attestation) least() int {
	least := mostShortfalls
	for _, f := range d.rule.Findings {
		if f.At > 0 {
			least = min(least, f.At)
		}
	}
	return least
}

// gravest returns the finding with the greatest weight that is reached, the first
// among equals; −1 if none is.
func (d *attestation) gravest(m attested) int {
	n, checks := m.sums()
	best := -1
	for way, f := range d.rule.Findings {
		if f.At > 0 && n[1+way] >= f.At && 100*n[1+way] >= d.rule.MinShare*checks && (best < 0 || f.Weight > d.rule.Findings[best].Weight) {
			best = way
		}
	}
	return best
}

func (d *attestation) cooling(m attested, weight uint8, t int64) bool {
	return weight <= m.firedWeight() && t-m.firedAt() < d.cooldown
}

// judge fills in tier and weight. It returns false if no finding is reached, or if
// the cohorts hold the firing back.
func (d *attestation) judge(m attested, f *Firing, t int64) bool {
	way := d.gravest(m)
	if way < 0 || d.cooling(m, d.rule.Findings[way].Weight, t) {
		return false
	}
	weight := int(d.rule.Findings[way].Weight)
	if d.peers.judged.by == event.None {
		weight = weight * d.rule.UnjudgedPercent / 100
	}
	f.Tier, f.Weight = way, uint8(weight)
	if d.peers.judged.broken {
		m.hold(heldBroken)
		return false
	}
	return weight > 0 && !d.cooling(m, f.Weight, t)
}

// fire records the firing, and describes it.
func (d *attestation) fire(m attested, f *Firing, t int64) {
	m.fired(f.Weight, t)
	n, checks := m.sums()
	j := &d.peers.judged
	f.Evidence = append(f.Evidence[:0],
		facet.Text("finding", shortfallNames[f.Tier]),
		facet.Number("count", int64(n[1+f.Tier])),
		facet.Number("threshold", int64(d.rule.Findings[f.Tier].At)),
		facet.Number("checks", int64(checks)),
		facet.Text("best_level", levelNames[d.best(m, t)]))
	f.Evidence = j.evidence(f.Evidence)
}

// Fit implements Detector.
func (d *attestation) Fit(payload []byte) ([]byte, bool) {
	m := attested(payload)
	if len(m) != attestationBytes+d.peers.room() || m.held() > heldBroken || m.bestEver() >= len(levelNames) {
		return nil, false
	}
	for i := range d.rule.Cohorts {
		if !m.standing(i).valid() {
			return nil, false
		}
	}
	return m, true
}

// FitCohort implements Comparing.
func (d *attestation) FitCohort(by event.Field, payload []byte) ([]byte, bool) {
	return payload, slices.Contains(d.rule.Cohorts, by) && len(payload) == crowdSize
}

// Explain implements Detector. For cohorts it gives their latest answers.
func (d *attestation) Explain(payload []byte, at int64) (x Explanation) {
	m := attested(payload)
	x.Last = x.First - 1
	var n [1 + shortfalls]int
	if m != nil {
		checks := 0
		n, checks = m.sums()
		x.First, x.Last = (m.newest()-windowPanes+1)*d.pane, (m.newest()+1)*d.pane-1
		x.Held = append(x.Held, facet.Number("checks", int64(checks)), facet.Text("best_level", levelNames[d.best(m, at)]))
	}
	for way, f := range d.rule.Findings {
		if f.At > 0 {
			x.Demands = append(x.Demands, Demand{Tier: way, Weight: f.Weight, What: shortfallNames[way], Have: int64(n[1+way]), Need: int64(f.At)})
		}
	}
	if m == nil {
		return x
	}
	way := d.gravest(m)
	switch {
	case way < 0:
	case d.cooling(m, d.rule.Findings[way].Weight, at):
		x.HeldBack = append(x.HeldBack, HeldBack{Tier: way, By: "cooldown", Until: m.firedAt() + d.cooldown})
	case m.held() == heldWaiting:
		x.HeldBack = append(x.HeldBack, HeldBack{Tier: way, By: "the wait for others of the cohort"})
	case m.held() == heldBroken:
		x.HeldBack = append(x.HeldBack, HeldBack{Tier: way, By: "an outage: others fall short too"})
	}
	return x
}
