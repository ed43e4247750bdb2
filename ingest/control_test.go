package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
)

// both is a world with a topic of controls beside the raw topic.
type both struct {
	*world          // the raw topic
	controls *world // what is written for it is counted apart, by source
}

func (b *both) of(topic string) *world {
	if topic == "controls" || topic == "gc" {
		return b.controls
	}
	return b.world
}

func (b *both) Fetch(ctx context.Context, topic string, p int32, offset int64, batch *kafka.Batch) error {
	return b.of(topic).Fetch(ctx, topic, p, offset, batch)
}

func (b *both) Offsets(ctx context.Context, topic string) ([]kafka.OffsetRange, error) {
	return b.of(topic).Offsets(ctx, topic)
}

func (b *both) Committed(ctx context.Context, group, topic string) ([]kafka.Commit, error) {
	return b.of(group).Committed(ctx, group, topic)
}

func (b *both) Join(ctx context.Context, group, topic string, own func(context.Context, *kafka.Lease) error) error {
	return b.of(group).Join(ctx, group, topic, own)
}

func (b *both) Produce(ctx context.Context, topic string, ps []kafka.Produce) error {
	for _, p := range ps {
		if topic == "dead" {
			return b.controls.Produce(ctx, topic, ps)
		}
		var r facet.Reader
		if err := r.Reset(p.Records[0].Value); err != nil {
			return err
		}
		if r.Controls {
			return b.controls.Produce(ctx, topic, ps)
		}
	}
	return b.world.Produce(ctx, topic, ps)
}

// said is the store of control records.
type said struct {
	*world
	rows map[int64]string
}

func (s said) Append(_ context.Context, offset int64, _ uint64, _ int64, c *control.Record) error {
	s.rows[offset] = c.ID + " " + c.Reason
	return nil
}

func order(id, reason string) string {
	b, _ := control.Record{ID: id, Action: "release", Time: time.Now().UnixMilli(), Kind: "account", Key: "ann", Who: "ben", Reason: reason}.Encode()
	return string(b)
}

// run runs a stage with both topics, and returns the ledger of controls.
func (b *both) run(t *testing.T, rows map[int64]string, length time.Duration) (ingest.Ledger, error) {
	t.Helper()
	cfg := ingest.Defaults()
	var p facet.Projection
	p[facet.Account] = []event.Field{event.Auth}
	s, err := ingest.New(cfg, ingest.Topics{Events: "events", Facets: "facets", Dead: "dead", Group: "g", Controls: "controls", ControlsGroup: "gc"},
		ingest.Shared{Incarnation: 1, Hasher: facet.NewHasher([16]byte{1})}, ingest.Dependencies{
			Log: b, Epochs: newEpochs(newEpoch(t, cfg, p, b.world)), Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
			OpenEvents:   func(int32) ingest.EventTrack { return b.world },
			OpenControls: func() ingest.ControlTrack { return said{b.controls, rows} },
		})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	runErr := s.Run(ctx)
	progress, err := ingest.ParseProgress(b.controls.commit.Metadata)
	if err != nil {
		t.Fatal(err)
	}
	return progress.Ledger, runErr
}

// ofGates is a control record about gates, which is a row, and no entity's facet.
const ofGates = `{"v":1,"id":"s-1","action":"gate_off","time":1763892000123,"entity_kind":"global","entity":"","who":"ann","reason":"incident","origin":"command","expires":1763892060000}`

// TestAControlCountsOnceByItsId: of two records with one id, the first counts, whatever
// the second says, also for a worker that takes over.
func TestAControlCountsOnceByItsId(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, rows := &both{newWorld(), newWorld()}, map[int64]string{}
		b.controls.send(order("a", "first"), order("b", "too"), order("a", "second"), "garbage", `{"v":1,"id":"c","action":"explode"}`, order("c", "good"))
		if _, err := b.run(t, rows, 3*time.Second); err != nil {
			t.Fatal(err)
		}
		b.controls.send(order("b", "again"), order("d", "new"), ofGates, ofGates)
		l, err := b.run(t, rows, 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if want := (ingest.Ledger{Fetched: 10, Accepted: 5, Repeat: 3, Dead: 2, Facets: 4}); l != want {
			t.Errorf("ledger %+v, want %+v", l, want)
		}
		if got := fmt.Sprint(rows); got != "map[0:a first 1:b too 5:c good 7:d new 8:s-1 incident]" {
			t.Errorf("stored %s", got)
		}
		if got := fmt.Sprint(b.controls.facets(t)); got != "[0 1 5 7]" {
			t.Errorf("facets of %s", got)
		}
		for i, key := range []string{"controls-0-3", "controls-0-4"} {
			if got := b.controls.dead[i]; string(got.Key) != key || string(got.Headers[0].Value) != "control" || string(got.Headers[2].Value) != "controls" {
				t.Errorf("dead letter %s %s", got.Key, got.Headers)
			}
		}
	})
}

// TestASilentTopicOfControlsWritesNothing: it says nothing about time, so a cover for
// each destination at the take-over is all.
func TestASilentTopicOfControlsWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &both{newWorld(), newWorld()}
		if _, err := b.run(t, nil, time.Minute); err != nil {
			t.Fatal(err)
		}
		if n := len(b.controls.frames); n != 1 {
			t.Errorf("%d frames are written in a minute of silence", n)
		}
		if len(b.world.frames) < 30 {
			t.Errorf("only %d ticks of the raw partition", len(b.world.frames))
		}
		var r facet.Reader
		if err := r.Reset(b.controls.frames[0]); err != nil {
			t.Fatal(err)
		}
		if s, _, err := r.Section(); err != nil || s.Source != 1 || s.Watermark != facet.NoWatermark || s.Owner == 0 {
			t.Errorf("section %+v (%v)", s, err)
		}
	})
}

// TestAWorkerThatDiesLosesNoControl: at every effect.
func TestAWorkerThatDiesLosesNoControl(t *testing.T) {
	for at := range 12 {
		synctest.Test(t, func(t *testing.T) {
			b, rows := &both{newWorld(), newWorld()}, map[int64]string{}
			b.controls.send(order("a", "x"), order("b", "x"), "garbage", order("a", "x"))
			b.controls.mortal, b.controls.most = at, 2
			if _, err := b.run(t, rows, 5*time.Second); err != nil && !errors.Is(err, errDied) {
				t.Fatal(err)
			}
			b.controls.mortal = -1
			b.controls.send(order("c", "x"))
			l, err := b.run(t, rows, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if want := (ingest.Ledger{Fetched: 5, Accepted: 3, Repeat: 1, Dead: 1, Facets: 3}); l != want || fmt.Sprint(b.controls.facets(t)) != "[0 1 4]" || len(rows) != 3 {
				t.Errorf("after a death at effect %d: ledger %+v, facets of %v, rows %v", at, l, b.controls.facets(t), rows)
			}
		})
	}
}
