package snapshot

import (
	"io"
	"os"

	"github.com/weirdev/weir/internal/atomicfile"
)

// disk lists the operations of a directory on files that a power loss may undo: a
// file's bytes until the file is synced, a name until its directory is.
type disk interface {
	createTemp(dir, pattern string) (file, error)
	link(from, to string) error
	rename(from, to string) error
	mkdir(dir string) error
	syncDirectory(dir string) error
}

// file is a file that is being written.
type file interface {
	io.WriteCloser
	Name() string
	Sync() error
}

// osDisk is the operating system's disk.
type osDisk struct{}

func (osDisk) createTemp(dir, pattern string) (file, error) { return os.CreateTemp(dir, pattern) }
func (osDisk) link(from, to string) error                   { return os.Link(from, to) }
func (osDisk) rename(from, to string) error                 { return os.Rename(from, to) }
func (osDisk) mkdir(dir string) error                       { return os.Mkdir(dir, 0o750) }
func (osDisk) syncDirectory(dir string) error               { return atomicfile.SyncDirectory(dir) }
