package klog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weirdev/weir/internal/klog"
	"github.com/weirdev/weir/internal/testkit"
)

// brokers runs a test against every broker there is.
func brokers(t *testing.T, test func(t *testing.T, addr string)) {
	t.Run("embedded", func(t *testing.T) {
		c, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		test(t, c.ListenAddrs()[0])
	})
	t.Run("apache", func(t *testing.T) { test(t, testkit.Kafka(t)) })
}

func client(t *testing.T, addr, compression string) *klog.Client {
	t.Helper()
	cfg := klog.Defaults()
	cfg.Brokers, cfg.Compression = []string{addr}, compression
	c, err := klog.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func topic(t *testing.T, c *klog.Client, partitions int) string {
	t.Helper()
	name := fmt.Sprintf("t%d", time.Now().UnixNano())
	spec := klog.TopicSpec{Name: name, Partitions: partitions, Replication: 1, Config: map[string]string{"max.message.bytes": "2097152"}}
	if err := c.CreateTopic(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	return name
}

// readAll fetches from an offset to the log's end.
func readAll(t *testing.T, c *klog.Client, topic string, partition int32, from int64) (values []string) {
	t.Helper()
	var b klog.Batch
	for {
		if err := c.Fetch(t.Context(), topic, partition, from, &b); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Records {
			if r.Offset != from {
				t.Fatalf("offset %d, want %d", r.Offset, from)
			}
			values = append(values, string(r.Value))
			from++
		}
		if from >= b.HighWatermark {
			return values
		}
	}
}

// sample has 500 records for a partition, the nth with n bytes.
func sample(p int32) klog.Produce {
	out := klog.Produce{Partition: p}
	for i := range 500 {
		out.Records = append(out.Records, klog.Outgoing{
			Key: fmt.Appendf(nil, "k%d", i), Value: bytes.Repeat([]byte{byte('a' + p)}, i),
			Headers: []klog.Header{{Key: "h", Value: []byte{byte(i)}}},
		})
	}
	return out
}

func TestWhatIsProducedIsFetchedInOrder(t *testing.T) {
	brokers(t, func(t *testing.T, addr string) {
		for _, compression := range []string{"none", "lz4"} {
			t.Run(compression, func(t *testing.T) {
				c := client(t, addr, compression)
				name := topic(t, c, 3)
				if err := c.Produce(t.Context(), name, []klog.Produce{sample(0), sample(1), sample(2)}); err != nil {
					t.Fatal(err)
				}
				for p := range int32(3) {
					got := readAll(t, c, name, p, 0)
					if len(got) != 500 || got[499] != string(bytes.Repeat([]byte{byte('a' + p)}, 499)) {
						t.Fatalf("partition %d has %d records", p, len(got))
					}
				}
				if got := readAll(t, c, name, 1, 498); len(got) != 2 {
					t.Errorf("%d records from 498 on, want 2", len(got))
				}
				var b klog.Batch
				if err := c.Fetch(t.Context(), name, 2, 7, &b); err != nil {
					t.Fatal(err)
				}
				r := b.Records[0]
				if r.Offset != 7 || string(r.Key) != "k7" || len(r.Headers) != 1 || r.Headers[0].Value[0] != 7 || b.HighWatermark != 500 {
					t.Errorf("record %+v of a log that ends at %d", r, b.HighWatermark)
				}
				ranges, err := c.Offsets(t.Context(), name)
				if err != nil || len(ranges) != 3 || ranges[2] != (klog.OffsetRange{Start: 0, End: 500}) {
					t.Errorf("offsets %v %v", ranges, err)
				}
			})
		}
	})
}

func TestErrorsThatDoNotPassAreNamed(t *testing.T) {
	brokers(t, func(t *testing.T, addr string) {
		c := client(t, addr, "none")
		name := topic(t, c, 1)
		var b klog.Batch
		if err := c.Fetch(t.Context(), name, 0, 99, &b); !errors.Is(err, klog.ErrOffsetOutOfRange) {
			t.Errorf("fetch beyond the end: %v", err)
		}
		if err := c.Fetch(t.Context(), name, 0, 0, &b); err != nil || len(b.Records) != 0 {
			t.Errorf("fetch of an empty log: %d records, %v", len(b.Records), err)
		}
		big := []klog.Produce{{Records: []klog.Outgoing{{Value: make([]byte, 3<<20)}}}}
		if err := c.Produce(t.Context(), name, big); !errors.Is(err, klog.ErrTooLarge) {
			t.Errorf("a record that is too large: %v", err)
		}
		if _, err := c.Partitions(t.Context(), "no-such-topic"); !errors.Is(err, klog.ErrUnknownTopic) {
			t.Errorf("an unknown topic: %v", err)
		}
		if err := c.CreateTopic(t.Context(), klog.TopicSpec{Name: name, Partitions: 1, Replication: 1}); err != nil {
			t.Errorf("creating a topic twice: %v", err)
		}
	})
}

func TestAGroupSharesPartitionsAndFencesFormerOwners(t *testing.T) {
	brokers(t, func(t *testing.T, addr string) {
		c := client(t, addr, "none")
		name := topic(t, c, 4)
		group := name + ".group"
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()

		generations := make(chan *klog.Generation, 16)
		var members sync.WaitGroup
		join := func() (leave func()) {
			ctx, leave := context.WithCancel(ctx)
			members.Go(func() {
				_ = c.Join(ctx, group, name, func(ctx context.Context, g *klog.Generation) error {
					generations <- g
					<-ctx.Done()
					return nil
				})
			})
			return leave
		}
		leaveFirst := join()
		g := next(t, ctx, generations, 4)
		want := klog.Commit{Partition: 2, Offset: 41, Metadata: `{"owner":7}`}
		if err := g.Commit(ctx, []klog.Commit{want}); err != nil {
			t.Fatal(err)
		}
		commits, err := c.Committed(ctx, group, name)
		if err != nil || commits[2] != want || commits[0].Offset != -1 {
			t.Fatalf("commits %+v %v", commits, err)
		}
		leaveSecond := join()
		shared := next(t, ctx, generations, 2)
		if err := g.Commit(ctx, []klog.Commit{{Partition: 2, Offset: 42}}); !errors.Is(err, klog.ErrFenced) {
			t.Errorf("a commit of a former generation: %v", err)
		}
		if err := shared.Commit(ctx, []klog.Commit{{Partition: shared.Assigned[0], Offset: 1}}); err != nil {
			t.Errorf("a commit of the present generation: %v", err)
		}
		leaveSecond()
		next(t, ctx, generations, 4)
		leaveFirst()
		members.Wait()
	})
}

// next waits for a generation that has so many partitions.
func next(t *testing.T, ctx context.Context, generations <-chan *klog.Generation, partitions int) *klog.Generation {
	t.Helper()
	for {
		select {
		case g := <-generations:
			if len(g.Assigned) == partitions {
				return g
			}
		case <-ctx.Done():
			t.Fatalf("no generation with %d partitions", partitions)
		}
	}
}
