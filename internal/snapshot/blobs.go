package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// ErrMissing means that the store answers, and has no object of that name.
var ErrMissing = errors.New("object is missing")

// ErrDamaged means that an object's bytes do not match its name.
var ErrDamaged = errors.New("object is damaged")

// Blobs keeps objects that are named by their contents:
//
//	stream/folder/SHA-256 of the bytes, in hex
//
// Objects that were moved aside are in stream/folder/damaged. Its methods may be
// called from many goroutines.
type Blobs struct {
	objects objects
	folder  string
}

// Blobs returns the blobs of a folder of the stream. A folder's name is no number.
func (s *Store) Blobs(folder string) Blobs {
	return Blobs{objects: s.objects, folder: s.names.Stream + "/" + folder}
}

// BlobName returns the name of an object with these bytes.
func BlobName(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

var blobName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Put returns once an intact object of these bytes exists. It reads and compares an
// existing one, and moves a damaged one aside.
func (s Blobs) Put(ctx context.Context, b []byte) error {
	name := BlobName(b)
	err := s.check(ctx, name)
	if errors.Is(err, ErrDamaged) {
		aside := strings.Join([]string{s.folder, "damaged", name}, "/")
		if err = s.objects.move(ctx, s.key(name), aside); err == nil {
			err = ErrMissing
		}
	}
	if errors.Is(err, ErrMissing) {
		err = s.objects.create(ctx, s.key(name), b)
		if errors.Is(err, errExists) {
			err = s.check(ctx, name)
		}
	}
	if err != nil {
		return fmt.Errorf("keep %s: %w", s.key(name), err)
	}
	return nil
}

// Get returns the bytes of a name: [ErrMissing] if the store has none, [ErrDamaged]
// if it has others. Any other error means neither.
func (s Blobs) Get(ctx context.Context, name string) ([]byte, error) {
	if !blobName.MatchString(name) {
		return nil, fmt.Errorf("%w: %q names no content", ErrMissing, name)
	}
	b, err := readAll(ctx, s.objects, s.key(name))
	if err == nil && BlobName(b) != name {
		err = fmt.Errorf("%w: %d bytes", ErrDamaged, len(b))
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.key(name), err)
	}
	return b, nil
}

// check reads an object without keeping it, because databases are large.
func (s Blobs) check(ctx context.Context, name string) error {
	r, _, err := s.objects.open(ctx, s.key(name))
	if err != nil {
		return err
	}
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err = errors.Join(err, r.Close()); err == nil && hex.EncodeToString(h.Sum(nil)) != name {
		err = fmt.Errorf("%w: %d bytes", ErrDamaged, n)
	}
	return err
}

func (s Blobs) key(name string) string { return s.folder + "/" + name }
