package facet

import (
	"bytes"
	"errors"
	"testing"

	"github.com/weirdev/weir/event"
)

var testVerdicts = []Verdict{
	{Slot: 0xdeadbeef, Level: 2, By: event.Build, Time: 1_700_000_000_000, Tenant: "shop", Value: "1.2|Pixel 9"},
	{Slot: 1, By: event.ASN, Time: -1, Value: "64496"},
}

func testVerdictFrame() []byte {
	var w VerdictWriter
	for i := range testVerdicts {
		w.Add(&testVerdicts[i])
	}
	frame := w.Frame(testLink.From, testLink.Step, 5)
	Chain(frame, testLink.Previous)
	return frame
}

func drainVerdicts(r *LoopbackReader) (all []Verdict, err error) {
	for {
		var v Verdict
		ok, err := r.Verdict(&v)
		if err != nil || !ok {
			return all, err
		}
		all = append(all, v)
	}
}

func TestAFrameOfVerdictsReadsBackAsItWasWritten(t *testing.T) {
	frame := testVerdictFrame()
	var r LoopbackReader
	if err := r.Reset(frame); err != nil || !IsLoopback(frame) || r.Link != testLink || r.Incarnation != 5 || !r.Verdicts {
		t.Fatalf("%+v %v", r.Link, err)
	}
	if ok, err := r.Finding(new(Finding)); ok || err != nil {
		t.Errorf("it holds a finding: %v %v", ok, err)
	}
	got, err := drainVerdicts(&r)
	if err != nil || len(got) != 2 || got[0] != testVerdicts[0] || got[1] != testVerdicts[1] {
		t.Errorf("%+v %v", got, err)
	}
	if err := r.Reset(testLoop()); err != nil || r.Verdicts {
		t.Errorf("findings are verdicts: %v", err)
	}
	if ok, err := r.Verdict(new(Verdict)); ok || err != nil {
		t.Errorf("findings hold a verdict: %v %v", ok, err)
	}
}

func TestTheFormatOfVerdictsDoesNotDrift(t *testing.T) {
	sameForm(t, "verdicts-v4.hex", testVerdictFrame())
}

func TestADamagedFrameOfVerdictsIsRefused(t *testing.T) {
	frame := testVerdictFrame()
	var r LoopbackReader
	for i := range len(frame) * 8 {
		b := bytes.Clone(frame)
		b[i/8] ^= 1 << (i % 8)
		if err := r.Reset(b); !errors.Is(err, ErrFrame) && !errors.Is(err, ErrFrameVersion) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
	for n := range frame[headerBytes:] {
		b := bytes.Clone(frame[:headerBytes+n])
		putChecksum(b)
		err := r.Reset(b)
		if err == nil {
			_, err = drainVerdicts(&r)
		}
		if !errors.Is(err, ErrFrame) {
			t.Fatalf("%d bytes under a sound checksum: %v", n, err)
		}
	}
}

// FuzzVerdicts feeds arbitrary bodies under a valid checksum: whatever they hold,
// reading ends.
func FuzzVerdicts(f *testing.F) {
	f.Add(testVerdictFrame()[headerBytes:])
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, body []byte) {
		b := append([]byte{'W', 'F', loopbackVersion, flagVerdicts, 0, 0, 0, 0}, body...)
		putChecksum(b)
		var r LoopbackReader
		if r.Reset(b) != nil {
			return
		}
		if _, err := drainVerdicts(&r); err != nil && !errors.Is(err, ErrFrame) {
			t.Fatal(err)
		}
	})
}
