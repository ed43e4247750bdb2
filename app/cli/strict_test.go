package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
)

// tool has commands within commands, and a flag of one letter.
func tool() *cobra.Command {
	root := &cobra.Command{Use: "tool", Args: cobra.NoArgs}
	done := func(cmd *cobra.Command, args []string) error {
		n, _ := cmd.Flags().GetInt("n")
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "done", n, args)
		return err
	}
	migrate := &cobra.Command{Use: "migrate", Args: cobra.NoArgs, RunE: done}
	migrate.Flags().Int("n", 1, "number")
	migrate.Flags().Duration("for", 0, "how long")
	migrate.Flags().String("dry-run", "", "whether it is only tried")
	rules := &cobra.Command{Use: "rules", Args: cobra.NoArgs}
	rules.AddCommand(&cobra.Command{Use: "test [DIR]", Args: cobra.MaximumNArgs(1), RunE: done}, &cobra.Command{Use: "check", Args: cobra.NoArgs, RunE: done})
	root.AddCommand(migrate, rules)
	return root
}

func TestWhatNoCommandKnowsIsAUsageError(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		want string // of the error output, or the output where it ends well
	}{
		{"migrate", OK, "done 1 []"},
		{"migrate -n 3", OK, "done 3 []"},
		{"migrate -n=4", OK, "done 4 []"},
		{"migrate --n 5", OK, "done 5 []"},
		{"migrate -dry_run yes", OK, "done"},
		{"rules test x", OK, "done 0 [x]"},
		{"rules", OK, "Available Commands"},
		{"", OK, "Available Commands"},
		{"migrate -h", OK, "whether it is only tried"},
		{"help rules test", OK, "tool rules test [DIR]"},
		{"migrat", Usage, `there is no command "migrat" of 'tool'; did you mean "migrate"?`},
		{"rules tset", Usage, `there is no command "tset" of 'tool rules'; did you mean "test"?`},
		{"rules xyzzy", Usage, "known here: check, test"},
		{"help migrat", Usage, `did you mean "migrate"?`},
		{"help rules tset", Usage, `did you mean "test"?`},
		{"completion bsh", Usage, `did you mean "bash"?`},
		{"migrate now", Usage, `'tool migrate' takes no argument such as "now"`},
		{"rules test a b", Usage, "arguments given: 2; it is called as 'tool rules test [DIR]'"},
		{"migrate -dry-rum x", Usage, "there is no flag -dry-rum; did you mean -dry-run?"},
		{"migrate -n x", Usage, `-n "x": it takes a whole number`},
		{"migrate -for 5", Usage, `-for "5": it takes a duration such as 250ms or 10m`},
		{"version", Usage, `'tool --version' shows it`},
		{"migrate -n", Usage, "flag needs an argument"},
	} {
		t.Run(c.args, func(t *testing.T) {
			root := tool()
			var out, errs bytes.Buffer
			root.SetOut(&out)
			code := Main(root, strings.Fields(c.args), &errs)
			said := errs.String()
			if c.code == OK {
				said = out.String()
			}
			if code != c.code || !strings.Contains(said, c.want) {
				t.Errorf("exit status %d; it says %q and %q", code, out.String(), errs.String())
			}
		})
	}
}

func TestFlagsMayHaveOneDashOrTwo(t *testing.T) {
	for args, want := range map[string]string{
		"-data x -n 3":    "--data x --n 3",
		"--data -":        "--data -",
		"-h":              "-h",
		"-for -5s -x=1":   "--for -5s --x=1",
		"-a -- -b":        "--a -- -b",
		"plain --already": "plain --already",
	} {
		if got := doubleDashes(strings.Fields(args)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s becomes %q, want %s", args, got, want)
		}
	}
}

func TestFilesThatSettingsNameAreCheckedAndSecretOnesWatched(t *testing.T) {
	dir := t.TempDir()
	secret := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Repeat("x", 40)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := secret("good", 0o600)
	for _, c := range []struct {
		name string
		args string
		code int
		want string
	}{
		{"all is well", "-stream.secret-file " + good, OK, ""},
		{"a secret that all may read", "-stream.secret-file " + secret("read", 0o644), OK, "warning: stream.secret_file: everybody on this machine may read " + dir + "/read (mode 0644); mend it with `chmod 600"},
		{"a secret that a group may write", "-stream.secret-file " + secret("group", 0o660), OK, "warning: stream.secret_file: a group may write"},
		{"a secret that all may write", "-stream.secret-file " + secret("write", 0o666), Usage, "everybody on this machine may write"},
		{"a secret that is not there", "-stream.secret-file " + dir + "/absent", Usage, "-stream.secret-file: open " + dir + "/absent"},
		{"a password that is not there", "-stream.secret-file " + good + " -redis.password-file " + dir + "/absent", Usage, "-redis.password-file: "},
		{"a database that is not there", "-stream.secret-file " + good + " -geo.city " + dir + "/absent", Usage, "-geo.city: "},
		{"a database that is none", "-stream.secret-file " + good + " -geo.city " + good, Usage, "-geo.city: "},
		{"rules that are not there", "-stream.secret-file " + good + " -rules " + dir + "/absent", Usage, "-rules: stat "},
		{"a certificate that is not there", "-stream.secret-file " + good + " -kafka.tls.enabled -kafka.tls.ca-file " + dir + "/absent", Usage, "-kafka.tls.ca-file: "},
		{"snapshots in a directory that is not there", "-stream.secret-file " + good + " -snapshots.url file://" + dir + "/absent", Usage, "absent"},
		{"all of it at once", "-rules " + dir + "/absent -geo.city " + dir + "/absent -stream.secret-file " + good, Usage, "-geo.city: "},
		{"a password within an address", "-stream.secret-file " + good + " -redis.addrs redis://ann:swordfish@r:1", Usage, "redis://REDACTED@r:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := &cobra.Command{Use: "tool", Args: cobra.NoArgs}
			configured := Configure(cmd, app.Defaults(), app.WorkerSettings(), app.CheckWorker)
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { _, err := configured.Load(cmd); return err }
			var out, errs bytes.Buffer
			cmd.SetOut(&out)
			code := Main(cmd, append(strings.Fields(c.args), "-check"), &errs)
			if code != c.code || !strings.Contains(errs.String(), c.want) || strings.Contains(errs.String(), "swordfish") {
				t.Errorf("exit status %d; it says %q and %q", code, out.String(), errs.String())
			}
			if code == OK && out.String() != "configuration ok\n" {
				t.Errorf("it says %q", out.String())
			}
		})
	}
}
