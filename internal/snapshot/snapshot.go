// Package snapshot keeps immutable objects in a directory or in a bucket that
// speaks S3: created if they are absent, never changed, read back whole.
//
// A [Store] names them by where in a log they belong, [Blobs] by their contents.
//
// It does not know what they hold, which snapshots are valid, or which are to be
// kept; it never tries again, and never takes an error for absence.
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

// ErrDiffers says that other bytes stand under the name of an object that was to
// be written.
var ErrDiffers = errors.New("other bytes stand under this name")

// errExists says that an object is there already.
var errExists = errors.New("object exists")

// Names is what the names of a store's objects begin with.
type Names struct {
	Stream      string
	Incarnation uint32
	Form        string // of the snapshots: what can be read by whom
}

// Store keeps the snapshots of the partitions of one stream:
//
//	stream/incarnation/partition/form/lineage/next offset, 20 digits
//
// Those that were moved aside are in a folder damaged beside them, and stay
// there. Its methods may be called from many goroutines.
type Store struct {
	names   Names
	lineage uint32
	objects objects
}

// objects is where objects are: a directory or a bucket. Keys are paths with
// slashes.
type objects interface {
	// list names the objects right inside a folder. A folder that does not exist
	// is empty.
	list(ctx context.Context, folder string) ([]string, error)
	// open returns an object's bytes and how many they are; [ErrMissing] only where
	// the store can be reached and there is no such object.
	open(ctx context.Context, key string) (r io.ReadCloser, size int64, err error)
	// create makes an object whole or not at all, and returns once it would
	// survive a loss of power; errExists where there is one.
	create(ctx context.Context, key string, b []byte) error
	// move replaces what stands at to. It need not be atomic.
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

// Open opens the store that cfg names. Whether a bucket can be reached is seen
// with the first call.
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

// Close lets go of the store.
func (s *Store) Close() error { return s.objects.close() }

func (s *Store) folder(partition int32) string {
	return fmt.Sprintf("%s/%d/%d/%s/%d", s.names.Stream, s.names.Incarnation, partition, s.names.Form, s.lineage)
}

const digits = 20

func name(next int64) string { return fmt.Sprintf("%0*d", digits, next) }

func (s *Store) key(partition int32, next int64) string {
	return s.folder(partition) + "/" + name(next)
}

// List names the snapshots of a partition by their next offset, the newest
// first.
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

// Write creates a snapshot, if it is absent. Where the same bytes stand already
// it succeeds; where other bytes stand it returns [ErrDiffers].
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

// Discard moves a snapshot aside, so that it can be written anew.
func (s *Store) Discard(ctx context.Context, partition int32, next int64) error {
	aside := strings.Join([]string{s.folder(partition), "damaged", name(next)}, "/")
	if err := s.objects.move(ctx, s.key(partition, next), aside); err != nil {
		return fmt.Errorf("move snapshot %d of partition %d aside: %w", next, partition, err)
	}
	return nil
}

// Delete removes a snapshot. One that is gone is no error.
func (s *Store) Delete(ctx context.Context, partition int32, next int64) error {
	if err := s.objects.remove(ctx, s.key(partition, next)); err != nil {
		return fmt.Errorf("delete snapshot %d of partition %d: %w", next, partition, err)
	}
	return nil
}
