package facet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"testing"
)

// said are the control records of [controlFrame].
var said = []struct {
	of     Entity
	offset int64
	time   int64
	Control
}{
	{Entity{Account, "shop", "alice"}, 40, 1_700_000_000_000, Control{FalsePositive, "r", "", 1_700_000_600_000}},
	{Entity{IP, "", "192.0.2.1"}, 42, 1_699_999_999_000, Control{Action: Passed, Category: "bot"}},
	{Entity{Account, "", "bob"}, 43, 1_700_000_000_500, Control{Action: Erase}},
}

func controlFrame() []byte {
	w := NewControlWriter(3)
	for i := range said {
		w.AddControl(said[i].of, said[i].offset, said[i].time, &said[i].Control)
	}
	return bytes.Clone(w.Finish(Section{Source: 4, Owner: 2, From: 38, To: 50, Watermark: NoWatermark}))
}

func TestAControlFrameIsReadBack(t *testing.T) {
	frame := controlFrame()
	var r Reader
	if err := r.Reset(frame); err != nil {
		t.Fatal(err)
	}
	s, ok, err := r.Section()
	if want := (Section{Source: 4, Owner: 2, From: 38, To: 50, Sent: 3, Watermark: NoWatermark, Facets: 3}); err != nil || !ok || s != want || !r.Controls || r.Incarnation != 3 {
		t.Fatalf("section %+v %v %v, want %+v", s, ok, err, want)
	}
	var f Facet
	for i, want := range said {
		ok, err := r.Facet(&f)
		if !ok || err != nil || f.Entity != want.of || f.Offset != want.offset || f.Time != want.time || f.Control != want.Control {
			t.Errorf("facet %d: %+v %v %v", i, f.Control, ok, err)
		}
	}
	if ok, err := r.Facet(&f); ok || err != nil {
		t.Errorf("another facet: %v", err)
	}
	if _, ok, err := r.Section(); ok || err != nil {
		t.Errorf("another section: %v", err)
	}
	// The same reader and facet, for events again.
	if err := r.Reset(testFrame(t)); err != nil || r.Controls {
		t.Errorf("a frame of events is read as one of controls (%v)", err)
	}
	if _, _, err := r.Section(); err != nil {
		t.Fatal(err)
	}
	if ok, err := r.Facet(&f); !ok || err != nil || f.Control.Action != 0 {
		t.Errorf("an event with the control %+v (%v)", f.Control, err)
	}
	const golden = "testdata/controls-v4.hex"
	if *update {
		if err := os.WriteFile(golden, []byte(hex.EncodeToString(frame)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || string(want) != hex.EncodeToString(frame)+"\n" {
		t.Errorf("the frame differs from %s (%v); logs hold frames of that form, so a new form needs a new version", golden, err)
	}
}

func TestActionsHaveNames(t *testing.T) {
	for _, a := range Actions() {
		if got, ok := ParseAction(a.String()); !ok || got != a {
			t.Errorf("%v is read as %v", a, got)
		}
	}
	for _, name := range []string{"", "unknown", "explode"} {
		if a, ok := ParseAction(name); ok {
			t.Errorf("%q is %v", name, a)
		}
	}
}

// FuzzControls feeds arbitrary bodies under a valid checksum: whatever they hold, the
// reader stops with an error of frames, and returns only actions that exist.
func FuzzControls(f *testing.F) {
	f.Add(controlFrame()[headerBytes:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		b := append([]byte{'W', 'F', controlsVersion, flagControls, 0, 0, 0, 0}, body...)
		putChecksum(b)
		var r Reader
		err := r.Reset(b)
		for err == nil {
			var s Section
			var ok bool
			if s, ok, err = r.Section(); err != nil || !ok {
				break
			}
			var fa Facet
			for {
				if ok, err = r.Facet(&fa); err != nil || !ok {
					break
				}
				if fa.Control.Action.String() == "unknown" || fa.Offset < s.From || fa.Offset >= s.To || !fa.Entity.Kind.Exists() {
					t.Fatalf("control %+v of %+v at %d", fa.Control, fa.Entity, fa.Offset)
				}
			}
		}
		if err != nil && !errors.Is(err, ErrFrame) && !errors.Is(err, ErrFrameVersion) {
			t.Fatal(err)
		}
	})
}
