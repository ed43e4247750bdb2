package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/watch"
)

// owner reads one facet partition. It first replays what was committed, without
// output, until the state is restored; then it reads new records.
//
//	fetch ─▶ Partition.Apply ─▶ outputs ─┬─▶ loop-back: facet log ─┐
//	                                     ├─▶ signal log ───────────┼─▶ commit, snapshot
//	                                     └─▶ the stage's sinks ────┘
//
// It commits, or writes a snapshot, only for offsets whose outputs are all
// acknowledged, so that a replay never has to send anything from below.
type owner struct {
	*Stage
	Log       kafka.Log // the stage's, which tells loop of waits
	loop      *watch.Loop
	log       *slog.Logger
	partition int32
	commit    func(ctx context.Context, offset int64, metadata string) error

	state *Partition
	next  int64 // offset that state has been read to

	snapshots snapshots
	outlets   outlets
	out       Output
	batch     kafka.Batch
	committed int64
	proposed  time.Time
}

// run owns the partition until ctx ends, then drains.
func (o *owner) run(ctx context.Context, committed int64, log kafka.OffsetRange) error {
	err := o.own(ctx, committed, log)
	o.loop.Waiting()
	o.snapshots.close()
	o.metrics.gone(o.partition)
	o.loop.Working()
	if err != nil && ctx.Err() == nil {
		return o.refuse(ctx, err)
	}
	return err
}

func (o *owner) own(ctx context.Context, committed int64, log kafka.OffsetRange) error {
	o.metrics.commitsAge.Happened(o.partition, time.Now())
	if err := o.prepare(ctx, committed, log); err != nil {
		return err
	}
	o.snapshots.startAt(o.next)
	o.metrics.expect(o.state.rules)
	o.openSinks()
	defer o.outlets.close()
	o.committed = committed
	finish, cancel := kafka.Outlast(ctx, o.cfg.DrainTimeout)
	defer cancel()
	if err := o.read(ctx, finish, committed); err != nil {
		return err
	}
	if kafka.Fenced(ctx) {
		return context.Cause(ctx) // nothing that is begun now would count
	}
	return o.drain(finish)
}

// openSinks opens the sinks: two logs, which report their own waits, and the
// stage's sinks.
func (o *owner) openSinks() {
	o.outlets.sinks = []outlet{
		{&loopbackLog{log: o.Log, topic: o.Topics.Facets, chain: map[int32]facet.Step{}}, "loop-back"},
		{&signalLog{log: o.Log, topic: o.Topics.Signals, partition: o.partition % o.signalsPartitions}, "signal log"},
	}
	for _, s := range o.Sinks {
		o.outlets.open(s, o.partition, o.loop)
	}
}

// prepare restores the state from a snapshot, or starts with an empty one. It
// checks that the log still holds the records that the state depends on.
func (o *owner) prepare(ctx context.Context, committed int64, log kafka.OffsetRange) (err error) {
	if committed > log.End {
		return fmt.Errorf("offset %d was committed, but the log ends at %d: the topic was re-created or truncated; "+
			"start a new incarnation of the stream", committed, log.End)
	}
	// A snapshot may be ahead of the commit: it is written after the outputs below
	// it are acknowledged.
	o.loop.Waiting() // for the store, which may be down
	o.state, o.next, err = o.snapshots.recover(ctx, log)
	o.loop.Working()
	if err != nil || o.state != nil {
		return err
	}
	if log.Start > 0 {
		if !o.cfg.AcceptLoss {
			return fmt.Errorf("the facet log begins at offset %d, and there is no state from before and no snapshot that joins it: "+
				"what it held is lost; set detect.accept_loss to go on with what is left", log.Start)
		}
		o.log.Error("loss declared: the facet log does not begin at 0", "first_offset", log.Start)
		o.metrics.lost.Inc()
	}
	if o.state, err = NewPartition(o.cfg.Config, o.Rules, o.Hasher, o.partition, o.Incarnation); err != nil {
		return err
	}
	o.next, o.state.begun = log.Start, log.Start
	if log.Start > 0 {
		return o.beginUnderPushed(ctx)
	}
	return nil
}

// beginUnderPushed has a state that begins after a loss use the rules that were pushed:
// the log may no longer hold their switch record, and its owner's own rules are not in
// force anywhere else.
func (o *owner) beginUnderPushed(ctx context.Context) error {
	if o.Pushed == nil {
		return nil
	}
	for _, lane := range []facet.Lane{facet.Live, facet.Shadow} {
		number, bundle, err := o.Pushed(ctx, lane)
		if err == nil && number > 0 {
			o.log.Info("the state begins under rules that were pushed", "lane", lane.String(), "number", number)
			err = o.state.beginUnder(lane, number, bundle)
		}
		if err != nil {
			return fmt.Errorf("begin under pushed rules: %w", err)
		}
	}
	return nil
}

// refuse stops only this partition. It logs the reason, and holds the partition for
// a while, because another owner would fail in the same way.
func (o *owner) refuse(ctx context.Context, err error) error {
	o.log.Error("partition stopped", "offset", o.next, "error", err)
	o.metrics.stopped.Inc()
	defer o.metrics.stopped.Dec()
	o.loop.Waiting()
	kafka.LeaveAlone(ctx)
	return fmt.Errorf("partition %d stopped at %d: %w", o.partition, o.next, err)
}

