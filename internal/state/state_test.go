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
	held          bool
	slots         map[uint32][]byte
}

func (m *model) get(key uint64, watermark int64) *entry {
	e := m.records[key]
	if e != nil && !e.expired(watermark) {
		return e
	}
	if e != nil {
		e.slots, e.expires, e.remarkable = map[uint32][]byte{}, -1<<63, false
		return e
	}
	e = &entry{expires: -1 << 63, slots: map[uint32][]byte{}}
	m.records[key] = e
	return e
}

func (e *entry) expired(watermark int64) bool { return e.expires <= watermark && !e.held }

// get is the record of a key, made if need be and if it may.
func get(table *state.Table, key uint64, kind uint8, watermark int64) (state.Record, bool) {
	if rec, ok := table.Get(key, watermark); ok {
		return rec, true
	}
	return table.Admit(key, kind, 0, watermark)
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
			rec, _ := get(table, key, uint8(key%3), watermark)
			want := m.get(key, watermark)
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
			want.last = m.clock
			rec.Touch(m.clock, want.expires)
			if n%5 == 0 {
				want.remarkable = true
				rec.Spare(want.expires)
			}
			if n%3 == 0 {
				want.held = n%2 == 0
				rec.Hold(want.held)
			}
		}
		seen := 0
		table.All(watermark, func(rec state.Record) bool {
			seen++
			want := m.records[rec.Key()]
			if want == nil || want.expired(watermark) || rec.Held() != want.held || rec.Expires() != want.expires || rec.Last() != want.last || rec.Remarkable() != want.remarkable {
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
			if !e.expired(watermark) {
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

func TestAtItsCapTheColdestGoesNewcomersFirst(t *testing.T) {
	const bound = 100
	table := state.New(state.Caps{2: bound})
	position := int64(0)
	touch := func(key uint64, times int) bool {
		for range times {
			rec, ok := get(table, key, 2, 0)
			if !ok {
				return false
			}
			position++
			rec.Touch(position, 1000)
		}
		return true
	}
	for i := range uint64(bound) { // 10 remarkable, 30 regulars, 60 newcomers
		touch(i, map[bool]int{true: 9, false: 3}[i < 40])
		if rec, _ := table.Find(i, 0); i < 10 {
			rec.Spare(1000)
		}
	}
	touch(10, 1) // the coldest regular and the coldest newcomer are warmed
	rec, _ := table.Find(40, 0)
	rec.Touch(position+1, 1000)
	position++
	for i := range uint64(59) {
		if !touch(1000+i, 1) {
			t.Fatalf("a newcomer was refused while there were %d others", 59-i)
		}
	}
	if table.Len(2) != bound || table.Evicted(2) != 59 {
		t.Fatalf("%d records, %d evicted", table.Len(2), table.Evicted(2))
	}
	for i := range uint64(bound) {
		if _, ok := table.Find(i, 0); ok != (i <= 40) {
			t.Errorf("record %d: there %v", i, ok)
		}
	}
	rec, _ = get(table, 5, 3, 0) // the number is taken by kind 2: keys are unique across kinds
	if rec.Kind() != 2 {
		t.Errorf("kind %d", rec.Kind())
	}
}

func TestARegularGivesWayOnlyToAKeyThatComesAsOften(t *testing.T) {
	table := state.New(state.Caps{2: 10})
	position := int64(0)
	for i := range uint64(10) {
		for range 6 + i {
			rec, _ := get(table, i, 2, 0)
			position++
			rec.Touch(position, 1000)
		}
	}
	for i := range 12 {
		rec, ok := get(table, 99, 2, 0)
		if want := i >= 5; ok != want { // the coldest came 6 times
			t.Fatalf("the key came %d times: admitted %v", i+1, ok)
		}
		if ok {
			position++
			rec.Touch(position, 1000)
		}
	}
	_, first := table.Find(0, 0)
	_, second := table.Find(1, 0)
	if first || !second || table.Refused(2) != 5 || table.Evicted(2) != 1 {
		t.Errorf("there: %v %v; %d refused, %d evicted", first, second, table.Refused(2), table.Evicted(2))
	}
	// A newcomer that is a regular already does not give way to keys that come once.
	for i := range uint64(1000) {
		if _, ok := get(table, 1000+i, 2, 0); ok {
			t.Fatal("a key that came once was admitted")
		}
	}
}

// A key that is admitted counts for as often as it came, the touch that follows
// included: as a newcomer it makes room for anybody, as a regular only for who
// comes as often.
func TestAnAdmittedKeyCountsForAsOftenAsItCame(t *testing.T) {
	for _, c := range []struct {
		name    string
		holder  int // how often the one that has the place came
		refused int // how often the key is refused for that
		touches int // of the key's record
		then    int // how often another key has to come after it
	}{
		{"a first visit is one", 1, 0, 1, 1},
		{"three visits are a newcomer's", 1, 0, 3, 1},
		{"four are a regular's", 1, 0, 4, 4},
		{"those that were refused count", 4, 3, 1, 4},
		{"and the ones after them", 4, 3, 3, 6},
		{"five visits", 5, 4, 1, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			table, position := state.New(state.Caps{2: 1}), int64(0)
			come := func(key uint64) bool {
				rec, ok := get(table, key, 2, 0)
				if ok {
					position++
					rec.Touch(position, 1000)
				}
				return ok
			}
			for range c.holder {
				come(1)
			}
			for n := range c.refused {
				if come(2) {
					t.Fatalf("visit %d: admitted", n+1)
				}
			}
			for n := range c.touches {
				if !come(2) {
					t.Fatalf("visit %d: refused", c.refused+n+1)
				}
			}
			n := 1
			for !come(3) {
				n++
			}
			if n != c.then {
				t.Errorf("another key came %d times before it was admitted, want %d", n, c.then)
			}
		})
	}
}

func TestATenantsFloodEvictsNobodyElses(t *testing.T) {
	table := state.New(state.Caps{1: 50})
	admit := func(key, tenant uint64, position int64) {
		rec, ok := table.Admit(key, 1, tenant, 0)
		if !ok {
			t.Fatalf("key %d of tenant %d is refused", key, tenant)
		}
		rec.Touch(position, 1000)
	}
	for i := range uint64(40) {
		admit(i, 7, int64(i))
	}
	for i := range uint64(10_000) {
		admit(1000+i, 8, int64(1000+i))
	}
	for i := range uint64(40) {
		if _, ok := table.Find(i, 0); !ok {
			t.Errorf("the flood of another tenant evicted %d", i)
		}
	}
	if table.Len(1) != 90 {
		t.Errorf("%d records", table.Len(1))
	}
}

// TestTenantsWithoutEndShareOneGroup is a gateway that makes up tenants.
func TestTenantsWithoutEndShareOneGroup(t *testing.T) {
	table := state.New(state.Caps{1: 3})
	for i := range uint64(20_000) {
		rec, _ := table.Admit(i, 1, i, 0)
		rec.Touch(int64(i), 1<<40)
	}
	if n := table.Len(1); n < 4096 || n > 4096+3 {
		t.Errorf("%d records", n)
	}
}

func TestExpiredRecordsAreReclaimed(t *testing.T) {
	table := state.New(state.Caps{})
	for i := range uint64(100_000) {
		rec, _ := get(table, i*0x9E3779B97F4A7C15, 1, int64(i)-100)
		rec.Touch(int64(i), int64(i))
	}
	if n := table.Len(1); n > 200 {
		t.Errorf("%d records are held, 100 are alive", n)
	}
	if b := table.Bytes(); b > 8<<20 {
		t.Errorf("%d bytes are held for 100 live records", b)
	}
}

// A record makes room at the watermark at which it expires, and not a moment before.
func TestAnExpiredRecordMakesRoom(t *testing.T) {
	for watermark, admitted := range map[int64]bool{99: false, 100: true} {
		table := state.New(state.Caps{2: 1})
		for n := range 4 { // a regular, which makes room for no newcomer
			rec, _ := get(table, 1, 2, 0)
			rec.Touch(int64(n+1), 100)
		}
		if _, ok := get(table, 2, 2, watermark); ok != admitted || table.Evicted(2) != 0 {
			t.Errorf("a record until 100, at watermark %d: another is admitted: %v, and %d are evicted", watermark, ok, table.Evicted(2))
		}
	}
}

func BenchmarkTable(b *testing.B) {
	for _, keys := range []int{5_000, 1_000_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			table := state.New(state.Caps{})
			rng := rand.New(rand.NewPCG(1, 2))
			at := func(k uint64, position int64) {
				rec, _ := get(table, k*0x9E3779B97F4A7C15, 1, 0)
				if rec.Slot(7) == nil {
					rec.Resize(7, 40)
				}
				rec.Slot(7)[0]++
				rec.Touch(position, 1<<40)
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

// TestLargeRecordsDoNotMakeTheNextOnesLarge: a new record gets as much room as the last
// ones fill.
func TestLargeRecordsDoNotMakeTheNextOnesLarge(t *testing.T) {
	table := state.New(state.Caps{})
	key := uint64(0)
	add := func(bytes int) {
		rec, _ := table.Admit(key, 1, 0, 0)
		key++
		rec.Resize(7, bytes)
	}
	for range 1000 {
		add(60 << 10)
		add(60 << 10)
		add(8)
	}
	const large, small = 2000, 1000
	if got, want := table.Bytes(), large*64<<10+small*1<<10+4<<20; got > want {
		t.Errorf("%d bytes, want no more than %d", got, want)
	}
	for range 10_000 {
		add(8)
	}
	if got, want := table.Bytes(), large*64<<10+small*1<<10+10_000*64+5<<20; got > want {
		t.Errorf("with small records, %d bytes, want no more than %d", got, want)
	}
}

// Two records may be open at once, and grow in turns, while others come, expire
// and make room, and views are frozen.
func TestTwoRecordsMayBeOpenAtOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := state.New(state.Caps{1: 8, 2: 8, 3: 3})
		var views []*state.Frozen
		for round := range rapid.IntRange(1, 30).Draw(t, "rounds") {
			if rapid.IntRange(0, 3).Draw(t, "freeze") == 0 {
				views = append(views, table.Freeze())
			}
			now := int64(round)
			var open [2]state.Record
			var want [2][]byte
			for i := range open {
				key := uint64(i+1)<<32 | rapid.Uint64Range(0, 9).Draw(t, "key")
				open[i], _ = get(table, key, uint8(i+1), now)
				open[i].Touch(now, now+rapid.Int64Range(1, 5).Draw(t, "life"))
				want[i] = bytes.Clone(open[i].Slot(7))
			}
			for step := range rapid.IntRange(1, 12).Draw(t, "steps") {
				i := rapid.IntRange(0, 1).Draw(t, "which")
				n := rapid.IntRange(0, 900).Draw(t, "size")
				b := open[i].Resize(7, n)
				for at := range b {
					b[at] = byte(round + step + i + at)
				}
				want[i] = bytes.Clone(b)
				if third, ok := get(table, rapid.Uint64Range(0, 9).Draw(t, "third"), 3, now); ok {
					third.Resize(7, rapid.IntRange(0, 900).Draw(t, "size"))
					third.Touch(now, now+1)
				}
				for i := range open {
					again, ok := table.Find(open[i].Key(), now)
					if !ok || !bytes.Equal(open[i].Slot(7), want[i]) || !bytes.Equal(again.Slot(7), want[i]) {
						t.Fatalf("record %d holds %x, want %x", i, open[i].Slot(7), want[i])
					}
				}
			}
			if len(views) > 0 && rapid.Bool().Draw(t, "release") {
				views[0].Release()
				views = views[1:]
			}
		}
	})
}
