package ingest_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/watch"
	"github.com/weirdev/weir/proof/testkit"
)

// holding is a log of which the last records are of an open transaction until
// until, and of which some offsets hold nothing to read.
type holding struct {
	*world
	until  time.Time
	stable int64
	hidden map[int64]bool
}

func (h *holding) Fetch(ctx context.Context, topic string, partition int32, offset int64, b *kafka.Batch) error {
	open := time.Now().Before(h.until)
	if open && offset >= h.stable {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
		b.Records, b.Next, b.HighWatermark, b.Held, b.Asked = b.Records[:0], offset, h.end(), h.end()-h.stable, time.Now()
		return nil
	}
	if err := h.world.Fetch(ctx, topic, partition, offset, b); err != nil {
		return err
	}
	if b.Held = 0; open {
		b.Held, b.Next = b.HighWatermark-h.stable, min(b.Next, h.stable)
	}
	b.Records = slices.DeleteFunc(b.Records, func(r kafka.Record) bool { return h.hidden[r.Offset] || r.Offset >= b.Next })
	return nil
}

// TestAnOpenTransactionIsNoIdlePartition: its records were appended already. Were
// ticks to run ahead of them, they would all be late when they come; and where the
// worker's clock is the bracket, delayed.
func TestAnOpenTransactionIsNoIdlePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		begin := time.Now()
		h := &holding{world: w, until: begin.Add(14 * time.Minute), stable: 2, hidden: map[int64]bool{1: true, 4: true}}
		w.send(at("a", begin), "a marker", at("b", begin.Add(time.Second)), at("c", begin.Add(-9*time.Minute)), "a marker")

		registry, waited := prometheus.NewRegistry(), make(chan float64, 1)
		w.wire = func(d *ingest.Dependencies) { d.Log, d.Registerer = h, registry }
		time.AfterFunc(10*time.Minute, func() { waited <- valueOf(t, registry, "weir_ingest_held_seconds") })
		held, err := w.run(t, 13*time.Minute)
		if s := <-waited; err != nil || s < 599 || s > 601 {
			t.Errorf("after ten minutes reading has waited for %v s (%v)", s, err)
		}
		w.wire = func(d *ingest.Dependencies) { d.Log = h }
		if held.Fetched != 2 || held.Control != 1 || held.Accepted != 1 {
			t.Errorf("while the transaction is open the ledger is %+v", held)
		}
		if _, watermark := w.times(t); watermark.After(begin.Add(time.Second)) {
			t.Errorf("while the transaction is open the watermark is %v, %v behind its beginning", watermark, watermark.Sub(begin))
		}
		l, err := w.run(t, 3*time.Minute)
		want := ingest.Ledger{Fetched: 5, Accepted: 3, Control: 2, Facets: 3}
		if err != nil || l != want || l.Sum() != l.Fetched {
			t.Errorf("the ledger is %+v, want %+v (%v)", l, want, err)
		}
		if got := fmt.Sprint(w.facets(t)); got != "[0 2 3]" {
			t.Errorf("facets of the records %s", got)
		}
		if n := w.metric(t, "weir_ingest_control_records_total"); n != 1 {
			t.Errorf("%v offsets of the second run hold no record, want 1", n)
		}
		if _, watermark := w.times(t); time.Since(watermark) > time.Minute {
			t.Errorf("when it has ended the watermark is still %v", watermark)
		}
	})
}

// TestAnOpenTransactionIsNotTakenForAHang, however long it lasts.
func TestAnOpenTransactionIsNotTakenForAHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		h := &holding{world: w, until: time.Now().Add(10 * time.Minute)}
		w.wire = func(d *ingest.Dependencies) { d.Log = h }
		w.send(request("a", "ann"))
		var err error
		if w.watch, err = watch.New(30 * time.Second); err != nil {
			t.Fatal(err)
		}
		stuck := make(chan error, 1)
		watching, stop := context.WithCancel(t.Context())
		go func() { stuck <- w.watch.Run(watching) }()
		if l, err := w.run(t, 12*time.Minute); err != nil || l.Accepted != 1 {
			t.Errorf("the ledger is %+v, %v", l, err)
		}
		stop()
		if err := <-stuck; err != nil {
			t.Error(err)
		}
	})
}

func TestAbortedTransactionsOnTheEmbeddedBroker(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	abortedTransactions(t, cluster.ListenAddrs()[0])
}

func TestAbortedTransactionsOnApacheKafka(t *testing.T) {
	abortedTransactions(t, testkit.Kafka(t))
}

