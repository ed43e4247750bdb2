package clickhouse

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// plainRows are rows of which only the number counts.
type plainRows struct {
	n      int
	during func() error // an insert
}

func (r *plainRows) len() int                                  { return r.n }
func (r *plainRows) reset()                                    { r.n = 0 }
func (r *plainRows) insert(context.Context, driver.Conn) error { return r.during() }

// TestRowsThatAreGivenUpNeverCountAsStored: a writer that stops while rows come
// has room for one of two batches.
func TestRowsThatAreGivenUpNeverCountAsStored(t *testing.T) {
	first, second := &plainRows{}, &plainRows{}
	w := &writer{
		cfg: Config{FlushRows: 10}, log: slog.New(slog.DiscardHandler), metrics: newMetrics("t", nil), filling: first, spare: second,
		changed: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	track := w.open()
	add := func(offset int64, to *plainRows) {
		if err := track.add(t.Context(), offset, func() { to.n++ }); err != nil {
			t.Error(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	first.during = func() error {
		add(6, second)
		stop()
		return errors.New("the server is gone")
	}
	second.during = func() error { return nil }
	add(5, first)
	if err := w.flush(ctx); err == nil {
		t.Fatal("a failed insert is no error")
	}
	if got := track.Stored(); got != 5 {
		t.Fatalf("stored up to %d with 5 given up", got)
	}
	if err := w.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := track.Drain(t.Context()); !errors.Is(err, errGivenUp) {
		t.Errorf("with 5 given up, an owner that commits after it has drained hears %v", err)
	}
	add(7, first) // there is room again
	if got := track.Stored(); got != 5 {
		t.Errorf("stored up to %d with 5 given up", got)
	}
}
