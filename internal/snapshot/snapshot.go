// Package snapshot keeps immutable objects in a directory or in an S3 bucket:
// created if absent, never changed, read back completely.
//
// A [Store] names them by their place in a log, [Blobs] by their contents.
//
// It does not know their content, which snapshots are valid, or which to keep. It
// never retries, and never takes an error for absence.
package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// ErrDiffers means that other bytes are stored under the name of a new object.
var ErrDiffers = errors.New("other bytes stand under this name")

// errExists means that an object exists already.
var errExists = errors.New("object exists")

// Names is the prefix of the names of a store's objects.
type Names struct {
	Stream      string
	Incarnation uint32
	Form        string // of the snapshots: what can be read by whom
}

// Store keeps the snapshots of the partitions of one stream:
//
//	stream/incarnation/partition/form/lineage/next offset, 20 digits
//
// Snapshots that were moved aside are in a folder damaged beside them, and stay
// there. Its methods may be called from many goroutines.
type Store struct {
	names   Names
	lineage uint32
	objects objects
}

// objects is a directory or a bucket. Keys are paths with slashes.
type objects interface {
	// list names the objects directly in a folder. A folder that does not exist is
	// empty.
	list(ctx context.Context, folder string) ([]string, error)
	// open returns an object's bytes and their number; [ErrMissing] only if the
	// store is reachable and the object does not exist.
	open(ctx context.Context, key string) (r io.ReadCloser, size int64, err error)
	// create creates an object completely or not at all, and returns once it would
	// survive a power loss; errExists if it exists.
	create(ctx context.Context, key string, b []byte) error
	// move replaces the object at to. It need not be atomic.
	move(ctx context.Context, from, to string) error
	remove(ctx context.Context, key string) error
	close() error
}

func readAll(ctx context.Context, o objects, key string) ([]byte, error) {
	r, size, err := o.open(ctx, key)
	if err != nil {
		return nil, err
	}
	b := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead)) // so that it does not grow
	_, err = b.ReadFrom(r)
	return b.Bytes(), errors.Join(err, r.Close())
}

// Open opens the store that cfg names. The first call shows whether a bucket is
// reachable.
func Open(ctx context.Context, cfg Config, names Names) (*Store, error) {
	u, err := cfg.parse()
	if err != nil {
		return nil, err
	}
	s := &Store{names: names, lineage: cfg.Lineage}
	if u.Scheme == "file" {
		s.objects, err = openDirectory(u.Path)
	} else {
		s.objects, err = openBucket(ctx, u)
	}
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	return s, nil
}

// Close releases the store.
func (s *Store) Close() error { return s.objects.close() }

func (s *Store) folder(partition int32) string {
	return fmt.Sprintf("%s/%d/%d/%s/%d", s.names.Stream, s.names.Incarnation, partition, s.names.Form, s.lineage)
}

const digits = 20

func name(next int64) string { return fmt.Sprintf("%0*d", digits, next) }

func (s *Store) key(partition int32, next int64) string {
	return s.folder(partition) + "/" + name(next)
}

// List returns the next offsets of a partition's snapshots, newest first.
func (s *Store) List(ctx context.Context, partition int32) ([]int64, error) {
	names, err := s.objects.list(ctx, s.folder(partition))
	if err != nil {
		return nil, fmt.Errorf("list snapshots of partition %d: %w", partition, err)
	}
	var all []int64
	for _, n := range names {
		if next, err := strconv.ParseInt(n, 10, 64); err == nil && name(next) == n {
			all = append(all, next)
		}
	}
	slices.Sort(all)
	slices.Reverse(all)
	return all, nil
}

// Read returns the bytes of a snapshot.
func (s *Store) Read(ctx context.Context, partition int32, next int64) ([]byte, error) {
	b, err := readAll(ctx, s.objects, s.key(partition, next))
	if err != nil {
		return nil, fmt.Errorf("read snapshot %d of partition %d: %w", next, partition, err)
	}
	return b, nil
}

// Write creates a snapshot, if it is absent. If the same bytes are stored already
// it succeeds; if other bytes are, it returns [ErrDiffers].
func (s *Store) Write(ctx context.Context, partition int32, next int64, snapshot []byte) error {
	key := s.key(partition, next)
	err := s.objects.create(ctx, key, snapshot)
	if errors.Is(err, errExists) {
		var there []byte
		if there, err = readAll(ctx, s.objects, key); err == nil && !bytes.Equal(there, snapshot) {
			err = ErrDiffers
		}
	}
	if err != nil {
		return fmt.Errorf("write snapshot %d of partition %d: %w", next, partition, err)
	}
	return nil
}

// Discard moves a snapshot aside, so that it can be written again.
func (s *Store) Discard(ctx context.Context, partition int32, next int64) error {
	aside := strings.Join([]string{s.folder(partition), "damaged", name(next)}, "/")
	if err := s.objects.move(ctx, s.key(partition, next), aside); err != nil {
		return fmt.Errorf("move snapshot %d of partition %d aside: %w", next, partition, err)
	}
	return nil
}

// Delete removes a snapshot. A missing one is no error.
func (s *Store) Delete(ctx context.Context, partition int32, next int64) error {
	if err := s.objects.remove(ctx, s.key(partition, next)); err != nil {
		return fmt.Errorf("delete snapshot %d of partition %d: %w", next, partition, err)
	}
	return nil
}
