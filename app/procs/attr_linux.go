package procs

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// childAttributes ties a child's life to its parent's, however that ends, and
// shields it from the terminal's Ctrl-C: the parent stops its children in order.
func childAttributes(last syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: last}
}

// peakRSS returns the peak memory of a running process, bytes; 0 if unknown. The
// system's figure for an ended child is not usable, because it includes its
// parent's memory when it was started.
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

// cpuTime returns the CPU time of a running process, of all its threads; 0 if
// unknown.
func cpuTime(pid int) time.Duration {
	const scheduled = 2 // the clock that counts both user and system time, in nanoseconds (clock_getcpuclockid(3))
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|scheduled, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

func endedRSS(*syscall.Rusage) int64 { return 0 }
