package testkit

import (
	"os/exec"
	"testing"
)

// requireRegistries is the variable with which npm, pip and what they fetch must be
// there.
const requireRegistries = "WEIR_REQUIRE_REGISTRIES"

// Registries says that a test fetches packages with npm and pip. A short run leaves it
// to `make proof`.
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

// Offline skips a test that could not fetch because of err, unless it must be able to.
func Offline(t testing.TB, err error) {
	t.Helper()
	lacking(t, requireRegistries, err.Error())
}
