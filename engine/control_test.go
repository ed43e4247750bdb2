package engine

import (
	"bytes"
	"errors"
	"testing"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// say applies control records about account a, in one record of the log, and returns
// the facet offset of the record. They have the raw offsets from the given one on.
func (e *effects) say(from int64, list ...facet.Control) (at int64) {
	e.t.Helper()
	w := facet.NewControlWriter(1)
	for i := range list {
		w.AddControl(facet.Entity{Kind: facet.Account, Key: "a"}, from+int64(i), effectStart, &list[i])
	}
	at = e.offset
	e.out.Reset()
	// Each section is a new owner's, so that it is the first of what he has sent.
	e.apply(w.Finish(facet.Section{Source: 1, Owner: uint64(from), From: from, To: from + int64(len(list)), Watermark: facet.NoWatermark}))
	return at
}

func TestAFalsePositiveTakesBackAndHoldsBack(t *testing.T) {
	e := newEffects(t)
	e.show(0, 60, 1050)
	session := e.live(facet.Session)
	expires := score.Expires(e.live(facet.Account).Contributions)
	const hour = 3_600_000
	at := e.say(0, facet.Control{Action: facet.FalsePositive, Rule: "against", Expires: effectStart + hour})
	if len(e.out.Updates) != 1 || len(e.out.Signals) != 0 || len(e.out.Loopback) != 0 {
		t.Fatalf("a label brings %+v", e.out)
	}
	u := e.out.Updates[0]
	if len(u.Contributions) != 1 || u.Contributions[0].Rule != "for" || u.Position.Offset != at || u.Expires != expires || u.Check() != nil {
		t.Errorf("the score is written as %+v, want until %d", u, expires)
	}
	if s := e.live(facet.Session); s == nil || s.Position != session.Position {
		t.Errorf("a member that was told has %+v, want %+v", s, session)
	}
	e.show(1000, 70)
	sig := e.out.Signals[0]
	if len(e.out.Signals) != 1 || len(e.out.Updates) != 0 || sig.Weight != 0 || sig.Asks != 0 || len(sig.Evidence) != 1 || sig.Evidence[0] != facet.Number("false_positive", 0) {
		t.Errorf("what is held back brings %+v", e.out)
	}
	// A signal of the other rule, and one of a moment when the label has expired.
	e.show(2000, 1060)
	if len(e.out.Updates) != 0 || e.out.Signals[0].Weight != 60 {
		t.Errorf("another rule is held back: %+v", e.out.Signals)
	}
	e.show(hour, 40)
	if a := e.live(facet.Account); a == nil || e.out.Signals[0].Weight != 40 {
		t.Errorf("a label that has expired holds back: %+v", e.out.Signals)
	}
}

func TestATruePositiveEndsAFalseOne(t *testing.T) {
	e := newEffects(t)
	e.show(0, 60)
	e.say(0, facet.Control{Action: facet.FalsePositive, Expires: effectStart + 60_000}, facet.Control{Action: facet.TruePositive, Rule: "for"})
	if e.show(1000, 50); e.live(facet.Account) != nil {
		t.Error("a true positive of another rule ends it")
	}
	e.say(2, facet.Control{Action: facet.TruePositive, Rule: "against"})
	if e.live(facet.Account) != nil || len(e.out.Updates) != 0 {
		t.Error("a true positive changes a score")
	}
	if e.show(2000, 50); e.live(facet.Account) == nil {
		t.Error("a true positive ends nothing")
	}
}

func TestAPassedChallengeHalvesAndAReleaseClears(t *testing.T) {
	e := newEffects(t)
	e.show(0, 61, 1050)
	e.say(0, facet.Control{Action: facet.Passed, Category: "fraud"})
	if len(e.out.Updates) != 0 {
		t.Errorf("of another category: %+v", e.out.Updates)
	}
	e.say(1, facet.Control{Action: facet.Passed, Category: "bot"})
	if a := e.live(facet.Account); a == nil || a.Contributions[0].Weight != 30 || a.Contributions[1].Weight != 50 {
		t.Errorf("halved: %+v", a)
	}
	e.say(2, facet.Control{Action: facet.Release})
	if len(e.out.Updates) != 1 || len(e.out.Updates[0].Contributions) != 0 || e.out.Updates[0].Check() != nil || e.live(facet.Account) != nil {
		t.Errorf("released: %+v", e.out.Updates)
	}
	e.say(3, facet.Control{Action: facet.Release})
	if len(e.out.Updates) != 0 {
		t.Errorf("released again: %+v", e.out.Updates)
	}
	if e.show(1000, 40); e.live(facet.Account) == nil {
		t.Error("a release holds back")
	}
}

// TestAnErasureLeavesNothingInSnapshots: neither the state nor the name.
func TestAnErasureLeavesNothingInSnapshots(t *testing.T) {
	e := newEffects(t)
	name := facet.Entity{Kind: facet.Account, Tenant: "shop", Key: "somebody whose name is long"}
	e.show(0, 60)
	w := facet.NewControlWriter(1)
	body := func() []byte {
		var b bytes.Buffer
		f := e.p.freeze(0)
		defer f.release()
		if err := f.body(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	entities := e.p.Entities()
	e.p.loopback.finding = facet.Finding{Slot: e.p.rules.Rules[0].Slot, Weight: 50, Time: effectStart, Group: name}
	e.p.member(e.p.rules.Rules[0], name, score.Position{Incarnation: 1, Offset: e.offset}, &e.out)
	if !bytes.Contains(body(), []byte(name.Key)) {
		t.Fatal("the test shows nothing: the name is in no snapshot")
	}
	w.AddControl(name, 0, effectStart, &facet.Control{Action: facet.Erase})
	e.out.Reset()
	e.offset++
	e.apply(w.Finish(facet.Section{Source: 1, From: 0, To: 1, Watermark: facet.NoWatermark}))
	if bytes.Contains(body(), []byte(name.Key)) || e.p.Entities() != entities {
		t.Errorf("something is left: %d entities, want %d", e.p.Entities(), entities)
	}
	if len(e.out.Updates) != 1 || len(e.out.Updates[0].Contributions) != 0 {
		t.Errorf("the score is not cleared: %+v", e.out.Updates)
	}
}

// TestControlsSayNothingAboutTime: neither a silent source nor a stated watermark.
func TestControlsSayNothingAboutTime(t *testing.T) {
	e := newEffects(t)
	e.show(0, 60)
	if e.p.Watermark() != effectStart {
		t.Fatalf("time waits for a source of controls: %d", e.p.Watermark())
	}
	w := facet.NewControlWriter(1)
	e.apply(w.Finish(facet.Section{Source: 1, From: 0, To: 0, Watermark: effectStart + 1_000_000}))
	if e.p.Watermark() != effectStart || e.p.latest != effectStart {
		t.Errorf("a source of controls moves time: %d", e.p.Watermark())
	}
}

func TestSourcesAreNotMixedUp(t *testing.T) {
	for name, frame := range map[string]func(*effects) []byte{
		"events of the source of controls": func(e *effects) []byte { return e.w.Finish(facet.Section{Source: 1}) },
		"controls of a raw partition":      func(*effects) []byte { return facet.NewControlWriter(1).Finish(facet.Section{}) },
		"controls of no source":            func(*effects) []byte { return facet.NewControlWriter(1).Finish(facet.Section{Source: 2}) },
		"controls of another incarnation":  func(*effects) []byte { return facet.NewControlWriter(2).Finish(facet.Section{Source: 1}) },
	} {
		e := newEffects(t)
		if err := e.p.Apply(0, frame(e), &e.out); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
