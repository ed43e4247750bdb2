package facet

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/weirdev/weir/event"
)

var testLink = Link{From: 3, Previous: Step{900, 2}, Step: Step{1000, 0}}

func testFindings() []Finding {
	f := Finding{
		Slot: 0xdeadbeef, Tier: 1, Weight: 20, Time: 1_700_000_000_000, Source: 7, Offset: 4711,
		Group: Entity{IP, "shop", "192.0.2.1"}, Evidence: []Evidence{Number("distinct", 20), Number("first_ms", -3), Text("agent", "curl"), Place("from", 52_520_000, 13_405_000, 20), EventAt("last", 3, 99, 1_700_000_000_000)},
	}
	g := f
	g.Evidence, g.Group, g.Weight = nil, Entity{Net, "", "192.0.2.0/24"}, 100
	return []Finding{f, g}
}

var testMembers = [][]Entity{{{Account, "shop", "ann"}, {Account, "shop", "bob"}}, {{Device, "", "d1"}}}

func testLoop() []byte {
	var w LoopbackWriter
	for i, f := range testFindings() {
		w.Begin(&f)
		for _, m := range testMembers[i] {
			w.Member(m.Kind, m.Key)
		}
		w.End()
	}
	w.Begin(&Finding{}) // of nobody
	w.End()
	frame := w.Finish(testLink.From, testLink.Step, 5)
	Chain(frame, testLink.Previous)
	return frame
}

func TestALoopBackFrameReadsBackAsItWasWritten(t *testing.T) {
	frame := testLoop()
	if !IsLoopback(frame) || IsLoopback(testFrame(t)) {
		t.Error("loop-back frames are not told from others")
	}
	var r LoopbackReader
	if err := r.Reset(frame); err != nil {
		t.Fatal(err)
	}
	if r.Link != testLink || r.Incarnation != 5 {
		t.Errorf("link %+v incarnation %d", r.Link, r.Incarnation)
	}
	for i, want := range testFindings() {
		var f Finding
		if ok, err := r.Finding(&f); err != nil || !ok || !reflect.DeepEqual(f, want) {
			t.Fatalf("finding %+v %v %v, want %+v", f, ok, err, want)
		}
		var members []Entity
		for {
			var e Entity
			ok, err := r.Member(&e)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			members = append(members, e)
		}
		if !slices.Equal(members, testMembers[i]) {
			t.Errorf("members %v, want %v", members, testMembers[i])
		}
	}
	var f Finding
	if ok, err := r.Finding(&f); ok || err != nil {
		t.Errorf("a third finding: %v %v", ok, err)
	}
	if r.Reset(testFrame(t)) == nil || new(Reader).Reset(frame) == nil {
		t.Error("a frame of the other form is read")
	}
}

func TestTheLoopBackFormatDoesNotDrift(t *testing.T) {
	sameForm(t, "loop-v4.hex", testLoop())
}

func TestLoopBackFramesOfVersion2AreRead(t *testing.T) {
	_, _, found, err := ReadLoopback(kept(t, "loop-v2.hex"))
	if err != nil || len(found) != 2 {
		t.Fatalf("%d findings, %v", len(found), err)
	}
	if want := []Evidence{Number("distinct", 20), Number("first_ms", -3)}; !slices.Equal(found[0].Evidence, want) {
		t.Errorf("evidence %v, want %v", found[0].Evidence, want)
	}
}

// drain reads a frame to its end.
func drain(r *LoopbackReader) error {
	var f Finding
	var e Entity
	for {
		ok, err := r.Finding(&f)
		if err != nil || !ok {
			return err
		}
		for {
			ok, err := r.Member(&e)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if e.Kind == 0 || e.Kind >= MaxKind || e.Tenant != f.Group.Tenant {
				return fmt.Errorf("member %+v of %+v", e, f)
			}
		}
	}
}

func TestADamagedLoopBackFrameIsRefused(t *testing.T) {
	frame := testLoop()
	var r LoopbackReader
	for i := range len(frame) * 8 {
		b := bytes.Clone(frame)
		b[i/8] ^= 1 << (i % 8)
		if err := r.Reset(b); !errors.Is(err, ErrFrame) && !errors.Is(err, ErrFrameVersion) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
	body := frame[headerBytes:]
	for n := range body {
		b := append([]byte{'W', 'F', loopbackVersion, flagLoopback, 0, 0, 0, 0}, body[:n]...)
		putChecksum(b)
		if err := r.Reset(b); err == nil {
			err = drain(&r)
			if !errors.Is(err, ErrFrame) {
				t.Fatalf("%d of %d bytes under a sound checksum: %v", n, len(body), err)
			}
		}
	}
	Chain(frame, testLink.Step)
	if err := r.Reset(frame); !errors.Is(err, ErrFrame) {
		t.Errorf("a frame that comes after itself: %v", err)
	}
}

// FuzzLoopbackReader feeds arbitrary bodies under a valid checksum: whatever they
// hold, reading ends.
func FuzzLoopbackReader(f *testing.F) {
	f.Add(testLoop()[headerBytes:])
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, body []byte) {
		b := append([]byte{'W', 'F', loopbackVersion, flagLoopback, 0, 0, 0, 0}, body...)
		putChecksum(b)
		var r LoopbackReader
		if r.Reset(b) != nil {
			return
		}
		if err := drain(&r); err != nil && !errors.Is(err, ErrFrame) {
			t.Fatal(err)
		}
	})
}

func TestNamesAreTheFieldsThatAnEntityIsReadFrom(t *testing.T) {
	for _, k := range Kinds() {
		names := Names(k)
		if len(names) == 0 || !slices.IsSorted(names) {
			t.Errorf("%v: %v", k, names)
		}
		for _, f := range names {
			e := new(event.Event)
			if f.Kind().Numeric() {
				e.SetNum(f, 1)
			} else {
				e.SetText(f, "192.0.2.1") // also where only an address will do
			}
			if _, ok := EntityOf(k, e, nil); !ok {
				t.Errorf("%v is not named by %v", k, f)
			}
		}
	}
}
