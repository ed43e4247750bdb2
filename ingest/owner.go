package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/watch"
)

// flushBytes limits the facets and dead letters gathered before they are written in
// the middle of a fetch. It keeps every record batch well below the broker's limit.
const flushBytes = 256 << 10

// owner reads one raw partition, or the topic of controls. One goroutine owns it.
//
//	fetch ─▶ decode ─▶ enrich ─▶ event store (in the background)
//	           │          └────▶ facet frames ─▶ facet log ─┐
//	           └─▶ dead letters ─▶ dead-letter log ─────────┴─▶ commit
//
// A committed offset is covered at every destination, stored and dead-lettered. Any
// other order would lose outputs if the process dies between two steps.
type owner struct {
	*Stage
	intake
	input  input
	Log    kafka.Reader // the stage's, which reports waits to loop
	Epochs Epochs       // the stage's; of controls, there is one
	loop   *watch.Loop
	commit func(ctx context.Context, offset int64, metadata string) error
	store  track

	// One of the two is the store.
	events   EventTrack
	controls ControlTrack

	letters DeadTrack        // nil: they are only in their topic
	refusal event.DeadLetter // of the last record, if it became no event

	next     int64 // offset of the next record to read
	behind   int64 // end of the log when this owner had covered everything; former owners may have read up to there
	epoch    *Epoch
	progress Progress
	batch    kafka.Batch

	dead      []kafka.Outgoing
	deadBytes int

	covered   *pending  // covered everywhere, waits for the event store
	proposed  time.Time // when the last candidate was made; never, at first, so that even short-lived owners make progress
	idle      bool      // the last fetch found nothing new
	heldAt    int64     // where the open transaction begins that blocks reading
	heldSince time.Time
	clockOff  bool
	ticked    time.Time // when the end was seen that the last tick is about; zero: none yet
	lastTick  int64     // the time in it, Unix ms
}

// pending is a commit that waits for the event store's acknowledgement.
type pending struct {
	offset   int64
	progress Progress
}

// open takes the partition over. It raises the owner number and waits until that is
// acknowledged. Only then it covers every destination, so that a former owner that
// is still writing can be distinguished from this one.
func (o *owner) open(ctx context.Context, from kafka.Commit) error {
	p, err := ParseProgress(from.Metadata)
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	log, err := o.extent(ctx)
	if err != nil {
		return err
	}
	if o.next = from.Offset; o.next < 0 {
		o.next = log.Start
	}
	if o.next > log.End {
		return o.truncated(log)
	}
	if p.Epoch == "" {
		p.Epoch = o.Epochs.Present().Name
	}
	if from.Metadata == "" {
		// After a reset or an expiry of offsets, the last owner is unknown. A
		// number lower than his would be ignored for ever.
		p.Owner = uint64(o.Now().UnixMilli())
	}
	p.Owner++
	if err := o.commit(ctx, o.next, p.String()); err != nil {
		return fmt.Errorf("announce owner %d: %w", p.Owner, err)
	}
	o.metrics.commits.Happened(o.source, time.Now())
	o.progress = p
	if err := o.catchUp(ctx); err != nil {
		return err
	}
	o.watermark = watermark(p.Watermark)
	o.bracket = bracket{low: p.Low, believe: o.History}
	o.epoch = named(p.Epoch)
	o.frames = newFrames(o.source, p.Owner, o.next, o.destinations, o.epoch, o.Shared, o.input.controls)
	if err := o.write(ctx, true); err != nil {
		return err
	}
	// The end is read only now: whatever a former owner wrote before our covers is
	// below it.
	if log, err = o.extent(ctx); err != nil {
		return err
	}
	o.behind = log.End
	if err := o.remember(ctx, log.Start); err != nil {
		return err
	}
	if err := o.lose(ctx, log); err != nil {
		return err
	}
	if skip := p.Skip; skip != nil && skip.From == o.next {
		// A former owner decided this.
		if err := o.skip(ctx, *skip); err != nil {
			return err
		}
	}
	return o.resume(ctx)
}

// extent returns the offsets that the partition holds.
func (o *owner) extent(ctx context.Context) (kafka.OffsetRange, error) {
	return kafka.Extent(ctx, o.Log, o.input.topic, o.partition)
}

// mostRotten is the number of unreadable batches that a take-over waits for: each
// takes as long as the retries of a fetch.
const mostRotten = 3

