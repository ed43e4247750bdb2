package state_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirdev/weir/internal/state"
)

func dump(t testing.TB, table *state.Table, watermark int64) []byte {
	t.Helper()
	f := table.Freeze()
	defer f.Release()
	return dumpOf(t, f, watermark)
}

func dumpOf(t testing.TB, f *state.Frozen, watermark int64) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := f.Dump(&b, watermark); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func keepAll(_ uint8, _ uint32, payload []byte) ([]byte, error) { return payload, nil }

func restore(t testing.TB, b []byte, caps state.Caps) *state.Table {
	t.Helper()
	r := bufio.NewReader(bytes.NewReader(b))
	table, err := state.Restore(r, caps, keepAll)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Fatal("the dump was not read to its end")
	}
	return table
}

// caller makes calls as the engine does, a function of its seed.
type caller struct {
	rng       *rand.Rand
	position  int64
	watermark int64
}

func newCaller(seed uint64) *caller { return &caller{rng: rand.New(rand.NewPCG(seed, 1))} }

func (c *caller) call(tables ...*state.Table) {
	c.position++
	c.watermark += c.rng.Int64N(3)
	key := c.rng.Uint64N(90) * 0x9E3779B97F4A7C15
	if c.rng.IntN(4) == 0 {
		key = c.rng.Uint64() // never seen before
	}
	id, n, fill := uint32(1+c.rng.IntN(4)), c.rng.IntN(200), byte(c.position)
	life, remarkable, slots := c.rng.Int64N(90)+1, c.rng.IntN(5) == 0, c.rng.IntN(3) > 0
	hold := c.rng.IntN(6)
	for _, table := range tables {
		rec, ok := table.Get(key, c.watermark)
		if !ok {
			if rec, ok = table.Admit(key, uint8(key%3), key%2, c.watermark); !ok {
				continue
			}
		}
		if slots {
			for i := range rec.Resize(id, n) {
				rec.Slot(id)[i] = fill
			}
		}
		rec.Touch(c.position, c.watermark+life)
		if remarkable {
			rec.Spare(c.watermark + 2*life)
		}
		if hold < 3 {
			rec.Hold(hold == 0)
		}
	}
}

// TestARestoredTableGoesOnAsTheOriginal drives one table, and one that is
// replaced, at random moments, by what its dump restores to: caps, expiry,
// reclaiming, remarkable records and growth all happen.
func TestARestoredTableGoesOnAsTheOriginal(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		caps := state.Caps{0: rapid.IntRange(5, 40).Draw(rt, "cap"), 1: rapid.IntRange(5, 40).Draw(rt, "cap")}
		c := newCaller(rapid.Uint64().Draw(rt, "seed"))
		original, copied := state.New(caps), state.New(caps)
		for range rapid.IntRange(1, 12).Draw(rt, "rounds") {
			for range rapid.IntRange(1, 200).Draw(rt, "calls") {
				c.call(original, copied)
			}
			want := dump(t, original, c.watermark)
			if got := dump(t, copied, c.watermark); !bytes.Equal(got, want) {
				rt.Fatal("the dumps differ")
			}
			copied = restore(t, want, caps)
			if got := dump(t, copied, c.watermark); !bytes.Equal(got, want) {
				rt.Fatal("the dump changes as it is restored")
			}
			for kind := range uint8(3) {
				if original.Len(kind) != copied.Len(kind) || original.Evicted(kind) != copied.Evicted(kind) || original.Refused(kind) != copied.Refused(kind) ||
					original.Dropped(kind) != copied.Dropped(kind) || original.Held() != copied.Held() {
					rt.Fatalf("kind %d: %d records and %d evicted, want %d and %d", kind,
						copied.Len(kind), copied.Evicted(kind), original.Len(kind), original.Evicted(kind))
				}
			}
		}
	})
}

func TestAFrozenTableStaysAsItWas(t *testing.T) {
	c := newCaller(7)
	table, plain := state.New(state.Caps{0: 50}), state.New(state.Caps{0: 50})
	var views []*state.Frozen
	var want [][]byte
	var marks []int64
	for round := range 20 {
		for range 300 {
			c.call(table, plain)
		}
		views = append(views, table.Freeze())
		want, marks = append(want, dump(t, plain, c.watermark)), append(marks, c.watermark)
		if round%3 == 2 { // the oldest is not needed any more
			views[0].Release()
			views, want, marks = views[1:], want[1:], marks[1:]
		}
		for i, v := range views {
			if !bytes.Equal(dumpOf(t, v, marks[i]), want[i]) {
				t.Fatalf("round %d: a frozen table has changed", round)
			}
		}
	}
}

func TestExpiredRecordsAreDumpedWithoutTheirSlots(t *testing.T) {
	table := state.New(state.Caps{})
	rec, _ := get(table, 1, 0, 0)
	copy(rec.Resize(9, 8), "whatever")
	rec.Touch(1, 100)
	rec.Spare(100)
	if !bytes.Contains(dump(t, table, 99), []byte("whatever")) {
		t.Error("the slot of a live record is missing")
	}
	b := dump(t, table, 100)
	if bytes.Contains(b, []byte("whatever")) {
		t.Error("an expired record is dumped with its slots")
	}
	if n := restore(t, b, state.Caps{}).Len(0); n != 1 {
		t.Errorf("%d records, want the one that has expired", n)
	}
	rec, _ = table.Get(1, 100)
	if rec.Slot(9) != nil || rec.Remarkable() {
		t.Error("a record that has expired is remembered")
	}
}