// abortedTransactions: what a gateway takes back is no event, covers join all the
// same, and the ledger knows of every offset.
func abortedTransactions(t *testing.T, addr string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b := newBroker(ctx, t, addr)
	done, stop := b.start(ctx, t)

	b.transact(ctx, t, kgo.TryCommit, "a", "b")
	b.transact(ctx, t, kgo.TryAbort, "c", "d", "e")
	b.transact(ctx, t, kgo.TryAbort, "f")
	b.transact(ctx, t, kgo.TryCommit, "g")
	const end = 11 // seven records and four markers, the last of which the broker writes in its own time
	var offsets []int64
	for p := range int32(2) {
		offsets = append(offsets, b.covered(ctx, t, p, end)...)
	}
	slices.Sort(offsets)
	if got := fmt.Sprint(offsets); got != "[0 1 9]" {
		t.Errorf("the facets are of %s", got)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	commits, err := b.Committed(ctx, b.topics.Group, b.topics.Events)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ingest.ParseProgress(commits[0].Metadata)
	want := ingest.Ledger{Fetched: end, Accepted: 3, Control: 8, Facets: 3}
	if err != nil || commits[0].Offset != end || p.Ledger != want {
		t.Errorf("at %d of %d the ledger is %+v, want %+v (%v)", commits[0].Offset, end, p.Ledger, want, err)
	}
}

// broker is a real one, with a stream's topics.
type broker struct {
	*kafka.Client
	topics  ingest.Topics
	gateway *kgo.Client
}

func newBroker(ctx context.Context, t *testing.T, addr string) *broker {
	t.Helper()
	cfg := kafka.Defaults()
	cfg.Brokers = []string{addr}
	c, err := kafka.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // nothing is under way
	name := fmt.Sprintf("tx%d", time.Now().UnixNano())
	b := &broker{Client: c, topics: ingest.Topics{Events: name + ".events", Facets: name + ".facets", Dead: name + ".dead", Group: name}}
	for topic, partitions := range map[string]int{b.topics.Events: 1, b.topics.Facets: 2, b.topics.Dead: 1} {
		if err := c.CreateTopic(ctx, kafka.TopicSpec{Name: topic, Partitions: partitions, Replication: 1}); err != nil {
			t.Fatal(err)
		}
	}
	b.gateway, err = kgo.NewClient(kgo.SeedBrokers(addr), kgo.TransactionalID(name), kgo.DefaultProduceTopic(b.topics.Events))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.gateway.Close)
	return b
}

// start runs the stage until stop is called.
func (b *broker) start(ctx context.Context, t *testing.T) (done chan error, stop func()) {
	t.Helper()
	cfg := ingest.Defaults()
	cfg.CommitInterval = 50 * time.Millisecond
	var p facet.Projection
	p[facet.Account] = []event.Field{event.Auth}
	w := newWorld()
	s, err := ingest.New(cfg, b.topics, ingest.Shared{Incarnation: 1, Hasher: facet.NewHasher([16]byte{1})}, ingest.Dependencies{
		Log: b, Epochs: newEpochs(newEpoch(t, cfg, p, w)), OpenEvents: func(int32) ingest.EventTrack { return w }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done = make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return done, cancel
}

// transact writes requests in a transaction.
func (b *broker) transact(ctx context.Context, t *testing.T, how kgo.TransactionEndTry, ids ...string) {
	t.Helper()
	if err := b.gateway.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if err := b.gateway.ProduceSync(ctx, &kgo.Record{Key: []byte(id), Value: []byte(request(id, "account-"+id))}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.gateway.EndTransaction(ctx, how); err != nil {
		t.Fatal(err)
	}
}

// covered reads a facet partition until it covers the raw partition to end, and
// lists the raw offsets of its facets.
func (b *broker) covered(ctx context.Context, t *testing.T, partition int32, end int64) (offsets []int64) {
	t.Helper()
	var batch kafka.Batch
	var r facet.Reader
	var f facet.Facet
	for next := int64(0); next < end; {
		if err := b.Fetch(ctx, b.topics.Facets, partition, batch.Next, &batch); err != nil {
			t.Fatal(err)
		}
		for _, rec := range batch.Records {
			if err := r.Reset(rec.Value); err != nil {
				t.Fatal(err)
			}
			s, _, err := r.Section()
			if err != nil || s.From != next {
				t.Fatalf("facets/%d covers %+v after %d (%v)", partition, s, next, err)
			}
			for range s.Facets {
				if _, err := r.Facet(&f); err != nil {
					t.Fatal(err)
				}
				offsets = append(offsets, f.Offset)
			}
			next = s.To
		}
	}
	return offsets
}
