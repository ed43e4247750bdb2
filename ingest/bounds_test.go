package ingest_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/proof/testkit"
)

// TestAClockThatIsSetIsNotBelieved: for one tick the worker's clock is a day off,
// and nobody says so; time that passes is not measured by it. In the bubble, the
// clock is right, and the day is in what is said of it.
func TestAClockThatIsSetIsNotBelieved(t *testing.T) {
	for _, off := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, ticks := newWorld(), 0
				w.wire = func(d *ingest.Dependencies) {
					d.ClockAhead = func() time.Duration {
						if ticks++; ticks%10 == 5 {
							return -off
						}
						return 0
					}
				}
				if _, err := w.run(t, 28*time.Second); err != nil {
					t.Fatal(err)
				}
				if ticks < 25 {
					t.Fatalf("%d ticks", ticks)
				}
				if _, watermark := w.times(t); time.Since(watermark).Abs() > 6*time.Second {
					t.Errorf("the watermark is at %v, and it is %v", watermark, time.Now())
				}
			})
		})
	}
}

// rotting is a log of which a record here and there does not read any more.
type rotting struct {
	*world
	rotten map[int64]bool
	failed []int64 // fetches
}

func (r *rotting) Fetch(ctx context.Context, topic string, partition int32, offset int64, b *kafka.Batch) error {
	if r.rotten[offset] {
		r.failed = append(r.failed, offset)
		return fmt.Errorf("fetch at %d: %w", offset, kafka.ErrUnreadable)
	}
	if err := r.world.Fetch(ctx, topic, partition, offset, b); err != nil {
		return err
	}
	for i := range b.Records {
		if o := b.Records[i].Offset; r.rotten[o] {
			b.Records, b.Next = b.Records[:i], o
			break
		}
	}
	return nil
}

func (r *rotting) NextReadable(_ context.Context, _ string, _ int32, offset int64) (int64, error) {
	for r.rotten[offset] {
		offset++
	}
	return offset, nil
}

// TestATakeOverDoesNotWaitForAWindowThatIsRotten: each batch that does not read
// takes as long as a fetch is tried again, and there may be thousands.
func TestATakeOverDoesNotWaitForAWindowThatIsRotten(t *testing.T) {
	for _, c := range []struct {
		rotten, failed int
		repeats        int64
	}{
		{0, 0, 1}, {3, 3, 1}, {4, 4, 0}, {40, 4, 0},
	} {
		t.Run(fmt.Sprint(c.rotten), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				for i := range 2 * c.rotten {
					w.send(request(fmt.Sprint(i), "ann"))
				}
				last := request("last", "ann")
				w.send(last)
				if _, err := w.run(t, 3*time.Second); err != nil {
					t.Fatal(err)
				}
				log := &rotting{world: w, rotten: map[int64]bool{}}
				for i := range c.rotten {
					log.rotten[int64(2*i)] = true
				}
				w.wire = func(d *ingest.Dependencies) { d.Log = log }
				w.send(last)
				l, err := w.run(t, 3*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				if len(log.failed) != c.failed || l.Repeat != c.repeats || l.Fetched != w.end() {
					t.Errorf("fetched in vain at %v, want %d times; the ledger is %+v, want %d repeats of %d records", log.failed, c.failed, l, c.repeats, w.end())
				}
			})
		})
	}
}

// TestTheFiguresOfAPartitionGoWithIt: what a worker says of a partition that
// another one has would never change again.
func TestTheFiguresOfAPartitionGoWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, registry := newWorld(), prometheus.NewPedanticRegistry()
		w.wire = func(d *ingest.Dependencies) { d.Registerer = registry }
		w.send(request("a", "ann"))
		held := make(chan []string, 1)
		time.AfterFunc(2*time.Second, func() { held <- testkit.OfPartitions(t, registry) })
		if _, err := w.run(t, 3*time.Second); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(<-held); got != "[weir_ingest_commit_age_seconds weir_ingest_held_seconds weir_ingest_lag_records weir_ingest_lag_seconds weir_ingest_ledger_records]" {
			t.Errorf("of a partition that is read there are %s", got)
		}
		if left := testkit.OfPartitions(t, registry); len(left) > 0 {
			t.Errorf("of one that was given up there are %v", left)
		}
	})
}
