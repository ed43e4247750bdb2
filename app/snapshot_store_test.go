package app

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/weirdev/weir/app/settings"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/internal/snapshot"
)

func TestTheStoreOfSnapshotsSaysWhatDetectUnderstands(t *testing.T) {
	c := Defaults()
	c.Stream.Secret = "0123456789abcdef"
	c.Snapshots.URL = "file://" + t.TempDir()
	w := &Worker{cfg: c, log: slog.New(slog.DiscardHandler)}
	if err := errors.Join(c.Validate(), w.openSnapshots()); err != nil {
		t.Fatal(err)
	}
	s := w.snapshotsForDetect()
	if err := s.Write(t.Context(), 1, 2, []byte("a")); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), 1, 2, []byte("b")); !errors.Is(err, engine.ErrSnapshotDiffers) || !errors.Is(err, snapshot.ErrDiffers) {
		t.Errorf("other bytes: %v", err)
	}
	if err := w.closeSnapshots(); err != nil {
		t.Error(err)
	}
}

func TestWithoutAURLThereIsNoStoreOfSnapshots(t *testing.T) {
	w := &Worker{cfg: Defaults()}
	if err := errors.Join(w.openSnapshots(), w.closeSnapshots()); err != nil || w.snapshotsForDetect() != nil {
		t.Errorf("%v, %v", err, w.snapshotsForDetect())
	}
}

func TestTheStoreOfSnapshotsIsAddedToTheSettings(t *testing.T) {
	c := Defaults()
	names := ""
	for _, s := range settings.Walk(&c) {
		names += s.Name + " "
	}
	for _, want := range []string{"snapshots.url", "snapshots.lineage", "detect.snapshot_interval", "detect.snapshot_keep"} {
		if !strings.Contains(names, want+" ") {
			t.Errorf("no setting %s", want)
		}
	}
	c.Snapshots.URL = "s3://me:swordfish@bucket"
	if err := c.Validate(); err == nil || strings.Contains(err.Error(), "swordfish") {
		t.Errorf("credentials in the URL: %v", err)
	}
}
