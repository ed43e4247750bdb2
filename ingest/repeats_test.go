package ingest

import (
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestRepeatsAreThoseOfTheWindow compares the window with a map from bytes to
// the offset where they were last.
func TestRepeatsAreThoseOfTheWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		offset := rapid.Int64Range(0, 1<<40).Draw(t, "first")
		r, last := newRepeats(offset), map[string]int64{}
		for range rapid.IntRange(1, 300).Draw(t, "records") {
			switch rapid.IntRange(0, 9).Draw(t, "gap") {
			case 0:
				offset += rapid.Int64Range(1, 50).Draw(t, "small")
			case 1:
				offset += repeatWindow + rapid.Int64Range(-60, 2).Draw(t, "about a window")
			case 2:
				offset += rapid.Int64Range(1, 1<<30).Draw(t, "large")
			}
			bytes := fmt.Sprint(rapid.IntRange(0, 20).Draw(t, "bytes"))
			before, known := last[bytes]
			if got, want := r.see(offset, nil, []byte(bytes)), known && offset-before <= repeatWindow; got != want {
				t.Fatalf("%s at %d, last at %d: repeat %v, want %v", bytes, offset, before, got, want)
			}
			last[bytes] = offset
			offset++
		}
	})
}

// TestAFullWindow goes round the ring several times: every record is once new
// and once a repeat, as long ago as can be recognised, and then too long ago.
func TestAFullWindow(t *testing.T) {
	r := newRepeats(0)
	value := make([]byte, 8)
	see := func(offset int64, n uint64) bool {
		binary.LittleEndian.PutUint64(value, n)
		return r.see(offset, nil, value)
	}
	for i := range int64(repeatWindow) {
		if see(i, uint64(i)) {
			t.Fatalf("record %d is taken for a repeat", i)
		}
	}
	for i := range int64(repeatWindow) {
		if !see(repeatWindow+i, uint64(i)) {
			t.Fatalf("record %d is not recognised %d offsets later", i, repeatWindow)
		}
	}
	for i := range int64(repeatWindow) {
		if see(2*repeatWindow+1+i, uint64(i)) {
			t.Fatalf("record %d is recognised %d offsets later", i, repeatWindow+1)
		}
	}
	used := 0
	for _, place := range r.index {
		if place != 0 {
			used++
		}
	}
	if used > repeatWindow {
		t.Errorf("%d places of the index are taken, the window has %d", used, repeatWindow)
	}
}

func TestKeyAndValueAreToldApart(t *testing.T) {
	r := newRepeats(0)
	for i, rec := range []struct {
		key, value string
		repeat     bool
	}{
		{"", "ab", false}, {"ab", "", false}, {"a", "b", false}, {"b", "a", false}, {"", "ab", true}, {"a", "b", true},
	} {
		if got := r.see(int64(i), []byte(rec.key), []byte(rec.value)); got != rec.repeat {
			t.Errorf("%d: repeat %v, want %v", i, got, rec.repeat)
		}
	}
}

func BenchmarkRepeats(b *testing.B) {
	r, value := newRepeats(0), make([]byte, 500)
	b.ReportAllocs()
	for i := range b.N {
		binary.LittleEndian.PutUint64(value, uint64(i))
		r.see(int64(i), nil, value)
	}
}
