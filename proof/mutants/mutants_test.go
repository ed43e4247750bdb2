package mutants

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

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

func TestOneProgramHoldsAllBugs(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example\n\ngo 1.26\n")
	write("main.go", `package main

import "fmt"

type list[T any] []T

func (l list[T]) first(n int, _ string) []T { return l[:n] }

func sum(numbers ...int) (total int) {
	for _, n := range numbers {
		total += n
	}
	return total
}

func pick[K comparable, V any](m map[K]V, k K) V { return m[k] }

func say(text string) {
	fmt.Print(text)
}

func main() {
	say(fmt.Sprint(list[int]{1, 2, 3}.first(2, ""), sum(1, 2), pick(map[int]int{1: 5}, 1)))
}
`)
	bugs := []Bug{
		{Name: "one more", File: "main.go", Edits: [][2]string{{"l[:n]", "l[:n+1]"}}},
		{Name: "takes away", File: "main.go", Edits: [][2]string{{"total += n", "total -= n"}}},
		{Name: "another import, and two functions", File: "main.go", Edits: [][2]string{
			{`import "fmt"`, "import (\n\t\"fmt\"\n\t\"strings\"\n)"},
			{"fmt.Print(text)", "fmt.Print(strings.ToUpper(text), \"A\")"},
			{"return m[k]", "v := m[k]\n\tclear(m)\n\t_ = v\n\treturn m[k]"}}},
	}
	files, err := combine(root, bugs)
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range files {
		write(filepath.Base(file), string(content))
	}
	program := filepath.Join(root, "program")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for bug, want := range []string{"[1 2] 3 5", "[1 2 3] 3 5", "[1 2] -3 5", "[1 2] 3 0A"} {
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Env = append(os.Environ(), bugEnv+"="+strconv.Itoa(bug))
		if out, err := cmd.Output(); err != nil || string(out) != want {
			t.Errorf("with bug %d it says %q, %v, want %q", bug, out, err, want)
		}
	}
}

func TestABugOutsideOfFunctionsIsRefused(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "x.go"), []byte("package x\n\nconst limit = 3\n\nfunc f(n int) int { return n }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, edits := range [][][2]string{
		{{"limit = 3", "limit = 4"}},
		{{"f(n int) int", "f(m, n int) int"}},
		{{"func f", "\nfunc f"}},
	} {
		if _, err := combine(root, []Bug{{Name: "a bug", File: "x.go", Edits: edits}}); err == nil {
			t.Errorf("%q is taken", edits)
		}
	}
}
