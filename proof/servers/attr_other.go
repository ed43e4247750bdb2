//go:build !linux

package servers

import "syscall"

// childAttributes keeps the terminal's Ctrl-C from a child: the parent stops it
// in order.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