// remember reads the records again by which repeats are recognised.
func (o *owner) remember(ctx context.Context, start int64) error {
	from, rotten := max(start, o.next-repeatWindow, 0), 0
	o.repeats = newRepeats(min(from, o.next))
	for from < o.next {
		err := o.Log.Fetch(ctx, o.input.topic, o.partition, from, &o.batch)
		if errors.Is(err, kafka.ErrUnreadable) {
			if rotten++; rotten > mostRotten {
				o.log.Error("much of the window of repeats does not read; repeats of what was there before count as events", "from", from, "to", o.next)
				return nil
			}
			if from, err = o.Log.NextReadable(ctx, o.input.topic, o.partition, from); err != nil {
				return fmt.Errorf("look behind what does not read: %w", err)
			}
			continue // it was skipped, and is in no window
		}
		if err != nil {
			return fmt.Errorf("read %s/%d again at %d: %w", o.input.topic, o.partition, from, err)
		}
		for i := range o.batch.Records {
			if r := &o.batch.Records[i]; r.Offset < o.next {
				o.recall(r)
			}
		}
		o.loop.Beat()
		from = o.batch.Next
	}
	return nil
}

// errRefused is an error that no retry, here or elsewhere, can fix.
var errRefused = errors.New("partition is not read")

func (o *owner) truncated(log kafka.OffsetRange) error {
	return fmt.Errorf("%w: offset %d is next, but the log ends at %d: the topic was made anew or cut; start a new incarnation of the stream",
		errRefused, o.next, log.End)
}

// lose declares a loss: retention, or somebody, deleted the next records before
// they were read. No other work is pending.
func (o *owner) lose(ctx context.Context, log kafka.OffsetRange) error {
	lost := log.Start - o.next
	if lost <= 0 {
		return nil
	}
	o.log.Error("loss declared: records were deleted from the log before they were read", "from", o.next, "to", log.Start, "records", lost)
	o.metrics.lost.Add(float64(lost))
	o.progress.Ledger.Fetched += lost
	o.progress.Ledger.Lost += lost
	o.next, o.progress.Skip = log.Start, nil
	return o.write(ctx, true)
}

// outside finds out why the next offset is not in the log.
func (o *owner) outside(ctx context.Context) error {
	log, err := o.extent(ctx)
	if err != nil {
		return err
	}
	if o.next > log.End {
		return o.truncated(log)
	}
	return o.lose(ctx, log)
}

// run reads until ctx ends, then completes and commits the work in progress within
// the drain time.
func (o *owner) run(ctx context.Context) error {
	return kafka.Turns(ctx, o.cfg.DrainTimeout, o.turn, o.drain)
}

// turn fetches once, and writes the result. Once something was fetched, the end of
// ctx does not interrupt it, but the end of finish does.
func (o *owner) turn(ctx, finish context.Context) error {
	started := o.Now()
	err := o.Log.Fetch(ctx, o.input.topic, o.partition, o.next, &o.batch)
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, kafka.ErrOffsetOutOfRange):
		return o.outside(finish)
	case errors.Is(err, kafka.ErrUnreadable):
		return o.quarantine(finish, err)
	case err != nil:
		return fmt.Errorf("fetch %s/%d at %d: %w", o.input.topic, o.partition, o.next, err)
	}
	o.idle = len(o.batch.Records) == 0
	now := o.Now().UnixMilli()
	asked := o.batch.Asked.UnixMilli()
	for i := range o.batch.Records {
		o.accept(&o.batch.Records[i], now)
		if err := o.keep(finish, now); err != nil {
			return err
		}
		o.loop.Beat()
		if o.frames.bytes()+o.deadBytes >= flushBytes {
			if err := o.write(finish, false); err != nil {
				return err
			}
		}
	}
	if o.batch.Next > o.next || o.next >= o.batch.Readable() {
		o.loop.Beat() // passed markers, or is at the end, or at the start of an open transaction
	}
	o.pass(o.batch.Next)
	// The start of an open transaction is not the end: its records are appended
	// already, and its events must be neither late nor delayed when they come.
	atEnd := o.next >= o.batch.HighWatermark
	cover := o.covered == nil && (o.Now().Sub(o.proposed) >= o.cfg.CommitInterval || o.awaited())
	if cover && atEnd && o.idle && !o.History && !o.input.controls {
		o.tick(o.batch.Asked)
	}
	if err := o.write(finish, cover); err != nil {
		return err
	}
	if atEnd {
		o.bracket.seenEnd(asked)
	}
	if cover {
		o.propose()
	}
	o.metrics.lag(o.source, o.input.controls, &o.batch, o.next)
	o.metrics.held(o.source, o.held(o.Now()))
	if err := o.commitCovered(finish); err != nil {
		return err
	}
	if o.due() {
		return o.change(finish, o.Epochs.Present())
	}
	return o.pace(ctx, started)
}

