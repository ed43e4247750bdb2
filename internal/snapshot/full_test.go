package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weirdev/weir/internal/atomicfile"
	"github.com/weirdev/weir/proof/testkit"
)

// TestAFullDiskLeavesNoHalfObject writes with room for so many pages and files,
// from none to enough: a snapshot is there whole, or nothing of it is.
func TestAFullDiskLeavesNoHalfObject(t *testing.T) {
	const pages, files = 32, 200
	disk := testkit.NewDisk(t, pages, files)
	s := openTest(t, fileURL(disk.Dir))
	state := strings.Repeat("state", 4_000) // 5 pages
	write(t, s, 0, 1, "sound")
	partition, failed, written := int32(0), 0, 0
	for room := range 9 {
		for _, c := range []struct{ pages, files int }{{room, 20}, {20, room}} {
			partition++
			disk.Leave(t, c.pages, c.files)
			name := fmt.Sprintf("%d pages and %d files", c.pages, c.files)
			err := s.Write(t.Context(), partition, 7, []byte(state))
			switch {
			case err == nil:
				written++
				list(t, s, partition, 7)
			case errors.Is(err, syscall.ENOSPC):
				failed++
				list(t, s, partition)
			default:
				t.Errorf("%s: %v", name, err)
			}
			if left := temporaries(t, disk.Dir); len(left) > 0 {
				t.Errorf("%s: %v is left", name, left)
			}
			disk.Leave(t, 10, 20)
			write(t, s, partition, 7, state) // which the first attempt may have done
			read(t, s, partition, 7, state)
			if err := s.Delete(t.Context(), partition, 7); err != nil {
				t.Error(err)
			}
		}
	}
	if failed < 8 || written < 4 {
		t.Errorf("%d failed for lack of room, %d did not", failed, written)
	}
	read(t, s, 0, 1, "sound")
}

func temporaries(t *testing.T, root string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), atomicfile.Temporary) {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return names
}
