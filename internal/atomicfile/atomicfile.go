// Package atomicfile replaces files as a whole: whatever happens meanwhile, a file has
// its old content or its new one.
package atomicfile

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// Temporary begins the names of files that are being written.
	Temporary = ".part-"
	// Abandoned is the age from which such a file belongs to a process that was killed.
	Abandoned = time.Hour
)

// Write replaces the file at path by what write writes; only its owner can read it.
// The writer keeps its errors, so write needs to return only others.
// After nil, the new content survives a power loss. After an error, the file may have
// either content. Temporary files of killed processes in the directory are removed.
func Write(path string, write func(*bufio.Writer) error) (err error) {
	dir := filepath.Dir(path)
	Sweep(dir)
	f, err := os.CreateTemp(dir, Temporary)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // it is not there any more where only the last step failed
		}
	}()
	w := bufio.NewWriterSize(f, 64<<10)
	if err := errors.Join(write(w), w.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDirectory(dir)
}

// Sweep removes abandoned temporary files. What it cannot remove stays for the next
// time.
func Sweep(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), Temporary) {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > Abandoned {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// SyncDirectory makes the names in a directory survive a power loss.
func SyncDirectory(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
