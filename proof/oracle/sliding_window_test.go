package oracle

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// bytesSlot is a slot with its own record.
type bytesSlot struct{ payload []byte }

func (s *bytesSlot) Payload() []byte { return s.payload }

func (s *bytesSlot) Resize(n int) []byte {
	s.payload = append(make([]byte, 0, n), s.payload[:min(n, len(s.payload))]...)[:n]
	return s.payload
}

// Histories of few entities have windows with few values. The histories here have
// many, so that panes have registers, there are many buckets, and bounds are
// reached.
func TestTheWindowAgreesWithItsModelOnManyEvents(t *testing.T) {
	const lateness = 20_000
	fired, dense, forgotten := 0, 0, 0
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 5))
		w := &detectors.SlidingWindow{Cooldown: time.Millisecond, Tiers: []detectors.Tier{{At: 1 + rng.IntN(300), Weight: 10}, {At: 1500, Weight: 20}}}
		if span := time.Duration(30+rng.IntN(300)) * time.Second; rng.IntN(3) > 0 {
			w.Window = span
		} else {
			w.Gap = span / 100
		}
		switch seed % 4 {
		case 0, 1:
			w.Distinct = event.Object
		case 2:
			w.Percentile, w.P, w.MinEvents = event.ResponseBytes, 1+rng.IntN(100), 1
		case 3:
			w.Sum = event.ResponseBytes
		}
		d, err := detectors.New(&rules.Rule{ID: "r", Spec: w}, detectors.Environment{Lateness: lateness, Hasher: hasher})
		if err != nil {
			t.Fatal(err)
		}
		model := &windows{rule: w, hasher: hasher}
		var s bytesSlot
		var e event.Event
		now, watermark := start, int64(facet.NoWatermark)
		for n := range 1500 {
			now += rng.Int64N(200)
			at := now - rng.Int64N(lateness)*rng.Int64N(2)
			if watermark != facet.NoWatermark && at < watermark-lateness {
				continue
			}
			e.Reset()
			e.SetText(event.Object, fmt.Sprint(rng.IntN(1+n)))
			e.SetNum(event.ResponseBytes, int64(rng.Uint64()>>(11+rng.IntN(53))))
			c := detectors.Context{Own: &s, Event: &e, Time: at, Watermark: watermark}
			var f detectors.Firing
			got := d.Apply(&c, &f)
			want, counts := model.arrive(arrival{event: &e, time: at, watermark: watermark, lateness: lateness})
			if got != (want != nil) || c.Counts != counts || got && !reflect.DeepEqual(firing{f.Tier, f.Weight, f.Clears, f.Evidence}, *want) {
				t.Fatalf("seed %d, event %d: %+v\nfired %v %+v\nwant  %+v", seed, n, w, got, f, want)
			}
			if got {
				fired++
			}
			if len(s.payload) > 1024 {
				dense++
			}
			if rng.IntN(10) == 0 {
				watermark = now
			}
		}
		forgotten += model.forgot()
	}
	if fired < 3_000 || dense < 3_000 || forgotten == 0 {
		t.Errorf("too tame to show anything: fired %d times, %d states with registers, %d panes forgotten", fired, dense, forgotten)
	}
}
