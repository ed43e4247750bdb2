package servers

import "syscall"

// childAttributes makes a child end with its parent, however that ends, and
// keeps the terminal's Ctrl-C from it: the parent stops it in order.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
