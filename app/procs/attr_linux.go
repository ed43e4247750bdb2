package procs

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// childAttributes makes a child end with its parent, however that ends, and
// keeps the terminal's Ctrl-C from it: the parent stops it in order.
func childAttributes(last syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: last}
}

// peakRSS is the most memory that a running process has had, bytes; 0 where it
// cannot be told. What the system says of an ended child will not do: it counts
// what its parent had when it was started.
func peakRSS(pid int) (n int64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	const name = "\nVmHWM:"
	if i := bytes.Index(status, []byte(name)); i >= 0 {
		_, _ = fmt.Sscanf(string(status[i+len(name):]), "%d", &n) // in KiB; 0 where it does not read
	}
	return n << 10
}

func endedRSS(*syscall.Rusage) int64 { return 0 }
