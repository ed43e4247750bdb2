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
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/watch"
)

// world is what a stage of one raw partition is wired to: a log with a start, a
// facet topic of one partition, and a store that acknowledges at once.
type world struct {
	mu      sync.Mutex // of raw: some tests send while the stage reads
	start   int64
	raw     []kafka.Record // offset i+first
	first   int64
	commit  kafka.Commit
	commits []kafka.Commit
	format  string
	history bool
	ahead   time.Duration              // of the worker's clock
	rotten  [2]int64                   // raw offsets that do not read: from, to
	wire    func(*ingest.Dependencies) // changes what the stage is wired to; may be nil
	mortal  int                        // effects left until the worker dies; below 0: it does not
	frames  [][]byte
	dead    []kafka.Outgoing
	stored  map[int64]string // id by offset

	most    int    // records that a fetch brings
	rival   func() // does something before the next write; nil: nobody does
	epochs  *epochs
	watch   *watch.Watch
	metrics *prometheus.Registry // of the last run
}

func newWorld() *world {
	return &world{format: "weir", mortal: -1, commit: kafka.Commit{Offset: -1}, stored: map[int64]string{}, most: 1000}
}

func (w *world) end() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.first + int64(len(w.raw))
}

func (w *world) send(values ...string) {
	for _, v := range values {
		w.add(kafka.Record{Offset: w.end(), Value: []byte(v)})
	}
}

func (w *world) add(r kafka.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.raw = append(w.raw, r)
}

// from lists the records from an offset on.
func (w *world) from(offset int64) []kafka.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.raw[offset-w.first:]
}

func (w *world) Fetch(ctx context.Context, _ string, _ int32, offset int64, b *kafka.Batch) error {
	if offset < w.start || offset > w.end() {
		return fmt.Errorf("fetch at %d: %w", offset, kafka.ErrOffsetOutOfRange)
	}
	b.Records, b.Next, b.HighWatermark, b.LogStart, b.Asked = b.Records[:0], offset, w.end(), w.start, time.Now()
	if offset >= w.rotten[0] && offset < w.rotten[1] {
		return fmt.Errorf("fetch at %d: %w", offset, kafka.ErrUnreadable)
	}
	if offset == w.end() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(250 * time.Millisecond):
			return nil
		}
	}
	for _, r := range w.from(offset) {
		if r.Offset == w.rotten[0] && w.rotten[1] > 0 {
			break
		}
		if len(b.Records) < w.most {
			b.Records, b.Next = append(b.Records, r), r.Offset+1
		}
	}
	return nil
}

func (w *world) NextReadable(_ context.Context, _ string, _ int32, offset int64) (int64, error) {
	if offset < w.rotten[0] || offset >= w.rotten[1] {
		return 0, fmt.Errorf("offset %d reads", offset)
	}
	return w.rotten[1], nil
}

var errDied = errors.New("the worker is dead")

// dies reports whether the worker dies before its next effect.
func (w *world) dies() bool {
	if w.mortal == 0 {
		return true
	}
	w.mortal--
	return false
}

