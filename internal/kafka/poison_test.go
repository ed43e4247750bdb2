package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// craftedLog is a partition whose batches are not what a broker would keep. It
// answers as brokers do: from the batch on that the offset lies in, the first
// one whole whatever its size.
type craftedLog struct {
	batches []crafted
	asked   int
}

type crafted struct {
	last    int64 // offset, as the broker knows it
	bytes   []byte
	refused bool // by the broker's own check
}

func (l *craftedLog) answer(req *kmsg.FetchRequest) kmsg.Response {
	l.asked++
	res := req.ResponseKind().(*kmsg.FetchResponse)
	topic, part := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
	topic.Topic, part.Partition = req.Topics[0].Topic, req.Topics[0].Partitions[0].Partition
	offset, room := req.Topics[0].Partitions[0].FetchOffset, int(req.Topics[0].Partitions[0].PartitionMaxBytes)
	part.HighWatermark = l.end()
	for _, c := range l.batches {
		if c.last < offset {
			continue
		}
		if c.refused {
			if part.RecordBatches == nil {
				part.ErrorCode = 2 // CORRUPT_MESSAGE
			}
			break
		}
		if part.RecordBatches != nil && len(c.bytes) > room {
			part.RecordBatches = append(part.RecordBatches, c.bytes[:max(room, 0)]...)
			break
		}
		part.RecordBatches = append(part.RecordBatches, c.bytes...)
		room -= len(c.bytes)
	}
	topic.Partitions = append(topic.Partitions, part)
	res.Topics = append(res.Topics, topic)
	return res
}

func (l *craftedLog) end() int64 { return l.batches[len(l.batches)-1].last + 1 }

// poisoned is a topic whose partition 0 is l, with a client of its own.
func poisoned(t *testing.T, l *craftedLog) (*Client, string) {
	t.Helper()
	cluster := embedded(t)
	c := client(t, cluster.ListenAddrs()[0], func(c *Config) { c.FetchBytes = 64 << 10 })
	c.patience = 60 * time.Millisecond
	topic := newTopic(t, c, 1)
	if err := c.Produce(t.Context(), topic, []Produce{{0, make([]Outgoing, l.end())}}); err != nil {
		t.Fatal(err) // so that the broker says the same of its end
	}
	var mu sync.Mutex
	cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		cluster.KeepControl()
		return l.answer(req.(*kmsg.FetchRequest)), nil, true
	})
	return c, topic
}

// framed makes a batch out of a body that was compressed or crafted.
func framed(base int64, codec compress.Compression, last, count uint32, body []byte) []byte {
	b := make([]byte, batchHeader, batchHeader+len(body))
	be := binary.BigEndian
	be.PutUint64(b, uint64(base))
	b[16], b[22] = 2, byte(codec)
	be.PutUint32(b[23:], last)
	be.PutUint32(b[57:], count)
	return resum(append(b, body...))
}

