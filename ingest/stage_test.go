package ingest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/klog"
)

// world is what a stage of one raw partition is wired to: a log with a start, a
// facet topic of one partition, and a store that acknowledges at once.
type world struct {
	start   int64
	raw     []klog.Record // offset i+first
	first   int64
	commit  klog.Commit
	commits []klog.Commit
	format  string
	frames  [][]byte
	dead    []klog.Outgoing
	stored  map[int64]string // id by offset
}

func newWorld() *world {
	return &world{format: "weir", commit: klog.Commit{Offset: -1}, stored: map[int64]string{}}
}

func (w *world) end() int64 { return w.first + int64(len(w.raw)) }

func (w *world) send(values ...string) {
	for _, v := range values {
		w.raw = append(w.raw, klog.Record{Offset: w.end(), Value: []byte(v)})
	}
}

func (w *world) Fetch(ctx context.Context, _ string, _ int32, offset int64, b *klog.Batch) error {
	if offset < w.start || offset > w.end() {
		return fmt.Errorf("fetch at %d: %w", offset, klog.ErrOffsetOutOfRange)
	}
	b.Records, b.Next, b.HighWatermark, b.LogStart, b.Asked = b.Records[:0], offset, w.end(), w.start, time.Now()
	if offset == w.end() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(250 * time.Millisecond):
			return nil
		}
	}
	for _, r := range w.raw[offset-w.first:] {
		if len(b.Records) < 1000 {
			b.Records, b.Next = append(b.Records, r), r.Offset+1
		}
	}
	return nil
}

func (w *world) Produce(_ context.Context, topic string, ps []klog.Produce) error {
	for _, p := range ps {
		for _, r := range p.Records {
			if topic == "dead" {
				w.dead = append(w.dead, r)
				continue
			}
			w.frames = append(w.frames, append([]byte(nil), r.Value...))
		}
	}
	return nil
}

func (w *world) Offsets(context.Context, string) ([]klog.OffsetRange, error) {
	return []klog.OffsetRange{{Start: w.start, End: w.end()}}, nil
}

func (w *world) Committed(context.Context, string, string) ([]klog.Commit, error) {
	return []klog.Commit{w.commit}, nil
}

func (w *world) Partitions(context.Context, string) (int, error) { return 1, nil }

func (w *world) Join(ctx context.Context, _, _ string, serve func(context.Context, *klog.Generation) error) error {
	return serve(ctx, klog.NewGeneration([]int32{0}, func(_ context.Context, cs []klog.Commit) error {
		w.commit = cs[0]
		w.commits = append(w.commits, cs[0])
		return nil
	}))
}

func (w *world) Append(_ context.Context, offset int64, _ uint64, _ int64, e *event.Event) error {
	w.stored[offset] = strings.Clone(e.Text(event.ID))
	return nil
}
func (w *world) Stored() int64               { return math.MaxInt64 }
func (w *world) Drain(context.Context) error { return nil }

func (w *world) Lookup(_ netip.Addr, p *geo.Place) { *p = geo.Place{} }

