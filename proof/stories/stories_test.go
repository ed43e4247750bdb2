package stories

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what comes of the stories into their files")

// TestStories plays every story in testdata.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d stories, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Parse(string(text))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			now, err := s.Play()
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if got := now.String(); got != string(text) {
				if *update {
					if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
					return
				}
				t.Errorf("the story ends otherwise; read the diff of `go test ./proof/stories -update`. %s", firstDifference(string(text), got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		switch {
		case i >= len(w):
			return "new at the end: " + g[i]
		case i >= len(g):
			return "gone at the end: " + w[i]
		case w[i] != g[i]:
			return "It was:\n" + w[i] + "\nand is:\n" + g[i]
		}
	}
	return ""
}

const small = "Prose.\n-- rules --\nrules:\n-- events weir --\n{}\n-- findings --\n-- explanation account:ann --\n-- explanation --\nx\n"

func TestStoriesThatDoNotRead(t *testing.T) {
	s, err := Parse(small)
	if err != nil || len(s.Sections) != 5 || s.Prose != "Prose.\n" || s.Sections[1] != (Section{"events", "weir", 5, "{}\n"}) || s.Sections[4].Body != "x\n" {
		t.Fatalf("%+v, %v", s, err)
	}
	for _, c := range []struct{ name, from, to, want string }{
		{"an unknown section", "-- findings --", "-- finding --", `line 6: there is no section "finding"`},
		{"one that stands twice", "-- findings --", "-- rules --", "line 6: section rules stands twice; the first is in line 2"},
		{"an explanation that does", "-- explanation --", "-- explanation account:ann --", "line 8: section explanation account:ann stands twice; the first is in line 7"},
		{"rules of something", "-- rules --", "-- rules weir --", `line 2: section rules is of nothing`},
		{"no events", "-- events weir --", "", "the section events is missing"},
		{"nothing told", small[strings.Index(small, "-- findings"):], "", "the story tells nothing"},
	} {
		if _, err := Parse(strings.Replace(small, c.from, c.to, 1)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something with %q", c.name, err, c.want)
		}
	}
	for _, c := range []struct{ name, text, want string }{
		{"rules that are wrong", small, "rules, from line 3 on:"},
	} {
		s, err := Parse(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Play(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something with %q", c.name, err, c.want)
		}
	}
}

func TestPlacesOfAStory(t *testing.T) {
	p, err := parsePlaces("203.0.113.9 52.52 -13.405 10 DE\n\n2001:db8::1 0 0 0\n", 4)
	if err != nil || len(p) != 2 {
		t.Fatal(p, err)
	}
	for _, place := range p {
		if place.RadiusKM == 10 && (place.LatitudeMicro != 52_520_000 || place.LongitudeMicro != -13_405_000 || place.Country != "DE") {
			t.Errorf("%+v", place)
		}
	}
	for _, bad := range []string{"x 1 2 3", "203.0.113.9 1 2", "203.0.113.9 91 2 3", "203.0.113.9 NaN 2 3", "203.0.113.9 1 2 -3"} {
		if _, err := parsePlaces("\n"+bad, 4); err == nil || !strings.HasPrefix(err.Error(), "line 5: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(small)
	f.Add("-- rules --\n-- events --\r\n-- findings --")
	f.Add("-- rules --\n-- places --\n203.0.113.9 52.5 13.4 10 DE\n-- events --\n-- findings --")
	f.Add("--  --\n-- --\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q is written as %q: %v", text, s, err)
		}
		for _, one := range s.Sections {
			if one.Name == placesSection {
				_, _ = parsePlaces(one.Body, one.Line) // terminates for any content
			}
		}
	})
}