// read applies records until ctx ends. It completes the work in progress, unless
// finish ends too.
func (o *owner) read(ctx, finish context.Context, committed int64) error {
	from, started := o.next, time.Now()
	for o.next < committed && ctx.Err() == nil {
		if err := o.turn(ctx, finish, false); err != nil {
			return err
		}
		if err := o.snapshots.turn(ctx, o.state, o.next, o.stored()); err != nil {
			return err
		}
	}
	if o.next > from {
		o.log.Info("state rebuilt from the log", "from", from, "to", o.next, "took", time.Since(started).Round(time.Millisecond))
	}
	for _, m := range o.outlets.mirrors {
		if err := o.republish(ctx, m); err != nil && ctx.Err() == nil {
			return err
		}
	}
	for ctx.Err() == nil {
		if err := o.remind(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if err := o.turn(ctx, finish, true); err != nil {
			return err
		}
		if err := o.commitStored(finish); err != nil {
			return err
		}
		if err := o.snapshots.turn(ctx, o.state, o.next, o.stored()); err != nil {
			return err
		}
	}
	return nil
}

// stored returns the offset below which every output is acknowledged.
func (o *owner) stored() int64 { return min(o.next, o.outlets.stored()) }

// remind republishes to the mirrors that lost data.
func (o *owner) remind(ctx context.Context) error {
	for _, m := range o.outlets.mirrors {
		if m.Forgotten() {
			if err := o.republish(ctx, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// republish writes every live score again, because a mirror may have lost some
// since the last owner wrote them.
func (o *owner) republish(ctx context.Context, m Mirror) (err error) {
	n := 0
	for u := range o.state.Live {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err = m.Put(ctx, o.next-1, u); err != nil {
			return fmt.Errorf("republish scores: %w", err)
		}
		o.loop.Beat()
		n++
	}
	if n > 0 {
		o.log.Info("scores republished", "entities", n)
	}
	return nil
}

// turn fetches and applies once. If live is false, the outputs were already sent,
// and are dropped. When ctx ends it stops after a record whose outputs are all
// sent.
func (o *owner) turn(ctx, finish context.Context, live bool) error {
	err := o.Log.Fetch(ctx, o.Topics.Facets, o.partition, o.next, &o.batch)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("fetch %s/%d at %d: %w", o.Topics.Facets, o.partition, o.next, err)
	}
	for i := range o.batch.Records {
		if ctx.Err() != nil {
			return o.outlets.flush(finish)
		}
		r := &o.batch.Records[i]
		o.out.Reset()
		if err := o.state.Apply(r.Offset, r.Value, &o.out); err != nil {
			return fmt.Errorf("apply offset %d: %w", r.Offset, err)
		}
		o.next = r.Offset + 1
		o.loop.Beat()
		o.tellRules(r.Offset)
		if !live && r.Offset < o.committed {
			continue
		}
		o.metrics.fired(&o.out)
		if err := o.outlets.write(finish, r.Offset, &o.out); err != nil {
			return err
		}
	}
	if o.batch.Next > o.next || o.next >= o.batch.Readable() {
		o.loop.Beat() // passed markers, or is at the end, or where an open transaction begins
	}
	o.next = max(o.next, o.batch.Next)
	o.metrics.lag(o.partition, &o.batch, o.next)
	return o.outlets.flush(finish)
}

// tellRules tells that the record at offset has changed the rules, and has it committed
// soon: somebody may wait for it.
func (o *owner) tellRules(offset int64) {
	for i := range o.out.Rules {
		o.proposed = time.Time{}
		c := &o.out.Rules[i]
		version := ""
		if c.Rules != nil {
			version = c.Rules.Version
		}
		o.log.Info("rules have changed", "lane", c.Lane.String(), "number", c.Number, "rules", version, "offset", offset)
		if c.Lane == facet.Live {
			o.metrics.expect(c.Rules)
		}
	}
}

// commitStored commits up to the offset at which every output is acknowledged.
func (o *owner) commitStored(ctx context.Context) error {
	if time.Since(o.proposed) < o.cfg.CommitInterval {
		return nil
	}
	o.proposed = time.Now()
	o.metrics.state(o.partition, o.state)
	stored := o.stored()
	if stored <= o.committed {
		if stored >= o.next { // there is nothing to commit
			o.metrics.commitsAge.Happened(o.partition, o.proposed)
		}
		return nil
	}
	// The ledger belongs to next, so it is committed only when everything up to
	// next is acknowledged.
	metadata := ""
	if stored == o.next {
		metadata = Progress{Version: progressVersion, Ledger: o.state.Ledger().Total(), Rules: o.state.number, Shadow: o.state.shadowNumber}.String()
	}
	if err := o.commit(ctx, stored, metadata); err != nil {
		return fmt.Errorf("commit %d: %w", stored, err)
	}
	o.committed = stored
	o.metrics.commitsAge.Happened(o.partition, time.Now())
	return nil
}

// drain finishes a partition that is given up: it waits until every output is
// acknowledged and committed, and writes a snapshot, within the drain time. A
// failure only costs repeated output, or a longer replay.
func (o *owner) drain(ctx context.Context) error {
	if o.next < o.committed {
		return nil // still replaying: nothing was sent
	}
	err := o.outlets.drain(ctx)
	if err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	o.proposed = time.Time{}
	if err := o.commitStored(ctx); err != nil && !errors.Is(err, kafka.ErrFenced) {
		return fmt.Errorf("drain: %w", err)
	}
	o.loop.Waiting() // for the store of snapshots, no longer than the drain time
	err = o.snapshots.drain(ctx, o.state, o.next)
	o.loop.Working()
	if errors.Is(err, errNotFunction) {
		return err
	} else if err != nil {
		o.metrics.snapshotFailure("drain")
		o.log.Warn("no snapshot is written at the end", "error", err)
	}
	return nil
}
