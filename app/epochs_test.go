package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/geo/geowriter"
	"github.com/weirdev/weir/internal/kafka"
)

// placed writes databases in which a network is in the given city.
func placed(t *testing.T, dir, city string) geo.Config {
	t.Helper()
	c, err := geowriter.Write(dir, []geowriter.Network{{Prefix: netip.MustParsePrefix("198.18.0.0/16"), Country: "DE", City: city, ASN: 64500, Org: "Example"}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// epochsOf returns a worker's epochs, without the worker.
func epochsOf(t *testing.T, store string, places geo.Config, routes ...string) *epochs {
	t.Helper()
	cfg := Defaults()
	if store != "" {
		cfg.Snapshots.URL = "file://" + store
	}
	cfg.Geo, cfg.Ingest.Routes = places, routes
	w := &Worker{cfg: cfg, log: slog.New(slog.DiscardHandler)}
	var err error
	if w.geo, err = geo.Open(cfg.Geo, w.log, nil); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.loadRules(), w.openSnapshots(), w.makeEpochs()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.closeSnapshots(); err != nil {
			t.Error(err)
		}
	})
	return w.epochs
}

// TestAnotherWorkerGoesOnUnderAnEpoch uses only the store.
func TestAnotherWorkerGoesOnUnderAnEpoch(t *testing.T) {
	store := t.TempDir()
	a := epochsOf(t, store, placed(t, t.TempDir(), "Berlin"), "/users/{id}")
	if err := a.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := epochsOf(t, store, placed(t, t.TempDir(), "Bonn"))
	if err := b.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a.Present().Name == b.Present().Name {
		t.Fatal("both have the same epoch")
	}
	loaded := make([]*ingest.Epoch, 4)
	var wg sync.WaitGroup
	for i := range loaded {
		wg.Go(func() {
			var err error
			if loaded[i], err = b.Load(t.Context(), a.Present().Name); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, e := range loaded {
		if e != loaded[0] || e == nil || e.Name != a.Present().Name {
			t.Fatalf("sources have %p and %p", e, loaded[0])
		}
	}
	if again, err := b.Load(t.Context(), b.Present().Name); err != nil || again != b.Present() {
		t.Errorf("the present epoch is loaded anew: %v", err)
	}
	// When no source uses an epoch any more, it is released.
	clear(loaded)
	runtime.GC()
	if b.known[a.Present().Name].Value() != nil {
		t.Error("what nobody uses is held")
	}
}

func TestWhatIsWrongWithAnEpochIsSaid(t *testing.T) {
	store := t.TempDir()
	a := epochsOf(t, store, placed(t, t.TempDir(), "Berlin"))
	if err := a.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := a.Present().Name
	load := func(t *testing.T, want string) {
		t.Helper()
		// Each time in a newly started worker.
		_, err := epochsOf(t, store, placed(t, t.TempDir(), "Bonn")).Load(t.Context(), name)
		if !errors.Is(err, ingest.ErrNoEpoch) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	city := filepath.Join(store, "weir/blobs", a.geo.Current().Digests()["City"])
	for what, file := range map[string]string{"database": city, "manifest": filepath.Join(store, "weir/epochs", name)} {
		t.Run(what, func(t *testing.T) {
			good, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for want, spoil := range map[string]func() error{
				"object is missing": func() error { return os.Remove(file) },
				"object is damaged": func() error { return os.WriteFile(file, good[:len(good)/2], 0o600) },
			} {
				if err := spoil(); err != nil {
					t.Fatal(err)
				}
				load(t, want)
			}
			// The next worker with the same rules and data repairs it.
			if err := epochsOf(t, store, a.geoConfig(t)).begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := epochsOf(t, store, geo.Config{}).Load(t.Context(), name); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("no store", func(t *testing.T) {
		if _, err := epochsOf(t, "", geo.Config{}).Load(t.Context(), name); !errors.Is(err, ingest.ErrNoEpoch) || !strings.Contains(err.Error(), "snapshots.url") {
			t.Errorf("%v", err)
		}
	})
	t.Run("a store that is away is none that has nothing", func(t *testing.T) {
		b := epochsOf(t, store, geo.Config{})
		if err := os.Rename(store, store+".away"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Load(t.Context(), name); err == nil || errors.Is(err, ingest.ErrNoEpoch) {
			t.Errorf("%v", err)
		}
	})
}

// geoConfig writes the databases of e.
func (e *epochs) geoConfig(t *testing.T) geo.Config {
	t.Helper()
	dir := t.TempDir()
	for i, name := range []string{"city", "asn", "anonymous"} {
		if err := os.WriteFile(filepath.Join(dir, name), e.geo.Current().Data()[i], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return geo.Config{City: filepath.Join(dir, "city"), ASN: filepath.Join(dir, "asn"), Anonymous: filepath.Join(dir, "anonymous")}
}

// TestDatabasesThatAreReadAnewArePresentOnceTheyAreKept: sources can still load the
// databases before them.
func TestDatabasesThatAreReadAnewArePresentOnceTheyAreKept(t *testing.T) {
	store, dir := t.TempDir(), t.TempDir()
	places := placed(t, dir, "Berlin")
	e := epochsOf(t, store, places)
	if err := e.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := e.Present()
	reload := func(age time.Duration) {
		at := time.Now().Add(age)
		if err := os.Chtimes(places.City, at, at); err != nil {
			t.Fatal(err)
		}
		e.geo.Reload()
	}
	reload(time.Hour) // the files were touched
	if err := e.use(t.Context(), e.geo.Current()); err != nil || e.Present() != before {
		t.Errorf("%v; files that were touched make another epoch", err)
	}
	placed(t, dir, "Bonn")
	reload(2 * time.Hour)
	if err := os.Rename(store, store+".away"); err != nil {
		t.Fatal(err)
	}
	if err := e.use(t.Context(), e.geo.Current()); err == nil || e.Present() != before {
		t.Errorf("%v; the epoch is present, and not kept", err)
	}
	if err := os.Rename(store+".away", store); err != nil {
		t.Fatal(err)
	}
	if err := e.use(t.Context(), e.geo.Current()); err != nil || e.Present() == before {
		t.Fatalf("%v; the epoch is not present", err)
	}
	if was, err := e.Load(t.Context(), before.Name); err != nil || was != before {
		t.Errorf("%v; what sources use is loaded once more", err)
	}
	if _, err := epochsOf(t, store, geo.Config{}).Load(t.Context(), e.Present().Name); err != nil {
		t.Error(err)
	}
}

func TestAWorkerWaitsForTheStoreBeforeItJoins(t *testing.T) {
	store := t.TempDir()
	e := epochsOf(t, store, geo.Config{})
	if err := os.Remove(store); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := e.begin(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, os.ErrNotExist) {
			t.Errorf("without a store: %v", err)
		}
		go func() {
			time.Sleep(time.Minute)
			if err := os.Mkdir(store, 0o700); err != nil {
				t.Error(err)
			}
		}()
		if err := e.begin(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if _, err := os.Stat(filepath.Join(store, "weir/epochs", e.Present().Name)); err != nil {
		t.Error(err)
	}
}

// ends returns the end of partition 0 of the raw topic.
func ends(t *testing.T, c *kafka.Client, cfg Config) int64 {
	t.Helper()
	all, err := c.Offsets(t.Context(), cfg.Stream.Topic("events"))
	if err != nil {
		t.Fatal(err)
	}
	return all[0].End
}

// goesOn ends a worker as if it had been killed, and lets one with other routes
// take over.
func goesOn(t *testing.T, c *kafka.Client, cfg Config) {
	cfg.Snapshots.URL = "file://" + t.TempDir()
	cfg.Ingest.Routes = []string{"/users/{id}"}
	events, group := cfg.Stream.Topic("events"), cfg.Stream.Group("ingest")
	logins := func(n int) (end int64) {
		var list []kafka.Outgoing
		for i := range n {
			list = append(list, kafka.Outgoing{Value: fmt.Appendf(nil, `{"id":"r%d","time":%d,"account":"a%d","auth":"failure","ip":"192.0.2.1","method":"POST","path":"/users/%d"}`,
				i, time.Now().UnixMilli(), i, i)})
		}
		if err := c.Produce(t.Context(), events, []kafka.Produce{{Records: list}}); err != nil {
			t.Fatal(err)
		}
		return ends(t, c, cfg)
	}
	end := func(w *working) {
		w.stop()
		if err := w.end(t, cfg.Stop.Timeout); err != nil {
			t.Fatal(err)
		}
	}
	w := start(t, cfg)
	first := logins(10)
	w.committed(t, c, first)
	was, err := c.Committed(t.Context(), group, events)
	if err != nil {
		t.Fatal(err)
	}
	second := logins(10)
	w.committed(t, c, second)
	old := w.epochs.Present().Name
	end(w)
	// The commits after the first are undone, as if the worker had been killed
	// before them. Its output stays.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = c.Join(ctx, group, events, func(ctx context.Context, l *kafka.Lease) error {
		if l.Partition != was[0].Partition {
			return nil
		}
		defer cancel()
		return l.Commit(ctx, was[0].Offset, was[0].Metadata)
	})
	if err != nil {
		t.Fatal(err)
	}

	cfg.Ingest.Routes = []string{"/{all}/{id}"}
	w = start(t, cfg)
	w.committed(t, c, second)
	third := logins(10)
	w.committed(t, c, third)
	present := w.epochs.Present().Name
	end(w)
	frames := map[uint64]map[int64]string{} // by owner: the epoch of each raw offset with a facet
	facets, err := c.Offsets(t.Context(), cfg.Stream.Topic("facets"))
	if err != nil {
		t.Fatal(err)
	}
	for n, of := range facets {
		for b := (kafka.Batch{Next: of.Start}); b.Next < of.End; {
			if err := c.Fetch(t.Context(), cfg.Stream.Topic("facets"), int32(n), b.Next, &b); err != nil {
				t.Fatal(err)
			}
			for _, r := range b.Records {
				note(t, frames, r.Value)
			}
		}
	}
	last := frames[slices.Max(slices.Collect(maps.Keys(frames)))]
	for o := first; o < third; o++ {
		want := old
		if o >= second {
			want = present
		}
		if last[o] != want[:16] {
			t.Errorf("record %d, of %d to %d to %d, was read under %q, want %s", o, first, second, third, last[o], want)
		}
	}
	now, err := c.Committed(t.Context(), group, events)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := ingest.ParseProgress(now[0].Metadata); err != nil || p.Epoch != present {
		t.Errorf("the last commit says %+v, %v", p, err)
	}
}

// note records the epochs of the facets of raw partition 0.
func note(t *testing.T, frames map[uint64]map[int64]string, b []byte) {
	t.Helper()
	if facet.IsLoopback(b) {
		return
	}
	var r facet.Reader
	if err := r.Reset(b); err != nil {
		t.Fatal(err)
	}
	s, _, err := r.Section()
	if err != nil {
		t.Fatal(err)
	}
	for f, more := (facet.Facet{}), s.Source == 0; more; {
		if more, err = r.Facet(&f); err != nil {
			t.Fatal(err)
		}
		if more {
			if frames[s.Owner] == nil {
				frames[s.Owner] = map[int64]string{}
			}
			frames[s.Owner][f.Offset] = fmt.Sprintf("%016x", r.Epoch)
		}
	}
}
