package testkit

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// page is the space that the smallest file takes on a [Disk], in bytes.
const page = 4096

// Disk is a small file system of its own.
type Disk struct {
	Dir   string
	files int
}

// NewDisk mounts an in-memory file system with room for this many pages of 4 KiB and
// this many files, links and directories. That requires root's rights: without them,
// the test is skipped.
func NewDisk(t testing.TB, pages, files int) *Disk {
	t.Helper()
	dir := t.TempDir()
	// The root counts as a file, and so does the file that fills the pages.
	options := fmt.Sprintf("mode=0700,size=%d,nr_inodes=%d", pages*page, files+2)
	if err := syscall.Mount("weir-test", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("a small file system cannot be mounted, which takes root's rights: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	d := &Disk{Dir: dir}
	d.Leave(t, pages, files)
	return d
}

// Leave fills or empties the disk until exactly this many pages and files are free.
func (d *Disk) Leave(t testing.TB, pages, files int) {
	t.Helper()
	filler := filepath.Join(d.Dir, "filler")
	if err := os.WriteFile(filler, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for d.files > 0 {
		d.files--
		if err := os.Remove(d.filler()); err != nil {
			t.Fatal(err)
		}
	}
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.Dir, &s); err != nil {
		t.Fatal(err)
	}
	if int(s.Bfree) < pages || int(s.Ffree) < files {
		t.Fatalf("there is room for %d pages and %d files, not %d and %d", s.Bfree, s.Ffree, pages, files)
	}
	if err := os.WriteFile(filler, make([]byte, (int(s.Bfree)-pages)*page), 0o600); err != nil {
		t.Fatal(err)
	}
	for range int(s.Ffree) - files {
		if err := os.WriteFile(d.filler(), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		d.files++
	}
}

func (d *Disk) filler() string { return filepath.Join(d.Dir, "filler-"+strconv.Itoa(d.files)) }
