package snapshot

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/weirdev/weir/internal/atomicfile"
)

var testNames = Names{Stream: "weir", Incarnation: 3, Form: "1.1"}

func fileURL(dir string) string { return (&url.URL{Scheme: "file", Path: dir}).String() }

func openTest(t *testing.T, address string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{URL: address}, testNames)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// s3Address starts a server that speaks S3, in this process, and returns the address of
// a bucket.
func s3Address(t *testing.T) string {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required") // the server knows none
	backend := s3mem.New()
	if err := backend.CreateBucket("snapshots"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	return "s3://snapshots?region=us-east-1&use_path_style=true&prefix=a/b/&endpoint=" + url.QueryEscape(server.URL)
}

// TestStores is what every kind of store must do.
func TestStores(t *testing.T) {
	for name, address := range map[string]func(t *testing.T) string{
		"file": func(t *testing.T) string { return fileURL(t.TempDir()) },
		"s3":   s3Address,
	} {
		t.Run(name, func(t *testing.T) {
			address := address(t)
			for sub, test := range map[string]func(t *testing.T, address string){
				"objects are created once and read back":    createdOnce,
				"what is damaged makes room":                madeRoom,
				"partitions, forms and lineages are apart":  apart,
				"of many that write at once all see one":    atOnce,
				"large objects are created only if absent":  large,
				"what is not there cannot be read or moved": absent,
			} {
				t.Run(sub, func(t *testing.T) { test(t, address) })
			}
		})
	}
}

func list(t *testing.T, s *Store, partition int32, want ...int64) {
	t.Helper()
	got, err := s.List(t.Context(), partition)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("partition %d: %v, %v, want %v", partition, got, err, want)
	}
}

func write(t *testing.T, s *Store, partition int32, next int64, b string) {
	t.Helper()
	if err := s.Write(t.Context(), partition, next, []byte(b)); err != nil {
		t.Error(err)
	}
}

func read(t *testing.T, s *Store, partition int32, next int64, want string) {
	t.Helper()
	if b, err := s.Read(t.Context(), partition, next); err != nil || string(b) != want {
		t.Errorf("snapshot %d is %.20q, %v", next, b, err)
	}
}

func createdOnce(t *testing.T, address string) {
	s := openTest(t, address)
	list(t, s, 1)
	for _, next := range []int64{5, 40, 9_000_000_000, 0} {
		write(t, s, 1, next, "state")
	}
	write(t, s, 1, 40, "state")
	list(t, s, 1, 9_000_000_000, 40, 5, 0)
	if err := s.Write(t.Context(), 1, 40, []byte("other")); !errors.Is(err, ErrDiffers) {
		t.Errorf("other bytes: %v", err)
	}
	read(t, s, 1, 40, "state")
	for range 2 {
		if err := s.Delete(t.Context(), 1, 40); err != nil {
			t.Error(err)
		}
	}
	list(t, s, 1, 9_000_000_000, 5, 0)
}

func madeRoom(t *testing.T, address string) {
	s := openTest(t, address)
	for _, b := range []string{"damaged", "damaged again", "sound"} {
		write(t, s, 2, 7, b)
		if b == "sound" {
			break
		}
		if err := s.Discard(t.Context(), 2, 7); err != nil {
			t.Error(err)
		}
		list(t, s, 2)
	}
	list(t, s, 2, 7)
	read(t, s, 2, 7, "sound")
}

