package engine

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
)

// delivery is a raw partition that a gateway's records come to, as ingest sees it,
// and the facets that ingest makes of them.
type delivery struct {
	mu       sync.Mutex // of records
	appended bool       // the topic keeps the time of appending
	records  []kafka.Record
	commit   kafka.Commit
	epoch    *ingest.Epoch
	frames   [][]byte
}

func (d *delivery) deliver(claimed time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	value := fmt.Appendf(nil, `{"id":"e%d","time":%d,"account":"ann","auth":"failure","status":401}`, len(d.records), claimed.UnixMilli())
	d.records = append(d.records, kafka.Record{
		Offset: int64(len(d.records)), Key: fmt.Appendf(nil, "e%d", len(d.records)), Value: value, Time: time.Now().UnixMilli(), Appended: d.appended,
	})
}

func (d *delivery) end() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return int64(len(d.records))
}

func (d *delivery) Fetch(ctx context.Context, _ string, _ int32, offset int64, b *kafka.Batch) error {
	asked := time.Now()
	if offset == d.end() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Second):
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	b.Records = append(b.Records[:0], d.records[offset:]...)
	b.Next = int64(len(d.records))
	b.HighWatermark, b.Asked = b.Next, asked
	return nil
}

func (d *delivery) Produce(_ context.Context, topic string, ps []kafka.Produce) error {
	for _, p := range ps {
		for _, r := range p.Records {
			d.frames = append(d.frames, bytes.Clone(r.Value))
		}
	}
	return nil
}

func (d *delivery) NextReadable(context.Context, string, int32, int64) (int64, error) {
	return 0, fmt.Errorf("everything reads")
}

func (d *delivery) Offsets(context.Context, string) ([]kafka.OffsetRange, error) {
	return []kafka.OffsetRange{{End: d.end()}}, nil
}

func (d *delivery) Committed(context.Context, string, string) ([]kafka.Commit, error) {
	return []kafka.Commit{d.commit}, nil
}

func (d *delivery) Partitions(context.Context, string) (int, error) { return 1, nil }

func (d *delivery) Join(ctx context.Context, _, _ string, own func(context.Context, *kafka.Lease) error) error {
	return own(ctx, kafka.NewLease(0, func(_ context.Context, offset int64, metadata string) error {
		d.commit = kafka.Commit{Offset: offset, Metadata: metadata}
		return nil
	}))
}

func (d *delivery) Present() *ingest.Epoch { return d.epoch }

func (d *delivery) Follow(context.Context, int64) error { return nil }

func (d *delivery) Load(context.Context, string) (*ingest.Epoch, error) {
	return nil, ingest.ErrNoEpoch
}
func (d *delivery) Lookup(_ netip.Addr, p *geo.Place)                                { *p = geo.Place{} }
func (d *delivery) Stored() int64                                                    { return math.MaxInt64 }
func (d *delivery) Drain(context.Context) error                                      { return nil }
func (d *delivery) Append(context.Context, int64, uint64, int64, *event.Event) error { return nil }

