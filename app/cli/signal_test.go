package cli

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// stoppable makes this program, started again, a command that is told to stop:
// "soon" does, "never" does not.
const stoppable = "WEIR_CLI_TEST_STOPS"

func TestMain(m *testing.M) {
	if how := os.Getenv(stoppable); how != "" {
		os.Exit(Main(&cobra.Command{Use: "test", RunE: func(c *cobra.Command, _ []string) error {
			fmt.Println("running")
			<-c.Context().Done()
			fmt.Println("stopping")
			if how == "never" {
				select {}
			}
			return nil
		}}, nil, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestTheFirstSignalIsHeardAndTheSecondEndsTheProcess(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			if how := run(t, "soon", signal, 1); how != nil {
				t.Errorf("told once, it ends with %v", how)
			}
			if how := run(t, "soon", signal, 1, signal); how != nil {
				t.Errorf("told twice with one stroke, it ends with %v", how)
			}
			how := run(t, "never", signal, 2)
			var exit *exec.ExitError
			if !errors.As(how, &exit) || exit.ExitCode() != 128+int(signal) {
				t.Errorf("told twice, it ends with %v", how)
			}
		})
	}
}

// run starts the command, sends it signals one after the other, the last again and
// again, and tells how it ended. Those of more go together with the first.
func run(t *testing.T, how string, signal syscall.Signal, times int, more ...syscall.Signal) error {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), stoppable+"="+how)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	lines := bufio.NewScanner(out)
	for _, want := range []string{"running", "stopping"}[:times] {
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("it says %q, want %q", lines.Text(), want)
		}
		for _, s := range append([]syscall.Signal{signal}, more...) {
			if err := cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	if times > 1 {
		again := time.NewTicker(oneStroke)
		defer again.Stop()
		ended := make(chan struct{})
		defer close(ended)
		go func() {
			for {
				select {
				case <-again.C:
					_ = cmd.Process.Signal(signal) // it may have ended by now
				case <-ended:
					return
				}
			}
		}()
	}
	var rest []string
	for lines.Scan() {
		rest = append(rest, lines.Text())
	}
	if times == 1 && strings.Join(rest, " ") != "stopping" {
		t.Errorf("then it says %q", rest)
	}
	return cmd.Wait()
}
