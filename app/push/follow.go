package push

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
)

// Follower reads the topic of rules for a worker: what its facets must hold, and which
// rules are in force. Several goroutines may use it.
type Follower struct {
	Log    Log
	Topic  string
	Own    *rules.Set // the worker's, which count until others were pushed
	Logger *slog.Logger

	// Use is called with what facets must hold, and with the offset below which that
	// takes every push into account, whenever one of them has changed. After an
	// error it is called again. Nil: nobody wants to know.
	Use func(ctx context.Context, p facet.Projection, pushed int64) error

	history History
	turn    chan struct{}         // full while somebody reads
	sets    map[uint64]*rules.Set // of the pushes that are kept, by number
	refused map[uint64]error      // of those that do not load
	live    atomic.Pointer[rules.Set]
	used    int64 // what Use was called with, successfully
	foreign int   // that the log has told of
}

// NewFollower creates a follower for one incarnation of a stream.
func NewFollower(log Log, topic string, incarnation uint32, own *rules.Set, logger *slog.Logger) *Follower {
	return &Follower{
		Log: log, Topic: topic, Own: own, Logger: logger, history: History{Incarnation: incarnation},
		turn: make(chan struct{}, 1), sets: map[uint64]*rules.Set{}, refused: map[uint64]error{}, used: -1,
	}
}

// Start reads the topic to its end, for a worker that starts. It returns an error if
// this program does not read rules that may be in force. Use is not called.
func (f *Follower) Start(ctx context.Context) error {
	if err := f.take(ctx); err != nil {
		return err
	}
	defer f.leave()
	if err := f.read(ctx); err != nil {
		return err
	}
	for _, p := range f.history.Kept() {
		if err := f.refused[p.Number]; err != nil && p.Decided {
			return fmt.Errorf("push %d of %s, which may be in force: %w; run the version of weir that pushed it, or a later one", p.Number, p.Who, err)
		}
	}
	f.used = f.pushed()
	return nil
}

// Fields returns what facets must hold, and the offset below which that takes every
// push into account.
func (f *Follower) Fields(ctx context.Context) (p facet.Projection, pushed int64, err error) {
	if err := f.take(ctx); err != nil {
		return p, 0, err
	}
	defer f.leave()
	return f.projection(), f.pushed(), nil
}

// InForce returns the live rules in force, and their push; nil if none were pushed.
func (f *Follower) InForce(ctx context.Context) (*Push, *rules.Set, error) {
	if err := f.take(ctx); err != nil {
		return nil, nil, err
	}
	defer f.leave()
	p := f.history.InForce(facet.Live)
	if p == nil {
		return nil, nil, nil
	}
	return p, f.sets[p.Number], nil
}

// Bundle returns the number and the bundle of the push of a lane that every facet
// partition has. The number is 0 if there is none, the bundle empty if shadow rules ended.
func (f *Follower) Bundle(ctx context.Context, lane facet.Lane) (number uint64, bundle []byte, err error) {
	if err := f.take(ctx); err != nil {
		return 0, nil, err
	}
	defer f.leave()
	p := f.history.InForce(lane)
	switch {
	case p == nil:
		return 0, nil, nil
	case p.Version == "":
		return p.Number, nil, nil
	case f.refused[p.Number] != nil:
		return 0, nil, f.refused[p.Number]
	}
	bundle, err = f.sets[p.Number].Bundle()
	return p.Number, bundle, err
}

// Live returns the live rules in force, which are the worker's own if none were pushed.
// It never waits.
func (f *Follower) Live() *rules.Set {
	if set := f.Pushed(); set != nil {
		return set
	}
	return f.Own
}

// Pushed returns the live rules in force if they were pushed, else nil. It never waits.
func (f *Follower) Pushed() *rules.Set { return f.live.Load() }

