package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"
)

// encode makes a batch with the library's encoder, as producers do.
func encode(t testing.TB, base int64, attributes int, records ...Outgoing) []byte {
	t.Helper()
	var out bytes.Buffer
	set := protocol.RecordSet{Version: 2, Attributes: protocol.Attributes(attributes), Records: newOutgoingReader(records)}
	if _, err := set.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	b := out.Bytes()[4:]
	binary.BigEndian.PutUint64(b, uint64(base))
	return resum(b)
}

// resum makes a batch's sum and length what they should be.
func resum(b []byte) []byte {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-batchPrefix))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[crcFrom:], castagnoli))
	return b
}

func decoded(from int64, set []byte) (*Batch, error) {
	b := &Batch{}
	b.reset(from)
	err := b.decode(set)
	return b, err
}

func texts(b *Batch) string {
	var vs []string
	for _, r := range b.Records {
		vs = append(vs, fmt.Sprintf("%d:%s", r.Offset, r.Value))
	}
	return strings.Join(vs, " ")
}

func TestBatches(t *testing.T) {
	batch := func(base int64, vs ...string) []byte { return encode(t, base, 0, values(vs...)...) }
	edit := func(b []byte, f func([]byte)) []byte { f(b); return resum(b) }
	last := func(n uint32) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint32(b[23:], n) }
	}
	count := func(n uint32) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint32(b[57:], n) }
	}
	join := func(bs ...[]byte) []byte { return bytes.Join(bs, nil) }
	broken := batch(7, "x")
	broken[len(broken)-1] ^= 1

	for _, c := range []struct {
		name string
		from int64
		set  []byte
		want string
		next int64
		err  string
	}{
		{"nothing", 5, nil, "", 5, ""},
		{"two batches", 0, join(batch(0, "a", "b"), batch(2, "c")), "0:a 1:b 2:c", 3, ""},
		{"records below the offset are left out", 1, batch(0, "a", "b"), "1:b", 2, ""},
		{"a batch below the offset is left out", 2, join(batch(0, "a", "b"), batch(2, "c")), "2:c", 3, ""},
		{"a batch that is cut off waits for the next fetch", 0, join(batch(0, "a"), batch(1, "b")[:65]), "0:a", 1, ""},
		{"a header that is cut off does too", 0, join(batch(0, "a"), batch(1, "b")[:20]), "0:a", 1, ""},
		{"markers are passed over", 0, join(batch(0, "a"), encode(t, 1, attrControl, values("marker")...), batch(2, "b")), "0:a 2:b", 3, ""},
		{"a marker at the end moves the offset", 1, encode(t, 1, attrControl, values("marker")...), "", 2, ""},
		{"an offset that compaction took is passed over", 0, edit(batch(0, "a"), last(9)), "0:a", 10, ""},
		{"a batch that compaction emptied is passed over", 4, edit(batch(4, "a")[:batchHeader:batchHeader], count(0)), "", 5, ""},
		{"damage behind good records waits", 0, join(batch(0, "a"), broken), "0:a", 1, ""},
		{"damage at the front is told", 7, broken, "", 7, "damaged"},
		{"an old format is told", 0, edit(batch(0, "a"), func(b []byte) { b[16] = 1 }), "", 0, "format 1"},
		{"a negative count is told", 0, edit(batch(0, "a"), count(1<<31)), "", 0, "impossible"},
		{"a negative end is told", 0, edit(batch(0, "a"), last(1<<31)), "", 0, "impossible"},
		{"an end beyond all offsets is told", 0, edit(batch(0, "a"), func(b []byte) { b[0] = 0x7f; last(1<<31 - 1)(b); copy(b[1:8], bytes.Repeat([]byte{255}, 7)) }), "", 0, "impossible"},
		{"more records than there are is told", 0, edit(batch(0, "a", "b"), count(3)), "", 0, "record 3 of 3 does not read"},
		{"fewer records than there are is told", 0, edit(batch(0, "a", "b"), count(1)), "", 0, "left behind"},
		{"an impossible count is told before it is believed", 0, edit(batch(0, "a"), count(1<<31-1)), "", 0, "record 2 of"},
		{"a length of nothing is told", 0, make([]byte, batchHeader), "", 0, "claims"},
		{"a record beyond the batch's end is told", 0, edit(batch(0, "a", "b"), last(0)), "", 0, "record 2 of 2"},
		{"an unknown compression is told", 0, edit(batch(0, "a"), func(b []byte) { b[22] |= 7 }), "", 0, "compression 7"},
		{"lz4 that is none is told", 0, edit(batch(0, "a"), func(b []byte) { b[22] |= 3 }), "", 0, "decompress lz4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := decoded(c.from, c.set)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if got := texts(b); got != c.want || b.Next != c.next {
				t.Errorf("records %q, next %d; want %q, next %d", got, b.Next, c.want, c.next)
			}
		})
	}
}

