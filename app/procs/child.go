package procs

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Child is one run of a program. It ends with the program that started it, however
// that ends. The terminal's Ctrl-C does not reach it: its parent stops it in order.
// Many goroutines may use its methods.
type Child struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // how it ended; read once ended is closed
}

// Start starts the program at path. env is added to our environment; its output
// goes to out. If the system supports it, the child gets the signal last when we
// die.
func Start(path string, args, env []string, out io.Writer, last syscall.Signal) (*Child, error) {
	c := &Child{cmd: exec.Command(path, args...), ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stdout, c.cmd.Stderr = out, out
	c.cmd.SysProcAttr = childAttributes(last)
	c.cmd.WaitDelay = time.Second // for what holds on to its output
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(c.ended)
		c.err = c.cmd.Wait()
	}()
	return c, nil
}

// PID returns its process id, even after its end.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// CPU returns the CPU time that it has used so far; 0 if the system does not tell, or
// it has ended.
func (c *Child) CPU() time.Duration {
	select {
	case <-c.ended:
		return 0
	default:
		return cpuTime(c.PID())
	}
}

// Ended is closed when it has ended.
func (c *Child) Ended() <-chan struct{} { return c.ended }

// Wait returns how it ended, as [exec.Cmd.Wait] does.
func (c *Child) Wait() error {
	<-c.ended
	return c.err
}

// Signal sends a signal to it, and never to another process that has got its number
// since.
func (c *Child) Signal(s os.Signal) error { return c.cmd.Process.Signal(s) }

// Kill ends it at once and waits for its end.
func (c *Child) Kill() {
	select {
	case <-c.ended:
	default:
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // and what it started, such as workers of nginx
	}
	_ = c.cmd.Process.Kill() // it may be gone already
	<-c.ended
}

// Stop asks it to end, and kills it after a time.
func (c *Child) Stop(within time.Duration) error {
	if err := c.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-c.ended:
	case <-t.C:
		c.Kill()
	}
	return c.err
}
