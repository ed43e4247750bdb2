package facet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"testing"
)

var testSwitch = Switch{Incarnation: 7, Number: 12, Lane: Shadow, Version: "0123456789abcdef", Time: 1763892000123, Who: "ann", Source: "./rules", Bundle: []byte("a bundle")}

func TestASwitchIsReadBack(t *testing.T) {
	frame := AppendSwitch(nil, &testSwitch)
	got, err := ReadSwitch(frame)
	if err != nil || !reflect.DeepEqual(got, testSwitch) || !IsSwitch(frame) || IsLoopback(frame) {
		t.Errorf("got %+v, %v", got, err)
	}
	const golden = "testdata/switch-v5.hex"
	if *update {
		if err := os.WriteFile(golden, []byte(hex.EncodeToString(frame)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || string(want) != hex.EncodeToString(frame)+"\n" {
		t.Errorf("the frame differs from %s (%v); logs hold frames of that form, so a new form needs a new version", golden, err)
	}
}

func TestADamagedSwitchIsRefused(t *testing.T) {
	frame := AppendSwitch(nil, &testSwitch)
	for i := range len(frame) * 8 {
		b := bytes.Clone(frame)
		b[i/8] ^= 1 << (i % 8)
		if _, err := ReadSwitch(b); !errors.Is(err, ErrFrame) && !errors.Is(err, ErrFrameVersion) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
	for _, s := range []Switch{{Version: "x"}, {Number: 1}, {Number: 1, Version: "x", Lane: lanes}} {
		if _, err := ReadSwitch(AppendSwitch(nil, &s)); !errors.Is(err, ErrFrame) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// FuzzReadSwitch feeds arbitrary bodies under a valid checksum.
func FuzzReadSwitch(f *testing.F) {
	f.Add(AppendSwitch(nil, &testSwitch)[headerBytes:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		b := append([]byte{'W', 'F', switchVersion, flagSwitch, 0, 0, 0, 0}, body...)
		putChecksum(b)
		if s, err := ReadSwitch(b); err == nil {
			if again, err := ReadSwitch(AppendSwitch(nil, &s)); err != nil || !reflect.DeepEqual(again, s) {
				t.Errorf("%+v is read back as %+v, %v", s, again, err)
			}
		}
	})
}
