package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/internal/retry"
)

// rows is a batch of rows of one table, in columns.
type rows interface {
	len() int
	reset()
	insert(ctx context.Context, conn driver.Conn) error
}

// writer gathers rows and inserts them, by number or by age. Two batches alternate:
// one fills while the other is inserted. When both are full, add blocks: nothing is
// ever dropped, and memory is bounded.
type writer struct {
	cfg     Config
	conn    driver.Conn
	log     *slog.Logger
	metrics *metrics

	mu      sync.Mutex
	filling rows
	spare   rows
	oldest  time.Time     // when the first row of filling was added
	urgent  bool          // somebody drains
	tracks  []*track      // those with pending rows
	changed chan struct{} // closed and replaced whenever a batch was swapped or acknowledged
	wake    chan struct{}
}

// track follows the rows of one partition. Its offsets are those of the oldest row
// in each batch, or none.
type track struct {
	w        *writer
	listed   bool // is in w.tracks
	filling  int64
	flushing int64
	dropped  int64 // the oldest that was given up when the writer stopped
}

const none = math.MaxInt64

func newWriter(table string, c Config, a, b rows, log *slog.Logger, r prometheus.Registerer) (*writer, error) {
	conn, err := Open(c)
	if err != nil {
		return nil, err
	}
	return &writer{
		cfg: c, conn: conn, log: log.With("table", table), metrics: newMetrics(table, r), filling: a, spare: b,
		changed: make(chan struct{}), wake: make(chan struct{}, 1),
	}, nil
}

func (w *writer) open() *track { return &track{w: w, filling: none, flushing: none, dropped: none} }

// add calls row to add one row, once there is room.
func (t *track) add(ctx context.Context, offset int64, row func()) error {
	w := t.w
	w.mu.Lock()
	for w.filling.len() >= w.cfg.FlushRows {
		changed := w.changed
		w.mu.Unlock()
		w.poke()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		w.mu.Lock()
	}
	if w.filling.len() == 0 {
		w.oldest = time.Now()
	}
	row()
	t.filling = min(t.filling, offset)
	if !t.listed {
		t.listed = true
		w.tracks = append(w.tracks, t)
	}
	full := w.filling.len() >= w.cfg.FlushRows
	w.mu.Unlock()
	if full {
		w.poke()
	}
	return nil
}

func (w *writer) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Stored returns an offset below which every appended row is acknowledged;
// math.MaxInt64 if none is pending.
func (t *track) Stored() int64 {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	return min(t.filling, t.flushing, t.dropped)
}

// errGivenUp means that rows were dropped as the writer stopped. They are appended again
// by whoever reads from the last commit.
var errGivenUp = errors.New("clickhouse: rows were given up as the writer stopped")

// Drain inserts pending rows now, and returns when they are acknowledged.
func (t *track) Drain(ctx context.Context) error {
	for {
		t.w.mu.Lock()
		if t.dropped != none {
			t.w.mu.Unlock()
			return errGivenUp
		}
		if min(t.filling, t.flushing) == none {
			t.w.mu.Unlock()
			return nil
		}
		t.w.urgent = true
		changed := t.w.changed
		t.w.mu.Unlock()
		t.w.poke()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("clickhouse: rows are still pending: %w", ctx.Err())
		}
	}
}

// lastFlush is the time limit for the remaining rows when the writer stops.
const lastFlush = 5 * time.Second

// run inserts until ctx ends, then the rest.
func (w *writer) run(ctx context.Context) error {
	defer w.conn.Close()
	tick := time.NewTicker(max(w.cfg.FlushAge/8, 5*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-w.wake:
		case <-tick.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			return w.flush(last)
		}
		if w.due() {
			if err := w.flush(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

func (w *writer) due() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.filling.len()
	return n >= w.cfg.FlushRows || n > 0 && (w.urgent || time.Since(w.oldest) >= w.cfg.FlushAge)
}

// flush swaps the batches and inserts the one that was filling. After a temporary
// failure it tries the same rows again: a row that did arrive is replaced by
// itself.
func (w *writer) flush(ctx context.Context) error {
	w.mu.Lock()
	batch := w.filling
	if batch.len() == 0 {
		w.mu.Unlock()
		return nil
	}
	w.filling, w.spare = w.spare, nil
	w.urgent = false
	for _, t := range w.tracks {
		t.flushing, t.filling = min(t.flushing, t.filling), none
	}
	w.broadcast()
	w.mu.Unlock()

	started := time.Now()
	if err := w.insert(ctx, batch); err != nil {
		w.giveBack(batch)
		return err
	}
	w.metrics.seconds.Observe(time.Since(started).Seconds())
	w.metrics.rows.Add(float64(batch.len()))
	batch.reset()

	w.mu.Lock()
	defer w.mu.Unlock()
	w.spare = batch
	pending := w.tracks[:0]
	for _, t := range w.tracks {
		if t.flushing, t.listed = none, t.filling != none; t.listed {
			pending = append(pending, t)
		}
	}
	w.tracks = pending
	w.broadcast()
	return nil
}

// giveBack keeps a batch that could not be inserted, so that a later flush of a
// stopping writer takes it first. If rows are waiting already, there is room for
// only one of the two: the batch is dropped, and never counts as stored.
func (w *writer) giveBack(batch rows) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.filling.len() > 0 {
		batch.reset()
		w.spare = batch
		for _, t := range w.tracks {
			t.dropped, t.flushing = min(t.dropped, t.flushing), none
		}
		w.broadcast()
		return
	}
	w.filling, w.spare = batch, w.filling
	for _, t := range w.tracks {
		t.filling, t.flushing = min(t.filling, t.flushing), none
	}
}

// broadcast wakes all waiters. The caller holds the lock.
func (w *writer) broadcast() {
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *writer) insert(ctx context.Context, batch rows) error {
	pauses, last := retry.Backoff{First: 50 * time.Millisecond, Most: 2 * time.Second}, ""
	for attempt := 1; ; attempt++ {
		err := batch.insert(ctx, w.conn)
		switch {
		case err == nil:
			if attempt > 1 {
				w.log.Info("clickhouse takes rows again", "rows", batch.len(), "attempts", attempt)
			}
			return nil
		case permanent(err):
			return fmt.Errorf("insert %d rows: %w", batch.len(), err)
		case ctx.Err() != nil:
			return fmt.Errorf("insert %d rows: %w", batch.len(), errors.Join(ctx.Err(), err))
		}
		w.metrics.retries.WithLabelValues(reason(err)).Inc()
		if err.Error() != last {
			w.log.Warn("clickhouse does not take rows; trying again", "rows", batch.len(), "error", err)
			last = err.Error()
		}
		pauses.Wait(ctx) // where ctx ends, the next attempt says why
	}
}

type metrics struct {
	rows    prometheus.Counter
	seconds prometheus.Histogram
	retries *prometheus.CounterVec
}

func newMetrics(table string, r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	labels := prometheus.Labels{"table": table}
	return &metrics{
		rows: f.NewCounter(prometheus.CounterOpts{Name: "weir_clickhouse_rows_total", Help: "Rows that ClickHouse acknowledged.", ConstLabels: labels}),
		seconds: f.NewHistogram(prometheus.HistogramOpts{Name: "weir_clickhouse_flush_seconds", Help: "Time to insert a batch, retries included.",
			ConstLabels: labels, Buckets: prometheus.ExponentialBuckets(0.005, 2, 14)}),
		retries: f.NewCounterVec(prometheus.CounterOpts{Name: "weir_clickhouse_retries_total", Help: "Inserts that were retried, by reason.",
			ConstLabels: labels}, []string{"reason"}),
	}
}
