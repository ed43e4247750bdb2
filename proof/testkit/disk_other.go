//go:build !linux

package testkit

import "testing"

// Disk is a small file system of its own.
type Disk struct{ Dir string }

// NewDisk skips the test: only Linux has such disks.
func NewDisk(t testing.TB, _, _ int) *Disk {
	t.Helper()
	t.Skip("a small file system is mounted on Linux only")
	return nil
}

// Leave does nothing.
func (d *Disk) Leave(testing.TB, int, int) {}