func TestEveryCompressionIsRead(t *testing.T) {
	var sent []Outgoing
	for i := range 2000 {
		sent = append(sent, Outgoing{Key: fmt.Append(nil, i), Value: fmt.Append(nil, "value ", i), Headers: []Header{{"h", nil}}})
	}
	for _, codec := range []compress.Compression{compress.None, compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd} {
		t.Run(codec.String(), func(t *testing.T) {
			set := append(encode(t, 0, int(codec), sent...), encode(t, 2000, int(codec), sent...)...)
			b, err := decoded(10, set)
			if err != nil || len(b.Records) != 3990 || string(b.Records[3989].Value) != "value 1999" {
				t.Fatalf("%d records, %v", len(b.Records), err)
			}
			for i, r := range b.Records {
				if r.Offset != int64(i)+10 || string(r.Key) != fmt.Sprint((i+10)%2000) || r.Headers[0].Key != "h" {
					t.Fatalf("record %d is %+v", i, r)
				}
			}
		})
	}
}

func TestABatchThatInflatesWithoutBoundIsRefused(t *testing.T) {
	for _, codec := range []compress.Compression{compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd} {
		t.Run(codec.String(), func(t *testing.T) {
			bomb := encode(t, 0, int(codec), Outgoing{Value: make([]byte, MaxInflated+1)})
			if b, err := decoded(0, bomb); !errors.Is(err, ErrInflated) || len(b.Records) != 0 || cap(b.arena) > 3*MaxInflated {
				t.Errorf("%d bytes give %v, and take %d bytes", len(bomb), err, cap(b.arena))
			}
			large := encode(t, 0, int(codec), Outgoing{Value: make([]byte, MaxInflated-1024)})
			if b, err := decoded(0, large); err != nil || len(b.Records) != 1 {
				t.Errorf("just what is allowed gives %v", err)
			}
		})
	}
}

// TestABodyThatClaimsToNeedMuchMemoryGetsNone, wherever in it the claim is.
func TestABodyThatClaimsToNeedMuchMemoryGetsNone(t *testing.T) {
	const little, much = 13 << 3, 19 << 3 // windows of 8 and 512 MiB
	le := binary.LittleEndian
	magic, block := []byte{0x28, 0xb5, 0x2f, 0xfd}, []byte{9, 0, 0, 'x'} // one raw block of one byte
	frame := func(window byte) []byte { return slices.Concat(magic, []byte{0, window}, block) }
	summed := slices.Concat(magic, []byte{4, little, 8, 0, 0, 'x', 11, 0, 0, 'x', 0xee, 0x33, 0x17, 0x20}) // with the sum of xx
	single := func(size uint32) []byte { return slices.Concat(magic, []byte{0xa0}, le.AppendUint32(nil, size), block) }
	skipped := slices.Concat([]byte{0x5f, 0x2a, 0x4d, 0x18}, le.AppendUint32(nil, 32), make([]byte, 32))
	framed := func(length uint32, chunk []byte) []byte {
		return slices.Concat(xerial, []byte{0, 0, 0, 1, 0, 0, 0, 1}, binary.BigEndian.AppendUint32(nil, length), chunk)
	}
	chunk := []byte{1, 0, 'x'}
	large := slices.Concat(binary.AppendUvarint(nil, 500<<20), chunk)
	for _, tc := range []struct {
		name  string
		codec compress.Compression
		body  []byte
		want  string // "": it is refused
	}{
		{"a window", compress.Zstd, frame(little), "x"},
		{"a large window", compress.Zstd, frame(much), ""},
		{"a large window behind another frame", compress.Zstd, slices.Concat(summed, frame(much)), ""},
		{"a large window behind something that is passed over", compress.Zstd, slices.Concat(skipped, frame(much)), ""},
		{"several frames", compress.Zstd, slices.Concat(summed, skipped, frame(little), single(1)), "xxxx"},
		{"a large content without a window", compress.Zstd, single(400 << 20), ""},
		{"a chunk", compress.Snappy, chunk, "x"},
		{"a large chunk", compress.Snappy, large, ""},
		{"a framed chunk", compress.Snappy, framed(3, chunk), "x"},
		{"a framed large chunk", compress.Snappy, framed(uint32(len(large)), large), ""},
		{"a long frame", compress.Snappy, framed(1<<31, chunk), ""},
		{"a large chunk in the second frame", compress.Snappy, slices.Concat(framed(3, chunk), framed(uint32(len(large)), large)[16:]), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got, err := new(Batch).inflate(tc.codec, tc.body)
			runtime.ReadMemStats(&after)
			if tc.want == "" && !errors.Is(err, ErrInflated) || tc.want != "" && (err != nil || string(got) != tc.want) {
				t.Errorf("%q, %v", got, err)
			}
			if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > MaxInflated>>20 {
				t.Errorf("it takes %d MiB", took)
			}
		})
	}
}

