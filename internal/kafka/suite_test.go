package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"
)

func producedIsFetched(t *testing.T, addr string) {
	for _, compression := range []string{"none", "lz4"} {
		t.Run(compression, func(t *testing.T) {
			c := client(t, addr, func(c *Config) { c.Compression = compression })
			const partitions, records = 12, 500
			topic := newTopic(t, c, partitions)
			var ps []Produce
			for p := range int32(partitions) {
				out := Produce{Partition: p}
				for i := range records {
					out.Records = append(out.Records, values(fmt.Sprintf("%d/%d %s", p, i, strings.Repeat("x", i)))...)
				}
				ps = append(ps, out)
			}
			if err := c.Produce(t.Context(), topic, ps); err != nil {
				t.Fatal(err)
			}
			for p := range int32(partitions) {
				got := readAll(t, c, topic, p, 0)
				if len(got) != records {
					t.Fatalf("partition %d has %d records, want %d", p, len(got), records)
				}
				for i, v := range got {
					if want := fmt.Sprintf("%d/%d ", p, i); !strings.HasPrefix(v, want) || len(v) != len(want)+i {
						t.Fatalf("record %d of partition %d is %q", i, p, v)
					}
				}
			}
			ranges, err := c.Offsets(t.Context(), topic)
			if err != nil || len(ranges) != partitions || ranges[7] != (OffsetRange{0, records}) {
				t.Errorf("offsets %v, %v", ranges, err)
			}
		})
	}
}

func recordsComeBack(t *testing.T, addr string) {
	c := client(t, addr)
	topic := newTopic(t, c, 1)
	sent := []Outgoing{
		{Key: []byte("key"), Value: []byte("value"), Headers: []Header{{"a", []byte("1")}, {"b", []byte{}}, {"a", nil}}},
		{Key: nil, Value: []byte{}},
		{Key: []byte{}, Value: nil},
		{Value: []byte("\x00\xff")},
	}
	before := time.Now().UnixMilli()
	if err := c.Produce(t.Context(), topic, []Produce{{0, sent}}); err != nil {
		t.Fatal(err)
	}
	var b Batch
	if err := c.Fetch(t.Context(), topic, 0, 0, &b); err != nil {
		t.Fatal(err)
	}
	if len(b.Records) != len(sent) || b.Next != 4 || b.HighWatermark != 4 || b.LogStart != 0 {
		t.Fatalf("%d records, next %d, log %d to %d", len(b.Records), b.Next, b.LogStart, b.HighWatermark)
	}
	for i, r := range b.Records {
		want := sent[i]
		if len(want.Headers) == 0 {
			want.Headers = r.Headers[:0]
		}
		if got := (Outgoing{r.Key, r.Value, r.Headers}); !reflect.DeepEqual(got, want) || r.Offset != int64(i) {
			t.Errorf("record %d is %#v, want %#v", i, got, want)
		}
		if r.Time < before || r.Time > time.Now().UnixMilli() {
			t.Errorf("record %d is of %d, sent after %d", i, r.Time, before)
		}
	}
}

func largeProduce(t *testing.T, addr string) {
	c := client(t, addr, func(c *Config) { c.Compression = "none" })
	topic := newTopic(t, c, 2)
	ps := []Produce{{Partition: 0}, {Partition: 1, Records: values("beside")}}
	for i := range 60 {
		ps[0].Records = append(ps[0].Records, values(fmt.Sprintf("%03d%s", i, strings.Repeat("x", 100_000)))...)
	}
	if err := c.Produce(within(t, 30*time.Second), topic, ps); err != nil {
		t.Fatal(err)
	}
	got := readAll(t, c, topic, 0, 0)
	if len(got) != 60 || len(readAll(t, c, topic, 1, 0)) != 1 {
		t.Fatalf("%d records, want 60", len(got))
	}
	for i, v := range got {
		if v[:3] != fmt.Sprintf("%03d", i) {
			t.Fatalf("record %d is %s", i, v[:3])
		}
	}
}

func fetchContinues(t *testing.T, addr string) {
	c := client(t, addr)
	topic := newTopic(t, c, 1)
	if err := c.Produce(t.Context(), topic, []Produce{{0, values("a", "b", "c", "d")}}); err != nil {
		t.Fatal(err)
	}
	for from, want := range []string{"abcd", "bcd", "cd", "d", ""} {
		if got := strings.Join(readAll(t, c, topic, 0, int64(from)), ""); got != want {
			t.Errorf("from %d on there is %q, want %q", from, got, want)
		}
	}
}

func namedErrors(t *testing.T, addr string) {
	c := client(t, addr, func(c *Config) { c.Compression = "none" })
	topic := newTopic(t, c, 1)
	ctx := within(t, 30*time.Second)
	var b Batch
	if err := c.Fetch(ctx, topic, 0, 99, &b); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("a fetch beyond the end: %v", err)
	}
	if err := c.Produce(ctx, topic, []Produce{{0, []Outgoing{{Value: make([]byte, 2<<20)}}}}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a record that is too large: %v", err)
	}
	for what, err := range map[string]error{
		"fetch of a topic":     c.Fetch(ctx, "no-such-topic", 0, 0, &b),
		"fetch of a partition": c.Fetch(ctx, topic, 7, 0, &b),
		"produce":              c.Produce(ctx, topic, []Produce{{7, values("x")}}),
	} {
		if !errors.Is(err, ErrUnknownTopic) {
			t.Errorf("%s that is not there: %v", what, err)
		}
	}
	if _, err := c.Offsets(ctx, "no-such-topic"); !errors.Is(err, ErrUnknownTopic) {
		t.Errorf("offsets of a topic that is not there: %v", err)
	}
	if err := c.Produce(ctx, topic, nil); err != nil {
		t.Errorf("producing nothing: %v", err)
	}
}

