package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/internal/sandbox"
	"github.com/weirdev/weir/proof/testkit"
)

const accessLine = `198.51.100.1 - - [17/May/2015:10:00:01 +0000] "GET / HTTP/1.1" 200 1` + "\n"

// TestHowCommandsFail: each step of the start can fail. The program then ends with
// a specific exit status, and says what to do.
func TestHowCommandsFail(t *testing.T) {
	testkit.Programs(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	log := file("access.log", accessLine)
	broken := filepath.Join(dir, "rules")
	if err := os.Mkdir(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	file("rules/a.yaml", "rules:\n  - idd: x\n")
	config := file("weir.yaml", "ingest:\n  fromat: combined\n")
	for _, c := range []struct {
		name   string
		args   []string
		env    string
		status int
		want   []string
	}{
		{"an empty cache", []string{"demo", "-for", "1s"}, "WEIR_CACHE=" + dir, 3, []string{"`make chdb` fetches it"}},
		{"an engine that is not there", []string{"demo", "-for", "1s"}, "WEIR_CHDB_LIB=" + dir + "/absent", 3, []string{"WEIR_CHDB_LIB"}},
		{"a format without a log", []string{"demo", "-format", "nope"}, "", 2, []string{"-format goes with -input"}},
		{"a format that is not known", []string{"demo", "-format", "nope", log}, "", 2, []string{`"nope" is not known`}},
		{"a mapping that is not there", []string{"demo", "-format", "mapping", log}, "", 2, []string{"there is no mapping", "-config"}},
		{"a wrong format", []string{"demo", "-format", "envoy", log}, "", 2, []string{"reads none", "198.51.100.1 - -", "-format combined reads them"}},
		{"a log that is not there", []string{"demo", filepath.Join(dir, "absent")}, "", 2, []string{"name a file that is there"}},
		{"a directory for a log", []string{"demo", "-input", dir}, "", 2, []string{"is a directory; name its files"}},
		{"an empty log", []string{"demo", file("empty", "\n\n")}, "", 2, []string{"there is no line in it"}},
		{"data below a file", []string{"demo", "-data", filepath.Join(log, "x"), log}, "", 3, []string{"name another one, which this user may write"}},
		{"data below a file, for invented traffic", []string{"demo", "-data", filepath.Join(log, "x")}, "", 3, []string{"name another one, which this user may write"}},
		{"data that another process has", []string{"demo", "-data", busy(t), log}, "", 3, []string{"another sandbox", "choose another directory"}},
		{"rules that are broken", []string{"demo", "-rules", broken}, "", 2, []string{`a.yaml:2:5: there is no key "idd" here`, `did you mean "id"?`}},
		{"rules that are not there", []string{"demo", "-rules", filepath.Join(dir, "absent")}, "", 2, []string{"leave the setting empty"}},
		{"a geographic database that is not there", []string{"demo", "-geo-city", filepath.Join(dir, "absent")}, "", 2, []string{"-geo.city", "leave the setting empty"}},
		{"a setting with a typing error", []string{"demo", "-config", config}, "", 2, []string{`there is no setting "ingest.fromat"`, `did you mean "format"?`}},
		{"a variable with a typing error", []string{"demo"}, "WEIR_INGEST_FROMAT=combined", 2, []string{"did you mean WEIR_INGEST_FORMAT?"}},
		{"a configuration that is not there", []string{"check", "-config", filepath.Join(dir, "absent")}, "", 2, []string{"the file of -config cannot be read"}},
		{"a port that is taken", []string{"sandbox", "-kafka-addr", "", "-clickhouse-addr", "", "-redis-addr", taken(t)}, "", 3, []string{"sandbox: redis"}},
		{"traffic without Kafka", []string{"traffic", "-kafka.brokers", "127.0.0.1:1", "-wait", "300ms"}, "", 3, []string{"Kafka: no answer from 127.0.0.1:1 within 300ms", "see that it runs"}},
		{"attacks without Kafka", []string{"canary", "-once", "-detector", "sliding_window", "-kafka.brokers", "127.0.0.1:1", "-wait", "300ms"}, "", 3, []string{"Kafka: no answer from 127.0.0.1:1 within 300ms", "see that it runs"}},
		{"chaos in a directory that is not empty", []string{"chaos", "-for", "1s", "-data", dir}, "", 3, []string{"is not empty; chaos begins with nothing"}},
		{"chaos below a file", []string{"chaos", "-for", "1s", "-data", filepath.Join(log, "x")}, "", 3, []string{"not a directory"}},
		{"chaos with an empty cache", []string{"chaos", "-for", "1s"}, "WEIR_CACHE=" + dir, 3, []string{"`make chdb` fetches it"}},
		{"a command with a typing error", []string{"migrat"}, "", 2, []string{`did you mean "migrate"?`}},
		{"a command of a command with a typing error", []string{"rules", "tset"}, "", 2, []string{`did you mean "test"?`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.status == 3 && strings.HasPrefix(c.name, "data that") {
				needEngine(t)
			}
			said, status := execute(t, c.env, c.args...)
			if status != c.status {
				t.Errorf("exit status %d, not %d", status, c.status)
			}
			for _, want := range c.want {
				if !strings.Contains(said, want) {
					t.Errorf("it does not say %q", want)
				}
			}
			for _, crash := range []string{"goroutine ", "panic", "SIGSEGV"} {
				if strings.Contains(said, crash) {
					t.Errorf("it crashes")
				}
			}
			if t.Failed() {
				t.Log(said)
			}
		})
	}
}

func needEngine(t *testing.T) {
	t.Helper()
	testkit.ChDB(t)
}

// busy returns a directory that a sandbox is using.
func busy(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s, err := sandbox.New(sandbox.Config{Dir: filepath.Join(dir, "sandbox"), RedisAddr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return dir
}

// taken returns an address that is in use.
func taken(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// execute runs weir, and returns its output and exit status.
func execute(t *testing.T, env string, args ...string) (said string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "weir", args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return env != "" && strings.HasPrefix(v, "WEIR_CHDB_LIB=") })
	if env != "" {
		cmd.Env = append(cmd.Env, env)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func TestGenerateTakesFlagsOfOneLetter(t *testing.T) {
	cmd := command()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"generate", "--n", "3"})
	if err := cmd.Execute(); err != nil || strings.Count(out.String(), "\n") != 3 {
		t.Errorf("%v\n%s", err, out.String())
	}
}
