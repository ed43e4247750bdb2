package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/console"
)

// runConsole runs weir console, and returns its exit status and what it wrote.
func runConsole(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	cmd := command()
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	code = cli.Main(cmd, append([]string{"console"}, args...), &errs)
	return code, out.String(), errs.String()
}

func TestATokenOfTheCommandLetsItsOwnerIn(t *testing.T) {
	code, stdout, stderr := runConsole("token")
	m := regexp.MustCompile(`^token  (\S{43})\nstored (sha256:[0-9a-f]{64})\n$`).FindStringSubmatch(stdout)
	if code != 0 || m == nil || stderr != "" {
		t.Fatalf("%d %q %q", code, stdout, stderr)
	}
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte("ann analyst "+m[2]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	roster, err := console.WatchUsers(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if users := roster.Current(); len(users) != 1 || users[0].Name != "ann" || users[0].Role != console.Analyst {
		t.Errorf("%+v", users)
	}
	if _, again, _ := runConsole("token"); again == stdout {
		t.Error("two tokens are the same")
	}
}

func TestAConsoleThatCannotStartSaysWhy(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	if err := os.WriteFile(users, []byte("ann boss an-example-no-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := []string{"-stream.secret", "an example, never a real secret!"}
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no secret", nil, "stream.secret_file"},
		{"everybody may reach it", append(secret, "-console.listen", ":9490"), "console.users_file or console.oidc to say who may sign in"},
		{"in clear text", append(secret, "-console.listen", ":9490", "-console.users-file", users), "console.behind_proxy"},
		{"a role that does not exist", append(secret, "-console.users-file", users), `line 1: "boss" is no role`},
		{"no file", append(secret, "-console.users-file", filepath.Join(dir, "none")), "console.users-file: open"},
		{"rules that cannot be read", append(secret, "-rules", filepath.Join(dir, "none")), "rules: "},
		{"a certificate that is none", append(secret, "-console.listen", "127.0.0.1:0", "-console.cert-file", users, "-console.key-file", users), "console.cert_file " + users + ", console.key_file " + users + ": "},
		{"a port that is taken", append(secret, "-console.listen", taken(t)), "address already in use: end the program that has it, or set another address"},
		{"no data", append(secret, "-data", filepath.Join(dir, "none")), "-data"},
	} {
		code, _, stderr := runConsole(tc.args...)
		status := cli.Usage
		if tc.name == "a port that is taken" || tc.name == "no data" { // which the settings cannot show
			status = cli.Runtime
		}
		if code != status || !strings.Contains(stderr, tc.want) {
			t.Errorf("%s: %d %s", tc.name, code, stderr)
		}
	}
}
