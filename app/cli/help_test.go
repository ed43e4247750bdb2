package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/settings"
)

// program returns a program with the settings of a gate, and what it says when it is
// run.
func program(uses settings.Selection) (run func(args ...string) (code int, said string)) {
	return func(args ...string) (int, string) {
		cmd := &cobra.Command{Use: "weir-gate", Short: "answers", Args: cobra.NoArgs}
		configured := Configure(cmd, app.Defaults(), uses, func(app.Config) error { return nil })
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { _, err := configured.Load(cmd); return err }
		var out bytes.Buffer
		cmd.SetOut(&out)
		code := Main(cmd, args, &out)
		return code, out.String()
	}
}

// TestHelpFitsATerminal: each program's own settings, one a line, with their defaults.
func TestHelpFitsATerminal(t *testing.T) {
	for _, p := range app.Programs() {
		t.Run(p.Name, func(t *testing.T) {
			_, said := program(p.Uses)("--help")
			for line := range strings.Lines(said) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > helpWidth {
					t.Errorf("%d columns: %s", n, line)
				}
			}
			c := app.Defaults()
			for _, s := range settings.Walk(&c) {
				listed := regexp.MustCompile(`(?m)^  --` + regexp.QuoteMeta(s.Flag()) + `[ =].*\S {2,}|^  --` + regexp.QuoteMeta(s.Flag()) + ` `).MatchString(said)
				if listed != p.Uses.Has(s.Name) {
					t.Errorf("%s is listed: %v", s.Name, listed)
				}
			}
		})
	}
	_, said := program(app.GateSettings())("--help")
	if !strings.Contains(said, "\n  --gate.listen=127.0.0.1:8191    address that gateways ask over HTTP\n") {
		t.Errorf("the help is\n%s", said)
	}
}

func TestASettingOfAnotherProgramIsNoFlagButMayStandInTheFile(t *testing.T) {
	run := program(app.GateSettings())
	if code, said := run("-kafka.session_timeout", "5s"); code != Usage || !strings.Contains(said, "-kafka.session_timeout is a setting of weir-worker; 'weir-gate' does not use it") {
		t.Errorf("exit status %d: %s", code, said)
	}
	if code, said := run("-kafka.session-timeou", "5s"); code != Usage || !strings.Contains(said, "there is no flag -kafka.session-timeou") {
		t.Errorf("exit status %d: %s", code, said)
	}
	file := filepath.Join(t.TempDir(), "weir.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("stream: {secret: an example and never a real secret}\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("WEIR_CLICKHOUSE_ADDRS", "nowhere")
	write("detect: {commit_interval: 1ms}\n") // no worker could run on it
	if code, said := run("-config", file, "-check"); code != OK || said != "configuration ok\n" {
		t.Errorf("exit status %d: %s", code, said)
	}
	if code, said := run("-config", file, "-dump"); code != OK || strings.Contains(said, "detect:") || !strings.Contains(said, "gate:") {
		t.Errorf("exit status %d: %s", code, said)
	}
	write("detect: {commit_interval: soon}\n")
	if code, said := run("-config", file, "-check"); code != Usage || !strings.Contains(said, "is not a duration") {
		t.Errorf("exit status %d: %s", code, said)
	}
}

func TestALongTextIsShortenedToItsFirstClause(t *testing.T) {
	for _, c := range []struct {
		text, want string
		width      int
	}{
		{"address; empty: none", "address; empty: none", 20},
		{"address of the gate; empty: none", "address of the gate", 20},
		{"names, one of which is allowed", "names, one of…", 20},
		{"how far this gate may go", "how far this gate…", 20},
	} {
		if got := shorten(c.text, c.width); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.text, got, c.want)
		}
	}
}
