package testkit

import (
	"os/exec"
	"testing"
)

// requireRegistries is the variable that makes npm, pip and their downloads
// mandatory.
const requireRegistries = "WEIR_REQUIRE_REGISTRIES"

// Registries marks a test that downloads packages with npm and pip. A short run
// leaves it to `make proof`.
func Registries(t testing.TB) {
	t.Helper()
	Long(t, "it fetches from the network")
	if Raced {
		t.Skip("make proof fetches the same without the race detector")
	}
	for _, probe := range [][]string{{"npm", "--version"}, {"python3", "-m", "pip", "--version"}} {
		if err := exec.CommandContext(t.Context(), probe[0], probe[1:]...).Run(); err != nil {
			lacking(t, requireRegistries, "npm and pip are needed (Debian: apt-get install npm python3-pip): "+probe[0]+": "+err.Error())
		}
	}
}

// Offline skips a test whose download failed with err, unless downloads are
// mandatory.
func Offline(t testing.TB, err error) {
	t.Helper()
	lacking(t, requireRegistries, err.Error())
}