// zeros compresses so many bytes of nothing.
func zeros(t testing.TB, codec compress.Compression, size int) []byte {
	t.Helper()
	var out bytes.Buffer
	w := codec.Codec().NewWriter(&out)
	for chunk := make([]byte, 1<<20); size > 0; size -= len(chunk) {
		if _, err := w.Write(chunk[:min(size, len(chunk))]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestPoison: a log holds "before" at 0, something that does not read at 1 to 4,
// and "after" at 5. What is before comes, the poison is told after it failed on
// fresh connections for as long as it should, the way behind it is found, and
// what is after comes; at no time is much memory taken.
func TestPoison(t *testing.T) {
	be := binary.BigEndian
	sound := func() []byte { return encode(t, 1, 0, values("w", "x", "y", "z")...) }
	edit := func(f func(b []byte)) []byte {
		b := sound()
		f(b)
		return resum(b)
	}
	damage := func(f func(b []byte)) []byte {
		b := sound()
		f(b)
		return b
	}
	bomb := func(codec compress.Compression) []byte {
		return framed(1, codec, 3, 4, zeros(t, codec, 512<<20))
	}
	for _, c := range []struct {
		name   string
		poison crafted
		is     error // beside ErrUnreadable
	}{
		{"a byte that was damaged", crafted{bytes: damage(func(b []byte) { b[len(b)-1] ^= 1 })}, nil},
		{"a damaged header that names a wrong end", crafted{bytes: damage(func(b []byte) { be.PutUint32(b[23:], 1e6) })}, nil},
		{"an impossible end", crafted{bytes: edit(func(b []byte) { be.PutUint32(b[23:], 1<<31) })}, nil},
		{"an end beyond the log", crafted{bytes: edit(func(b []byte) { be.PutUint32(b[23:], 1e6); be.PutUint32(b[57:], 5) })}, nil},
		{"a count of −1", crafted{bytes: edit(func(b []byte) { be.PutUint32(b[57:], 1<<32-1) })}, nil},
		{"a count of two billion", crafted{bytes: edit(func(b []byte) { be.PutUint32(b[57:], 1<<31-1) })}, nil},
		{"a length that leads nowhere", crafted{bytes: damage(func(b []byte) { be.PutUint32(b[8:], 1<<31-1) })}, ErrNoProgress},
		{"a negative length", crafted{bytes: damage(func(b []byte) { be.PutUint32(b[8:], 1<<32-1) })}, nil},
		{"a format of long ago", crafted{bytes: edit(func(b []byte) { b[16] = 0 })}, nil},
		{"zstd of 512 MiB of nothing", crafted{bytes: bomb(compress.Zstd)}, ErrInflated},
		{"lz4 of 512 MiB of nothing", crafted{bytes: bomb(compress.Lz4)}, ErrInflated},
		{"a record with a million headers", crafted{bytes: crowd(t, 1<<20)}, nil},
		{"garbage", crafted{bytes: bytes.Repeat([]byte("garbage!"), 100)}, nil},
		{"what the broker itself refuses", crafted{refused: true}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.poison.last = 4
			l := &craftedLog{batches: []crafted{
				{last: 0, bytes: encode(t, 0, 0, values("before")...)}, c.poison, {last: 5, bytes: encode(t, 5, 0, values("after")...)},
			}}
			client, topic := poisoned(t, l)
			peak := watchMemory(t)
			b := &Batch{}
			if err := client.Fetch(t.Context(), topic, 0, 0, b); err != nil || texts(b) != "0:before" {
				t.Fatalf("what is before reads as %q, %v", texts(b), err)
			}
			started := time.Now()
			l.asked = 0
			err := client.Fetch(t.Context(), topic, 0, 1, b)
			if !errors.Is(err, ErrUnreadable) || c.is != nil && !errors.Is(err, c.is) {
				t.Fatalf("the poison gives %q, %v", texts(b), err)
			}
			if took := time.Since(started); took < client.patience || l.asked < 2 {
				t.Errorf("it was given up after %v and %d attempts", took, l.asked)
			}
			next, err := client.NextReadable(t.Context(), topic, 0, b.Next)
			if err != nil || next != 5 {
				t.Fatalf("the log goes on at %d, %v; want 5", next, err)
			}
			if err := client.Fetch(t.Context(), topic, 0, next, b); err != nil || texts(b) != "5:after" || b.Next != 6 {
				t.Errorf("what is after reads as %q, %v", texts(b), err)
			}
			if mib := peak() >> 20; mib > 64 {
				t.Errorf("%d MiB were taken", mib)
			}
		})
	}
}

// crowd is a batch of four records, the first of which has so many headers.
func crowd(t testing.TB, headers int) []byte {
	t.Helper()
	record := func(delta int64, headers int) []byte {
		r := []byte{0, 0}
		r = binary.AppendVarint(r, delta)
		r = binary.AppendVarint(binary.AppendVarint(r, -1), -1)
		r = append(binary.AppendVarint(r, int64(headers)), make([]byte, 2*headers)...)
		return append(binary.AppendVarint(nil, int64(len(r))), r...)
	}
	body := record(0, headers)
	for delta := range int64(3) {
		body = append(body, record(delta+1, 0)...)
	}
	return framed(1, compress.None, 3, 4, body)
}

// watchMemory notes how much the heap grows; peak ends that and tells.
func watchMemory(t testing.TB) (peak func() int64) {
	runtime.GC()
	heap := func() int64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(s)
		return int64(s[0].Value.Uint64())
	}
	base, most := heap(), int64(0)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			most = max(most, heap()-base)
		}
	})
	return func() int64 {
		cancel()
		wg.Wait()
		return most
	}
}