// held returns how long reading has stood at the start of an open transaction.
func (o *owner) held(now time.Time) time.Duration {
	switch {
	case o.batch.Held == 0 || o.next < o.batch.Readable():
		o.heldSince = time.Time{}
		return 0
	case o.heldSince.IsZero() || o.heldAt != o.next:
		o.heldAt, o.heldSince = o.next, now
	}
	return now.Sub(o.heldSince)
}

// tick advances an idle partition to the time at which its end was last seen. The
// clock may be set while a tick is on its way, before any broker contradicts. So
// two ticks differ by the time that has passed, within a tolerance. A tick that
// went back a day would hold back the following ones.
func (o *owner) tick(asked time.Time) {
	t := asked.UnixMilli() - o.ahead()
	if !o.ticked.IsZero() {
		due := o.lastTick + asked.Sub(o.ticked).Milliseconds()
		t = min(max(t, due-o.bracket.maxFuture), due+o.bracket.maxFuture)
	}
	o.ticked, o.lastTick = asked, t
	o.watermark.see(t)
}

// ahead returns how many ms this clock is ahead of the brokers', which counts if
// they differ.
func (o *owner) ahead() int64 {
	ahead := o.ClockAhead()
	o.metrics.clock.Set(ahead.Seconds())
	if ahead != 0 && !o.clockOff {
		o.log.Error("this worker's clock is not the brokers'; idle partitions go by theirs", "ahead", ahead)
	}
	o.clockOff = ahead != 0
	return ahead.Milliseconds()
}

// pass continues at an offset. The offsets before it that were not delivered are no
// records to read: transaction markers, and records of aborted transactions.
func (o *owner) pass(to int64) {
	n := to - o.next
	if n <= 0 {
		return
	}
	o.next = to
	o.progress.Ledger.Fetched += n
	o.progress.Ledger.Control += n
	o.metrics.control.Add(float64(n))
}

// accept turns one record into an event and its facets, or into a dead letter.
func (o *owner) accept(r *kafka.Record, now int64) {
	o.pass(r.Offset)
	o.next = r.Offset + 1
	o.refusal = event.DeadLetter{}
	o.progress.Ledger.Fetched++
	if o.History && isEnd(r) {
		o.event.Reset()
		o.progress.Ledger.Control++
		o.metrics.control.Inc()
		o.watermark = watermark(facet.EndWatermark)
		return
	}
	outcome, at, facets, err := o.take(r, now)
	switch l := &o.progress.Ledger; outcome {
	case Dead, Filtered:
		o.bury(r, err, now)
		return
	case Repeated:
		o.keyless(r)
		l.Repeat++
		o.metrics.repeats.Inc()
		return
	case Refused:
		l.Refused++
		o.metrics.refused.Inc()
	}
	o.keyless(r)
	o.count(at, facets)
}

// keyless counts an event with an id of its own whose record has no key.
func (o *owner) keyless(r *kafka.Record) {
	if o.named && len(r.Key) == 0 {
		o.metrics.keyless.Inc()
	}
}

// count updates the ledger for the event of an accepted record.
func (o *owner) count(at placed, facets int64) {
	l := &o.progress.Ledger
	l.Accepted++
	l.Facets += facets
	if o.input.controls {
		o.metrics.controls.WithLabelValues(o.said.Action).Inc()
		return
	}
	o.metrics.became(&o.event)
	if o.event.Has(event.Clipped) {
		o.metrics.clipped.Inc()
	}
	if at.skewed {
		l.Skewed++
		o.metrics.skewed.Inc()
	}
	if at.delayed {
		l.Delayed++
		o.metrics.delayed.Inc()
	}
}

// EndHeader marks the record that closes a partition of a history stream.
const EndHeader = "weir-end"

