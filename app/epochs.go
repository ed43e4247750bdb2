package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync/atomic"
	"weak"

	"github.com/weirdev/weir/app/push"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/retry"
	"github.com/weirdev/weir/internal/snapshot"
)

// epochs stores ingest's epochs in the snapshot store: stream/epochs holds
// manifests, stream/blobs the databases that they name. It implements
// [ingest.Epochs].
//
// It follows the rules that are pushed: its facets have their fields, too. It holds the
// present epoch; the sources that use a loaded epoch hold that. When
// the last source drops it, its databases of 60 to 120 MB are freed.
type epochs struct {
	cfg   ingest.Config
	geo   *geo.DB
	log   *slog.Logger
	store *snapshot.Store // nil: none is kept
	rules *push.Follower  // nil: no rules are pushed

	present atomic.Pointer[ingest.Epoch]
	changes chan struct{} // full while the present epoch is being replaced
	made    contents      // what the present epoch is made of; only used by the holder of changes

	turn  chan struct{}                         // full during a load, so that sources with the same epoch load it once
	known map[string]weak.Pointer[ingest.Epoch] // by name; only used by the holder of turn
}

// contents are what epochs of one worker differ in.
type contents struct {
	projection facet.Projection
	pushed     int64 // see [ingest.Epoch]
	geo        *geo.Generation
}

func (w *Worker) makeEpochs() error {
	if !w.runs("ingest") {
		return nil
	}
	e := &epochs{
		cfg: w.cfg.Ingest, geo: w.geo, log: w.log, store: w.snapshots, rules: w.pushed,
		changes: make(chan struct{}, 1), turn: make(chan struct{}, 1), known: map[string]weak.Pointer[ingest.Epoch]{},
		made: contents{projection: w.rules.Projection(), geo: w.geo.Current()},
	}
	epoch, err := e.epoch(e.made)
	if err != nil {
		return err
	}
	e.present.Store(epoch)
	if e.rules != nil {
		e.rules.Use = e.push
	}
	w.epochs = e
	return nil
}