func TestManyBatchesThatInflateAreReadInSeveralFetches(t *testing.T) {
	one := encode(t, 0, int(compress.Zstd), Outgoing{Value: make([]byte, 3<<20)})
	var set []byte
	for i := range 20 {
		binary.BigEndian.PutUint64(one, uint64(i))
		set = append(set, one...)
	}
	b, err := decoded(0, set)
	if err != nil || len(b.Records) != 2 || b.Next != 2 {
		t.Errorf("%d records of 3 MiB at once, next %d, %v", len(b.Records), b.Next, err)
	}
}

func TestLargeBuffersAreGivenUp(t *testing.T) {
	b, err := decoded(0, encode(t, 0, int(compress.Lz4), Outgoing{Value: make([]byte, 30<<20)}))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b.reset(0)
		if err := b.decode(encode(t, 0, int(compress.Lz4), values("small")...)); err != nil || texts(b) != "0:small" {
			t.Fatal(texts(b), err)
		}
	}
	b.reset(0)
	if cap(b.arena) > keptBytes {
		t.Errorf("%d bytes are kept", cap(b.arena))
	}
}

func TestADecoderThatPanicsIsAnError(t *testing.T) {
	var none *Batch
	if err := none.readSafely(newestFetch, 0); err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Errorf("a panic gives %v", err)
	}
}

// answer makes the answer to a fetch, as brokers write it.
func answer(version int16, partition int32, code int16, set []byte) []byte {
	return answerOf(version, partition, code, 100, 100, []transaction{{1, 2}}, set)
}

func answerOf(version int16, partition int32, code int16, high, stable int64, list []transaction, set []byte) []byte {
	be, b := binary.BigEndian, make([]byte, 4) // throttle
	if version >= 7 {
		b = append(b, 0, 0, 0, 0, 0, 0)
	}
	b = append(be.AppendUint32(b, 1), 0, 1, 't')
	b = be.AppendUint32(be.AppendUint32(b, 1), uint32(partition))
	b = be.AppendUint64(be.AppendUint16(b, uint16(code)), uint64(high))
	b = be.AppendUint64(b, uint64(stable))
	if version >= 5 {
		b = be.AppendUint64(b, 3)
	}
	b = be.AppendUint32(b, uint32(len(list)))
	for _, t := range list {
		b = be.AppendUint64(be.AppendUint64(b, uint64(t.producer)), uint64(t.first))
	}
	if version >= 11 {
		b = be.AppendUint32(b, 1<<32-1)
	}
	return append(be.AppendUint32(b, uint32(len(set))), set...)
}

func TestAnswersOfEveryVersion(t *testing.T) {
	set := encode(t, 0, 0, values("a")...)
	for version := int16(oldestFetch); version <= newestFetch; version++ {
		b := &Batch{}
		whole := answer(version, 2, 0, set)
		if err := b.readResponse(whole, version, 2); err != nil || texts(b) != "0:a" || b.HighWatermark != 100 {
			t.Errorf("version %d: %q, log end %d, %v", version, texts(b), b.HighWatermark, err)
		}
		if err := b.readResponse(whole, version, 3); !errors.Is(err, errResponse) {
			t.Errorf("version %d: an answer about another partition: %v", version, err)
		}
		if _, err := classify(b.readResponse(answer(version, 2, 1, nil), version, 2)); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("version %d: the broker's error becomes %v", version, err)
		}
		for n := range len(whole) - len(set) {
			b.reset(0)
			if err := b.readResponse(whole[:n], version, 2); err == nil {
				t.Errorf("version %d: %d bytes of %d are an answer", version, n, len(whole))
			}
		}
	}
}

// FuzzDecode: whatever a batch holds, decoding neither panics nor takes memory
// that its bytes do not justify, and what it gives is in order. The sums are
// made right, or nothing behind them would be reached.
func FuzzDecodeBatches(f *testing.F) {
	f.Add([]byte{}, int64(0))
	f.Add(encode(f, 0, 0, values("a", "b")...), int64(1))
	f.Add(encode(f, 0, 0, Outgoing{Key: []byte("k"), Headers: []Header{{"h", []byte("v")}, {"", nil}}}), int64(0))
	for codec := 1; codec <= 4; codec++ {
		f.Add(append(encode(f, 0, codec, values("a", "b")...), encode(f, 2, codec, values("c")...)...), int64(0))
	}
	f.Add(encode(f, 5, attrControl, values("marker")...), int64(5))
	f.Fuzz(func(t *testing.T, set []byte, from int64) {
		set, from = bytes.Clone(set), max(from, 0)
		for at := set; len(at) >= batchHeader; {
			size := int64(int32(binary.BigEndian.Uint32(at[8:])))
			if size < batchHeader-batchPrefix || size > int64(len(at)-batchPrefix) {
				break
			}
			resum(at[:batchPrefix+size])
			at = at[batchPrefix+size:]
		}
		b, err := decoded(from, set)
		next := from
		for _, r := range b.Records {
			if r.Offset < from || r.Offset >= b.Next {
				t.Fatalf("record at %d of a fetch from %d to %d", r.Offset, from, b.Next)
			}
			next = r.Offset
		}
		if err != nil && len(b.Records) > 0 || b.Next < next {
			t.Fatalf("%d records to %d, next %d, %v", len(b.Records), next, b.Next, err)
		}
	})
}

