package kafka

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// franz reads a row of batches as franz-go does, another client by other people.
func franz(set []byte, from int64, list []transaction) (records []Record, next int64, err error) {
	rp := kmsg.NewFetchResponseTopicPartition()
	rp.RecordBatches = set
	for _, t := range list {
		rp.AbortedTransactions = append(rp.AbortedTransactions, kmsg.FetchResponseTopicPartitionAbortedTransaction{ProducerID: t.producer, FirstOffset: t.first})
	}
	o := kgo.ProcessFetchPartitionOpts{Offset: from, IsolationLevel: kgo.ReadCommitted()}
	fp, next := kgo.ProcessFetchPartition(o, &rp, inflater(), nil)
	for _, r := range fp.Records {
		rec := Record{Offset: r.Offset, Time: r.Timestamp.UnixMilli(), Appended: r.Attrs.TimestampType() == 1, Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			rec.Headers = append(rec.Headers, Header{h.Key, h.Value})
		}
		records = append(records, rec)
	}
	return records, next, fp.Err
}

// inflater is made once, since it is costly.
var inflater = sync.OnceValue(func() kgo.Decompressor { return kgo.DefaultDecompressor() })

// farthest is the latest time, and its negative the earliest, that franz-go can
// hold: it counts nanoseconds.
const farthest = int64(1) << 62 / 1_000_000

// different tells the first record that is not the same on both sides; of times
// that franz-go cannot hold it does not ask.
func different(ours, theirs []Record) string {
	for i := range ours {
		if i >= len(theirs) {
			return fmt.Sprintf("record %d is %+v here, and there is none", i, ours[i])
		}
		a, b := ours[i], theirs[i]
		if a.Time > farthest || a.Time < -farthest {
			b.Time = a.Time
		}
		if len(a.Headers) == 0 {
			a.Headers = nil
		}
		if !reflect.DeepEqual(a, b) {
			return fmt.Sprintf("record %d is %+v here, and %+v there", i, a, b)
		}
	}
	return ""
}

// batchAt finds the batch of a row that an offset lies in or before, or one with an
// impossible header before that.
func batchAt(set []byte, offset int64) (kmsg.RecordBatch, []byte) {
	var rb kmsg.RecordBatch
	for len(set) >= batchHeader {
		size := int64(int32(binary.BigEndian.Uint32(set[8:])))
		if size < batchHeader-batchPrefix || size > int64(len(set)-batchPrefix) || rb.ReadFrom(set[:batchPrefix+size]) != nil {
			break
		}
		if rb.FirstOffset+int64(rb.LastOffsetDelta) >= offset || rb.FirstOffset < 0 || rb.LastOffsetDelta < 0 || rb.NumRecords < 0 || rb.Magic != 2 {
			return rb, set[:batchPrefix+size]
		}
		set = set[batchPrefix+size:]
	}
	return rb, nil
}

// canonical reports whether a batch is as a client writes one: not compressed, and its
// records, written again by franz-go, are the bytes that they were read from.
func canonical(rb kmsg.RecordBatch, raw []byte) bool {
	if raw == nil || rb.Magic != 2 || rb.FirstOffset < 0 || rb.LastOffsetDelta < 0 || rb.FirstOffset+int64(rb.LastOffsetDelta) < rb.FirstOffset ||
		rb.Attributes&attrCodec != 0 || rb.NumRecords < 0 {
		return false
	}
	var again []byte
	last := int32(-1)
	for range rb.NumRecords {
		var r kmsg.Record
		if len(again) >= len(rb.Records) || r.ReadFrom(rb.Records[len(again):]) != nil || r.OffsetDelta <= last || r.OffsetDelta > rb.LastOffsetDelta {
			return false
		}
		last = r.OffsetDelta
		before := len(again)
		again = r.AppendTo(again)
		if head := len(binary.AppendVarint(nil, int64(r.Length))); len(again)-before != head+int(r.Length) {
			return false
		}
	}
	return bytes.Equal(again, rb.Records)
}

