//go:build !linux

package testkit

import "testing"

// Disk is a file system of its own that is soon full.
type Disk struct{ Dir string }

// NewDisk skips the test: only on Linux there is such a disk.
func NewDisk(t testing.TB, _, _ int) *Disk {
	t.Helper()
	t.Skip("a small file system is mounted on Linux only")
	return nil
}

// Leave does nothing.
func (d *Disk) Leave(testing.TB, int, int) {}
