package weir_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/weirdev/weir/detectors"
)

// namesOf matches what names a detector: its key in a rule, its name as text, and
// its types.
func namesOf(kind string) *regexp.Regexp {
	typed := ""
	for _, word := range strings.Split(kind, "_") {
		typed += strings.ToUpper(word[:1]) + word[1:]
	}
	return regexp.MustCompile(`\b` + kind + `\s*:|["` + "`" + `]` + kind + `["` + "`" + `]|detectors\.` + typed)
}

// What knows no detector must not be changed for one, its tests included. The
// built-in rules, and the schema that is generated from the detectors, are about
// them.
func TestOnlyTheirOwnRoomsKnowDetectors(t *testing.T) {
	names := map[string]*regexp.Regexp{}
	for _, kind := range detectors.All() {
		names[kind.Name] = namesOf(kind.Name)
	}
	for _, room := range []string{"engine", "rules", "score", "proof/sim"} {
		each(t, room, "", func(path, text string) {
			if strings.HasPrefix(path, "rules/default/") || path == "rules/schema.json" {
				return
			}
			for kind, name := range names {
				if found := name.FindString(text); found != "" {
					t.Errorf("%s names the detector %s: %q; tests take their kinds from proof/testrules", path, kind, found)
				}
			}
		})
	}
}

func TestADetectorsNameIsFound(t *testing.T) {
	name := namesOf("sliding_window")
	for text, want := range map[string]bool{
		"    sliding_window: {window: 1m}": true, `k.Name == "sliding_window"`: true, "r.Spec.(*detectors.SlidingWindow)": true,
		"    sliding_windows: 1": false, "a window that slides": false, "what sliding_window has": false,
	} {
		if got := name.MatchString(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