// What is damaged at the log's very end is passed up to the end.
func TestPoisonAtTheEnd(t *testing.T) {
	bad := encode(t, 1, 0, values("x", "y", "z")...)
	bad[len(bad)-1] ^= 1
	c, topic := poisoned(t, &craftedLog{batches: []crafted{{last: 0, bytes: encode(t, 0, 0, values("before")...)}, {last: 3, bytes: bad}}})
	for from, want := range map[int64]int64{1: 4, 2: 4, 3: 4} {
		if next, err := c.NextReadable(t.Context(), topic, 0, from); err != nil || next != want {
			t.Errorf("behind %d the log goes on at %d, %v; want %d", from, next, err, want)
		}
	}
	for _, from := range []int64{-1, 4, 9} {
		if _, err := c.NextReadable(t.Context(), topic, 0, from); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("behind %d, where nothing is: %v", from, err)
		}
	}
}

// Where headers tell nothing the way is searched for, and stops at the very next
// batch, be it as unreadable as the first.
func TestTheWayBehindPoisonSkipsNothingElse(t *testing.T) {
	garbage := func(base int64) []byte {
		b := framed(base, compress.None, 0, 0, make([]byte, 200<<10)) // more than is asked for at once
		b[17] ^= 1
		return b
	}
	l := &craftedLog{batches: []crafted{
		{last: 699, bytes: garbage(0)}, {last: 700, bytes: encode(t, 700, 0, values("kept")...)}, {last: 2000, bytes: garbage(701)},
	}}
	c, topic := poisoned(t, l)
	if next, err := c.NextReadable(t.Context(), topic, 0, 3); err != nil || next != 700 {
		t.Errorf("the log goes on at %d, %v; want 700", next, err)
	}
	if l.asked > 30 {
		t.Errorf("that took %d questions", l.asked)
	}
	l.batches[1] = crafted{last: 700, refused: true}
	if next, err := c.NextReadable(t.Context(), topic, 0, 3); err != nil || next != 701 {
		t.Errorf("with nothing to see at 700 the log goes on at %d, %v; want 701", next, err)
	}
	if next, err := c.NextReadable(t.Context(), topic, 0, 701); err != nil || next != 2001 {
		t.Errorf("the log goes on at %d, %v; want its end, 2001", next, err)
	}
}

// What reads by now is not passed over, be it at the very beginning.
func TestNothingIsPassedThatReadsByNow(t *testing.T) {
	l := &craftedLog{batches: []crafted{{last: 1, bytes: encode(t, 0, 0, values("a", "b")...)}}}
	c, topic := poisoned(t, l)
	for _, offset := range []int64{0, 1} {
		if next, err := c.NextReadable(t.Context(), topic, 0, offset); err != nil || next != offset {
			t.Errorf("behind %d, which reads, the log goes on at %d, %v", offset, next, err)
		}
	}
}

func TestLargeRecordsReadWithinBounds(t *testing.T) {
	const size = 20 << 20
	for _, codec := range []compress.Compression{compress.None, compress.Zstd} {
		t.Run(codec.String(), func(t *testing.T) {
			large := encode(t, 0, int(codec), Outgoing{Value: make([]byte, size)})
			c, topic := poisoned(t, &craftedLog{batches: []crafted{{last: 0, bytes: large}, {last: 1, bytes: encode(t, 1, 0, values("after")...)}}})
			peak := watchMemory(t)
			b := &Batch{}
			if err := c.Fetch(t.Context(), topic, 0, 0, b); err != nil || len(b.Records[0].Value) != size {
				t.Fatal(err)
			}
			// The broker in this process writes one answer of that size beside it.
			if mib := peak() >> 20; mib > 64+2*(int64(len(large))>>20) {
				t.Errorf("%d MiB were taken for a record of %d", mib, size>>20)
			}
		})
	}
}

// A batch of very many records of nothing comes in several fetches.
func TestABatchOfManyRecordsIsReadInSeveralFetches(t *testing.T) {
	const n = 500_000
	var body []byte
	for delta := range int64(n) {
		r := binary.AppendVarint([]byte{0, 0}, delta)
		r = append(r, 1, 1, 0)
		body = append(binary.AppendVarint(body, int64(len(r))), r...)
	}
	set := append(framed(0, compress.None, n-1, n, body), encode(t, n, 0, values("after")...)...)
	b := &Batch{}
	seen, fetches := int64(0), 0
	for ; b.Next <= n; fetches++ {
		b.reset(b.Next)
		if err := b.decode(set); err != nil || len(b.Records) == 0 || len(b.Records) > maxRecords {
			t.Fatalf("%d records at %d, %v", len(b.Records), b.Next, err)
		}
		for _, r := range b.Records {
			if r.Offset != seen {
				t.Fatalf("record %d comes where %d is due", r.Offset, seen)
			}
			seen++
		}
	}
	if fetches != n/maxRecords+1 {
		t.Errorf("it took %d fetches", fetches)
	}
}

