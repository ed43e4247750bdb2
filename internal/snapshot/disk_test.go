package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// powerless is a disk that knows what would be left if the power went now.
type powerless struct {
	osDisk
	root    string
	unsaved []string // what would be gone or half there, in the order in which it came about
	wrong   []string // names that were given to what was not saved
}

func (p *powerless) short(path string) string {
	rel, err := filepath.Rel(p.root, path)
	if err != nil {
		return path
	}
	return rel
}

func (p *powerless) lose(format, path string) {
	p.unsaved = append(p.unsaved, fmt.Sprintf(format, p.short(path)))
}

func (p *powerless) save(format, path string) {
	p.unsaved = slices.DeleteFunc(p.unsaved, func(s string) bool { return s == fmt.Sprintf(format, p.short(path)) })
}

const (
	bytesOf = "bytes of %s"
	namesIn = "names in %s"
)

// named says that a name is given to a file, which is for good with the next sync
// of the directory: of that file, and of the directory itself.
func (p *powerless) named(file, as string) {
	if slices.Contains(p.unsaved, fmt.Sprintf(bytesOf, p.short(file))) {
		p.wrong = append(p.wrong, p.short(as))
	}
	p.lose(namesIn, filepath.Dir(as))
}

func (p *powerless) createTemp(dir, pattern string) (file, error) {
	f, err := p.osDisk.createTemp(dir, pattern)
	return powerlessFile{f, p}, err
}

func (p *powerless) link(from, to string) error {
	err := p.osDisk.link(from, to)
	if err == nil || errors.Is(err, os.ErrExist) { // by somebody who may not have synced it
		p.named(from, to)
	}
	return err
}

func (p *powerless) rename(from, to string) error {
	p.named(from, to)
	p.lose(namesIn, filepath.Dir(from))
	return p.osDisk.rename(from, to)
}

func (p *powerless) mkdir(dir string) error {
	p.lose(namesIn, filepath.Dir(dir))
	return p.osDisk.mkdir(dir)
}

func (p *powerless) syncDirectory(dir string) error {
	p.save(namesIn, dir)
	return p.osDisk.syncDirectory(dir)
}

type powerlessFile struct {
	file
	p *powerless
}

func (f powerlessFile) Write(b []byte) (int, error) {
	f.p.lose(bytesOf, f.Name())
	return f.file.Write(b)
}

func (f powerlessFile) Sync() error {
	f.p.save(bytesOf, f.Name())
	return f.file.Sync()
}

// TestALossOfPowerTakesNothingThatWasAcknowledged: when a call has returned, what
// it did is on the disk, bytes and names; and no name ever stands for bytes that
// are not.
func TestALossOfPowerTakesNothingThatWasAcknowledged(t *testing.T) {
	for _, c := range []struct {
		name   string
		others bool // folders that others made are looked at
		do     func(d directory) error
	}{
		{"the first object, with its folders", false, func(d directory) error { return d.create(t.Context(), "a/b/c/1", make([]byte, 3<<20)) }},
		{"another one", false, func(d directory) error { return d.create(t.Context(), "old/2", []byte("state")) }},
		{"one in a folder that another writer has made", true, func(d directory) error { return d.create(t.Context(), "new/folder/1", []byte("state")) }},
		{"one that is there", false, func(d directory) error {
			if err := d.create(t.Context(), "old/1", []byte("state")); !errors.Is(err, errExists) {
				return fmt.Errorf("created twice: %w", err)
			}
			return nil
		}},
		{"one that is moved aside", false, func(d directory) error { return d.move(t.Context(), "old/1", "old/damaged/1") }},
		{"one that is moved to where another stands", false, func(d directory) error { return d.move(t.Context(), "old/1", "aside/1") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := directory{t.TempDir(), osDisk{}}
			for _, key := range []string{"old/1", "aside/1"} {
				if err := d.create(t.Context(), key, []byte("state")); err != nil {
					t.Fatal(err)
				}
			}
			// Another writer has just made folders, and not synced any.
			if err := os.MkdirAll(filepath.Join(d.root, "new/folder"), 0o750); err != nil {
				t.Fatal(err)
			}
			p := &powerless{root: d.root}
			if c.others {
				p.unsaved = []string{"names in .", "names in new"}
			}
			d.disk = p
			if err := c.do(d); err != nil {
				t.Fatal(err)
			}
			if len(p.unsaved) > 0 || len(p.wrong) > 0 {
				t.Errorf("not on the disk: %q; named too early: %q", p.unsaved, p.wrong)
			}
		})
	}
}

// Only what is gone already may fail to be removed.
func TestWhatCannotBeRemovedIsAnError(t *testing.T) {
	d := directory{t.TempDir(), osDisk{}}
	if err := d.create(t.Context(), "folder/1", []byte("state")); err != nil {
		t.Fatal(err)
	}
	if err := d.remove(t.Context(), "folder"); err == nil {
		t.Error("a folder with something in it was removed")
	}
	for range 2 {
		if err := d.remove(t.Context(), "folder/1"); err != nil {
			t.Error(err)
		}
	}
}