// FuzzBatchesAgainstFranz: what we read of a row of batches, franz-go reads, too,
// and it is the same; what we refuse, it refuses, or a client would not have
// written it. It reads the beginning of a batch that is damaged, and batches of
// old brokers; we do not.
func FuzzBatchesAgainstFranz(f *testing.F) {
	f.Add([]byte{}, int64(0))
	f.Add(encode(f, 0, 0, values("a", "b")...), int64(1))
	f.Add(encode(f, 0, 0, Outgoing{Key: []byte("k"), Headers: []Header{{"h", []byte("v")}, {"", nil}}}, Outgoing{Key: []byte{}}), int64(0))
	appended := encode(f, 7, attrLogAppend, values("a", "b")...)
	binary.BigEndian.PutUint64(appended[35:], 1_763_892_000_000)
	f.Add(append(resum(appended), encode(f, 9, 0, values("c")...)...), int64(8))
	for codec := 1; codec <= 4; codec++ {
		f.Add(append(encode(f, 0, codec, values("a", "b")...), encode(f, 2, codec|attrLogAppend, values("c")...)...), int64(0))
	}
	f.Add(append(encode(f, 5, attrControl, values("marker")...), encode(f, 6, attrTransaction, values("c")...)...), int64(5))
	f.Fuzz(func(t *testing.T, set []byte, from int64) {
		if len(set) > 8<<10 {
			return
		}
		set, from = summed(set), max(from, 0)
		b, err := decoded(from, set)
		records, next, theirs := franz(set, from, nil)
		ours := b.Records
		if stop, _ := batchAt(set, next); next < b.Next && (stop.NumRecords == 0 || stop.Attributes&attrControl != 0) {
			// It wants batches that hold no records for anybody to read well, too.
			ours = slices.DeleteFunc(ours, func(r Record) bool { return r.Offset >= next })
			b.Next = next
		}
		if d := different(ours, records); d != "" {
			t.Fatalf("%s (here %v, there %v)", d, err, theirs)
		}
		if next < b.Next {
			t.Fatalf("here it goes on at %d (%v), there at %d (%v)", b.Next, err, next, theirs)
		}
		if more := len(records) > len(ours) || next > b.Next; more && canonical(batchAt(set, b.Next)) {
			t.Fatalf("%d records to %d (%v) are read here of a batch as clients write it, and there %d to %d", len(ours), b.Next, err, len(records), next)
		}
	})
}

// summed makes the sums of batches what they should be, or nothing behind them
// would be reached.
func summed(set []byte) []byte {
	set = bytes.Clone(set)
	for at := set; len(at) >= batchHeader; {
		size := int64(int32(binary.BigEndian.Uint32(at[8:])))
		if size < batchHeader-batchPrefix || size > int64(len(at)-batchPrefix) {
			break
		}
		resum(at[:batchPrefix+size])
		at = at[batchPrefix+size:]
	}
	return set
}

// script writes a log as franz-go encodes it, each byte a step of one of three
// producers, and knows what a reader of what is committed must see.
type script struct {
	set  []byte
	next int64
	open map[int64]int64 // where a producer's transaction began
	held map[int64][]Record
	list []ended
	want []Record
}

// ended is a transaction that was aborted by a marker.
type ended struct {
	transaction
	marker int64 // its offset
}

const scriptTime = int64(1_763_892_000_000)

func (s *script) run(steps []byte) {
	s.open, s.held = map[int64]int64{}, map[int64][]Record{}
	for _, step := range steps {
		producer := int64(step & 3)
		switch kind := step >> 2 & 3; {
		case producer == 3:
			s.write(-1, step>>4, 0)
		case kind == 3:
			s.end(producer, step>>4&1 == 0)
		case kind == 2:
			s.write(producer, step>>4, 0)
		default:
			s.write(producer, step>>4, attrTransaction)
		}
	}
	for producer := range int64(3) {
		s.end(producer, true)
	}
}

// write appends a batch: how says how many records it has, how they are compressed,
// and whose time they carry.
func (s *script) write(producer int64, how byte, attributes int16) {
	rb := kmsg.RecordBatch{FirstOffset: s.next, Magic: 2, ProducerID: producer, FirstTimestamp: scriptTime + s.next, MaxTimestamp: scriptTime + 60_000 + s.next}
	appended := how&8 != 0
	if attributes |= int16(how >> 1 & 3); appended {
		attributes |= attrLogAppend
	}
	var records []Record
	var body []byte
	for i := range int32(1 + how&1) {
		rec := Record{Offset: s.next, Time: scriptTime + rb.FirstOffset + 7*int64(i), Appended: appended, Key: fmt.Append(nil, s.next), Headers: []Header{{"h", []byte{byte(i)}}}}
		if s.next%3 > 0 {
			rec.Value = fmt.Append(nil, "value ", s.next)
		}
		r := kmsg.Record{TimestampDelta64: 7 * int64(i), OffsetDelta: i, Key: rec.Key, Value: rec.Value, Headers: []kmsg.Header{{Key: "h", Value: []byte{byte(i)}}}}
		r.Length = int32(len(r.AppendTo(nil)) - 1) // of a length of 0, which takes a byte
		if body = r.AppendTo(body); appended {
			rec.Time = rb.MaxTimestamp
		}
		records = append(records, rec)
		s.next++
	}
	rb.LastOffsetDelta, rb.NumRecords = int32(len(records)-1), int32(len(records))
	s.append(rb, attributes, body)
	if attributes&attrTransaction == 0 {
		s.want = append(s.want, records...)
		return
	}
	if _, begun := s.open[producer]; !begun {
		s.open[producer] = rb.FirstOffset
	}
	s.held[producer] = append(s.held[producer], records...)
}

