// Package procs runs child processes: any program once, and Weir's programs with a
// configuration file, restarted when they die, stopped with SIGTERM, and never left
// behind.
package procs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Find finds one of Weir's programs: in the directory of the running one, else on
// the PATH.
func Find(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if info, err := os.Stat(beside); err == nil && !info.IsDir() {
			return beside, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is neither beside this program nor on the PATH; `make build` puts all of them into bin/", name)
	}
	return path, nil
}

// Process is a child that is kept running.
type Process struct {
	Name string
	Path string
	Args []string
	Env  []string // added to ours
	Out  io.Writer
	Log  *slog.Logger

	Backoff time.Duration // wait before one that died is started again; 0: half a second
	Trial   time.Duration // a first run that ends by itself sooner is not started again

	mu       sync.Mutex // guards running
	running  *Child
	restarts atomic.Int64
	usage    usage
}

// usage sums what all runs of a process have used.
type usage struct {
	mu      sync.Mutex
	cpu     time.Duration
	maxRSS  int64 // bytes
	watched sync.WaitGroup
}

// watchEvery is how often a running child's memory is measured.
const watchEvery = 100 * time.Millisecond

// watch measures the memory of a child until it has ended.
func (u *usage) watch(pid int, ended <-chan struct{}) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		rss := peakRSS(pid)
		u.mu.Lock()
		u.maxRSS = max(u.maxRSS, rss)
		u.mu.Unlock()
	}
}

// defaultBackoff is the wait before a process that died is restarted.
const defaultBackoff = 500 * time.Millisecond

// stopTime is how long a child may take to stop before it is killed.
const stopTime = 15 * time.Second

// Run keeps the child running until ctx ends, then stops it. A child that ends with
// a usage error (2), or by itself during its trial, is not restarted, because it
// would end in the same way.
func (p *Process) Run(ctx context.Context) error {
	for {
		began := time.Now()
		err := p.once(ctx)
		if ctx.Err() != nil {
			return err
		}
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return fmt.Errorf("start %s: %w", p.Name, err)
		}
		if exit != nil && p.hopeless(exit.ExitCode(), time.Since(began)) {
			return fmt.Errorf("%s ended by itself: %w", p.Name, err)
		}
		p.restarts.Add(1)
		p.Log.Warn("process ended and is started again", "process", p.Name, "how", fmt.Sprint(err))
		t := time.NewTimer(cmp.Or(p.Backoff, defaultBackoff))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
	}
}

// hopeless reports whether a child that ended with a status, -1 for a signal, would
// end in the same way again.
func (p *Process) hopeless(status int, ran time.Duration) bool {
	return status == 2 || status > 0 && p.restarts.Load() == 0 && ran < p.Trial
}

// once runs the child until it ends or ctx does.
func (p *Process) once(ctx context.Context) error {
	c, err := Start(p.Path, p.Args, p.Env, p.Out, syscall.SIGTERM)
	if err != nil {
		return err
	}
	p.set(c)
	p.usage.watched.Go(func() { p.usage.watch(c.PID(), c.Ended()) })
	select {
	case <-c.Ended():
		err = c.Wait()
	case <-ctx.Done():
		err = c.Stop(stopTime)
	}
	p.set(nil)
	p.usage.watched.Wait()
	p.usage.add(c.cmd.ProcessState)
	return err
}

func (u *usage) add(s *os.ProcessState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cpu += s.UserTime() + s.SystemTime()
	if r, ok := s.SysUsage().(*syscall.Rusage); ok {
		u.maxRSS = max(u.maxRSS, endedRSS(r))
	}
}

func (p *Process) set(running *Child) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = running
}

// PID returns the process id, 0 while none runs.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return 0
	}
	return p.running.PID()
}

// Signal sends a signal to the process, and never to another one that has got its
// number since. It fails with [os.ErrProcessDone] while none runs.
func (p *Process) Signal(sig os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return os.ErrProcessDone
	}
	return p.running.Signal(sig)
}

// Restarts returns how often the process was restarted.
func (p *Process) Restarts() int { return int(p.restarts.Load()) }

// Usage returns the CPU time of all ended runs, and the peak resident size of any.
func (p *Process) Usage() (cpu time.Duration, maxRSS int64) {
	p.usage.mu.Lock()
	defer p.usage.mu.Unlock()
	return p.usage.cpu, p.usage.maxRSS
}
