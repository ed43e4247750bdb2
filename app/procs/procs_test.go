package procs

import (
	"context"
	"io"
	"log/slog"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// start runs a child that does nothing, until the test ends.
func start(t *testing.T) *Process {
	t.Helper()
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	p := &Process{Name: "sh", Path: shell, Args: []string{"-c", "exec sleep 60"}, Log: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && err.Error() != "signal: terminated" {
			t.Error(err)
		}
	})
	await(t, "it runs", func() bool { return p.PID() != 0 })
	return p
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	longest := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-longest:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// TestPeakMemoryIsTheChildsOwn: the system counts what the parent had when the
// child was started.
func TestPeakMemoryIsTheChildsOwn(t *testing.T) {
	const size = 256 << 20
	held := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		held[i] = 1
	}
	p := start(t)
	await(t, "its memory is known", func() bool { _, rss := p.Usage(); return rss > 0 })
	if _, rss := p.Usage(); rss >= size/2 {
		t.Errorf("a shell takes %d MiB, with a parent of %d MiB", rss>>20, len(held)>>20)
	}
}

func TestAChildThatDiesIsStartedAgain(t *testing.T) {
	p := start(t)
	first := p.PID()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "it runs again", func() bool { return p.Restarts() == 1 && p.PID() != 0 && p.PID() != first })
}

func TestAChildThatWouldEndTheSameWayIsNotStartedAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		again  bool // it was started again before
		ran    time.Duration
		want   bool
	}{
		{"a usage error", 2, true, time.Hour, true},
		{"an error at the start", 3, false, time.Second, true},
		{"an error later on", 3, false, time.Hour, false},
		{"an error after it had run before", 3, true, time.Second, false},
		{"killed at the start", -1, false, time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &Process{Trial: time.Minute}
			if c.again {
				p.restarts.Add(1)
			}
			if got := p.hopeless(c.status, c.ran); got != c.want {
				t.Errorf("hopeless is %v", got)
			}
		})
	}
}

// TestCPUIsTheChildsOwn: it grows while the child works, and is unknown once it has
// ended.
func TestCPUIsTheChildsOwn(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells")
	}
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	busy, err := Start(shell, []string{"-c", "while :; do :; done"}, nil, io.Discard, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(busy.Kill)
	idle, err := Start(shell, []string{"-c", "exec sleep 60"}, nil, io.Discard, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(idle.Kill)
	await(t, "it has worked", func() bool { return busy.CPU() > 100*time.Millisecond })
	if used := idle.CPU(); used <= 0 || used > 90*time.Millisecond {
		t.Errorf("a child that sleeps has used %v", used)
	}
	busy.Kill()
	if used := busy.CPU(); used != 0 {
		t.Errorf("a child that has ended uses %v", used)
	}
}
