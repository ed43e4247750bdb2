package engine

import (
	"slices"
	"testing"
	"testing/fstest"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

const effectRules = `rules:
  - id: against
    title: speaks against an account
    entity: account
    when: status < 1000
    counting: {window: 1m, tiers: [{at: 1, weight: 0}]}
    members: {entity: session, weight: 30}
    signal: {category: bot, reason: r, half_life: 10m, asks: [revoke, notify]}
    phase: soft
  - id: for
    title: speaks for an account
    entity: account
    when: status >= 1000
    counting: {window: 1m, tiers: [{at: 1, weight: 50}]}
    signal: {category: any, reason: r, half_life: 1h, effect: lowers}
    phase: soft
`

// teller is a detector that fires as the event's status says: with that weight, or
// so that it clears. Of thousands the rest is looked at.
type teller struct{}

const clears = 200

func (teller) Apply(c *detectors.Context, f *detectors.Firing) bool {
	c.Counts = true
	n := c.Event.Num(event.Status) % 1000
	if n == clears {
		f.Clears, f.Weight = true, 99 // a weight that is not looked at
	} else {
		f.Weight = uint8(n)
	}
	f.Tier, f.Evidence = 0, f.Evidence[:0]
	return true
}

func (teller) Fit(payload []byte) ([]byte, bool)               { return payload, true }
func (teller) Explain([]byte, int64) (x detectors.Explanation) { return x }

// effects is a partition whose rules fire at every event.
type effects struct {
	t      *testing.T
	p      *Partition
	w      *facet.Writer
	raw    int64 // raw offset of the next event
	offset int64 // facet offset of the next record
	out    Output
}

func newEffects(t *testing.T) *effects {
	t.Helper()
	set, err := rules.Load(fstest.MapFS{"r.yaml": {Data: []byte(effectRules)}}, testrules.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	cfg := Defaults()
	cfg.Sources, cfg.Partitions = 1, 1
	p, err := NewPartition(cfg, set, testHasher(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.byKind[facet.Account] {
		p.byKind[facet.Account][i].detector = teller{}
	}
	projection := set.Projection()
	return &effects{t: t, p: p, w: facet.NewWriter(1, 1, &projection)}
}

const effectStart = int64(1_763_892_000_000)

// show applies events of account a at a moment (ms after the start), in one record,
// and what loops back.
func (e *effects) show(at int64, statuses ...int64) {
	e.t.Helper()
	e.out.Reset()
	from := e.raw
	for _, status := range statuses {
		var ev event.Event
		ev.SetNum(event.Time, effectStart+at)
		ev.SetNum(event.Status, status)
		ev.SetText(event.Session, "s")
		e.w.Add(facet.Entity{Kind: facet.Account, Key: "a"}, 0, e.raw, &ev)
		e.raw++
	}
	e.apply(e.w.Finish(facet.Section{From: from, To: e.raw, Watermark: effectStart}))
	for _, l := range slices.Clone(e.out.Loopback) {
		e.apply(l.Frame)
	}
}

func (e *effects) apply(frame []byte) {
	e.t.Helper()
	if err := e.p.Apply(e.offset, frame, &e.out); err != nil {
		e.t.Fatal(err)
	}
	e.offset++
}

// live is the score of an entity, nil where it has none.
func (e *effects) live(k facet.Kind) *score.Update {
	for u := range e.p.Live {
		if u.Entity.Kind == k {
			return &u
		}
	}
	return nil
}

func TestAFiringTakesBackWhatItsRuleSaid(t *testing.T) {
	e := newEffects(t)
	e.show(0, 60, 1050)
	if a, s := e.live(facet.Account), e.live(facet.Session); a == nil || len(a.Contributions) != 2 || s == nil || len(s.Contributions) != 1 {
		t.Fatalf("before: %+v and %+v", a, s)
	}
	expires := score.Expires(e.live(facet.Account).Contributions)
	at := e.offset
	e.show(1000, clears)
	if a, s := e.live(facet.Account), e.live(facet.Session); a != nil || s != nil {
		t.Errorf("what was taken back is still live: %+v, %+v", a, s)
	}
	for _, s := range e.out.Signals {
		if !s.Clears || s.Weight != 0 || s.Asks != 0 || s.Rule != "against" {
			t.Errorf("signal %+v", s)
		}
	}
	if len(e.out.Signals) != 2 || len(e.out.Updates) != 2 {
		t.Fatalf("%d signals, %d updates", len(e.out.Signals), len(e.out.Updates))
	}
	u := e.out.Updates[0]
	if len(u.Contributions) != 1 || u.Contributions[0].Rule != "for" || u.Position.Offset != at || u.Expires != expires || u.Check() != nil {
		t.Errorf("the account's score is written as %+v, want until %d", u, expires)
	}
	e.show(2000, clears)
	if len(e.out.Updates) != 0 || len(e.out.Signals) != 2 {
		t.Errorf("nothing to take back: %+v", e.out)
	}
	e.show(3000, 40)
	if a := e.live(facet.Account); a == nil || len(a.Contributions) != 2 || score.At(a.Contributions, effectStart+3000).Total.Points() != 20 {
		t.Errorf("what spoke for the account is forgotten: %+v", a)
	}
}

// A clearing in the record of the signal that it takes back, and one that another
// signal follows: the score that is sent lasts as long as what it replaces.
func TestOfARecordTheLastScoreLastsAsLongAsAllOfThem(t *testing.T) {
	e := newEffects(t)
	e.show(0, 90)
	expires := score.Expires(e.live(facet.Account).Contributions)
	e.show(1000, clears, 2)
	if len(e.out.Updates) == 0 || e.out.Updates[0].Expires != expires || e.out.Updates[0].Contributions[0].Weight != 2 {
		t.Errorf("%+v, want until %d", e.out.Updates, expires)
	}
}

func TestAnEarlierEventTakesNothingLaterBack(t *testing.T) {
	e := newEffects(t)
	e.show(1000, 60)
	e.show(500, clears)
	if a := e.live(facet.Account); a == nil || len(e.out.Updates) != 0 {
		t.Errorf("%+v, %+v", a, e.out.Updates)
	}
}

func TestASignalAsksAndPunishesNobody(t *testing.T) {
	e := newEffects(t)
	e.show(0, 0)
	if len(e.out.Signals) != 2 || len(e.out.Updates) != 1 || e.out.Updates[0].Entity.Kind != facet.Session {
		t.Fatalf("%+v", e.out)
	}
	account, session := e.out.Signals[0], e.out.Signals[1]
	if account.Weight != 0 || account.Asks != rules.Revoke|rules.Notify || session.Asks != rules.Revoke || session.Weight != 30 {
		t.Errorf("account %+v\nsession %+v", account, session)
	}
	e.show(1000, 60)
	position := e.live(facet.Account).Position
	e.show(2000, 0)
	if a := e.live(facet.Account); a.Position != position || a.Contributions[0].Weight != 60 {
		t.Errorf("a signal of weight 0 changed a score to %+v", a)
	}
}

func TestWhatSpeaksForAnEntityIsNoScore(t *testing.T) {
	e := newEffects(t)
	e.show(0, 1100)
	if len(e.out.Signals) != 1 || !e.out.Signals[0].Lowers || len(e.out.Updates) != 0 || e.live(facet.Account) != nil {
		t.Fatalf("%+v", e.out)
	}
	key := e.p.hasher.Sum(facet.Entity{Kind: facet.Account, Key: "a"})
	if rec, ok := e.p.table.Find(key, effectStart); !ok || rec.Remarkable() {
		t.Errorf("found %v; what can be had for nothing spares nobody", ok)
	}
	b, err := e.p.Snapshot(e.offset)
	if err != nil {
		t.Fatal(err)
	}
	restored, _, err := RestorePartition(e.p.cfg, e.p.rules, e.p.hasher, 0, 1, b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range restored.byKind[facet.Account] {
		restored.byKind[facet.Account][i].detector = teller{}
	}
	e.p = restored
	e.show(0, 80)
	if a := e.live(facet.Account); a == nil || score.At(a.Contributions, effectStart).Total != 0 {
		t.Errorf("a score that all speaks for: %+v", a)
	}
	if rec, ok := e.p.table.Find(key, effectStart); !ok || !rec.Remarkable() {
		t.Error("an entity with a score is not spared")
	}
}