// read runs ingest until all is read, and returns its ledger.
func (d *delivery) read(t *testing.T, cfg ingest.Config, set *rules.Set, during func()) ingest.Ledger {
	t.Helper()
	var err error
	if d.epoch, err = ingest.NewManifest(cfg, set.Projection(), nil).Epoch(d); err != nil {
		t.Fatal(err)
	}
	s, err := ingest.New(cfg, ingest.Topics{Events: "events", Facets: "facets", Dead: "dead", Group: "g"}, ingest.Shared{Incarnation: 1},
		ingest.Dependencies{Log: d, Epochs: d, OpenEvents: func(int32) ingest.EventTrack { return d }, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	during()
	time.Sleep(10 * time.Second)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	p, err := ingest.ParseProgress(d.commit.Metadata)
	if err != nil {
		t.Fatal(err)
	}
	return p.Ledger
}

// heaviest applies the facets to a partition with a second source, whose time is
// that of its only frame, and returns the weight of the heaviest signal.
func (d *delivery) heaviest(t *testing.T, set *rules.Set, other int64) (weight uint8, ledger Totals) {
	t.Helper()
	cfg := Defaults()
	cfg.Sources, cfg.Partitions = 2, 1
	p, err := NewPartition(cfg, set, facet.Hasher{}, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	projection := set.Projection()
	cover := facet.NewWriter(1, 1, &projection).Finish(facet.Section{Source: 1, Owner: 1, Watermark: other})
	for i, frame := range append([][]byte{cover}, d.frames...) {
		var out Output
		if err := p.Apply(int64(i), frame, &out); err != nil {
			t.Fatal(err)
		}
		for _, s := range out.Signals {
			weight = max(weight, s.Weight)
		}
	}
	return weight, p.Ledger().Total()
}

// failedSignIns counts what a person may do in an hour, and not in ten minutes.
const failedSignIns = `
rules:
  - id: failed-sign-ins
    title: Many failed sign-ins of one account
    entity: account
    when: auth == "failure" && status < 500
    counting: {window: 10m, cooldown: 5m, tiers: [{at: 11, weight: 30}, {at: 21, weight: 75}]}
    signal: {category: account_takeover, reason: many_failed_sign_ins, half_life: 1h}
    phase: soft
`

// TestABacklogIsNoBurst: what a shipper delivers after an outage of its own counts
// at the times at which it happened, or not at all.
func TestABacklogIsNoBurst(t *testing.T) {
	set, err := rules.Load(fstest.MapFS{"r.yaml": {Data: []byte(failedSignIns)}}, testrules.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	const many = 40
	type want struct {
		weight        uint8
		delayed, late int64
		skewed        int64
	}
	for _, c := range []struct {
		name    string
		apart   time.Duration // the failures
		live    bool          // delivered as they happen; else at once, at the end
		outage  time.Duration // that goes on behind the last
		delayed string
		want    want
	}{
		{"a person's failures, live", 70 * time.Second, true, 0, "late", want{}},
		{"an attack, live", 10 * time.Second, true, 0, "late", want{weight: 75}},
		{"a person's failures, at once after an outage", 70 * time.Second, false, 0, "late", want{delayed: 31, late: 31}},
		{"and long after", 70 * time.Second, false, time.Hour, "late", want{delayed: many, late: many}},
		{"an attack, long after", 10 * time.Second, false, time.Hour, "late", want{delayed: many, late: many}},
		{"a person's failures, where an operator has them count as they come", 70 * time.Second, false, time.Hour, "arrival", want{weight: 75, delayed: many, skewed: many}},
	} {
		for _, appended := range []bool{true, false} {
			for name, other := range map[string]int64{"alone": facet.EndWatermark, "beside a source that lags": 0} {
				t.Run(fmt.Sprintf("%s, %s, appended %v", c.name, name, appended), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						d := &delivery{appended: appended, commit: kafka.Commit{Offset: -1}}
						cfg := ingest.Defaults()
						cfg.Delayed = c.delayed
						l := d.read(t, cfg, set, func() {
							time.Sleep(time.Second)
							begin := time.Now()
							for range many {
								if time.Sleep(c.apart); c.live {
									d.deliver(time.Now())
								}
							}
							time.Sleep(c.outage)
							for i := range many {
								if !c.live {
									d.deliver(begin.Add(time.Duration(i+1) * c.apart))
								}
							}
						})
						weight, totals := d.heaviest(t, set, other)
						got := want{weight, l.Delayed, totals.Late, l.Skewed}
						if other == facet.EndWatermark && totals.Late > c.want.late {
							got.late = c.want.late // by the watermark, which ticks have moved on
						}
						if got != c.want || l.Accepted != many || totals.Applied != many {
							t.Errorf("got %+v, want %+v; %+v, %+v", got, c.want, l, totals)
						}
					})
				})
			}
		}
	}
}
