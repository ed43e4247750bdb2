// Package mutants checks that tests detect bugs: it puts bugs into the program, and
// requires that a test fails while one of them is active. The source tree is not
// changed; the go command gets other texts for some files.
package mutants

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/proof/testkit"
)

// Bug is a seeded bug. Each old text must occur exactly once, so that a table of
// bugs stays valid.
type Bug struct {
	Name  string
	File  string      // path from the module root, with slashes
	Edits [][2]string // old text, new text
	Test  string      // test that must fail; "": the suite's
	Seed  int         // seed of the first history to try; 0: the first one. It only saves time
}

// Suite is a set of tests that must detect bugs.
type Suite struct {
	Package string   // path from the module root, such as ./proof/oracle
	Test    string   // test that must fail
	Args    []string // of the test program
	Env     []string // added to the present one
	Bugs    []Bug

	// How a bug's seed is passed to the test: as a variable, or as a flag.
	SeedEnv, SeedFlag string
}

// patience is how long a test may take to find its bug. It ends tests that hang, and
// is long enough for a busy machine.
const patience = 8 * time.Minute

// Run checks that each bug is caught, with as many in parallel as tests may run. It
// is left to make proof, and skipped under the race detector, which would make it
// many times slower.
func (s Suite) Run(t *testing.T) {
	testkit.Long(t, "it runs the tests once for each bug")
	if testkit.Raced {
		t.Skip("the bugs are tried without the race detector")
	}
	root := moduleRoot(t)
	program := s.build(t, root)
	for i, b := range s.Bugs {
		if b.Test == "" {
			b.Test = s.Test
		}
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			started := time.Now()
			out, err := s.try(t, root, program, i+1, b)
			switch {
			case err == nil:
				t.Errorf("not caught:\n%s", out)
			case !strings.Contains(out, "--- FAIL: "+b.Test):
				t.Errorf("it failed in another way:\n%s", out)
			}
			t.Logf("caught in %v: %s", time.Since(started).Round(10*time.Millisecond), firstProblem(out))
		})
	}
}

// Apply checks that each bug can be put into its file, without a build. It is fast,
// so that a change that moves a bug's place is reported at once.
func (s Suite) Apply(t *testing.T) {
	if _, err := combine(moduleRoot(t), s.Bugs); err != nil {
		t.Error(err)
	}
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	module, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(module)))
}

// build builds the tests of the package with all bugs in the program, and returns
// the executable.
func (s Suite) build(t *testing.T, root string) (program string) {
	t.Helper()
	files, err := combine(root, s.Bugs)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	replace := map[string]string{}
	for file, content := range files {
		other := filepath.Join(dir, strconv.Itoa(len(replace))+".go")
		if err := os.WriteFile(other, content, 0o600); err != nil {
			t.Fatal(err)
		}
		replace[file] = other
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "program.test")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", program, s.Package)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the program with its bugs: %v\n%s", err, out)
	}
	return program
}

// try runs the test while the bug with this number is active.
func (s Suite) try(t *testing.T, root, program string, number int, b Bug) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// Others test with real servers at the same time, which must answer within limits.
	cmd := exec.CommandContext(ctx, "nice", append([]string{"-n", "10", program, "-test.run", "^" + b.Test + "$"}, s.Args...)...)
	cmd.Dir = filepath.Join(root, filepath.FromSlash(s.Package))
	cmd.Env = append(append(os.Environ(), s.Env...), bugEnv+"="+strconv.Itoa(number))
	if seed := strconv.Itoa(b.Seed); b.Seed > 0 && s.SeedFlag != "" {
		cmd.Args = append(cmd.Args, "-"+s.SeedFlag+"="+seed)
	} else if b.Seed > 0 {
		cmd.Env = append(cmd.Env, s.SeedEnv+"="+seed)
	}
	bytes, err := cmd.CombinedOutput()
	return string(bytes), err
}

func (b Bug) path(root string) string { return filepath.Join(root, filepath.FromSlash(b.File)) }

// faulty returns the text of the bug's file with the bug in it.
func (b Bug) faulty(root string) (string, error) {
	text, err := os.ReadFile(b.path(root))
	if err != nil {
		return "", fmt.Errorf("the file of a bug: %w", err)
	}
	return b.apply(string(text))
}

// apply puts the bug into the text of its file.
func (b Bug) apply(source string) (string, error) {
	for _, e := range b.Edits {
		if n := strings.Count(source, e[0]); n != 1 {
			return "", fmt.Errorf("%s has %d times %q", b.File, n, e[0])
		}
		source = strings.Replace(source, e[0], e[1], 1)
	}
	return source, nil
}

func firstProblem(out string) string {
	_, rest, _ := strings.Cut(out, ".go:")
	line, _, _ := strings.Cut(rest, "\n")
	return line[:min(len(line), 200)]
}
