package kafka

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"testing"
)

// written makes a batch of a producer.
func written(t testing.TB, base, producer int64, attributes int, records ...Outgoing) []byte {
	t.Helper()
	b := encode(t, base, attributes, records...)
	binary.BigEndian.PutUint64(b[43:], uint64(producer))
	return resum(b)
}

// marker ends a producer's transaction: kind 0 aborts it, 1 commits it.
func marker(t testing.TB, base, producer int64, kind byte) []byte {
	t.Helper()
	return written(t, base, producer, attrControl|attrTransaction, Outgoing{Key: []byte{0, 0, 0, kind}, Value: make([]byte, 6)})
}

func TestAbortedTransactionsAreNotGiven(t *testing.T) {
	in := func(base, producer int64, vs ...string) []byte {
		return written(t, base, producer, attrTransaction, values(vs...)...)
	}
	plain := func(base, producer int64, vs ...string) []byte {
		return written(t, base, producer, 0, values(vs...)...)
	}
	end := func(base, producer int64, kind byte) []byte { return marker(t, base, producer, kind) }
	const abort, commit = 0, 1
	for _, c := range []struct {
		name string
		from int64
		set  [][]byte
		list []transaction
		want string
		next int64
	}{
		{"a transaction that was committed", 0, [][]byte{in(0, 7, "a", "b"), end(2, 7, commit)}, nil, "0:a 1:b", 3},
		{"one that was aborted", 0, [][]byte{in(0, 7, "a", "b"), end(2, 7, abort)}, []transaction{{7, 0}}, "", 3},
		{"two producers side by side", 0, [][]byte{in(0, 7, "a"), in(1, 8, "b"), in(2, 7, "c"), end(3, 7, abort), in(4, 8, "d"), end(5, 8, commit)},
			[]transaction{{7, 0}}, "1:b 4:d", 6},
		{"the next transaction of the same producer", 0, [][]byte{in(0, 7, "a"), end(1, 7, abort), in(2, 7, "b"), end(3, 7, commit), in(4, 7, "c"), end(5, 7, abort)},
			[]transaction{{7, 0}, {7, 4}}, "2:b", 6},
		{"a list in another order", 0, [][]byte{in(0, 7, "a"), end(1, 7, abort), in(2, 7, "b"), end(3, 7, commit), in(4, 7, "c"), end(5, 7, abort)},
			[]transaction{{7, 4}, {7, 0}}, "2:b", 6},
		{"what the producer wrote before", 0, [][]byte{in(0, 7, "a"), end(1, 7, commit), in(2, 7, "b"), end(3, 7, abort)}, []transaction{{7, 2}}, "0:a", 4},
		{"what it writes beside transactions", 0, [][]byte{in(0, 7, "a"), plain(1, 7, "b"), end(2, 7, abort)}, []transaction{{7, 0}}, "1:b", 3},
		{"what others write beside it", 0, [][]byte{in(0, 7, "a"), plain(1, -1, "b"), end(2, 7, abort)}, []transaction{{7, 0}}, "1:b", 3},
		{"one that began before the fetch", 3, [][]byte{in(2, 7, "a", "b", "c"), plain(5, -1, "d"), end(6, 7, abort)}, []transaction{{7, 0}}, "5:d", 7},
		{"one whose end lies behind the answer", 0, [][]byte{in(0, 7, "a"), in(1, 7, "b")}, []transaction{{7, 0}}, "", 2},
		{"one that ended before the fetch", 2, [][]byte{end(1, 7, abort), in(2, 7, "b"), end(3, 7, commit)}, []transaction{{7, 0}}, "2:b", 4},
		{"a marker that commits ends nothing that was aborted", 0, [][]byte{in(0, 7, "a"), end(1, 7, commit), in(2, 7, "b"), end(3, 7, abort)}, []transaction{{7, 0}}, "", 4},
		{"a marker that does not read ends nothing", 0, [][]byte{in(0, 7, "a"), written(t, 1, 7, attrControl, values("?")...), in(2, 7, "b")}, []transaction{{7, 0}}, "", 3},
		{"transactions that are not in the answer", 0, [][]byte{in(0, 7, "a"), end(1, 7, commit)}, []transaction{{8, 0}, {7, 100}, {9, math.MaxInt64}}, "0:a", 2},
		{"an aborted batch whose records do not read", 0, [][]byte{written(t, 0, 7, attrTransaction|7, values("a")...), end(1, 7, abort), plain(2, -1, "b")}, []transaction{{7, 0}}, "2:b", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			for version := int16(oldestFetch); version <= newestFetch; version++ {
				b := &Batch{}
				b.reset(c.from)
				err := b.readResponse(answerOf(version, 0, 0, 100, 100, c.list, bytes.Join(c.set, nil)), version, 0)
				if got := texts(b); err != nil || got != c.want || b.Next != c.next {
					t.Errorf("version %d: records %q, next %d, %v; want %q, next %d", version, got, b.Next, err, c.want, c.next)
				}
			}
		})
	}
}

