package terminal

import (
	"os"
	"testing"
)

func TestNothingReachesATerminalThatMovesIt(t *testing.T) {
	for in, want := range map[string]string{
		"plain é ✓":          "plain é ✓",
		"\x1b[31mred":        `\x1b[31mred`,
		"a\tb\nc\r":          `a\tb\nc\r`,
		"\xff\xc3":           `\xff\xc3`,
		"right\u202eto left": `right\u202eto left`,
		"�":                  "�",
		"":                   "",
	} {
		if got := Visible(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}

func TestAFileIsNoTerminal(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if Is(f) || Is("no file") {
		t.Error("somebody looks at a file")
	}
}
