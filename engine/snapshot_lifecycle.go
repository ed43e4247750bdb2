package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/retry"
)

// SnapshotStore keeps the snapshots of facet partitions: immutable objects, named
// by partition and by the next facet offset. Its methods may be called from many
// goroutines. The caller retries after any error, and never takes an error for an
// answer.
type SnapshotStore interface {
	// List returns the next offsets of a partition's snapshots, newest first. An
	// error never means "none".
	List(ctx context.Context, partition int32) ([]int64, error)
	// Read returns the bytes of a snapshot.
	Read(ctx context.Context, partition int32, next int64) ([]byte, error)
	// Write creates a snapshot if it is absent. If the same bytes are stored
	// already it succeeds; if other bytes are, it returns ErrSnapshotDiffers.
	Write(ctx context.Context, partition int32, next int64, snapshot []byte) error
	// Discard moves an invalid snapshot aside, so that it can be written again.
	Discard(ctx context.Context, partition int32, next int64) error
	// Delete removes a snapshot that retention does not keep.
	Delete(ctx context.Context, partition int32, next int64) error
}

// ErrSnapshotDiffers means that other bytes are stored under a snapshot's name.
var ErrSnapshotDiffers = errors.New("another snapshot stands under this name")

// errNotFunction means that the same records of the log gave two states. No output
// of the partition can be trusted then.
var errNotFunction = errors.New("a sound snapshot of the same offset holds another state: state is not a function of the log; " +
	"keep both snapshots and report it")

// snapshots restores one owner's partition from the store, and writes its
// snapshots.
//
//	turn ─▶ freeze at N ─▶ encode ─▶ outputs below N acknowledged? ─▶ write ─▶ retention
//	         owner          └──────────── a goroutine of its own ────────────┘
//
// One snapshot is in progress at a time, and one partition of a stage encodes at a
// time, so that a worker needs memory for one copy of one state.
type snapshots struct {
	*Stage
	log       *slog.Logger
	partition int32

	last    int64     // next offset of the latest snapshot, or of the state that the owner began with
	since   time.Time // when that was
	current *snapshotting
}

// snapshotting is one snapshot in progress.
type snapshotting struct {
	next   int64
	begun  time.Time
	acked  chan struct{} // closed once every output caused below next is acknowledged
	closed bool          // acked is
	done   chan error    // gets one
	stop   context.CancelFunc
}

// persist calls do until it succeeds, fails permanently or ctx ends. It logs other
// errors when they change.
func (s *snapshots) persist(ctx context.Context, what string, do func(ctx context.Context) error) error {
	err := retry.Do(ctx, do, forGood, func(err error, news bool) {
		s.metrics.snapshotFailure("store")
		if news {
			s.log.Warn("the store of snapshots fails; trying again", "doing", what, "error", err)
		}
	})
	if err != nil && !forGood(err) {
		err = fmt.Errorf("%s: %w", what, err)
	}
	return err
}

// forGood reports whether an error is permanent.
func forGood(err error) bool {
	return errors.Is(err, errNotFunction) || errors.Is(err, ErrSnapshotNewer) || errors.Is(err, ErrSnapshotForeign) ||
		errors.Is(err, errSettings)
}

var errSettings = errors.New("settings")

// recover restores the newest intact snapshot that the log still reaches. It moves
// damaged ones aside, and returns nil if there is none.
func (s *snapshots) recover(ctx context.Context, log kafka.OffsetRange) (p *Partition, next int64, err error) {
	if s.Snapshots == nil {
		return nil, 0, nil
	}
	err = s.persist(ctx, "recover", func(ctx context.Context) (err error) {
		p, next, err = s.newest(ctx, log)
		return err
	})
	return p, next, err
}

// startAt records the state that the owner begins with: nothing has changed so far.
func (s *snapshots) startAt(next int64) { s.last, s.since = next, time.Now() }

