package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Programs builds Weir's programs and puts them first on the PATH of the test. The
// race detector does not cover other processes, so under it the test is skipped.
func Programs(t testing.TB) {
	t.Helper()
	if Raced {
		t.Skip("it tests programs that run without the race detector")
	}
	dir := t.TempDir()
	const module = "github.com/weirdev/weir/cmd/"
	build := exec.Command("go", "build", "-pgo=off", "-o", dir+string(filepath.Separator), module+"weir", module+"weir-worker", module+"weir-gate")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}
