package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/internal/snapshot"
)

// snapshotStore adapts the configured store to detect.
type snapshotStore struct{ *snapshot.Store }

// Write implements engine.SnapshotStore.
func (s snapshotStore) Write(ctx context.Context, partition int32, next int64, b []byte) error {
	err := s.Store.Write(ctx, partition, next, b)
	if errors.Is(err, snapshot.ErrDiffers) {
		return fmt.Errorf("%w: %w", engine.ErrSnapshotDiffers, err)
	}
	return err
}

func (w *Worker) openSnapshots() (err error) {
	if w.cfg.Snapshots.URL == "" {
		return nil
	}
	s := w.cfg.Stream
	w.snapshots, err = snapshot.Open(context.Background(), w.cfg.Snapshots,
		snapshot.Names{Stream: s.Name, Incarnation: s.Incarnation, Form: engine.SnapshotForm()})
	return err
}

// snapshotsForDetect returns nil if no store is configured.
func (w *Worker) snapshotsForDetect() engine.SnapshotStore {
	if w.snapshots == nil {
		return nil
	}
	return snapshotStore{w.snapshots}
}

func (w *Worker) closeSnapshots() error {
	if w.snapshots == nil {
		return nil
	}
	return w.snapshots.Close()
}
