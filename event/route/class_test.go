package route

import (
	"strings"
	"testing"
)

func TestWordsOfRoutesAreRight(t *testing.T) {
	for what, text := range map[string]string{
		"an unknown concept": "-: api\na: a\n\nlogin POST: a | b",
		"an unknown need":    "-: api\na: a\n\nlogin POST: c | a",
		"no need":            "-: api\na: a\n\nlogin POST: | a",
		"no class":           "-: api\na: a\n\n POST: a |",
		"a word twice":       "-: api\na: a\nb: a\n\nlogin POST: a |",
		"too many concepts":  "-: api" + strings.Repeat("\nx:", 65),
	} {
		if _, err := ParseWords(text); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}
