package push

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
)

// world is a stream with its topics of rules and facets, and workers that follow.
type world struct {
	rules    [][]byte
	facets   [3][][]byte
	promised [2]int64 // by raw partition, what commits of ingest say
	stalled  bool     // ingest commits nothing
	unread   int64    // the number of a proposal that no worker reads; 0: none
	idle     bool     // detect commits nothing
	mute     bool     // commits of detect do not say what is in force
	mortal   int      // effects left until the pusher dies; below 0: it does not
	before   func()   // is called before the next effect; nil: nobody does anything
	said     []string
	fetched  int // from the topic of rules
}

func newWorld() *world { return &world{mortal: -1} }

var errDied = errors.New("the pusher has died")

func (w *world) dies() bool {
	if f := w.before; f != nil {
		w.before = nil
		f()
	}
	if w.mortal == 0 {
		return true
	}
	w.mortal--
	return false
}

func (w *world) Fetch(_ context.Context, topic string, _ int32, offset int64, b *kafka.Batch) error {
	if topic != "rules" {
		return errors.New("nobody reads that")
	}
	w.fetched++
	serve(b, w.rules, offset)
	return nil
}

// serve answers with all records from an offset on.
func serve(b *kafka.Batch, all [][]byte, offset int64) {
	b.Records, b.Next, b.HighWatermark = b.Records[:0], int64(len(all)), int64(len(all))
	for ; offset < b.Next; offset++ {
		b.Records = append(b.Records, kafka.Record{Offset: offset, Value: all[offset]})
	}
}

func (w *world) Produce(_ context.Context, topic string, ps []kafka.Produce) error {
	for _, p := range ps {
		for _, r := range p.Records {
			if w.dies() {
				return errDied
			}
			if topic == "rules" {
				w.rules = append(w.rules, r.Value)
			} else {
				w.facets[p.Partition] = append(w.facets[p.Partition], r.Value)
			}
		}
	}
	return nil
}

func (w *world) Offsets(_ context.Context, topic string) (all []kafka.OffsetRange, err error) {
	if topic == "rules" {
		return []kafka.OffsetRange{{End: int64(len(w.rules))}}, nil
	}
	for _, log := range w.facets {
		all = append(all, kafka.OffsetRange{End: int64(len(log))})
	}
	return all, nil
}

func (w *world) Committed(_ context.Context, group, _ string) (all []kafka.Commit, err error) {
	if group == "ingest" {
		for i := range w.promised {
			if !w.stalled {
				w.promised[i] = int64(len(w.rules))
				if w.unread > 0 {
					w.promised[i] = min(w.promised[i], w.unread-1)
				}
			}
			p := ingest.Progress{Version: 1, Pushed: w.promised[i]}
			all = append(all, kafka.Commit{Partition: int32(i), Metadata: p.String()})
		}
		return all, nil
	}
	for i, log := range w.facets {
		c := kafka.Commit{Partition: int32(i)}
		if !w.idle {
			live, shadow := effective(log)
			c.Offset, c.Metadata = int64(len(log)), engine.Progress{Version: 1, Rules: live.Number, Shadow: shadow.Number}.String()
			if w.mute {
				c.Metadata = ""
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// effective returns the switches that count at the end of a facet partition.
func effective(log [][]byte) (live, shadow facet.Switch) {
	for _, frame := range log {
		s, err := facet.ReadSwitch(frame)
		if err != nil {
			panic(err)
		}
		lane := &live
		if s.Lane == facet.Shadow {
			lane = &shadow
		}
		if s.Number > lane.Number {
			*lane = s
		}
	}
	return live, shadow
}

func (w *world) pusher() *Pusher {
	return &Pusher{
		Log: w, Now: func() time.Time { return time.UnixMilli(1763892000123) }, Every: 100 * time.Millisecond, Tell: func(s string) { w.said = append(w.said, s) },
		Stream: Stream{Rules: "rules", Events: "events", Facets: "facets", Ingest: "ingest", Detect: "detect", Incarnation: 1},
	}
}

// push pushes, with a time limit.
func (w *world) push(t *testing.T, r Request) (*Push, error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, errors.New("-timeout is over"))
	defer cancel()
	if r.Who == "" {
		r.Who = "ann"
	}
	return w.pusher().Push(ctx, r)
}

func (w *world) must(t *testing.T, r Request) *Push {
	t.Helper()
	p, err := w.push(t, r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (w *world) history(t *testing.T) *History {
	t.Helper()
	h, err := w.pusher().History(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// in returns the version in force at the end of every facet partition, which must be
// the same one.
func (w *world) in(t *testing.T, lane facet.Lane) string {
	t.Helper()
	version := ""
	for i, log := range w.facets {
		s, shadow := effective(log)
		if lane == facet.Shadow {
			s = shadow
		}
		if i > 0 && s.Version != version {
			t.Errorf("partition %d has version %q, another has %q", i, s.Version, version)
		}
		version = s.Version
	}
	return version
}

// set loads a rule about entities of a kind that reads a field.
func set(t *testing.T, entity, field string) *rules.Set {
	t.Helper()
	s, err := rules.Load(fstest.MapFS{"a.yaml": {Data: fmt.Appendf(nil, `
rules:
  - id: a
    title: Counts
    entity: %s
    when: %s != ""
    counting: {window: 10m, tiers: [{at: 10, weight: 10}]}
    signal: {category: bot, reason: r, half_life: 1m}
    phase: observe
`, entity, field)}}, testrules.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	return s
}
