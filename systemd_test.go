package weir_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weirdev/weir/proof/testkit"
)

// units says which command each unit starts.
var units = map[string]string{
	"weir-worker.service":  "weir-worker -config /etc/weir/weir.yaml",
	"weir-gate.service":    "weir-gate -config /etc/weir/weir.yaml",
	"weir-console.service": "weir console -config /etc/weir/weir.yaml",
	"weir-canary.service":  "weir canary -config /etc/weir/weir.yaml -state /var/lib/weir/canary/alarms.json",
}

// unit reads the lines of a unit, by key.
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for line := range strings.Lines(read(t, "deploy/systemd/"+name)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			all[key] = append(all[key], value)
		}
	}
	return all
}

func TestUnitsFitTheProgramsAndTheirSettings(t *testing.T) {
	known := settingsByVariable(t)
	listens := map[string]string{}
	for name, command := range units {
		u := unit(t, name)
		one := func(key string) string { return strings.Join(u[key], " ") }
		if want := "/usr/local/bin/" + command; one("ExecStart") != want {
			t.Errorf("%s starts %s", name, one("ExecStart"))
		}
		if stop, _ := strconv.Atoi(one("TimeoutStopSec")); stop <= 25 {
			t.Errorf("%s is killed after %d s, and stop_timeout is 25 s", name, stop)
		}
		if one("Restart") != "always" || one("RestartPreventExitStatus") != "2" {
			t.Errorf("%s: a crash is not mended, or a wrong setting is tried for ever", name)
		}
		var credentials []string
		for _, c := range u["LoadCredential"] {
			id, _, _ := strings.Cut(c, ":")
			credentials = append(credentials, id)
		}
		for _, e := range u["Environment"] {
			variable, value, _ := strings.Cut(e, "=")
			switch {
			case variable == "GOMEMLIMIT":
				limit, err := strconv.ParseInt(strings.TrimSuffix(one("MemoryMax"), "M"), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				withinLimit(t, name, value, limit<<20)
			case variable == "WEIR_ADMIN_LISTEN":
				if other := listens[value]; other != "" {
					t.Errorf("%s and %s listen on %s", name, other, value)
				}
				listens[value] = name
			case known[variable] == "":
				t.Errorf("%s: %s is no setting", name, variable)
			case secretName.MatchString(strings.TrimSuffix(variable, "_FILE")):
				if id, ok := strings.CutPrefix(value, "%d/"); !ok || !slices.Contains(credentials, id) || !strings.HasSuffix(variable, "_FILE") {
					t.Errorf("%s: %s is no credential of the unit", name, variable)
				}
			}
		}
		if err := starts(t, strings.TrimSuffix(name, ".service"), "deploy/systemd/weir.yaml", u["Environment"]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// What the program writes to must be a directory of the unit's.
		for _, path := range regexp.MustCompile(`/(?:var/lib|run)/[a-z/.]+`).FindAllString(one("Environment")+" "+one("ExecStart"), -1) {
			if !slices.ContainsFunc(append(u["StateDirectory"], u["RuntimeDirectory"]...), func(d string) bool { return strings.Contains(path, "/"+d) }) {
				t.Errorf("%s may not write to %s", name, path)
			}
		}
	}
}

// TestSystemdTakesTheUnits has systemd read them, and rate what they may do.
func TestSystemdTakesTheUnits(t *testing.T) {
	analyze := testkit.Tool(t, "systemd-analyze", "install systemd (Debian: apt-get install systemd)")
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(name, text string) string {
		text = regexp.MustCompile(`/usr/local/bin/\S+`).ReplaceAllString(text, program)
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for name := range units {
		text := read(t, "deploy/systemd/"+name)
		file := put(name, text)
		if out, err := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=no", file).CombinedOutput(); err != nil || strings.Contains(string(out), name) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if out, err := exec.Command(analyze, "security", "--offline=yes", "--threshold=20", "--no-pager", file).CombinedOutput(); err != nil {
			t.Errorf("%s may do more than it needs: %v\n%s", name, err, out)
		}
		wrong := put("wrong.service", strings.Replace(text, "ProtectSystem=strict", "ProtectSistem=strict", 1))
		if out, _ := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=no", wrong).CombinedOutput(); !strings.Contains(string(out), "ProtectSistem") {
			t.Errorf("a misspelt key is not found: %s", out)
		}
	}
}
