package state_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirdev/weir/internal/state"
)

// model is the same table as a map: slow and plain.
type model struct {
	records map[uint64]*entry
	clock   int64
}

type entry struct {
	last, expires int64
	remarkable    bool
	slots         map[uint32][]byte
}

func (m *model) get(key uint64, watermark int64) *entry {
	e := m.records[key]
	if e != nil && e.expires > watermark {
		return e
	}
	if e != nil {
		e.slots, e.expires = map[uint32][]byte{}, -1<<63
		return e
	}
	e = &entry{expires: -1 << 63, slots: map[uint32][]byte{}}
	m.records[key] = e
	return e
}

// TestTheTableBehavesLikeAMap drives table and model with the same calls, below
// the cap, where nothing may be lost before it expires.
func TestTheTableBehavesLikeAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := state.New(state.Caps{})
		m := &model{records: map[uint64]*entry{}}
		watermark := int64(0)
		steps := rapid.IntRange(1, 400).Draw(t, "steps")
		for range steps {
			m.clock++
			key := rapid.Uint64Range(0, 60).Draw(t, "key") * 0x9E3779B97F4A7C15
			if rapid.IntRange(0, 9).Draw(t, "what") == 0 {
				watermark += rapid.Int64Range(0, 20).Draw(t, "advance")
				continue
			}
			rec, want := table.Get(key, uint8(key%3), watermark), m.get(key, watermark)
			id := rapid.Uint32Range(1, 4).Draw(t, "slot")
			n := rapid.IntRange(0, 700).Draw(t, "size")
			payload := rec.Resize(id, n)
			old := want.slots[id]
			next := make([]byte, n)
			copy(next, old)
			if !bytes.Equal(payload, next) {
				t.Fatalf("slot %d holds %x, want %x", id, payload, next)
			}
			for i := range payload {
				payload[i] = byte(m.clock)
				next[i] = byte(m.clock)
			}
			want.slots[id] = next
			want.expires = max(want.expires, watermark+rapid.Int64Range(1, 50).Draw(t, "life"))
			want.last, want.remarkable = m.clock, n%5 == 0
			rec.Touch(m.clock, want.expires, want.remarkable)
		}
		seen := 0
		table.All(watermark, func(rec state.Record) bool {
			seen++
			want := m.records[rec.Key()]
			if want == nil || want.expires <= watermark || rec.Expires() != want.expires || rec.Last() != want.last || rec.Remarkable() != want.remarkable {
				t.Fatalf("record %x differs", rec.Key())
			}
			slots := 0
			rec.Slots(func(id uint32, payload []byte) bool {
				slots++
				if !bytes.Equal(payload, want.slots[id]) || !bytes.Equal(rec.Slot(id), payload) {
					t.Fatalf("slot %d of %x differs", id, rec.Key())
				}
				return true
			})
			if slots != len(want.slots) {
				t.Fatalf("%d slots, want %d", slots, len(want.slots))
			}
			return true
		})
		live := 0
		for key, e := range m.records {
			if e.expires > watermark {
				live++
				if rec, ok := table.Find(key, watermark); !ok || rec.Key() != key {
					t.Fatalf("record %x is not found", key)
				}
			}
		}
		if seen != live {
			t.Fatalf("%d records, want %d", seen, live)
		}
	})
}

func TestAtItsCapAKindLosesItsColdestUnremarkableRecords(t *testing.T) {
	const bound = 100
	table := state.New(state.Caps{2: bound})
	touch := func(key uint64, position int64, remarkable bool) {
		rec := table.Get(key, 2, 0)
		rec.Touch(position, 1000, remarkable)
	}
	for i := range uint64(bound) {
		touch(i, int64(i), i < 10)
	}
	touch(10, 1000, false) // the coldest unremarkable one is warmed
	for i := range uint64(50) {
		touch(1000+i, int64(2000+i), false)
	}
	if table.Len(2) != bound || table.Evicted(2) != 50 {
		t.Fatalf("%d records, %d evicted", table.Len(2), table.Evicted(2))
	}
	for i := range uint64(bound) {
		_, ok := table.Find(i, 0)
		if want := i <= 10 || i > 60; ok != want {
			t.Errorf("record %d: there %v, want %v", i, ok, want)
		}
	}
	other := table.Get(5, 3, 0) // the number is taken by kind 2: keys are unique across kinds
	if other.Kind() != 2 {
		t.Errorf("kind %d", other.Kind())
	}
}

func TestExpiredRecordsAreReclaimed(t *testing.T) {
	table := state.New(state.Caps{})
	for i := range uint64(100_000) {
		rec := table.Get(i*0x9E3779B97F4A7C15, 1, int64(i)-100)
		rec.Touch(int64(i), int64(i), false)
	}
	if n := table.Len(1); n > 200 {
		t.Errorf("%d records are held, 100 are alive", n)
	}
	if b := table.Bytes(); b > 8<<20 {
		t.Errorf("%d bytes are held for 100 live records", b)
	}
}

func BenchmarkTable(b *testing.B) {
	for _, keys := range []int{5_000, 1_000_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			table := state.New(state.Caps{})
			rng := rand.New(rand.NewPCG(1, 2))
			at := func(k uint64, position int64) {
				rec := table.Get(k*0x9E3779B97F4A7C15, 1, 0)
				if rec.Slot(7) == nil {
					rec.Resize(7, 40)
				}
				rec.Slot(7)[0]++
				rec.Touch(position, 1<<40, false)
			}
			for k := range keys {
				at(uint64(k), int64(k))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				at(rng.Uint64N(uint64(keys)), int64(i))
			}
			b.ReportMetric(float64(table.Bytes())/float64(keys), "B/key")
			runtime.KeepAlive(table)
		})
	}
}
