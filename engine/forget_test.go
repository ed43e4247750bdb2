package engine_test

import (
	"testing"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

const forgetting = `
rules:
  - id: once-an-hour
    title: Says the same once an hour
    entity: device
    when: status == 1
    counting:
      window: 1s
      cooldown: 1h
      tiers: [{at: 1, weight: 50}]
    signal: {category: bot, reason: r, half_life: 1s}
    phase: observe
  - id: long-lived
    title: Is worth a point for 100 s
    entity: account
    when: status == 1
    counting:
      window: 1s
      tiers: [{at: 1, weight: 2}]
    signal: {category: bot, reason: r, half_life: 100s}
    phase: observe
  - id: short-lived
    title: Is worth less
    entity: account
    when: status == 2
    counting:
      window: 1s
      tiers: [{at: 1, weight: 1}]
    signal: {category: bot, reason: r, half_life: 1s}
    phase: observe
`

// feed is a partition that is shown one event after the other, of a device and
// an account. The watermark follows each by what wait says.
type feed struct {
	t      *testing.T
	p      *engine.Partition
	w      *facet.Writer
	offset int64
}

const feedStart = 1_763_892_000_000

func newFeed(t *testing.T) *feed {
	t.Helper()
	set, err := rules.Load(fstest.MapFS{"r.yaml": {Data: []byte(forgetting)}}, testrules.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	cfg := engine.Defaults()
	cfg.Lateness, cfg.Sources, cfg.Partitions = 10*time.Second, 1, 1
	p, err := engine.NewPartition(cfg, set, facet.NewHasher([16]byte{}), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	projection := set.Projection()
	return &feed{t: t, p: p, w: facet.NewWriter(1, 1, &projection)}
}

// show applies an event at a time after the start, and then a watermark.
func (f *feed) show(at, watermark time.Duration, status int64) (out engine.Output) {
	f.t.Helper()
	var e event.Event
	e.SetNum(event.Time, feedStart+at.Milliseconds())
	e.SetNum(event.Status, status)
	f.w.Add(facet.Entity{Kind: facet.Account, Key: "a"}, 0, f.offset, &e)
	f.w.Add(facet.Entity{Kind: facet.Device, Key: "d"}, 0, f.offset, &e)
	frame := f.w.Finish(facet.Section{From: f.offset, To: f.offset + 1, Watermark: feedStart + watermark.Milliseconds()})
	if err := f.p.Apply(f.offset, frame, &out); err != nil {
		f.t.Fatal(err)
	}
	f.offset++
	return out
}

func (f *feed) signals(out engine.Output, rule string) (n int) {
	for _, s := range out.Signals {
		if s.Rule == rule {
			n++
		}
	}
	return n
}

// live counts the accounts that have a live score; the device's is gone after
// some seconds.
func (f *feed) live() (n int) {
	for range f.p.Live {
		n++
	}
	return n
}

func TestACooldownOutlastsTheWindow(t *testing.T) {
	f := newFeed(t)
	if n := f.signals(f.show(0, time.Minute, 1), "once-an-hour"); n != 1 {
		t.Fatalf("%d signals at first", n)
	}
	const hour = time.Hour
	if n := f.signals(f.show(hour-time.Millisecond, hour+10*time.Second-time.Millisecond, 1), "once-an-hour"); n != 0 {
		t.Errorf("fired again before an hour had passed")
	}
	if n := f.signals(f.show(hour-time.Millisecond, hour+10*time.Second, 1), "once-an-hour"); n != 0 {
		t.Errorf("fired again before an hour had passed, with the last event that is on time")
	}
	if n := f.signals(f.show(hour, hour+10*time.Second, 1), "once-an-hour"); n != 1 {
		t.Errorf("did not fire after an hour")
	}
}

func TestALateEventMakesNoState(t *testing.T) {
	f := newFeed(t)
	f.show(0, 0, 3)
	if n := f.p.Entities(); n != 0 {
		t.Fatalf("%d entities of which no rule wanted to know", n)
	}
	f.show(0, 10*time.Second, 2)
	f.show(-time.Millisecond, 10*time.Second, 1)
	if n := f.p.Entities(); n != 1 {
		t.Errorf("%d entities, want the account alone: the device's only event was late", n)
	}
}

// An event that is on time may be older than the watermark: a score that was
// worth a point then is part of the list, though at the watermark it no longer
// is.
func TestAScoreIsRememberedForAsLongAsEventsOnTimeCanSeeIt(t *testing.T) {
	f := newFeed(t)
	f.show(0, time.Second, 1)
	expires := score.Expires([]score.Contribution{{Weight: 2, HalfLife: 100, Time: feedStart}}) - feedStart
	last := time.Duration(expires) * time.Millisecond
	f.show(last-time.Second, last-time.Millisecond, 0)
	if n := f.live(); n != 1 {
		t.Errorf("%d scores are live while one is worth a point", n)
	}
	f.show(last-time.Second, last, 0)
	if n := f.live(); n != 0 {
		t.Errorf("%d scores are live when none is worth a point", n)
	}
	f.show(last-time.Second, last+9*time.Second, 0)
	out := f.show(last-time.Millisecond, last+9*time.Second, 2)
	if len(out.Updates) != 1 || len(out.Updates[0].Contributions) != 2 {
		t.Fatalf("updates %+v, want one of two contributions", out.Updates)
	}
}