// end ends a producer's transaction, if it has one.
func (s *script) end(producer int64, abort bool) {
	first, begun := s.open[producer]
	if !begun {
		return
	}
	key := []byte{0, 0, 0, 1}
	if abort {
		key[3] = 0
		s.list = append([]ended{{transaction{producer, first}, s.next}}, s.list...)
	} else {
		s.want = append(s.want, s.held[producer]...)
	}
	delete(s.open, producer)
	delete(s.held, producer)
	r := kmsg.Record{Key: key, Value: make([]byte, 6)}
	r.Length = int32(len(r.AppendTo(nil)) - 1)
	s.append(kmsg.RecordBatch{FirstOffset: s.next, Magic: 2, ProducerID: producer, NumRecords: 1}, attrControl|attrTransaction, r.AppendTo(nil))
	s.next++
}

// deflaters are franz-go's, by the number of their codec; nil: none.
var deflaters = sync.OnceValue(func() (all [4]kgo.Compressor) {
	for i, codec := range []kgo.CompressionCodec{kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression()} {
		c, err := kgo.DefaultCompressor(codec)
		if err != nil {
			panic(err) // the table above is wrong
		}
		all[1+i] = c
	}
	return all
})

func (s *script) append(rb kmsg.RecordBatch, attributes int16, body []byte) {
	rb.Attributes, rb.Records = attributes, body
	if c := deflaters()[attributes&attrCodec]; c != nil {
		rb.Records, _ = c.Compress(new(bytes.Buffer), body)
	}
	raw := rb.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-batchPrefix))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[crcFrom:], castagnoli))
	s.set = append(s.set, raw...)
}

// answer is what a broker sends of the log: from the batch on that an offset lies
// in, with the transactions that were aborted there or behind.
func (s *script) answer(from int64) (set []byte, list []transaction) {
	for _, e := range s.list {
		if e.marker >= from {
			list = append(list, e.transaction)
		}
	}
	_, first := batchAt(s.set, from)
	if first == nil {
		return nil, list
	}
	return s.set[bytes.Index(s.set, first):], list
}

// FuzzTransactionsAgainstFranz: of logs that franz-go encodes, with transactions of
// several producers that end one way or the other, both read what is committed,
// from wherever they begin.
func FuzzTransactionsAgainstFranz(f *testing.F) {
	f.Add([]byte{0x03}, uint8(0))
	f.Add([]byte{0x10, 0x01, 0x83, 0x1c, 0x0d, 0x00}, uint8(1))
	f.Add([]byte{0x00, 0x0c, 0x40, 0x1c, 0x00, 0x08, 0x0c}, uint8(2))
	f.Add([]byte{0xf0, 0xb1, 0x72, 0xa3, 0x1c, 0x0d, 0x1e, 0x33}, uint8(3))
	f.Fuzz(func(t *testing.T, steps []byte, from uint8) {
		var s script
		s.run(steps[:min(len(steps), 64)])
		first := int64(from) % (s.next + 1)
		var want []Record
		for _, r := range sorted(s.want) {
			if r.Offset >= first {
				want = append(want, r)
			}
		}
		set, list := s.answer(first)
		b := &Batch{}
		b.reset(first)
		if err := b.readResponse(answerOf(11, 0, 0, s.next, s.next, list, set), 11, 0); err != nil || b.Next != s.next {
			t.Fatalf("from %d to %d of %d: %v", first, b.Next, s.next, err)
		}
		records, next, err := franz(set, first, list)
		if d := different(b.Records, want); d != "" || len(b.Records) != len(want) {
			t.Fatalf("%d records, want %d: %s", len(b.Records), len(want), d)
		}
		if d := different(b.Records, records); d != "" || len(b.Records) != len(records) || next != b.Next || err != nil {
			t.Fatalf("%d records here, and %d there, to %d (%v): %s", len(b.Records), len(records), next, err, d)
		}
	})
}

func sorted(records []Record) []Record {
	slices.SortFunc(records, func(a, b Record) int { return cmp.Compare(a.Offset, b.Offset) })
	return records
}
