package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weirdev/weir/internal/atomicfile"
)

// directory keeps objects as files. The files of the blob library are not suitable:
// they are neither synced nor created atomically if absent, and its listing skips
// what it cannot read, so that an error would look like absence.
type directory struct {
	root string
	disk disk
}

func openDirectory(root string) (objects, error) {
	d := directory{filepath.Clean(root), osDisk{}}
	return d, d.reachable()
}

func (d directory) path(key string) string { return filepath.Join(d.root, filepath.FromSlash(key)) }

func (d directory) list(_ context.Context, folder string) ([]string, error) {
	entries, err := os.ReadDir(d.path(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, d.reachable()
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// reachable returns an error if the root does not exist: an unmounted disk is not
// an empty one. The operator creates the directory.
func (d directory) reachable() error {
	_, err := os.Stat(d.root)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; it is not made by itself, so that a disk that is not mounted is not taken for an empty one", err)
	}
	return err
}

func (d directory) open(_ context.Context, key string) (io.ReadCloser, int64, error) {
	f, err := os.Open(d.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		if away := d.reachable(); away != nil {
			return nil, 0, away
		}
		return nil, 0, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// create writes a temporary file and links it to its name, which fails if the name
// exists.
func (d directory) create(ctx context.Context, key string, b []byte) error {
	if err := d.reachable(); err != nil {
		return err
	}
	path := d.path(key)
	dir := filepath.Dir(path)
	if err := d.makeDirectories(dir); err != nil {
		return err
	}
	atomicfile.Sweep(dir)
	temp, err := d.disk.createTemp(dir, atomicfile.Temporary)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }() // it is not there any more where all went well
	if err := writeSynced(ctx, temp, b); err != nil {
		return err
	}
	if err := d.disk.link(temp.Name(), path); err != nil {
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		// Its creator may not have synced the directory yet.
		return errors.Join(errExists, d.disk.syncDirectory(dir))
	}
	return d.disk.syncDirectory(dir)
}

func writeSynced(ctx context.Context, f file, b []byte) error {
	const piece = 1 << 20
	for len(b) > 0 {
		n := min(piece, len(b))
		if _, err := f.Write(b[:n]); err != nil {
			return errors.Join(err, f.Close())
		}
		if b = b[n:]; ctx.Err() != nil {
			return errors.Join(ctx.Err(), f.Close())
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

// makeDirectories creates dir and its parents below the root, and syncs each into
// its parent. An existing one may come from a process that has not synced it yet,
// and may die before it does.
func (d directory) makeDirectories(dir string) error {
	if dir == d.root {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := d.makeDirectories(parent); err != nil {
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		if err := d.disk.mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return d.disk.syncDirectory(parent)
}

func (d directory) move(_ context.Context, from, to string) error {
	source, target := d.path(from), d.path(to)
	if err := d.makeDirectories(filepath.Dir(target)); err != nil {
		return err
	}
	if err := d.disk.rename(source, target); err != nil {
		return err
	}
	return errors.Join(d.disk.syncDirectory(filepath.Dir(target)), d.disk.syncDirectory(filepath.Dir(source)))
}

func (d directory) remove(_ context.Context, key string) error {
	path := d.path(key)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d directory) close() error { return nil }
