package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/weirdev/weir/proof/servers"
)

// Tool returns the path of a program that checks files, such as promtool or
// systemd-analyze. WEIR_REQUIRE_TOOLS=1 requires it; get says how to get it.
func Tool(t testing.TB, name, get string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		lacking(t, "WEIR_REQUIRE_TOOLS", name+" is missing: "+get)
	}
	return path
}

// FetchedTool is Tool for a program that tools/kubernetes/fetch.sh keeps in the cache.
func FetchedTool(t testing.TB, name string) string {
	t.Helper()
	path, ok := fetched(name)
	if !ok {
		lacking(t, "WEIR_REQUIRE_TOOLS", name+" is not in the cache; `make kubernetes` fetches it")
	}
	return path
}

// Kustomize returns a command that renders a directory: kubectl, or else the kustomize
// that tools/kubernetes/fetch.sh built.
func Kustomize(t testing.TB, dir string) *exec.Cmd {
	t.Helper()
	if path, ok := fetched("kustomize"); ok {
		return exec.Command(path, "build", dir)
	}
	return exec.Command(Tool(t, "kubectl", "install it, or let `make kubernetes` build kustomize"), "kustomize", dir)
}

func fetched(name string) (path string, ok bool) {
	made, _ := filepath.Glob(filepath.Join(servers.CacheDir(), "kubernetes", "*", "ready"))
	if len(made) == 0 {
		return "", false
	}
	path = filepath.Join(filepath.Dir(made[len(made)-1]), "bin", name)
	_, err := os.Stat(path)
	return path, err == nil
}