func apart(t *testing.T, address string) {
	s := openTest(t, address)
	write(t, s, 3, 1, "3")
	for _, other := range []struct {
		lineage uint32
		names   Names
	}{
		{1, testNames},
		{0, Names{Stream: "other", Incarnation: 3, Form: "1.1"}},
		{0, Names{Stream: "weir", Incarnation: 4, Form: "1.1"}},
		{0, Names{Stream: "weir", Incarnation: 3, Form: "1.2"}},
	} {
		o, err := Open(t.Context(), Config{URL: address, Lineage: other.lineage}, other.names)
		if err != nil {
			t.Fatal(err)
		}
		list(t, o, 3)
		write(t, o, 3, 1, "another")
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
	list(t, s, 33)
	list(t, s, 3, 1)
	read(t, s, 3, 1, "3")
}

func atOnce(t *testing.T, address string) {
	s := openTest(t, address)
	var group sync.WaitGroup
	won := make(chan string, 8)
	for i := range cap(won) {
		group.Go(func() {
			b := strings.Repeat(string(rune('a'+i)), 100_000)
			switch err := s.Write(t.Context(), 4, 1, []byte(b)); {
			case err == nil:
				won <- b
			case !errors.Is(err, ErrDiffers):
				t.Error(err)
			}
		})
	}
	group.Wait()
	close(won)
	winner := <-won
	if _, more := <-won; more || winner == "" {
		t.Fatal("not exactly one has written")
	}
	read(t, s, 4, 1, winner)
}

func large(t *testing.T, address string) {
	s := openTest(t, address)
	b := make([]byte, 20<<20)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	for range 2 {
		if err := s.Write(t.Context(), 5, 1, b); err != nil {
			t.Fatal(err)
		}
	}
	other := bytes.Clone(b)
	other[len(other)-1]++
	if err := s.Write(t.Context(), 5, 1, other); !errors.Is(err, ErrDiffers) {
		t.Errorf("other bytes: %v", err)
	}
	if got, err := s.Read(t.Context(), 5, 1); err != nil || !bytes.Equal(got, b) {
		t.Errorf("read back %d bytes, %v", len(got), err)
	}
}

func absent(t *testing.T, address string) {
	s := openTest(t, address)
	if _, err := s.Read(t.Context(), 6, 1); err == nil {
		t.Error("read what is not there")
	}
	if err := s.Discard(t.Context(), 6, 1); err == nil {
		t.Error("moved what is not there")
	}
}

func TestAnErrorIsNeverAnEmptyList(t *testing.T) {
	t.Run("no bucket", func(t *testing.T) {
		s := openTest(t, strings.Replace(s3Address(t), "//snapshots", "//missing", 1))
		if got, err := s.List(t.Context(), 1); err == nil {
			t.Errorf("listed %v", got)
		}
	})
	t.Run("directory is gone", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "snapshots")
		if _, err := Open(t.Context(), Config{URL: fileURL(dir)}, testNames); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("opened %v", err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s := openTest(t, fileURL(dir))
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		if got, err := s.List(t.Context(), 1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("listed %v, %v", got, err)
		}
		if err := s.Write(t.Context(), 1, 1, nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("written: %v", err)
		}
	})
	t.Run("folder cannot be read", func(t *testing.T) {
		dir := t.TempDir()
		s := openTest(t, fileURL(dir))
		path := filepath.Join(dir, "weir/3/1/1.1")
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "0"), nil, 0o600); err != nil { // where a folder should be
			t.Fatal(err)
		}
		if got, err := s.List(t.Context(), 1); err == nil {
			t.Errorf("listed %v", got)
		}
	})
}

func TestWhatAKilledProcessLeftIsNoSnapshotAndIsRemoved(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, fileURL(dir))
	write(t, s, 1, 1, "state")
	folder := filepath.Join(dir, "weir/3/1/1.1/0")
	fresh, old := filepath.Join(folder, atomicfile.Temporary+"1"), filepath.Join(folder, atomicfile.Temporary+"2")
	for _, f := range []string{fresh, old} {
		if err := os.WriteFile(f, []byte("sta"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * atomicfile.Abandoned)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	list(t, s, 1, 1)
	write(t, s, 1, 2, "state")
	list(t, s, 1, 2, 1)
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the forgotten file: %v", err)
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("another writer's file: %v", err)
	}
}

func TestConfigurations(t *testing.T) {
	for address, want := range map[string]string{
		"":                              "",
		"file:///var/lib/weir":          "",
		"s3://bucket?region=eu-west-1":  "",
		"s3://bucket?prefix=a/":         "",
		"s3://bucket?prefix=a":          "slash",
		"s3://bucket/folder":            "prefix",
		"s3://bucket?secret=swordfish":  `no setting "secret"`,
		"s3://me:swordfish@bucket":      "AWS_ACCESS_KEY_ID",
		"file://host/dir":               "absolute",
		"file:dir":                      "absolute",
		"/var/lib/weir":                 "write file:///DIR",
		"gs://bucket":                   "neither",
		"s3://%zz:swordfish@b\x7fucket": "not a URL",
	} {
		err := Config{URL: address}.Validate()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", address, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "swordfish") {
			t.Errorf("%q: the error tells a secret: %v", address, err)
		}
	}
}