// Run follows the topic until ctx ends. It waits out what it cannot read or use: whoever
// pushes then waits, too.
func (f *Follower) Run(ctx context.Context) error {
	said, b := "", new(kafka.Batch)
	for ctx.Err() == nil {
		err := f.turnOnce(ctx, b)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			said = ""
			continue
		case err.Error() != said:
			said = err.Error()
			f.Logger.Error("pushed rules are not followed", "topic", f.Topic, "error", err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return nil
}

// turnOnce waits for records, for as long as the broker lets it, and follows them.
func (f *Follower) turnOnce(ctx context.Context, b *kafka.Batch) error {
	next := f.next(ctx)
	err := f.Log.Fetch(ctx, f.Topic, 0, next, b)
	if err != nil && !errors.Is(err, kafka.ErrOffsetOutOfRange) { // read tells why it is out of range
		return err
	}
	if err := f.take(ctx); err != nil {
		return err
	}
	defer f.leave()
	if err != nil || b.Next > next {
		if err := f.read(ctx); err != nil {
			return err
		}
	}
	return f.use(ctx)
}

func (f *Follower) next(ctx context.Context) int64 {
	if f.take(ctx) != nil {
		return 0
	}
	defer f.leave()
	return f.history.Next
}

// Catch reads the topic to its end, and returns an error unless Use was then called with
// pushed or more.
func (f *Follower) Catch(ctx context.Context, pushed int64) error {
	if err := f.take(ctx); err != nil {
		return err
	}
	defer f.leave()
	if f.used >= pushed {
		return nil
	}
	if err := f.read(ctx); err != nil {
		return err
	}
	if err := f.use(ctx); err != nil {
		return err
	}
	if f.used < pushed {
		var errs []error
		for _, err := range f.refused {
			errs = append(errs, err)
		}
		return errors.Join(fmt.Errorf("topic %s: a worker has followed it up to %d, this one up to %d", f.Topic, pushed, f.used), errors.Join(errs...))
	}
	return nil
}

// read takes what is new, and loads the rules that count.
func (f *Follower) read(ctx context.Context) error {
	err := f.history.Read(ctx, f.Log, f.Topic, f.history.forget)
	if n := f.history.Foreign; n > f.foreign {
		f.Logger.Warn("the topic of rules holds records that nobody has pushed; they are passed over", "topic", f.Topic, "records", n)
		f.foreign = n
	}
	f.load()
	return err
}

// load loads the pushes that are kept, and forgets the others.
func (f *Follower) load() {
	sets, refused := map[uint64]*rules.Set{}, map[uint64]error{}
	for _, p := range f.history.Kept() {
		if p.Version == "" {
			continue
		}
		set, err := f.sets[p.Number], f.refused[p.Number]
		if set == nil && err == nil {
			if set, err = open(f.Own, p); errors.Is(err, errVersion) && p.Decided {
				// An upgrade may have changed what rules mean; fields are as the
				// present program needs them.
				f.Logger.Warn("rules that were pushed have another version under this program; push them again", "number", p.Number, "error", err)
				err = nil
			}
			if err != nil {
				f.Logger.Error("rules that were pushed cannot be used by this worker; they are not put in force while that is so", "number", p.Number, "who", p.Who, "error", err)
			} else {
				f.Logger.Info("rules were pushed", "number", p.Number, "lane", p.Lane.String(), "rules", p.Version, "who", p.Who, "reason", p.Reason)
			}
		}
		if err != nil {
			refused[p.Number] = err
		} else {
			sets[p.Number] = set
		}
		p.Bundle = nil
	}
	f.sets, f.refused = sets, refused
	if p := f.history.InForce(facet.Live); p != nil && sets[p.Number] != nil {
		f.live.Store(sets[p.Number])
	}
}

var errVersion = errors.New("this program reads them in another way than the one that pushed them")

// open loads the rules of a push, for the same detectors as like. With errVersion, it
// returns the rules as this program reads them.
func open(like *rules.Set, p *Push) (*rules.Set, error) {
	set, err := like.Open(p.Bundle)
	if err == nil && set.Version != p.Version {
		err = fmt.Errorf("%w: they have version %s here, and had %s", errVersion, set.Version, p.Version)
	}
	if err != nil {
		return set, fmt.Errorf("the rules of push %d: %w", p.Number, err)
	}
	return set, nil
}

// projection returns the fields of all rules that may be in force, or soon.
func (f *Follower) projection() (p facet.Projection) {
	if f.history.InForce(facet.Live) == nil {
		p = f.Own.Projection()
	}
	for _, set := range f.sets {
		p = p.Union(set.Projection())
	}
	return p
}

// pushed returns the offset below which the projection takes every push into account.
func (f *Follower) pushed() int64 {
	n := f.history.Next
	for number := range f.refused {
		n = min(n, int64(number)-1)
	}
	return n
}

func (f *Follower) use(ctx context.Context) error {
	n := f.pushed()
	if n <= f.used {
		return nil
	}
	if f.Use != nil {
		if err := f.Use(ctx, f.projection(), n); err != nil {
			return err
		}
	}
	f.used = n
	return nil
}

func (f *Follower) take(ctx context.Context) error {
	select {
	case f.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *Follower) leave() { <-f.turn }
