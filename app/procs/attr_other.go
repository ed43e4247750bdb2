//go:build !linux

package procs

import (
	"syscall"
	"time"
)

// childAttributes shields a child from the terminal's Ctrl-C: the parent stops its
// children in order.
func childAttributes(syscall.Signal) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func peakRSS(int) int64 { return 0 }

func cpuTime(int) time.Duration { return 0 }

func endedRSS(r *syscall.Rusage) int64 { return r.Maxrss }
