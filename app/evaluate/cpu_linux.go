package evaluate

import (
	"syscall"
	"time"
)

// cpuTime is the time that this thread has been running, so that what else the
// machine does costs nothing.
func cpuTime() time.Duration {
	const thread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	if err := syscall.Getrusage(thread, &u); err != nil {
		return time.Duration(time.Now().UnixNano())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