func isEnd(r *kafka.Record) bool {
	for _, h := range r.Headers {
		if h.Key == EndHeader {
			return true
		}
	}
	return false
}

// keep passes what the last record became to its store: an event, a control record, or
// a dead letter.
func (o *owner) keep(ctx context.Context, now int64) error {
	switch {
	case o.refusal.Reason != "":
		return o.keepLetter(ctx, now)
	case o.event.Has(event.ID):
		return o.events.Append(ctx, o.next-1, o.progress.Owner, now, &o.event)
	case o.said.ID != "":
		return o.controls.Append(ctx, o.next-1, o.progress.Owner, now, &o.said)
	}
	return nil
}

// write produces what was gathered and waits until it is acknowledged: one produce
// in flight, in order, never skipped. With all, every destination gets a cover up
// to the current position.
func (o *owner) write(ctx context.Context, all bool) error {
	if batch := o.frames.finish(o.next, o.watermark, all); len(batch) > 0 {
		if err := o.Log.Produce(ctx, o.Topics.Facets, batch); err != nil {
			return fmt.Errorf("produce facets: %w", err)
		}
		o.metrics.frames.Add(float64(len(batch)))
	}
	return o.writeDead(ctx)
}

// propose makes the current state the next commit.
func (o *owner) propose() {
	o.proposed = o.Now()
	o.follow()
	o.covered = &pending{offset: o.next, progress: o.present()}
}

// present returns the metadata of a commit at the next offset.
func (o *owner) present() Progress {
	p := o.progress
	p.Low, p.Watermark = o.bracket.low, int64(o.watermark)
	return p
}

// commitCovered commits the proposal once the event store has caught up.
func (o *owner) commitCovered(ctx context.Context) error {
	if o.covered == nil || o.store.Stored() < o.covered.offset {
		return nil
	}
	if err := o.commit(ctx, o.covered.offset, o.covered.progress.String()); err != nil {
		return fmt.Errorf("commit %d: %w", o.covered.offset, err)
	}
	o.metrics.books(o.source, &o.covered.progress.Ledger)
	o.covered = nil
	o.metrics.commits.Happened(o.source, time.Now())
	return nil
}

// pace keeps frames from getting small: under load, turns are at least a linger
// apart. After an idle turn there is no wait, so a single event is not delayed.
func (o *owner) pace(ctx context.Context, started time.Time) error {
	rest := o.cfg.Linger - o.Now().Sub(started)
	if rest <= 0 || o.idle || o.next < o.batch.Readable() {
		return nil
	}
	t := time.NewTimer(rest)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return nil
}

// drain finishes a partition that is given up: everything read is written, stored
// and committed, within the drain time. A failure only costs reading again.
func (o *owner) drain(ctx context.Context) error {
	if err := o.write(ctx, true); err != nil {
		return err
	}
	if err := o.store.Drain(ctx); err != nil {
		return err
	}
	o.propose()
	if err := o.commitCovered(ctx); err != nil && !errors.Is(err, kafka.ErrFenced) {
		return err
	}
	return nil
}

// bury keeps an unreadable record for the dead-letter topic.
func (o *owner) bury(r *kafka.Record, err error, now int64) {
	reason := reasonOf(err)
	if reason == event.Filtered.String() {
		o.progress.Ledger.Control++
		o.metrics.filtered.Inc()
		return
	}
	o.progress.Ledger.Dead++
	o.metrics.dead.WithLabelValues(reason).Inc()
	o.dead = append(o.dead, o.letter(r, reason, err.Error(), now))
	o.refusal = event.DeadLetter{Offset: r.Offset, Time: r.Time, Reason: reason, Detail: err.Error(), Bytes: len(r.Value), Key: r.Key, Value: r.Value}
	o.deadBytes += len(r.Value) + min(len(r.Key), maxLetterKey) + letterOverhead
}

func (o *owner) writeDead(ctx context.Context) error {
	if len(o.dead) == 0 {
		return nil
	}
	err := o.Log.Produce(ctx, o.Topics.Dead, []kafka.Produce{{Partition: o.source % o.deadPartitions, Records: o.dead}})
	if err != nil {
		return fmt.Errorf("produce dead letters: %w", err)
	}
	clear(o.dead)
	o.dead, o.deadBytes = o.dead[:0], 0
	return nil
}