// An answer that claims to be long takes no memory before it is.
func TestAnAnswerIsGivenRoomAsItComes(t *testing.T) {
	mine, theirs := net.Pipe()
	defer mine.Close()
	go func() {
		_, _ = theirs.Write(binary.BigEndian.AppendUint32(nil, maxFrame))
		_, _ = theirs.Write(make([]byte, 4+1000)) // the question it answers, and a little
		_ = theirs.Close()
	}()
	b := &Batch{}
	if err := (&fetchConn{Conn: mine}).readFrame(b); !errors.Is(err, io.ErrUnexpectedEOF) || cap(b.frame) > 2*trustedFrame {
		t.Errorf("it says %v, and takes %d bytes", err, cap(b.frame))
	}
}

// deleteRecords moves a partition's start, as retention does. The library does
// not know that request.
func deleteRecords(t testing.TB, addr, topic string, before int64) {
	t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.SetVersion(1)
	rt, rp := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	rp.Offset = before
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
	req.TimeoutMillis, req.Topics = 5000, append(req.Topics, rt)
	res := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	exchange(t, addr, req, res)
	if code := res.Topics[0].Partitions[0].ErrorCode; code != 0 {
		t.Fatalf("deleting records: error %d", code)
	}
}

// exchange sends one request that the library does not know.
func exchange(t testing.TB, addr string, req kmsg.Request, res kmsg.Response) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, req, 7)); err != nil {
		t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		t.Fatal(err)
	}
	res.SetVersion(req.GetVersion())
	if err := res.ReadFrom(answer[4:]); err != nil { // behind the question's number
		t.Fatal(err)
	}
}

func retention(t *testing.T, addr string) {
	c := client(t, addr)
	topic := newTopic(t, c, 1)
	if err := c.Produce(t.Context(), topic, []Produce{{0, values("a", "b", "c")}}); err != nil {
		t.Fatal(err)
	}
	deleteRecords(t, addr, topic, 2)
	for _, offset := range []int64{0, 1} {
		if err := c.Fetch(t.Context(), topic, 0, offset, &Batch{}); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("a fetch below the start, at %d: %v", offset, err)
		}
	}
	ranges, err := c.Offsets(t.Context(), topic)
	if err != nil || ranges[0] != (OffsetRange{2, 3}) {
		t.Errorf("the log holds %v, %v", ranges, err)
	}
	var b Batch
	if err := c.Fetch(t.Context(), topic, 0, 2, &b); err != nil || texts(&b) != "2:c" || b.LogStart != 2 {
		t.Errorf("fetched %q of a log from %d on, %v", texts(&b), b.LogStart, err)
	}
	deleteRecords(t, addr, topic, 3)
	if ranges, err := c.Offsets(t.Context(), topic); err != nil || ranges[0] != (OffsetRange{3, 3}) {
		t.Errorf("a log of which nothing is left holds %v, %v", ranges, err)
	}
	if err := c.Fetch(t.Context(), topic, 0, 3, &b); err != nil || len(b.Records) != 0 || b.Next != 3 {
		t.Errorf("at the end of a log of which nothing is left there is %q, %v", texts(&b), err)
	}
}

// recreation: a topic that was made anew is shorter than a position in the old
// one, which is said, and never taken for a position in the new one.
func recreation(t *testing.T, addr string) {
	c := client(t, addr)
	topic := newTopic(t, c, 1)
	if err := c.Produce(t.Context(), topic, []Produce{{0, values("a", "b", "c")}}); err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.SetVersion(1)
	req.TimeoutMillis, req.TopicNames = 5000, []string{topic}
	res := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	exchange(t, addr, req, res)
	if res.Topics[0].ErrorCode != 0 {
		t.Fatalf("deleting the topic: error %d", res.Topics[0].ErrorCode)
	}
	ctx := within(t, 30*time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for { // until the deletion is done, a creation finds the old one
		err := c.CreateTopic(ctx, TopicSpec{Name: topic, Partitions: 1, Replication: 1})
		if ranges, e := c.Offsets(ctx, topic); err == nil && e == nil && ranges[0].End == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the topic is not made anew")
		}
	}
	if err := c.Fetch(ctx, topic, 0, 3, &Batch{}); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("a fetch from a position in the former topic: %v", err)
	}
	if !strings.Contains(fmt.Sprint(c.Fetch(ctx, topic, 0, 3, &Batch{})), topic+"/0 at 3") {
		t.Error("the error does not say where")
	}
}