// run runs a stage for a while of the bubble's time, and returns its ledger.
func (w *world) run(t *testing.T, length time.Duration) (ingest.Ledger, error) {
	t.Helper()
	cfg := ingest.Defaults()
	cfg.Format = w.format
	var p facet.Projection
	p[facet.Account] = []event.Field{event.Auth}
	s, err := ingest.New(cfg, ingest.Topics{Events: "events", Facets: "facets", Dead: "dead", Group: "g"},
		ingest.Shared{Projection: p, Epoch: 1, Incarnation: 1, Hasher: facet.NewHasher([16]byte{1})},
		ingest.Dependencies{Log: w, Places: w, OpenEvents: func(int32) ingest.EventTrack { return w }, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	runErr := s.Run(ctx)
	progress, err := ingest.ParseProgress(w.commit.Metadata)
	if err != nil {
		t.Fatal(err)
	}
	return progress.Ledger, runErr
}

// facets lists the raw offsets of the facets that the log holds, and fails where
// the covers do not join.
func (w *world) facets(t *testing.T) (offsets []int64) {
	t.Helper()
	var r facet.Reader
	var f facet.Facet
	next := int64(-1)
	for _, frame := range w.frames {
		if err := r.Reset(frame); err != nil {
			t.Fatal(err)
		}
		s, _, err := r.Section()
		if err != nil {
			t.Fatal(err)
		}
		if next >= 0 && s.From > next {
			t.Errorf("a cover goes on at %d after %d", s.From, next)
		}
		for {
			ok, err := r.Facet(&f)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if f.Offset >= next {
				offsets = append(offsets, f.Offset)
			}
		}
		next = max(next, s.To)
	}
	return offsets
}

func request(id, account string) string {
	b, _ := json.Marshal(map[string]string{"id": id, "time": time.Now().UTC().Format(time.RFC3339Nano), "account": account, "auth": "failure"})
	return string(b)
}

func TestAGatewaysRepeatsCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		a, b := request("a", "ann"), request("b", "ben")
		w.send(a, b, a, "garbage", "garbage")
		l, err := w.run(t, 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		// Whoever takes over knows what was there before the commit.
		w.send(b, request("c", "ann"))
		if l, err = w.run(t, 3*time.Second); err != nil {
			t.Fatal(err)
		}
		want := ingest.Ledger{Fetched: 7, Accepted: 3, Repeat: 2, Dead: 2, Facets: 3}
		if l != want {
			t.Errorf("the ledger is %+v, want %+v", l, want)
		}
		if got := fmt.Sprint(w.facets(t)); got != "[0 1 6]" {
			t.Errorf("facets of the records %s", got)
		}
		if len(w.stored) != 3 || len(w.dead) != 2 {
			t.Errorf("%d events, %d dead letters", len(w.stored), len(w.dead))
		}
	})
}

// TestEqualLinesWithoutAnIDAreNoRepeats: nothing tells a line that was sent
// twice from two requests within the same second.
func TestEqualLinesWithoutAnIDAreNoRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.format = "combined"
		line := `203.0.113.9 - ann [01/Jan/2000:00:00:01 +0000] "POST /login HTTP/1.1" 401 12 "-" "curl/8"`
		w.send(line, line)
		l, err := w.run(t, 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if l.Accepted != 2 || l.Repeat != 0 || len(w.stored) != 2 {
			t.Errorf("the ledger is %+v, %d events are stored", l, len(w.stored))
		}
	})
}

func TestRecordsThatRetentionDeletedAreADeclaredLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		for i := range 10 {
			w.send(request(fmt.Sprint(i), "ann"))
		}
		if _, err := w.run(t, 3*time.Second); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			w.send(request(fmt.Sprint("n", i), "ann"))
		}
		w.start = 14
		l, err := w.run(t, 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		want := ingest.Ledger{Fetched: 20, Accepted: 16, Lost: 4, Facets: 16}
		if l != want || l.Sum() != l.Fetched {
			t.Errorf("the ledger is %+v, want %+v", l, want)
		}
		if got := fmt.Sprint(w.facets(t)); got != "[0 1 2 3 4 5 6 7 8 9 14 15 16 17 18 19]" {
			t.Errorf("facets of the records %s", got)
		}
	})
}

func TestATopicMadeAnewIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		for i := range 10 {
			w.send(request(fmt.Sprint(i), "ann"))
		}
		if _, err := w.run(t, 3*time.Second); err != nil {
			t.Fatal(err)
		}
		frames, commits := len(w.frames), len(w.commits)
		w.raw = w.raw[:3]
		_, err := w.run(t, 3*time.Second)
		if err == nil || !strings.Contains(err.Error(), "incarnation") {
			t.Errorf("the stage says %v", err)
		}
		if len(w.frames) != frames || len(w.commits) != commits {
			t.Error("something was written all the same")
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Error("the cause is hidden by the end of the context")
		}
	})
}

// TestTheWindowOfRepeatsIsReadAgain: a record is recognised by an owner that
// never saw the first, as far back as the window reaches and no farther.
func TestTheWindowOfRepeatsIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window = 65_536
		w := newWorld()
		early, late := request("early", "ann"), request("late", "ann")
		w.send(early, late)
		for i := range window - 1 {
			w.send(fmt.Sprintf(`{"filler":%d}`, i)) // refused: it costs little
		}
		if _, err := w.run(t, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		w.send(late, early) // late is 65,536 offsets back, early 65,538
		l, err := w.run(t, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if l.Repeat != 1 || l.Accepted != 3 {
			t.Errorf("the ledger is %+v", l)
		}
	})
}