func (w *world) Produce(_ context.Context, topic string, ps []kafka.Produce) error {
	if w.dies() {
		return errDied
	}
	if rival := w.rival; rival != nil {
		w.rival = nil
		rival()
	}
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

func (w *world) Offsets(context.Context, string) ([]kafka.OffsetRange, error) {
	return []kafka.OffsetRange{{Start: w.start, End: w.end()}}, nil
}

func (w *world) Committed(context.Context, string, string) ([]kafka.Commit, error) {
	return []kafka.Commit{w.commit}, nil
}

func (w *world) Partitions(context.Context, string) (int, error) { return 1, nil }

func (w *world) Join(ctx context.Context, _, _ string, own func(context.Context, *kafka.Lease) error) error {
	return own(ctx, kafka.NewLease(0, func(_ context.Context, offset int64, metadata string) error {
		if w.dies() {
			return errDied
		}
		w.commit = kafka.Commit{Offset: offset, Metadata: metadata}
		w.commits = append(w.commits, w.commit)
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
	epochs := w.epochs
	if epochs == nil {
		var p facet.Projection
		p[facet.Account] = []event.Field{event.Auth}
		epochs = newEpochs(newEpoch(t, cfg, p, w))
	}
	w.metrics = prometheus.NewRegistry()
	deps := ingest.Dependencies{Log: w, Epochs: epochs, OpenEvents: func(int32) ingest.EventTrack { return w }, Watch: w.watch, Registerer: w.metrics,
		ClockAhead: func() time.Duration { return w.ahead }, Logger: slog.New(slog.DiscardHandler)}
	if w.wire != nil {
		w.wire(&deps)
	}
	s, err := ingest.New(cfg, ingest.Topics{Events: "events", Facets: "facets", Dead: "dead", Group: "g"},
		ingest.Shared{Incarnation: 1, Hasher: facet.NewHasher([16]byte{1}), History: w.history}, deps)
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
		if _, err := w.run(t, 3*time.Second); err != nil {
			t.Fatal(err)
		}
		// Whoever takes over knows what was there before the commit.
		w.send(b, request("c", "ann"))
		l, err := w.run(t, 3*time.Second)
		if err != nil {
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

func TestADeadLetterFitsItsTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.send(strings.Repeat("x", 20<<20), "short")
		if _, err := w.run(t, 3*time.Second); err != nil {
			t.Fatal(err)
		}
		if len(w.dead) != 2 || len(w.dead[0].Value) != ingest.MaxLetterBytes || string(w.dead[1].Value) != "short" {
			t.Fatalf("%d dead letters", len(w.dead))
		}
		for i, want := range []string{"20971520", ""} {
			got := ""
			for _, h := range w.dead[i].Headers {
				if h.Key == ingest.HeaderBytes {
					got = string(h.Value)
				}
			}
			if got != want {
				t.Errorf("letter %d says the record had %q bytes", i, got)
			}
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

// at is a request that claims to have been made at a time.
func at(id string, t time.Time) string {
	b, _ := json.Marshal(map[string]string{"id": id, "time": t.UTC().Format(time.RFC3339Nano), "account": "ann", "auth": "failure"})
	return string(b)
}

// times lists the event times of the facets by raw offset, and the watermark of
// the last frame.
func (w *world) times(t *testing.T) (times map[int64]time.Time, watermark time.Time) {
	t.Helper()
	var r facet.Reader
	var f facet.Facet
	times = map[int64]time.Time{}
	for _, frame := range w.frames {
		if err := r.Reset(frame); err != nil {
			t.Fatal(err)
		}
		s, _, err := r.Section()
		if err != nil {
			t.Fatal(err)
		}
		watermark = time.UnixMilli(s.Watermark)
		for ok := s.Facets > 0; ok; {
			if ok, err = r.Facet(&f); err != nil {
				t.Fatal(err)
			}
			if _, known := times[f.Offset]; ok && !known {
				times[f.Offset] = time.UnixMilli(f.Time)
			}
		}
	}
	return times, watermark
}

// TestClaimsAreHeldAgainstWhenTheRecordWasAppended: by the worker's clock, through
// a restart and through an outage that left a backlog. What lies too far back is
// marked, and stays; what lies ahead is moved.
func TestClaimsAreHeldAgainstWhenTheRecordWasAppended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		begin := time.Now()
		w.send(at("before the end was ever seen", begin.Add(-48*time.Hour)))
		if _, err := w.run(t, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		// An outage of an hour: what was appended meanwhile may say so.
		time.Sleep(time.Hour)
		seen := begin.Add(5 * time.Second) // about when the end was seen last
		w.send(at("half an hour ago", begin.Add(30*time.Minute)), at("before the outage", seen.Add(-9*time.Minute)),
			at("long before it", seen.Add(-time.Hour)), at("tomorrow", begin.Add(24*time.Hour)), at("1970", time.Unix(0, 0)))
		read := time.Now()
		l, err := w.run(t, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		times, watermark := w.times(t)
		for offset, c := range map[int64]struct {
			want  time.Time
			exact bool
		}{
			0: {begin.Add(-48 * time.Hour), true},
			1: {begin.Add(30 * time.Minute), true},
			2: {seen.Add(-9 * time.Minute), true},
			3: {seen.Add(-time.Hour), true},
			4: {read.Add(5 * time.Second), false},
			5: {time.Unix(0, 0), true},
		} {
			off := times[offset].Sub(c.want).Abs()
			if off > 2*time.Second || c.exact && off > time.Millisecond {
				t.Errorf("record %d has the time %v, want %v", offset, times[offset], c.want)
			}
		}
		if l.Skewed != 1 || l.Delayed != 2 || w.metric(t, "weir_ingest_skewed_events_total") != 1 || w.metric(t, "weir_ingest_delayed_events_total") != 2 {
			t.Errorf("the ledger is %+v, want 1 skewed and 2 delayed", l)
		}
		if ahead := time.Until(watermark); ahead > 5*time.Second {
			t.Errorf("the watermark is %v ahead of the clock", ahead)
		}
	})
}

// TestTheBrokersTimeOfAppendingIsTheBracket: whoever reads the record again, and
// however late, gives it the same time.
func TestTheBrokersTimeOfAppendingIsTheBracket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		appended := time.Now()
		claims := []time.Time{appended.Add(-time.Hour), appended.Add(-9 * time.Minute), appended.Add(4 * time.Second), appended.Add(time.Hour)}
		want := []time.Time{claims[0], claims[1], claims[2], appended.Add(5 * time.Second)}
		for _, delay := range []time.Duration{0, time.Minute, 30 * time.Hour} {
			w := newWorld()
			for i, c := range claims {
				w.send(at(fmt.Sprint(i), c))
				w.raw[i].Time, w.raw[i].Appended = appended.UnixMilli(), true
			}
			time.Sleep(delay)
			if _, err := w.run(t, 3*time.Second); err != nil {
				t.Fatal(err)
			}
			times, _ := w.times(t)
			for i := range want {
				if !times[int64(i)].Equal(want[i].Truncate(time.Millisecond)) {
					t.Errorf("read after %v, record %d has the time %v, want %v", delay, i, times[int64(i)], want[i])
				}
			}
		}
	})
}

// TestAWorkerWhoseClockIsWrong goes by the broker's: what it claims of an idle
// partition makes nothing late.
func TestAWorkerWhoseClockIsWrong(t *testing.T) {
	for _, off := range []time.Duration{24 * time.Hour, -24 * time.Hour, 0} {
		t.Run(off.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.ahead = off
				add := func(id string) {
					brokers := time.Now().Add(-off) // the worker's clock is the bubble's
					w.add(kafka.Record{Offset: w.end(), Value: []byte(at(id, brokers)), Time: brokers.UnixMilli(), Appended: true})
				}
				go func() {
					for i := range 5 {
						time.Sleep(time.Second)
						add(fmt.Sprint(i))
					}
				}()
				if _, err := w.run(t, 30*time.Second); err != nil {
					t.Fatal(err)
				}
				_, watermark := w.times(t)
				brokers := time.Now().Add(-off)
				if d := watermark.Sub(brokers); d.Abs() > 5*time.Second {
					t.Errorf("the watermark is %v from the broker's clock", d)
				}
			})
		})
	}
}

func TestTheTimesOfHistoryAreBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.history = true
		old := time.Date(2015, 5, 17, 10, 5, 3, 0, time.UTC)
		w.send(at("a", old), at("b", time.Now().Add(48*time.Hour)), at("c", old.Add(time.Second)))
		w.raw = append(w.raw, kafka.Record{Offset: w.end(), Headers: []kafka.Header{{Key: ingest.EndHeader}}})
		l, err := w.run(t, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		times, watermark := w.times(t)
		if l.Skewed != 0 || l.Control != 1 || !times[0].Equal(old) || watermark.UnixMilli() != facet.EndWatermark {
			t.Errorf("the ledger is %+v, the first time %v, the watermark %v", l, times[0], watermark)
		}
	})
}

// TestALiveStreamCannotBeEnded by whoever may write to it.
func TestALiveStreamCannotBeEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.raw = append(w.raw, kafka.Record{Value: []byte(at("a", time.Now())), Headers: []kafka.Header{{Key: ingest.EndHeader}}})
		l, err := w.run(t, 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, watermark := w.times(t); l.Control != 0 || l.Accepted != 1 || watermark.After(time.Now()) {
			t.Errorf("the ledger is %+v, the watermark %v", l, watermark)
		}
	})
}

// TestRecordsThatDoNotReadArePassedOverOnce, wherever the worker dies meanwhile:
// the decision stands in a commit before it has any effect.
func TestRecordsThatDoNotReadArePassedOverOnce(t *testing.T) {
	for life := range 30 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			for i := range 20 {
				w.send(request(fmt.Sprint(i), "ann"))
			}
			w.rotten, w.mortal = [2]int64{7, 12}, life
			for range 2 {
				// The second run is that of the next owner.
				if _, err := w.run(t, 3*time.Second); err != nil && !errors.Is(err, errDied) {
					t.Fatal(err)
				}
				w.mortal = -1
			}
			l, err := w.run(t, 3*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			want := ingest.Ledger{Fetched: 20, Accepted: 15, Skipped: 5, Skips: 1, Facets: 15}
			if l != want || l.Sum() != l.Fetched {
				t.Errorf("life %d: the ledger is %+v, want %+v", life, l, want)
			}
			if got := fmt.Sprint(w.facets(t)); got != "[0 1 2 3 4 5 6 12 13 14 15 16 17 18 19]" {
				t.Errorf("life %d: facets of the records %s", life, got)
			}
			keys := map[string]bool{}
			for _, d := range w.dead {
				keys[string(d.Key)] = true
			}
			if len(keys) != 1 || !keys["0-7"] || len(w.dead) > 2 {
				t.Errorf("life %d: dead letters %v", life, keys)
			}
		})
	}
}

// TestOffsetsThatWereResetDoNotSilenceAPartition: with them the owner number is
// gone, and detect ignores whoever has a lower one than it has seen.
func TestOffsetsThatWereResetDoNotSilenceAPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		owner := func() uint64 {
			var r facet.Reader
			if err := r.Reset(w.frames[len(w.frames)-1]); err != nil {
				t.Fatal(err)
			}
			s, _, err := r.Section()
			if err != nil {
				t.Fatal(err)
			}
			return s.Owner
		}
		last := uint64(0)
		for i := range 4 {
			w.send(request(fmt.Sprint(i), "ann"))
			if _, err := w.run(t, 3*time.Second); err != nil {
				t.Fatal(err)
			}
			if n := owner(); n <= last {
				t.Fatalf("take-over %d has the number %d, after %d", i, n, last)
			}
			last = owner()
			if i%2 == 1 {
				w.commit = kafka.Commit{Offset: -1}
			}
		}
		if got := fmt.Sprint(w.facets(t)); got != "[0 1 2 3]" {
			t.Errorf("facets of the records %s", got)
		}
	})
}