// newest tries one snapshot after the other. After every error it lists them again,
// because another owner's retention may have deleted some.
func (s *snapshots) newest(ctx context.Context, log kafka.OffsetRange) (*Partition, int64, error) {
	all, err := s.Snapshots.List(ctx, s.partition)
	if err != nil {
		return nil, 0, fmt.Errorf("list snapshots: %w", err)
	}
	for _, next := range all {
		if next < log.Start || next > log.End {
			s.log.Info("snapshot passed over: the log does not reach it", "next_offset", next, "first_offset", log.Start, "end", log.End)
			continue
		}
		started := time.Now()
		b, err := s.Snapshots.Read(ctx, s.partition, next)
		if err != nil {
			return nil, 0, fmt.Errorf("read snapshot %d: %w", next, err)
		}
		p, err := s.restore(next, b)
		switch {
		case err == nil:
			s.log.Info("state restored from a snapshot", "next_offset", next, "bytes", len(b), "entities", p.Entities(),
				"took", time.Since(started).Round(time.Millisecond))
			return p, next, nil
		case !errors.Is(err, ErrSnapshotDamaged):
			return nil, 0, fmt.Errorf("snapshot %d: %w", next, err)
		}
		if err := s.discard(ctx, next, err); err != nil {
			return nil, 0, err
		}
	}
	return nil, 0, nil
}

// restore calls [RestorePartition] for the snapshot named by next.
func (s *snapshots) restore(next int64, b []byte) (*Partition, error) {
	p, holds, err := RestorePartition(s.cfg.Config, s.Rules, s.Hasher, s.partition, s.Incarnation, b)
	switch {
	case err == nil && holds != next:
		return nil, fmt.Errorf("%w: it is named %d and holds the state before %d", ErrSnapshotDamaged, next, holds)
	case err != nil && !errors.Is(err, ErrSnapshotDamaged) && !forGood(err):
		return nil, fmt.Errorf("%w: %w", errSettings, err)
	}
	return p, err
}

func (s *snapshots) discard(ctx context.Context, next int64, why error) error {
	s.metrics.snapshotFailure("damaged")
	s.log.Error("snapshot is moved aside", "next_offset", next, "error", why)
	if err := s.Snapshots.Discard(ctx, s.partition, next); err != nil {
		return fmt.Errorf("move snapshot %d aside: %w", next, err)
	}
	return nil
}

// turn does the snapshot work between two fetches. stored is the offset below which
// every output is acknowledged. An error stops the partition.
func (s *snapshots) turn(ctx context.Context, p *Partition, next, stored int64) error {
	if s.Snapshots == nil {
		return nil
	}
	s.metrics.snapshotsAge.Happened(s.partition, s.held(next))
	if s.current != nil {
		return s.poll(stored)
	}
	if next <= s.last || time.Since(s.since) < s.cfg.SnapshotInterval {
		return nil
	}
	select {
	case s.encoding <- struct{}{}:
		s.begin(ctx, p.freeze(next), stored)
	default: // another partition's turn
	}
	return nil
}

// held returns the time of the safe state, which must be complete.
func (s *snapshots) held(next int64) time.Time {
	if next <= s.last {
		return time.Now()
	}
	return s.since
}

// poll tells the snapshot in progress what is acknowledged, and takes its result.
func (s *snapshots) poll(stored int64) error {
	c := s.current
	if stored >= c.next && !c.closed {
		c.closed = true
		close(c.acked)
	}
	select {
	case err := <-c.done:
		return s.ended(err)
	default:
		return nil
	}
}

func (s *snapshots) ended(err error) error {
	c := s.current
	s.current = nil
	c.stop()
	if err == nil {
		s.last, s.since = c.next, c.begun
		return nil
	}
	return fmt.Errorf("snapshot %d: %w", c.next, err)
}

// begin writes f in the background. The caller holds the encoder's place.
func (s *snapshots) begin(ctx context.Context, f *frozen, stored int64) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &snapshotting{next: f.next, begun: time.Now(), acked: make(chan struct{}), done: make(chan error, 1), stop: stop}
	s.current = c
	go func() { c.done <- s.write(ctx, f, c.acked) }()
	if stored >= c.next {
		c.closed = true
		close(c.acked)
	}
}

