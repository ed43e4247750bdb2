package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/watch"
)

// owner reads one partition. One goroutine owns it.
type owner struct {
	*Stage
	partition int32
	in        kafka.Follower // whose log reports waits to loop
	log       *slog.Logger
	loop      *watch.Loop
	store     Track
	commit    func(ctx context.Context, offset int64, metadata string) error

	safe      int64 // what was committed last, or found committed
	committed time.Time
}

// run reads until ctx ends, then stores and commits what was read, within the drain
// time.
func (o *owner) run(ctx context.Context) error {
	return kafka.Turns(ctx, DrainTimeout, o.turn, o.drain)
}

// turn fetches once, and stores the result. Once something was fetched, the end of
// ctx does not interrupt it, but the end of finish does.
func (o *owner) turn(ctx, finish context.Context) error {
	read, err := o.in.Fetch(ctx, finish)
	if err != nil || !read {
		o.loop.Beat()
		return err
	}
	now := time.Now().UnixMilli()
	for i := range o.in.Batch.Records {
		if err := o.keep(finish, &o.in.Batch.Records[i], now); err != nil {
			return err
		}
	}
	o.in.Next = max(o.in.Next, o.in.Batch.Next)
	o.loop.Beat()
	o.metrics.lag(o.partition, &o.in.Batch, o.in.Next)
	return o.commitStored(finish)
}

// keep stores one record. One that is no decision is passed over.
func (o *owner) keep(ctx context.Context, r *kafka.Record, now int64) error {
	o.metrics.read.Inc()
	store, err := o.parse(r, now)
	if err != nil {
		o.metrics.refused.Inc()
		o.log.Error("record is no decision and is passed over", "offset", r.Offset, "bytes", len(r.Value), "error", err)
		err = nil
	} else {
		err = o.append(ctx, store)
	}
	o.in.Next = r.Offset + 1
	o.loop.Beat()
	return err
}

// parse reads a record, and returns what stores it.
func (o *owner) parse(r *kafka.Record, now int64) (func(context.Context) error, error) {
	for _, h := range r.Headers {
		if h.Key == decision.VersionHeader {
			v, err := decision.ParseRuleVersion(r.Value)
			return func(ctx context.Context) error { return o.store.AppendVersion(ctx, r.Offset, now, &v) }, err
		}
	}
	d, err := decision.Parse(r.Value)
	return func(ctx context.Context) error { return o.store.Append(ctx, r.Offset, now, &d) }, err
}

func (o *owner) append(ctx context.Context, store func(context.Context) error) error {
	o.loop.Waiting()
	defer o.loop.Working()
	return store(ctx)
}

// commitStored commits how far everything is stored, at most once in an interval.
func (o *owner) commitStored(ctx context.Context) error {
	to := min(o.in.Next, o.store.Stored())
	if to <= o.safe || time.Since(o.committed) < commitInterval {
		return nil
	}
	return o.commitAt(ctx, to)
}

func (o *owner) commitAt(ctx context.Context, offset int64) error {
	if err := o.commit(ctx, offset, ""); err != nil {
		return fmt.Errorf("commit %d: %w", offset, err)
	}
	o.safe, o.committed = offset, time.Now()
	return nil
}

// drain stores and commits everything that was read.
func (o *owner) drain(ctx context.Context) error {
	o.loop.Waiting()
	err := o.store.Drain(ctx)
	o.loop.Working()
	if err != nil || o.in.Next <= o.safe {
		return err
	}
	if err := o.commitAt(ctx, o.in.Next); !errors.Is(err, kafka.ErrFenced) {
		return err
	}
	return nil
}

// restarts stores what was read of a log that is read from its start again. The next
// commit goes back. An owner that reads a record twice does no harm: rows are named by
// their content.
func (o *owner) restarts(ctx context.Context) error {
	if err := o.drain(ctx); err != nil {
		return err
	}
	o.safe = -1
	return nil
}
