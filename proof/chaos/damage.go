package chaos

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// damage kills a worker, and corrupts the newest snapshot of every partition before
// another worker takes over its partitions.
func (f *faults) damage(_ context.Context, rng *rand.Rand) error {
	p := f.r.cluster.pick(rng.IntN(mostWorkers))
	_ = p.Signal(syscall.SIGKILL) // it may be restarting
	newest, err := newestFiles(f.r.cluster.snapshots())
	if err != nil {
		return err
	}
	f.r.event("kill -9 of %s, and the newest objects in %d folders of snapshots and epochs are damaged", p.Name, len(newest))
	for _, file := range newest {
		if err := spoil(file, rng); err != nil && !errors.Is(err, fs.ErrNotExist) { // owners delete old ones
			return err
		}
	}
	return nil
}

// snapshots returns the directory of the snapshot store.
func (c *cluster) snapshots() string { return filepath.Join(c.stack.Dir, "snapshots") }

// newestFiles lists the file with the greatest name in each directory, except files
// that owners have put aside.
func newestFiles(root string) (list []string, err error) {
	newest := map[string]string{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if dir := filepath.Dir(path); filepath.Base(dir) != "damaged" && path > newest[dir] {
			newest[dir] = path
		}
		return nil
	})
	for _, path := range newest {
		list = append(list, path)
	}
	slices.Sort(list)
	return list, err
}

// spoil truncates a file, changes one of its bytes, or removes it.
func spoil(file string, rng *rand.Rand) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	switch rng.IntN(3) {
	case 0:
		return os.Remove(file)
	case 1:
		b = b[:len(b)/2]
	default:
		if len(b) > 0 {
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		}
	}
	return os.WriteFile(file, b, 0o600)
}