// Fingerprint identifies everything that decides how a record is handled: format,
// routes, trusted proxies, geographic databases, the rules, and this program's own
// semantics.
func Fingerprint(c Config) (string, error) {
	w, err := NewWorker(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	return w.epochs.Present().Name + " " + w.rules.Version, nil
}

func (e *epochs) manifest(c contents) ingest.Manifest {
	return ingest.NewManifest(e.cfg, c.projection, c.geo.Digests())
}

func (e *epochs) epoch(c contents) (*ingest.Epoch, error) {
	epoch, err := e.manifest(c).Epoch(c.geo)
	if err == nil {
		epoch.Pushed = c.pushed
	}
	return epoch, err
}

// Present implements [ingest.Epochs].
func (e *epochs) Present() *ingest.Epoch { return e.present.Load() }

// Follow implements [ingest.Epochs].
func (e *epochs) Follow(ctx context.Context, pushed int64) error {
	if e.rules == nil || e.Present().Pushed >= pushed {
		return nil
	}
	return e.rules.Catch(ctx, pushed)
}

// begin adds the fields of rules that were pushed, and stores the present epoch, however
// long the store takes to answer, until ctx ends. Before that no commit may name it.
func (e *epochs) begin(ctx context.Context) error {
	if e.rules != nil {
		var err error
		if e.made.projection, e.made.pushed, err = e.rules.Fields(ctx); err != nil {
			return err
		}
		epoch, err := e.epoch(e.made)
		if err != nil {
			return err
		}
		e.present.Store(epoch)
	}
	e.log.Info("epoch of this worker", "epoch", e.Present().Name)
	if e.store == nil {
		e.log.Warn("no epochs are kept (snapshots.url is empty): a worker that ends uncleanly and comes back with other rules or data reads some events again under those")
		return nil
	}
	err := retry.Do(ctx,
		func(ctx context.Context) error { return e.keep(ctx, e.made) },
		func(error) bool { return false },
		func(err error, news bool) {
			if news {
				e.log.Warn("the epoch of this worker cannot be kept yet, trying on", "error", err)
			}
		})
	if err != nil {
		return fmt.Errorf("keep the epoch: %w", err)
	}
	return nil
}

// keep writes the databases first, because a manifest may only name existing ones.
func (e *epochs) keep(ctx context.Context, c contents) error {
	blobs := e.store.Blobs("blobs")
	for _, b := range c.geo.Data() {
		if err := blobs.Put(ctx, b); err != nil {
			return err
		}
	}
	return e.store.Blobs("epochs").Put(ctx, e.manifest(c).Bytes())
}

// use makes g part of the present epoch, once that is stored. Each source follows
// at a commit.
func (e *epochs) use(ctx context.Context, g *geo.Generation) error {
	return e.change(ctx, func(c *contents) { c.geo = g })
}

// push makes the fields of pushed rules part of the present epoch, in the same way.
func (e *epochs) push(ctx context.Context, p facet.Projection, pushed int64) error {
	return e.change(ctx, func(c *contents) { c.projection, c.pushed = p, pushed })
}

func (e *epochs) change(ctx context.Context, edit func(*contents)) error {
	select {
	case e.changes <- struct{}{}:
		defer func() { <-e.changes }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c := e.made
	edit(&c)
	next, err := e.epoch(c)
	if err != nil {
		return err
	}
	was := e.Present()
	if next.Name == was.Name {
		// Files were touched, or rules pushed that need no other fields.
		if e.made = c; next.Pushed > was.Pushed {
			e.present.Store(was.With(next.Pushed))
		}
		return nil
	}
	if e.store != nil {
		if err := retry.Once(ctx, func(ctx context.Context) error { return e.keep(ctx, c) }); err != nil {
			return err
		}
	}
	if err := e.take(ctx); err != nil {
		return err
	}
	defer e.leave()
	e.made = c
	e.present.Store(next)
	e.known[was.Name] = weak.Make(was) // sources are still under it
	e.log.Info("epoch of this worker", "epoch", next.Name, "was", was.Name)
	return nil
}

func (e *epochs) take(ctx context.Context) error {
	select {
	case e.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (e *epochs) leave() { <-e.turn }

// Load implements [ingest.Epochs].
func (e *epochs) Load(ctx context.Context, name string) (*ingest.Epoch, error) {
	if err := e.take(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	if p := e.Present(); p.Name == name {
		return p, nil
	}
	maps.DeleteFunc(e.known, func(_ string, p weak.Pointer[ingest.Epoch]) bool { return p.Value() == nil })
	if p := e.known[name].Value(); p != nil {
		return p, nil
	}
	if e.store == nil {
		return nil, fmt.Errorf("%w: none are kept, since snapshots.url is empty", ingest.ErrNoEpoch)
	}
	loaded, err := e.load(ctx, name)
	if errors.Is(err, snapshot.ErrMissing) || errors.Is(err, snapshot.ErrDamaged) || errors.Is(err, geo.ErrDatabase) {
		err = fmt.Errorf("%w: %w", ingest.ErrNoEpoch, err)
	}
	if err != nil {
		return nil, fmt.Errorf("epoch %s: %w", name, err)
	}
	e.known[name] = weak.Make(loaded)
	return loaded, nil
}

func (e *epochs) load(ctx context.Context, name string) (*ingest.Epoch, error) {
	b, err := e.store.Blobs("epochs").Get(ctx, name)
	if err != nil {
		return nil, err
	}
	m, err := ingest.ParseManifest(b)
	if err != nil {
		return nil, err
	}
	g, err := e.geo.Restore(m.Databases, func(digest string) ([]byte, error) { return e.store.Blobs("blobs").Get(ctx, digest) })
	if err != nil {
		return nil, err
	}
	return m.Epoch(g)
}
