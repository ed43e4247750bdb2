package printable

import (
	"testing"
	"unicode"
	"unicode/utf8"
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
		if got := Text(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\x1b[0m\xff\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		got := Text(s)
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q becomes %q", s, got)
			}
		}
		if !utf8.ValidString(got) || Text(got) != got {
			t.Fatalf("%q becomes %q, and that %q", s, got, Text(got))
		}
	})
}