// FuzzAnswer: whatever a broker, or who stands in for one, answers.
func FuzzAnswer(f *testing.F) {
	for version := int16(oldestFetch); version <= newestFetch; version++ {
		f.Add(answer(version, 2, 0, encode(f, 0, 0, values("a")...)), version)
	}
	f.Fuzz(func(t *testing.T, frame []byte, version int16) {
		b := &Batch{}
		if err := b.readResponse(bytes.Clone(frame), version, 2); err != nil && len(b.Records) > 0 {
			t.Fatalf("%d records, and %v", len(b.Records), err)
		}
	})
}

// What we decode and what the library decodes agree.
func TestTheLibraryReadsTheSame(t *testing.T) {
	var sent []Outgoing
	for i := range 300 {
		sent = append(sent, Outgoing{Key: fmt.Append(nil, i), Value: bytes.Repeat([]byte{byte(i)}, i), Headers: []Header{{fmt.Sprint("h", i%70), fmt.Append(nil, i)}}})
	}
	sent[7], sent[8] = Outgoing{}, Outgoing{Key: []byte{}, Value: []byte{}}
	set := append(encode(t, 40, 3, sent...), encode(t, 340, 0, sent...)...)
	b, err := decoded(40, set)
	if err != nil {
		t.Fatal(err)
	}
	var theirs protocol.RecordSet
	if _, err := theirs.ReadFrom(io.MultiReader(bytes.NewReader(binary.BigEndian.AppendUint32(nil, uint32(len(set)))), bytes.NewReader(set))); err != nil {
		t.Fatal(err)
	}
	for i := range b.Records {
		r, err := theirs.Records.ReadRecord()
		if err != nil {
			t.Fatal(err)
		}
		want := Record{Offset: r.Offset, Time: r.Time.UnixMilli(), Headers: b.headers[:0]}
		want.Key, _ = protocol.ReadAll(r.Key)
		want.Value, _ = protocol.ReadAll(r.Value)
		for _, h := range r.Headers {
			want.Headers = append([]Header(nil), Header(h))
		}
		if !reflect.DeepEqual(b.Records[i], want) {
			t.Fatalf("record %d is %+v, the library reads %+v", i, b.Records[i], want)
		}
	}
	if _, err := theirs.Records.ReadRecord(); !errors.Is(err, io.EOF) {
		t.Errorf("the library reads more: %v", err)
	}
}

func TestDecodingDoesNotAllocate(t *testing.T) {
	var sent []Outgoing
	for i := range 1000 {
		sent = append(sent, Outgoing{Value: make([]byte, 500), Headers: []Header{{"name", fmt.Append(nil, i)}}})
	}
	set, b := encode(t, 0, 0, sent...), &Batch{}
	if n := testing.AllocsPerRun(20, func() {
		b.reset(0)
		if err := b.decode(set); err != nil || len(b.Records) != 1000 {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a batch of 1000 records", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	var sent []Outgoing
	for range 1000 {
		sent = append(sent, Outgoing{Value: bytes.Repeat([]byte("0123456789"), 50)})
	}
	for _, codec := range []compress.Compression{compress.None, compress.Lz4} {
		set := encode(b, 0, int(codec), sent...)
		b.Run("ours/"+codec.String(), func(b *testing.B) {
			batch := &Batch{}
			b.ReportAllocs()
			for b.Loop() {
				batch.reset(0)
				if err := batch.decode(set); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "records/s")
		})
		framed := append(binary.BigEndian.AppendUint32(nil, uint32(len(set))), set...)
		b.Run("library/"+codec.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var rs protocol.RecordSet
				if _, err := rs.ReadFrom(bytes.NewBuffer(framed)); err != nil {
					b.Fatal(err)
				}
				for {
					r, err := rs.Records.ReadRecord()
					if errors.Is(err, io.EOF) {
						break
					}
					if _, err := protocol.ReadAll(r.Value); err != nil {
						b.Fatal(err)
					}
					_ = r.Value.Close()
				}
			}
			b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "records/s")
		})
	}
}