func TestRestoringDropsSlotsAndWhatIsAboveTheCap(t *testing.T) {
	table := state.New(state.Caps{})
	for i := range uint64(10) {
		rec, _ := get(table, i, 1, 0)
		copy(rec.Resize(5, 4), "five")
		copy(rec.Resize(7, 5), "seven")
		copy(rec.Resize(6, 3), "six")
		rec.Touch(int64(i), 100)
		if i == 0 {
			rec.Spare(100)
		}
	}
	got, err := state.Restore(bufio.NewReader(bytes.NewReader(dump(t, table, 0))), state.Caps{1: 4},
		func(kind uint8, slot uint32, payload []byte) ([]byte, error) {
			switch {
			case slot == 6 && string(payload) == "six":
				return payload, nil
			case slot == 7:
				return payload[:2], nil
			}
			return nil, nil
		})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(10) {
		rec, ok := got.Find(i, 0)
		if want := i == 0 || i > 6; ok != want {
			t.Errorf("record %d: there %v, want %v", i, ok, want)
		}
		if ok && (rec.Slot(5) != nil || string(rec.Slot(6)) != "six" || string(rec.Slot(7)) != "se") {
			t.Errorf("record %d: slots %q, %q and %q", i, rec.Slot(5), rec.Slot(6), rec.Slot(7))
		}
	}
	if got.Evicted(1) != 6 {
		t.Errorf("%d are counted as evicted", got.Evicted(1))
	}
}

func TestADamagedDumpIsRefused(t *testing.T) {
	c := newCaller(3)
	table := state.New(state.Caps{})
	for range 100 {
		c.call(table)
	}
	b := dump(t, table, c.watermark)
	for n := range b {
		if _, err := state.Restore(bufio.NewReader(bytes.NewReader(b[:n])), state.Caps{}, keepAll); !errors.Is(err, state.ErrDump) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(b), err)
		}
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 0x80
		_, err := state.Restore(bufio.NewReader(bytes.NewReader(bad)), state.Caps{}, keepAll)
		if err != nil && !errors.Is(err, state.ErrDump) { // the checksum is not the dump's business
			t.Fatalf("byte %d: %v", i, err)
		}
	}
}

// BenchmarkFreeze freezes a table of a million entities, touches some of them,
// which copies the chunks that they are in, and dumps the view.
func BenchmarkFreeze(b *testing.B) {
	const keys = 1_000_000
	table := state.New(state.Caps{})
	rng := rand.New(rand.NewPCG(1, 2))
	touch := func(k uint64, position int64) {
		rec, _ := get(table, k*0x9E3779B97F4A7C15, 1, 0)
		if rec.Slot(7) == nil {
			rec.Resize(7, 40)
		}
		rec.Slot(7)[position%40]++
		rec.Touch(position, 1<<40)
	}
	for k := range keys {
		touch(uint64(k), int64(k))
	}
	var pause time.Duration
	var touches []time.Duration
	var size int
	b.ResetTimer()
	for range b.N {
		start := time.Now()
		f := table.Freeze()
		pause += time.Since(start)
		for i := range 20_000 {
			start := time.Now()
			touch(rng.Uint64N(keys), int64(i))
			touches = append(touches, time.Since(start))
		}
		var out counting
		if err := f.Dump(&out, 0); err != nil {
			b.Fatal(err)
		}
		f.Release()
		size = int(out)
	}
	b.ReportMetric(float64(pause.Microseconds())/float64(b.N), "pause-µs")
	slices.Sort(touches)
	b.ReportMetric(float64(touches[len(touches)*99/100].Microseconds()), "touch-p99-µs")
	b.ReportMetric(float64(size)/keys, "dump-B/key")
}

type counting int

func (c *counting) Write(b []byte) (int, error) { *c += counting(len(b)); return len(b), nil }

func BenchmarkRestore(b *testing.B) {
	const keys = 1_000_000
	table := state.New(state.Caps{})
	for k := range uint64(keys) {
		rec, _ := get(table, k*0x9E3779B97F4A7C15, 1, 0)
		rec.Resize(7, 40)
		rec.Touch(int64(k), 1<<40)
	}
	d := dump(b, table, 0)
	b.SetBytes(int64(len(d)))
	b.ResetTimer()
	for range b.N {
		restore(b, d, state.Caps{})
	}
	b.ReportMetric(float64(keys)*float64(b.N)/b.Elapsed().Seconds(), "entities/s")
}

// BenchmarkCopy is what copying the memory of a million entities costs, for
// comparison.
func BenchmarkCopy(b *testing.B) {
	src := make([]byte, 120_000_000)
	for i := range src {
		src[i] = byte(i)
	}
	b.SetBytes(int64(len(src)))
	for range b.N {
		if len(bytes.Clone(src)) != len(src) {
			b.Fatal("short")
		}
	}
}
