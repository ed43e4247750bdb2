package redis

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestMarksNeverSayMoreThanIsDone(t *testing.T) {
	type held struct {
		offset int64
		number int
	}
	rapid.Check(t, func(t *rapid.T) {
		var m marks
		var outstanding []held
		last := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(outstanding) == 0 || rapid.Bool().Draw(t, "add") {
				offset := last + rapid.Int64Range(0, 2).Draw(t, "ahead")
				last = offset
				outstanding = append(outstanding, held{offset, m.add(offset)})
			} else {
				i := rapid.IntRange(0, len(outstanding)-1).Draw(t, "which")
				m.done(outstanding[i].number)
				outstanding = append(outstanding[:i], outstanding[i+1:]...)
			}
			want := int64(math.MaxInt64)
			for _, h := range outstanding {
				want = min(want, h.offset)
			}
			if got := m.lowest(); got != want {
				t.Fatalf("lowest %d, want %d", got, want)
			}
		}
	})
}

func TestMarksOutOfOrderStayOnTheSafeSide(t *testing.T) {
	var m marks
	ten, twenty := m.add(10), m.add(20)
	fifteen, five := m.add(15), m.add(5)
	if m.lowest() != 5 {
		t.Fatalf("lowest %d", m.lowest())
	}
	m.done(ten)
	m.done(five)
	if got := m.lowest(); got > 15 {
		t.Fatalf("lowest %d while 15 is outstanding", got)
	}
	m.done(fifteen)
	if got := m.lowest(); got != 20 {
		t.Fatalf("lowest %d while 20 is outstanding", got)
	}
	m.done(twenty)
	if got := m.lowest(); got != math.MaxInt64 {
		t.Fatalf("lowest %d of nothing", got)
	}
}
