package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// producer writes transactions, as a gateway's client may.
type producer struct {
	t  *testing.T
	c  *kgo.Client
	to string // topic
}

func newProducer(t *testing.T, addr, topic, id string) *producer {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.TransactionalID(id+topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &producer{t, c, topic}
}

func (p *producer) begin() {
	p.t.Helper()
	if err := p.c.BeginTransaction(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *producer) write(vs ...string) {
	p.t.Helper()
	for _, v := range vs {
		if err := p.c.ProduceSync(p.t.Context(), &kgo.Record{Topic: p.to, Value: []byte(v)}).FirstErr(); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *producer) end(how kgo.TransactionEndTry) {
	p.t.Helper()
	if err := p.c.EndTransaction(p.t.Context(), how); err != nil {
		p.t.Fatal(err)
	}
}

// committed is a record that a fetch gave.
type committed struct {
	offset int64
	value  string
}

// transactions: what is aborted never comes, what is committed comes when it is,
// and nothing behind an open transaction comes before it ends.
func transactions(t *testing.T, addr string) {
	c := client(t, addr, func(c *Config) { c.FetchWait = 50 * time.Millisecond })
	topic := newTopic(t, c, 1)
	one, two := newProducer(t, addr, topic, "one"), newProducer(t, addr, topic, "two")
	plain := func(v string) {
		if err := c.Produce(t.Context(), topic, []Produce{{0, values(v)}}); err != nil {
			t.Fatal(err)
		}
	}
	plain("a")
	one.begin()
	two.begin()
	one.write("lost 1")
	two.write("b")
	one.write("lost 2")
	plain("c")
	one.end(kgo.TryAbort)

	ctx := within(t, 30*time.Second)
	var b Batch
	read := func(from int64, until func() bool) (got []committed) {
		b.Next, b.HighWatermark = from, -1
		for !until() {
			if err := c.Fetch(ctx, topic, 0, b.Next, &b); err != nil {
				t.Fatal(err)
			}
			for _, r := range b.Records {
				got = append(got, committed{r.Offset, string(r.Value)})
			}
		}
		return got
	}
	// The transaction of two is open: it began at 2.
	got := read(0, func() bool { return b.Next == 2 && len(b.Records) == 0 && b.Held > 0 })
	if want := "[{0 a}]"; fmt.Sprint(got) != want || b.Readable() != 2 {
		t.Errorf("before the transaction has ended there are %v, and %d can be read; want %s", got, b.Readable(), want)
	}
	if _, err := c.NextReadable(ctx, topic, 0, 2); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("what is not committed yet is looked behind: %v", err)
	}
	two.write("d")
	two.end(kgo.TryCommit)
	one.begin()
	one.write("lost 3")
	one.end(kgo.TryAbort)
	const all = 10 // seven records and three markers, which the broker writes in its own time
	end := func() bool { return b.Next == all }
	got = read(0, end)
	var text string
	for _, g := range got {
		text += g.value
	}
	if text != "abcd" || b.Held != 0 {
		t.Errorf("in the end there are %v, and %d are held back", got, b.Held)
	}
	for from := range int64(all) {
		want := slices.DeleteFunc(slices.Clone(got), func(g committed) bool { return g.offset < from })
		if again := read(from, end); !slices.Equal(again, want) {
			t.Errorf("from %d on there are %v, want %v", from, again, want)
		}
	}
	if next, err := c.NextReadable(ctx, topic, 0, 1); err != nil || next != 1 {
		t.Errorf("an aborted record is to be passed over up to %d (%v): it reads, and is not given", next, err)
	}
}

// abandonedTransaction: a producer that died holds the log back until the broker
// ends its transaction; a fetch meanwhile returns, time and again, without records.
func abandonedTransaction(t *testing.T, addr string) {
	c := client(t, addr, func(c *Config) { c.FetchWait = 20 * time.Millisecond })
	topic := newTopic(t, c, 1)
	p := newProducer(t, addr, topic, "dies")
	p.begin()
	p.write("never")
	if err := c.Produce(t.Context(), topic, []Produce{{0, values("behind")}}); err != nil {
		t.Fatal(err)
	}
	var b Batch
	for range 5 {
		if err := c.Fetch(within(t, 10*time.Second), topic, 0, 0, &b); err != nil || len(b.Records) != 0 || b.Next != 0 || b.Held == 0 {
			t.Fatalf("%d records, next %d, %d held, %v", len(b.Records), b.Next, b.Held, err)
		}
	}
	// Its successor ends what it left.
	heir := newProducer(t, addr, topic, "dies")
	heir.begin()
	heir.write("ours")
	heir.end(kgo.TryCommit)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []string
	for b.Next = 0; len(got) < 2; {
		if err := c.Fetch(ctx, topic, 0, b.Next, &b); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Records {
			got = append(got, string(r.Value))
		}
	}
	if !slices.Equal(got, []string{"behind", "ours"}) {
		t.Errorf("there are %q", got)
	}
}
