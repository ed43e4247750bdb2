package detectors

import (
	"fmt"
	"slices"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// SignatureMismatch holds the parameters of the signature mismatch detector, which
// fires when an entity fails a check that others of its build, version or model
// pass.
type SignatureMismatch struct {
	Fails  *rules.Condition // events whose check failed
	Passes *rules.Condition // events whose check passed; all others are ignored

	Window   time.Duration
	Tiers    []Tier // At failures in Window; At and Weight ascending, never empty
	MinShare int    // minimum percentage of an entity's events that fail

	Comparison

	Memory   time.Duration // how long the first cohort of an entity's last pass is remembered
	Cooldown time.Duration // event time until the same weight may fire again for the entity
}

const (
	windowPanes     = 10
	mostFailures    = 10_000
	suspectFailures = 2 // an entity with this many failures counts as failing
)

// SignatureMismatchKind describes the detector to the rules.
func SignatureMismatchKind() rules.Kind {
	const day = 24 * time.Hour
	return rules.Kind{
		Name: "signature_mismatch",
		Doc:  "finds an entity whose signatures fail while those of others of its build, version or model do not",
		Keys: slices.Concat([]rules.Key{
			rules.DurationKey("window", rules.Required, 10*time.Second, day, "how far back failures count"),
			rules.ListKey("tiers", rules.Required, 1, 8, "the steps, from the mildest", rules.ObjectKey("", rules.Required, "one step",
				rules.CountKey("at", rules.Required, 1, mostFailures, "number of failures that fires"),
				rules.CountKey("weight", rules.Required, 1, 100, "confidence of the signal, in percent"))),
			rules.ConditionKey("fails", rules.Optional, "events whose check failed; default: signatures that are invalid or of an unknown key, unless the reason is a wrong clock"),
			rules.ConditionKey("passes", rules.Optional, "events whose check passed; default: signature == \"valid\". Events that do neither are ignored"),
			rules.CountKey("min_share", rules.Optional, 1, 100, "minimum percentage of the entity's checks in the window that fail; default 20"),
		}, comparisonKeys("build and app_version"), []rules.Key{
			rules.DurationKey("memory", rules.Optional, 10*time.Second, longestMemory, "how long an entity's last pass, and its build, are remembered; default 7d"),
			rules.DurationKey("cooldown", rules.Optional, time.Second, longestMemory, "time until the same weight may fire again for the entity; default 1h"),
		}),
		Compile: compileSignatureMismatch,
	}
}

func compileSignatureMismatch(p *rules.Params) rules.Spec {
	s := &SignatureMismatch{
		Fails: p.Condition("fails"), Passes: p.Condition("passes"),
		Window: p.Duration("window"), MinShare: p.IntOr("min_share", 20),
		Comparison: compileComparison(p, event.Build, event.AppVersion),
		Memory:     p.DurationOr("memory", 7*24*time.Hour), Cooldown: p.DurationOr("cooldown", time.Hour),
	}
	if !p.Has("fails") {
		s.Fails = unsound()
	}
	if !p.Has("passes") {
		s.Passes = sound()
	}
	if s.Memory < s.Window {
		p.Problem("memory", "failures are forgotten while they still count", "make memory at least as long as the window")
	}
	tiers := p.List("tiers")
	rules.Ascending(tiers, "at", "this tier does not wait for more than the one before it", "order the tiers by at, each with a number of its own")
	rules.Ascending(tiers, "weight", "this tier can never be seen: it weighs no more than the one before it", "give later tiers greater weights, or remove this one")
	for _, tier := range tiers {
		s.Tiers = append(s.Tiers, Tier{At: tier.Int("at"), Weight: uint8(tier.Int("weight"))})
	}
	return s
}

// unsound is the default condition for failures. It does not include a wrong clock:
// many phones have one, and the nonce exposes replays.
func unsound() *rules.Condition {
	clocks := []string{"sig_too_old", "sig_expired", "sig_created_future", "hmac_date_skew"}
	return &rules.Condition{
		Holds: func(e *event.Event) bool {
			s := e.Text(event.Signature)
			return (s == "invalid" || s == "unknown") && !slices.Contains(clocks, e.Text(event.SignatureReason))
		},
		Fields:    []event.Field{event.Signature, event.SignatureReason},
		Canonical: "unsound signature",
	}
}

func sound() *rules.Condition {
	return &rules.Condition{
		Holds:     func(e *event.Event) bool { return e.Text(event.Signature) == "valid" },
		Fields:    []event.Field{event.Signature},
		Canonical: `signature == "valid"`,
	}
}

// Fields implements [rules.Spec].
func (s *SignatureMismatch) Fields() []event.Field {
	all := slices.Concat(s.Fails.Fields, s.Passes.Fields, s.Cohorts, []event.Field{event.Net})
	slices.Sort(all)
	return slices.Compact(all)
}

// State implements [rules.Spec].
func (s *SignatureMismatch) State() string {
	return fmt.Sprintf("failures %d of %s", s.Window.Milliseconds(), s.state())
}

// Canonical implements [rules.Spec].
func (s *SignatureMismatch) Canonical() string {
	text := fmt.Sprintf("fails %q passes %q window %d share %d %s memory %d cooldown %d",
		s.Fails.Canonical, s.Passes.Canonical, s.Window.Milliseconds(), s.MinShare, s.Comparison.canonical(), s.Memory.Milliseconds(), s.Cooldown.Milliseconds())
	for _, tier := range s.Tiers {
		text += fmt.Sprintf(" tier %d %d", tier.At, tier.Weight)
	}
	return text
}

// Keeps implements [rules.Spec].
func (s *SignatureMismatch) Keeps() rules.Keeps {
	p := s.peers()
	return rules.Keeps{Reach: max(s.Memory, s.Usual), After: s.Cooldown, Ahead: s.Wait, Bytes: mismatchHeader + p.room(), Cohort: p.keeps()}
}

// Raised implements [Adjustable].
func (s *SignatureMismatch) Raised(what string, need int64) rules.Spec {
	raised := *s
	switch {
	case what == "failures" && need <= mostFailures:
		raised.Tiers = slices.Clone(s.Tiers)
		for i := range raised.Tiers {
			raised.Tiers[i].At = max(raised.Tiers[i].At, int(need))
		}
	case what == "share_percent" && need <= 100:
		raised.MinShare = max(s.MinShare, int(need))
	default:
		return nil
	}
	return &raised
}

func (s *SignatureMismatch) detector(e Environment) Detector {
	return &signatureMismatch{rule: s, pane: s.Window.Milliseconds() / windowPanes, cooldown: s.Cooldown.Milliseconds(), peers: s.peers(), hasher: e.Hasher}
}

// signatureMismatch counts an entity's failures and passes, in the ten panes of a
// window, and asks the entity's cohorts before it fires.
//
// The payload is a header of 80 bytes, and a standing for each cohort:
//
//	0 newest pane i64 · 8 fired at i64 (Unix ms) · 16 last pass i64 (Unix ms) · 24 key of its first cohort then u64
//	32 weight fired u8 · 33 last reason for holding back u8 · 34 unused 6 · 40 panes 10×(failures u16 · passes u16), by number modulo 10
type signatureMismatch struct {
	rule     *SignatureMismatch
	pane     int64 // ms
	cooldown int64 // ms
	peers    *peers
	hasher   Hasher
}

const (
	mismatchHeader = 80
	mismatchPanes  = 40
)

// Reasons for holding a firing back.
const (
	nothingHeld uint8 = iota
	heldWaiting
	heldBroken
	heldUpdated
)

// mismatch is a view of the payload.
type mismatch []byte

func (m mismatch) newest() int64      { return int64(le.Uint64(m)) }
func (m mismatch) firedAt() int64     { return int64(le.Uint64(m[8:])) }
func (m mismatch) passedAt() int64    { return int64(le.Uint64(m[16:])) }
func (m mismatch) passedAs() uint64   { return le.Uint64(m[24:]) }
func (m mismatch) firedWeight() uint8 { return m[32] }
func (m mismatch) held() uint8        { return m[33] }
func (m mismatch) hold(by uint8)      { m[33] = by }

func (m mismatch) standing(i int) standing {
	return standing(m[mismatchHeader+i*standingSize:][:standingSize])
}

func (m mismatch) in(pane int64) []byte {
	return m[mismatchPanes+4*int(uint64(pane)%windowPanes):][:4]
}

func (m mismatch) fired(weight uint8, at int64) {
	le.PutUint64(m[8:], uint64(at))
	m[32] = weight
	m.hold(nothingHeld)
}

// passed records the first cohort of the entity's last pass.
func (m mismatch) passed(as uint64, at int64) {
	le.PutUint64(m[16:], uint64(at))
	le.PutUint64(m[24:], as)
}

// count counts an event in its pane. It returns false if the event is older than the
// window.
func (m mismatch) count(pane int64, fails bool) bool {
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
	in := m.in(pane)
	if !fails {
		in = in[2:]
	}
	le.PutUint16(in, uint16(min(int(le.Uint16(in))+1, 1<<16-1)))
	return true
}

// sums adds up the window that ends with the newest pane.
func (m mismatch) sums() (failures, passes int) {
	for in := m[mismatchPanes:mismatchHeader]; len(in) >= 4; in = in[4:] {
		failures, passes = failures+int(le.Uint16(in)), passes+int(le.Uint16(in[2:]))
	}
	return failures, passes
}

// first returns the number of the oldest pane with a failure.
func (m mismatch) first() int64 {
	for p := m.newest() - windowPanes + 1; p <= m.newest(); p++ {
		if le.Uint16(m.in(p)) > 0 {
			return p
		}
	}
	return m.newest()
}

// Apply implements Detector.
func (d *signatureMismatch) Apply(c *Context, f *Firing) bool {
	if c.Late {
		return false
	}
	fails := d.rule.Fails.Holds(c.Event)
	if !fails && !d.rule.Passes.Holds(c.Event) {
		return false
	}
	m := mismatch(c.Own.Payload())
	if len(m) == 0 {
		if m = c.Own.Resize(mismatchHeader + d.peers.room()); m == nil {
			return false
		}
	}
	if !m.count(c.Time/d.pane, fails) {
		return false
	}
	c.Counts = fails
	tier := d.reached(m)
	d.take(m, c, fails)
	if !fails || tier < 0 || d.cooling(m, d.rule.Tiers[tier].Weight, c.Time) {
		return false
	}
	if !d.judge(m, tier, f, c.Time) {
		return false
	}
	if !d.peers.judged.now {
		if m.hold(heldWaiting); c.Timer == 0 {
			c.Timer = c.Time + d.rule.Wait.Milliseconds()
		}
		return false
	}
	c.Timer = 0
	m.fired(f.Weight, c.Time)
	d.evidence(m, f)
	return true
}

// Due implements Timed. If the cohorts' behaviour can be known at all, it is known
// by now.
func (d *signatureMismatch) Due(c *Context, f *Firing) bool {
	m := mismatch(c.Own.Payload())
	if len(m) == 0 {
		return false
	}
	tier := d.reached(m)
	if tier < 0 || d.cooling(m, d.rule.Tiers[tier].Weight, c.Time) {
		return false
	}
	who := d.number(c.Entity.Key)
	d.peers.judge()
	for i := range d.rule.Cohorts {
		if key := m.standing(i).key(); key != 0 {
			d.peers.hear(i, c.Recall(key), c.Time, d.since(m), who)
		}
	}
	if !d.judge(m, tier, f, c.Time) {
		return false
	}
	m.fired(f.Weight, c.Time)
	d.evidence(m, f)
	return true
}

// number hashes a text to 32 bits; 0 if it is empty.
func (d *signatureMismatch) number(text string) uint32 {
	if text == "" {
		return 0
	}
	return max(uint32(d.hasher.Text(text)), 1)
}

// since returns the moment from which passes of others show that the entity fails
// alone.
func (d *signatureMismatch) since(m mismatch) int64 { return (m.first() + 1) * d.pane }

// take counts the entity in its cohorts, and records their answers.
func (d *signatureMismatch) take(m mismatch, c *Context, fails bool) {
	how := uncounted
	if failures, passes := m.sums(); failures >= min(suspectFailures, d.rule.Tiers[0].At) && 100*failures >= d.rule.MinShare*(failures+passes) {
		how = failing
	} else if !fails {
		how = passing
	}
	d.peers.judge()
	if how == uncounted {
		return
	}
	who, network := d.number(c.Entity.Key), uint32(0)
	if how == failing {
		network = d.number(c.Event.Text(event.Net))
	}
	for i, by := range d.rule.Cohorts {
		cohort := c.Cohort(by)
		if cohort == nil {
			continue
		}
		d.peers.take(m.standing(i), cohort, how, c.Time, who, network)
		if fails {
			d.peers.hear(i, cohort, c.Time, d.since(m), who)
		} else if i == 0 {
			m.passed(cohort.Key(), c.Time)
		}
	}
}

// reached returns the highest tier with enough failures; −1 if there is none.
func (d *signatureMismatch) reached(m mismatch) int {
	failures, passes := m.sums()
	tier := -1
	for 100*failures >= d.rule.MinShare*(failures+passes) && tier+1 < len(d.rule.Tiers) && failures >= d.rule.Tiers[tier+1].At {
		tier++
	}
	return tier
}

// updated reports whether the entity's last pass was under another first cohort.
func (d *signatureMismatch) updated(m mismatch, t int64) bool {
	return m.passedAs() != 0 && m.passedAs() != m.standing(0).key() && t-m.passedAt() < d.rule.Memory.Milliseconds()
}

func (d *signatureMismatch) cooling(m mismatch, weight uint8, t int64) bool {
	return weight <= m.firedWeight() && t-m.firedAt() < d.cooldown
}

// judge fills in tier and weight. It returns false if the cohorts hold the firing
// back.
func (d *signatureMismatch) judge(m mismatch, tier int, f *Firing, t int64) bool {
	j := &d.peers.judged
	weight := int(d.rule.Tiers[tier].Weight)
	if j.by == event.None {
		weight = weight * d.rule.UnjudgedPercent / 100
	}
	f.Tier, f.Weight = tier, uint8(weight)
	switch {
	case j.broken:
		m.hold(heldBroken)
	case !j.first && d.updated(m, t):
		m.hold(heldUpdated)
	case weight > 0 && !d.cooling(m, f.Weight, t):
		return true
	}
	return false
}

// evidence describes a firing.
func (d *signatureMismatch) evidence(m mismatch, f *Firing) {
	failures, passes := m.sums()
	f.Evidence = append(f.Evidence[:0],
		facet.Number("failures", int64(failures)),
		facet.Number("threshold", int64(d.rule.Tiers[f.Tier].At)),
		facet.Number("share_percent", int64(100*failures/(failures+passes))))
	f.Evidence = d.peers.judged.evidence(f.Evidence)
}

// Fit implements Detector.
func (d *signatureMismatch) Fit(payload []byte) ([]byte, bool) {
	m := mismatch(payload)
	if len(m) != mismatchHeader+d.peers.room() || m.held() > heldUpdated {
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
func (d *signatureMismatch) FitCohort(by event.Field, payload []byte) ([]byte, bool) {
	return payload, slices.Contains(d.rule.Cohorts, by) && len(payload) == crowdSize
}

// Explain implements Detector. For cohorts it gives their latest answers.
func (d *signatureMismatch) Explain(payload []byte, at int64) (x Explanation) {
	m := mismatch(payload)
	x.Last = x.First - 1
	failures, share := 0, 0
	if m != nil {
		n, passes := m.sums()
		failures = n
		if n+passes > 0 {
			share = 100 * n / (n + passes)
		}
		x.First, x.Last = (m.newest()-windowPanes+1)*d.pane, (m.newest()+1)*d.pane-1
		x.Held = append(x.Held, facet.Number("failures", int64(n)), facet.Number("passes", int64(passes)))
	}
	for i, t := range d.rule.Tiers {
		x.Demands = append(x.Demands,
			Demand{Tier: i, Weight: t.Weight, What: "failures", Have: int64(failures), Need: int64(t.At)},
			Demand{Tier: i, Weight: t.Weight, What: "share_percent", Have: int64(share), Need: int64(d.rule.MinShare)})
	}
	if m == nil {
		return x
	}
	tier := d.reached(m)
	if tier < 0 {
		return x
	}
	if d.cooling(m, d.rule.Tiers[tier].Weight, at) {
		x.HeldBack = append(x.HeldBack, HeldBack{Tier: tier, By: "cooldown", Until: m.firedAt() + d.cooldown})
		return x
	}
	by := [...]string{heldWaiting: "the wait for others of the cohort", heldBroken: "a broken cohort: others fail too", heldUpdated: "a new build of which too little is known"}
	if m.held() != nothingHeld {
		x.HeldBack = append(x.HeldBack, HeldBack{Tier: tier, By: by[m.held()]})
	}
	return x
}
