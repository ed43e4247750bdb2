package snapshot

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBlobs is what every kind of store must do.
func TestBlobs(t *testing.T) {
	for name, address := range map[string]func(t *testing.T) string{
		"file": func(t *testing.T) string { return fileURL(t.TempDir()) },
		"s3":   s3Address,
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, address(t))
			blobs := s.Blobs("blobs")
			large := bytes.Repeat([]byte("a database"), 1<<19)
			for _, b := range [][]byte{large, []byte("small"), {}} {
				for range 2 { // made, and found to be there
					if err := blobs.Put(t.Context(), b); err != nil {
						t.Fatal(err)
					}
				}
				if got, err := blobs.Get(t.Context(), BlobName(b)); err != nil || !bytes.Equal(got, b) {
					t.Fatalf("%d bytes, %v, want %d", len(got), err, len(b))
				}
			}
			for _, none := range []string{BlobName([]byte("other")), "../epochs/" + BlobName(large), "", "19af"} {
				if _, err := blobs.Get(t.Context(), none); !errors.Is(err, ErrMissing) {
					t.Errorf("%q: %v", none, err)
				}
			}
			if _, err := s.Blobs("epochs").Get(t.Context(), BlobName(large)); !errors.Is(err, ErrMissing) {
				t.Errorf("from another folder: %v", err)
			}
			damage(t, blobs, large)
		})
	}
}

// damage puts other bytes under a name; they are never handed out, and make room
// for the right ones.
func damage(t *testing.T, s Blobs, b []byte) {
	t.Helper()
	name := BlobName(b)
	for _, other := range [][]byte{b[:len(b)-1], {}, append([]byte("x"), b[1:]...)} {
		if err := errors.Join(s.objects.remove(t.Context(), s.key(name)), s.objects.create(t.Context(), s.key(name), other)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get(t.Context(), name); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), name) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if err := s.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get(t.Context(), name); err != nil || !bytes.Equal(got, b) {
			t.Errorf("after it was put again: %d bytes, %v", len(got), err)
		}
	}
}

func TestAnErrorIsNeverAMissingBlob(t *testing.T) {
	name := BlobName([]byte("content"))
	t.Run("no bucket", func(t *testing.T) {
		s := openTest(t, strings.Replace(s3Address(t), "//snapshots", "//missing", 1)).Blobs("epochs")
		if _, err := s.Get(t.Context(), name); err == nil || errors.Is(err, ErrMissing) {
			t.Errorf("read: %v", err)
		}
		if err := s.Put(t.Context(), []byte("content")); err == nil {
			t.Error("put")
		}
	})
	t.Run("no server", func(t *testing.T) {
		s3Address(t) // for its credentials
		s := openTest(t, "s3://bucket?region=us-east-1&endpoint=http://127.0.0.1:1").Blobs("epochs")
		if _, err := s.Get(t.Context(), name); err == nil || errors.Is(err, ErrMissing) {
			t.Errorf("read: %v", err)
		}
	})
	t.Run("directory is gone", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s := openTest(t, fileURL(dir)).Blobs("epochs")
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), name); err == nil || errors.Is(err, ErrMissing) {
			t.Errorf("read: %v", err)
		}
	})
	t.Run("object cannot be read", func(t *testing.T) {
		dir := t.TempDir()
		s := openTest(t, fileURL(dir)).Blobs("epochs")
		if err := os.MkdirAll(filepath.Join(dir, "weir/epochs", name), 0o700); err != nil { // a folder where an object should be
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), name); err == nil || errors.Is(err, ErrMissing) || errors.Is(err, ErrDamaged) {
			t.Errorf("read: %v", err)
		}
	})
}

// BenchmarkBlobs is of a file as large as a database of cities.
func BenchmarkBlobs(b *testing.B) {
	dir := b.TempDir()
	s, err := Open(b.Context(), Config{URL: fileURL(dir)}, testNames)
	if err != nil {
		b.Fatal(err)
	}
	blobs := s.Blobs("blobs")
	data := make([]byte, 100<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	name := BlobName(data)
	b.Run("put anew", func(b *testing.B) {
		for b.Loop() {
			if err := errors.Join(s.objects.remove(b.Context(), blobs.key(name)), blobs.Put(b.Context(), data)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("put what is there", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := blobs.Put(b.Context(), data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("get", func(b *testing.B) {
		for b.Loop() {
			if _, err := blobs.Get(b.Context(), name); err != nil {
				b.Fatal(err)
			}
		}
	})
}
