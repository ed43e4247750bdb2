package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/internal/snapshot"
	"github.com/weirdev/weir/proof/testkit"
)

// files is the store of snapshots in a directory, as workers use it.
type files struct{ *snapshot.Store }

func (f files) Write(ctx context.Context, partition int32, next int64, b []byte) error {
	err := f.Store.Write(ctx, partition, next, b)
	if errors.Is(err, snapshot.ErrDiffers) {
		return fmt.Errorf("%w: %w", ErrSnapshotDiffers, err)
	}
	return err
}

// failures reads the counter of failures of the store.
func failures(t *testing.T, registry *prometheus.Registry) (n float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Error(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "weir_detect_snapshot_failures_total" && m.GetLabel()[0].GetValue() == "store" {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// TestAFullDiskOfSnapshotsStopsNoDetection: the partition goes on, the metric
// says what is wrong, and once there is room the snapshots are written.
func TestAFullDiskOfSnapshotsStopsNoDetection(t *testing.T) {
	disk := testkit.NewDisk(t, 256, 100)
	store, err := snapshot.Open(t.Context(), snapshot.Config{URL: (&url.URL{Scheme: "file", Path: disk.Dir}).String()},
		snapshot.Names{Stream: "weir", Incarnation: 9, Form: "1.1"})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	inBubble(t, func(t *testing.T) {
		w, registry := newWorld(t, 240), prometheus.NewPedanticRegistry()
		s := w.stage(t)
		s.Snapshots, s.metrics = files{store}, newStageMetrics(registry)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		disk.Leave(t, 0, 50)
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()

		time.Sleep(30 * time.Second)
		if got, err := store.List(t.Context(), testPartitionID); err != nil || len(got) != 0 {
			t.Errorf("on a full disk there are %v, %v", got, err)
		}
		if w.mu.Lock(); w.commit != 240 {
			t.Errorf("committed %d", w.commit)
		}
		w.mu.Unlock()
		full := failures(t, registry)
		if full < 3 {
			t.Errorf("the metric says %v failures", full)
		}

		disk.Leave(t, 200, 50)
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if now := failures(t, registry); now != full {
			t.Errorf("with room, there are %v failures more", now-full)
		}
		got, err := store.List(t.Context(), testPartitionID)
		if err != nil || len(got) < 2 || got[0] != 240 {
			t.Errorf("with room, there are %v, %v", got, err)
		}
		reference := w.reference(t)
		for _, next := range got {
			if b, err := store.Read(t.Context(), testPartitionID, next); err != nil || !bytes.Equal(b, reference[next]) {
				t.Errorf("the snapshot %d differs from one of an undisturbed run (%v)", next, err)
			}
		}
	})
}
