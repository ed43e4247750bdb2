package mutants

import "testing"

func TestATextThatIsNotThereOnceIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, source, want string
		edits              [][2]string
	}{
		{"once", "a < b", "a <= b", [][2]string{{"<", "<="}}},
		{"one after the other", "a < b", "b > a", [][2]string{{"a < b", "b < a"}, {"<", ">"}}},
		{"not at all", "a < b", "", [][2]string{{">", "<"}}},
		{"twice", "a < b < c", "", [][2]string{{"<", "<="}}},
	} {
		got, err := Bug{File: "x.go", Edits: c.edits}.apply(c.source)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}