// TestDamageBehindWhatIsNotGivenWaits: the fetch goes on behind it, and begins with
// the damage, which is then told where it is.
func TestDamageBehindWhatIsNotGivenWaits(t *testing.T) {
	broken := written(t, 2, -1, 0, values("x")...)
	broken[len(broken)-1] ^= 1
	for what, before := range map[string][]byte{
		"a marker": marker(t, 1, 7, 1), "an aborted record": written(t, 1, 7, attrTransaction, values("a")...),
	} {
		b := &Batch{}
		b.reset(1)
		b.aborted.list = []transaction{{7, 1}}
		if err := b.decode(append(before, broken...)); err != nil || b.Next != 2 || len(b.Records) != 0 {
			t.Errorf("behind %s: next %d, %v", what, b.Next, err)
		}
	}
}

// TestAnOpenTransactionHoldsBack what is behind its beginning.
func TestAnOpenTransactionHoldsBack(t *testing.T) {
	for _, c := range []struct{ high, stable, held, readable int64 }{
		{100, 100, 0, 100}, {100, 60, 40, 60}, {100, -1, 0, 100}, {100, 120, 0, 100},
	} {
		b := &Batch{}
		if err := b.readResponse(answerOf(11, 0, 0, c.high, c.stable, nil, nil), 11, 0); err != nil || b.Held != c.held || b.Readable() != c.readable {
			t.Errorf("of %d with %d stable, %d are held and %d readable (%v)", c.high, c.stable, b.Held, b.Readable(), err)
		}
		if b.reset(0); b.Held != 0 {
			t.Error("the next fetch still holds back")
		}
	}
}

func TestAnAnswerCannotClaimMoreAbortedTransactionsThanItHas(t *testing.T) {
	whole := answerOf(4, 0, 0, 9, 9, []transaction{{3, 3}}, nil)
	at := bytes.Index(whole, binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, 1), 3))
	for _, n := range []uint32{2, 1 << 20, math.MaxInt32} {
		binary.BigEndian.PutUint32(whole[at:], n)
		b := &Batch{}
		if err := b.readResponse(whole, 4, 0); err == nil || cap(b.aborted.list) > 4 {
			t.Errorf("%d transactions: %v, room for %d", n, err, cap(b.aborted.list))
		}
	}
}

func BenchmarkDecodeWithoutTransactions(b *testing.B) {
	var set []byte
	for i := range int64(100) {
		set = append(set, written(b, i*10, -1, 0, values("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")...)...)
	}
	var batch Batch
	b.ReportAllocs()
	for b.Loop() {
		batch.reset(0)
		if err := batch.decode(set); err != nil || len(batch.Records) != 1000 {
			b.Fatal(fmt.Sprint(len(batch.Records), err))
		}
	}
}
