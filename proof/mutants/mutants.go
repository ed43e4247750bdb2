// Package mutants asks of tests whether they would see a bug: it puts bugs into
// the program, one at a time, and requires that a test fails. The tree is left as
// it is; the go command is shown another text of one file.
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

// Bug is a fault of the program. Each old text is there exactly once, so that a
// table of bugs cannot rot.
type Bug struct {
	Name  string
	File  string      // from the root of the module, with slashes
	Edits [][2]string // old text, new text
	Test  string      // that must fail; "": the suite's
	Seed  int         // of the first history that is tried; 0: the first one. It saves time, and no more
}

// Suite is tests that must see bugs.
type Suite struct {
	Package string   // from the root of the module, such as ./proof/oracle
	Test    string   // that must fail
	Args    []string // of the go command, behind the package
	Env     []string // beside the present one
	SeedEnv string   // names a bug's seed to the test
	Bugs    []Bug
}

// patience is how long a test may take to build, and to find its bug. It ends what
// hangs, and is so long that a busy machine is no failure.
const patience = 8 * time.Minute

// Run tests that each bug is caught, as many at a time as tests may run. It is left
// to make proof, and skipped under the race detector, which would build everything
// once more.
func (s Suite) Run(t *testing.T) {
	testkit.Long(t, "it builds the program many times")
	if testkit.Raced {
		t.Skip("builds the program many times, without the race detector")
	}
	root := moduleRoot(t)
	for _, b := range s.Bugs {
		if b.Test == "" {
			b.Test = s.Test
		}
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			started := time.Now()
			out, err := s.try(t, root, b)
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

// Apply checks that each bug can be put into its file: the build of none is tried.
// It is quick, so that a change that moves a bug's place is told at once.
func (s Suite) Apply(t *testing.T) {
	root := moduleRoot(t)
	for _, b := range s.Bugs {
		if _, err := b.faulty(root); err != nil {
			t.Errorf("%s: %v", b.Name, err)
		}
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

// try runs the test on the program with the bug.
func (s Suite) try(t *testing.T, root string, b Bug) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args := []string{"test", "-vet=off", "-ldflags=-s -w", "-overlay", b.overlay(t, root), s.Package, "-run", "^" + b.Test + "$"}
	cmd := exec.CommandContext(ctx, "go", append(args, s.Args...)...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), s.Env...)
	if b.Seed > 0 {
		cmd.Env = append(cmd.Env, s.SeedEnv+"="+strconv.Itoa(b.Seed))
	}
	bytes, err := cmd.CombinedOutput()
	return string(bytes), err
}

// overlay writes what shows the go command the file with the bug in it.
func (b Bug) overlay(t *testing.T, root string) (path string) {
	t.Helper()
	dir, file := t.TempDir(), b.path(root)
	source, err := b.faulty(root)
	if err != nil {
		t.Fatal(err)
	}
	fake, path := filepath.Join(dir, "fake.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {file: fake}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{fake: []byte(source), path: list} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func (b Bug) path(root string) string { return filepath.Join(root, filepath.FromSlash(b.File)) }

// faulty is the text of the bug's file with the bug in it.
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