// write encodes f, and stores it once its outputs are acknowledged.
func (s *snapshots) write(ctx context.Context, f *frozen, acked <-chan struct{}) error {
	started := time.Now()
	b, err := f.encode(ctx)
	f.release()
	<-s.encoding
	if err != nil {
		return err
	}
	encoded := time.Since(started)
	select {
	case <-acked:
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil { // whatever came first
		return err
	}
	started = time.Now()
	if err := s.persist(ctx, "write", func(ctx context.Context) error { return s.create(ctx, f.next, b) }); err != nil {
		return err
	}
	s.metrics.snapshotWritten(s.partition, len(b), encoded, time.Since(started))
	s.log.Debug("snapshot written", "next_offset", f.next, "bytes", len(b), "encode", encoded, "store", time.Since(started))
	s.retain(ctx, f.next)
	return nil
}

// create writes the snapshot once. If another object has its name, that object
// decides. The same state with another compression, or a state under other terms,
// is left there. A damaged one is moved aside. Anything else stops the partition.
func (s *snapshots) create(ctx context.Context, next int64, b []byte) error {
	err := s.Snapshots.Write(ctx, s.partition, next, b)
	if !errors.Is(err, ErrSnapshotDiffers) {
		return err
	}
	other, err := s.Snapshots.Read(ctx, s.partition, next)
	if err != nil {
		return fmt.Errorf("read snapshot %d: %w", next, err)
	}
	switch holds, err := compareSnapshots(other, b); {
	case errors.Is(err, ErrSnapshotDamaged):
		if err := s.discard(ctx, next, err); err != nil {
			return err
		}
		return s.Snapshots.Write(ctx, s.partition, next, b)
	case err != nil:
		return err
	case holds == otherTerms:
		s.log.Warn("snapshot is not written: one under other rules or settings stands there", "next_offset", next)
	case holds == otherState:
		s.metrics.snapshotFailure("differs")
		return errNotFunction
	}
	return nil
}

// retain deletes all but the newest. After a failure some remain until the next
// time.
func (s *snapshots) retain(ctx context.Context, written int64) {
	err := retry.Once(ctx, func(ctx context.Context) error {
		all, err := s.Snapshots.List(ctx, s.partition)
		for i := s.cfg.SnapshotKeep; err == nil && i < len(all); i++ {
			if all[i] != written {
				err = s.Snapshots.Delete(ctx, s.partition, all[i])
			}
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.metrics.snapshotFailure("retention")
		s.log.Warn("old snapshots are not deleted", "error", err)
	}
}

// drain finishes the snapshot in progress and writes a last one, if there is
// anything new, until ctx ends. Every output is acknowledged already.
func (s *snapshots) drain(ctx context.Context, p *Partition, next int64) error {
	if s.Snapshots == nil {
		return nil
	}
	if err := s.await(ctx, next); err != nil || next <= s.last {
		return err
	}
	select {
	case s.encoding <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("snapshot %d: %w", next, ctx.Err())
	}
	s.begin(ctx, p.freeze(next), next)
	return s.await(ctx, next)
}

// await waits for the snapshot in progress.
func (s *snapshots) await(ctx context.Context, stored int64) error {
	if s.current == nil {
		return nil
	}
	if err := s.poll(stored); err != nil || s.current == nil {
		return err
	}
	select {
	case err := <-s.current.done:
		return s.ended(err)
	case <-ctx.Done():
		return fmt.Errorf("snapshot %d: %w", s.current.next, ctx.Err())
	}
}

// close abandons the snapshot in progress, and returns when it has ended.
func (s *snapshots) close() {
	if s.current != nil {
		s.current.stop()
		if err := s.ended(<-s.current.done); errors.Is(err, errNotFunction) {
			s.log.Error("the last snapshot shows a fault", "error", err)
		}
	}
}
