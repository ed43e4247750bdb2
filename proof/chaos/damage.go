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

// damage kills a worker, and spoils the newest snapshot of every partition
// before somebody else takes its partitions over.
func (f *faults) damage(_ context.Context, rng *rand.Rand) error {
	p := f.r.cluster.pick(rng.IntN(mostWorkers))
	_ = p.Signal(syscall.SIGKILL) // it may be being started again
	newest, err := newestFiles(f.r.cluster.snapshots())
	if err != nil {
		return err
	}
	f.r.event("kill -9 of %s, and the newest objects in %d folders of snapshots and epochs are damaged", p.Name, len(newest))
	for _, file := range newest {
		if err := spoil(file, rng); err != nil && !errors.Is(err, fs.ErrNotExist) { // owners tidy up
			return err
		}
	}
	return nil
}

// snapshots is the directory of the store of snapshots.
func (c *cluster) snapshots() string { return filepath.Join(c.stack.Dir, "snapshots") }

// newestFiles lists the file with the greatest name of each directory, but for
// those that owners have put aside.
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

// spoil cuts a file short, changes a byte of it, or removes it.
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