func emptyLog(t *testing.T, addr string) {
	asked := time.UnixMilli(1_700_000_000_000)
	c := client(t, addr, func(c *Config) { c.FetchWait = 20 * time.Millisecond })
	c.now = func() time.Time { return asked }
	topic := newTopic(t, c, 1)
	b := Batch{Records: make([]Record, 3), Next: 9}
	if err := c.Fetch(within(t, 10*time.Second), topic, 0, 0, &b); err != nil {
		t.Fatal(err)
	}
	if len(b.Records) != 0 || b.Next != 0 || b.HighWatermark != 0 || !b.Asked.Equal(asked) {
		t.Errorf("%d records, next %d, log end %d, asked at %v", len(b.Records), b.Next, b.HighWatermark, b.Asked)
	}
}

func wokenFetch(t *testing.T, addr string) {
	c := client(t, addr, func(c *Config) { c.FetchWait = time.Second })
	topic := newTopic(t, c, 1)
	ctx := within(t, 30*time.Second)
	produced := make(chan error, 1)
	go func() { produced <- c.Produce(ctx, topic, []Produce{{0, values("x")}}) }()
	var b Batch
	for len(b.Records) == 0 {
		if err := c.Fetch(ctx, topic, 0, 0, &b); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-produced; err != nil || string(b.Records[0].Value) != "x" {
		t.Errorf("fetched %q, %v", b.Records[0].Value, err)
	}
}

func endedFetch(t *testing.T, addr string) {
	c := client(t, addr, func(c *Config) { c.FetchWait = time.Second })
	topic := newTopic(t, c, 1)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	var b Batch
	for {
		if err := c.Fetch(ctx, topic, 0, 0, &b); errors.Is(err, context.Canceled) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Fetch(t.Context(), topic, 0, 0, &b); err != nil {
		t.Errorf("the fetch after one that was cancelled: %v", err)
	}
}

func appendTime(t *testing.T, addr string) {
	c := client(t, addr)
	topic := newTopic(t, c, 1, "message.timestamp.type", "LogAppendTime")
	if err := c.Produce(t.Context(), topic, []Produce{{0, values("a", "b")}}); err != nil {
		t.Fatal(err)
	}
	var b Batch
	if err := c.Fetch(t.Context(), topic, 0, 0, &b); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(time.UnixMilli(b.Records[1].Time)); d < -time.Second || d > time.Minute || b.Records[0].Time != b.Records[1].Time {
		t.Errorf("appended at %d and %d, that is %v ago", b.Records[0].Time, b.Records[1].Time, d)
	}
}

func preflight(t *testing.T, addr string) {
	if err := client(t, addr).Preflight(t.Context()); err != nil {
		t.Error(err)
	}
}

func topics(t *testing.T, addr string) {
	c := client(t, addr)
	topic := newTopic(t, c, 5, "retention.ms", "123456789")
	if err := c.CreateTopic(t.Context(), TopicSpec{Name: topic, Partitions: 9, Replication: 1}); err != nil {
		t.Errorf("making it again: %v", err)
	}
	if n, err := c.Partitions(t.Context(), topic); n != 5 || err != nil {
		t.Errorf("%d partitions, %v; want 5", n, err)
	}
	spec, err := c.Describe(t.Context(), topic)
	if err != nil || spec.Config["retention.ms"] != "123456789" || spec.Config["cleanup.policy"] != "delete" || spec.Partitions != 5 || spec.Replication != 1 {
		t.Errorf("it is described as %v, %v", spec, err)
	}
	if err := c.CreateTopic(t.Context(), TopicSpec{Name: topic + "-2", Partitions: 1, Replication: 9}); err == nil {
		t.Error("more replicas than brokers are accepted")
	}
}

// clockOfTheBroker: ours is a day ahead, and a day behind; Apache Kafka tells.
func clockOfTheBroker(t *testing.T, addr string) {
	for _, off := range []time.Duration{24 * time.Hour, -24 * time.Hour, 0} {
		cfg := Defaults()
		cfg.Brokers = []string{addr}
		c, err := New(cfg, slog.New(slog.DiscardHandler), WithClock(func() time.Time { return time.Now().Add(off) }))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		topic := newTopic(t, c, 1, "message.timestamp.type", "LogAppendTime")
		if err := c.Produce(t.Context(), topic, []Produce{{0, values("a")}}); err != nil {
			t.Fatal(err)
		}
		got := c.Ahead()
		if got == 0 && off != 0 && strings.HasPrefix(t.Name(), "TestOnTheEmbedded") {
			continue // this broker says nothing of its time
		}
		if (got - off).Abs() > time.Minute {
			t.Errorf("a clock that is %v ahead is said to be %v ahead", off, got)
		}
	}
}
