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

// flushBytes is how many bytes of facets and dead letters are gathered before
// they are written in the middle of a fetch. It keeps every record batch well
// below the broker's limit for one.
const flushBytes = 256 << 10

// source reads one raw partition. One goroutine owns it.
//
//	fetch ─▶ decode ─▶ enrich ─▶ event store (in the background)
//	           │          └────▶ facet frames ─▶ facet log ─┐
//	           └─▶ dead letters ─▶ dead-letter log ─────────┴─▶ commit
//
// What is committed is covered at every destination, stored and dead-lettered:
// any other order would lose outputs when the process dies between the two.
type source struct {
	*Stage
	intake
	Log    Log // the stage's, which tells loop of waits
	loop   *watch.Loop
	commit func(ctx context.Context, offset int64, metadata string) error
	store  EventTrack

	next     int64 // offset of the next record to read
	behind   int64 // end of the log when this owner had covered everything; former owners may have read up to there
	epoch    *Epoch
	progress Progress
	batch    kafka.Batch

	dead      []kafka.Outgoing
	deadBytes int

	covered   *pending  // covered everywhere, waits for the event store
	proposed  time.Time // when the last candidate was made; never, at first: whoever dies soon has then got on
	idle      bool      // the last fetch found nothing new
	heldAt    int64     // where the open transaction begins that is waited for
	heldSince time.Time
	clockOff  bool
	ticked    time.Time // when the end was seen that the last tick is about; zero: none yet
	lastTick  int64     // what it claimed, Unix ms
}

// pending is a commit that waits until the event store has acknowledged.
type pending struct {
	offset   int64
	progress Progress
}

// open takes the partition over: it raises the owner number, has that
// acknowledged, and only then covers every destination, so that a former owner
// that is still writing is told apart from this one.
func (s *source) open(ctx context.Context, from kafka.Commit) error {
	p, err := ParseProgress(from.Metadata)
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	log, err := s.extent(ctx)
	if err != nil {
		return err
	}
	if s.next = from.Offset; s.next < 0 {
		s.next = log.Start
	}
	if s.next > log.End {
		return s.truncated(log)
	}
	if p.Epoch == "" {
		p.Epoch = s.Epochs.Present().Name
	}
	if from.Metadata == "" {
		// Nothing tells who was the last owner, if any was: offsets that were reset,
		// or expired. A lower number than his would be ignored for ever.
		p.Owner = uint64(s.Now().UnixMilli())
	}
	p.Owner++
	if err := s.commit(ctx, s.next, p.String()); err != nil {
		return fmt.Errorf("announce owner %d: %w", p.Owner, err)
	}
	s.metrics.commits.Happened(s.partition, time.Now())
	s.progress = p
	s.watermark = watermark(p.Watermark)
	s.bracket = bracket{low: p.Low, believe: s.History}
	s.epoch = named(p.Epoch)
	s.frames = newFrames(s.partition, p.Owner, s.next, s.destinations, s.epoch, s.Shared)
	if err := s.write(ctx, true); err != nil {
		return err
	}
	// Read only now: what a former owner wrote before our covers is below it.
	if log, err = s.extent(ctx); err != nil {
		return err
	}
	s.behind = log.End
	if err := s.remember(ctx, log.Start); err != nil {
		return err
	}
	if err := s.lose(ctx, log); err != nil {
		return err
	}
	if skip := p.Skip; skip != nil && skip.From == s.next {
		// Decided by a former owner.
		if err := s.skip(ctx, *skip); err != nil {
			return err
		}
	}
	return s.resume(ctx)
}

// extent is what the raw partition holds.
func (s *source) extent(ctx context.Context) (kafka.OffsetRange, error) {
	ranges, err := s.Log.Offsets(ctx, s.Topics.Events)
	if err != nil {
		return kafka.OffsetRange{}, fmt.Errorf("offsets of %s: %w", s.Topics.Events, err)
	}
	if int(s.partition) >= len(ranges) {
		return kafka.OffsetRange{}, fmt.Errorf("%s has %d partitions, not %d", s.Topics.Events, len(ranges), s.partition+1)
	}
	return ranges[s.partition], nil
}

// mostRotten is how many unreadable batches a take-over waits for: each takes as
// long as a fetch is tried again.
const mostRotten = 3

// remember reads again what repeats are recognised by.
func (s *source) remember(ctx context.Context, start int64) error {
	from, rotten := max(start, s.next-repeatWindow, 0), 0
	s.repeats = newRepeats(min(from, s.next))
	for from < s.next {
		err := s.Log.Fetch(ctx, s.Topics.Events, s.partition, from, &s.batch)
		if errors.Is(err, kafka.ErrUnreadable) {
			if rotten++; rotten > mostRotten {
				s.log.Error("much of the window of repeats does not read; repeats of what was there before count as events", "from", from, "to", s.next)
				return nil
			}
			if from, err = s.Log.NextReadable(ctx, s.Topics.Events, s.partition, from); err != nil {
				return fmt.Errorf("look behind what does not read: %w", err)
			}
			continue // it was skipped, and is in no window
		}
		if err != nil {
			return fmt.Errorf("read %s/%d again at %d: %w", s.Topics.Events, s.partition, from, err)
		}
		for i := range s.batch.Records {
			if r := &s.batch.Records[i]; r.Offset < s.next {
				s.repeats.see(r.Offset, repeatKey(r), r.Value)
			}
		}
		s.loop.Beat()
		from = s.batch.Next
	}
	return nil
}

// errRefused is an error that trying again, here or elsewhere, does not mend.
var errRefused = errors.New("partition is not read")

func (s *source) truncated(log kafka.OffsetRange) error {
	return fmt.Errorf("%w: offset %d is next, but the log ends at %d: the topic was made anew or cut; start a new incarnation of the stream",
		errRefused, s.next, log.End)
}

// lose declares lost what was next and is in the log no more: retention, or
// somebody, deleted it unread. Nothing is waiting for it any longer.
func (s *source) lose(ctx context.Context, log kafka.OffsetRange) error {
	lost := log.Start - s.next
	if lost <= 0 {
		return nil
	}
	s.log.Error("loss declared: records were deleted from the log before they were read", "from", s.next, "to", log.Start, "records", lost)
	s.metrics.lost.Add(float64(lost))
	s.progress.Ledger.Fetched += lost
	s.progress.Ledger.Lost += lost
	s.next, s.progress.Skip = log.Start, nil
	return s.write(ctx, true)
}

// outside finds out what it means that the next offset is not in the log.
func (s *source) outside(ctx context.Context) error {
	log, err := s.extent(ctx)
	if err != nil {
		return err
	}
	if s.next > log.End {
		return s.truncated(log)
	}
	return s.lose(ctx, log)
}

// run reads until ctx ends, then finishes and commits what is under way within
// the drain time. After a write that failed nothing more is written: only
// reading again from the last commit leaves no gap.
func (s *source) run(ctx context.Context) error {
	finish, cancel := kafka.Outlast(ctx, s.cfg.DrainTimeout)
	defer cancel()
	for ctx.Err() == nil {
		if err := s.turn(ctx, finish); err != nil {
			return err
		}
	}
	if kafka.Fenced(ctx) {
		return context.Cause(ctx) // nothing that is begun now would count
	}
	return s.drain(finish)
}

// turn fetches once, and writes what came of it. Once something was fetched, the
// end of ctx does not cut it short, but that of finish does.
func (s *source) turn(ctx, finish context.Context) error {
	started := s.Now()
	err := s.Log.Fetch(ctx, s.Topics.Events, s.partition, s.next, &s.batch)
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, kafka.ErrOffsetOutOfRange):
		return s.outside(finish)
	case errors.Is(err, kafka.ErrUnreadable):
		return s.quarantine(finish, err)
	case err != nil:
		return fmt.Errorf("fetch %s/%d at %d: %w", s.Topics.Events, s.partition, s.next, err)
	}
	s.idle = len(s.batch.Records) == 0
	now := s.Now().UnixMilli()
	asked := s.batch.Asked.UnixMilli()
	for i := range s.batch.Records {
		s.accept(&s.batch.Records[i], now)
		if err := s.keepEvent(finish, now); err != nil {
			return err
		}
		s.loop.Beat()
		if s.frames.bytes()+s.deadBytes >= flushBytes {
			if err := s.write(finish, false); err != nil {
				return err
			}
		}
	}
	if s.batch.Next > s.next || s.next >= s.batch.Readable() {
		s.loop.Beat() // passed markers, or is at the end, or where an open transaction begins
	}
	s.pass(s.batch.Next)
	// Not where an open transaction begins: what is in it was appended already, and
	// its events must be neither late nor delayed when they come.
	atEnd := s.next >= s.batch.HighWatermark
	cover := s.covered == nil && s.Now().Sub(s.proposed) >= s.cfg.CommitInterval
	if cover && atEnd && s.idle && !s.History {
		s.tick(s.batch.Asked)
	}
	if err := s.write(finish, cover); err != nil {
		return err
	}
	if atEnd {
		s.bracket.seenEnd(asked)
	}
	if cover {
		s.propose()
	}
	s.metrics.lag(s.partition, s.batch.HighWatermark-s.next)
	s.metrics.held(s.partition, s.held(s.Now()))
	if err := s.commitCovered(finish); err != nil {
		return err
	}
	if s.due() {
		return s.change(finish, s.Epochs.Present())
	}
	return s.pace(ctx, started)
}

// held is for how long reading has stood where an open transaction begins.
func (s *source) held(now time.Time) time.Duration {
	switch {
	case s.batch.Held == 0 || s.next < s.batch.Readable():
		s.heldSince = time.Time{}
		return 0
	case s.heldSince.IsZero() || s.heldAt != s.next:
		s.heldAt, s.heldSince = s.next, now
	}
	return now.Sub(s.heldSince)
}

// tick advances an idle partition to when its end was last seen. The clock may
// be set while a tick is on its way, before any broker contradicts: so between
// two ticks is the time that has passed, give or take a tolerance. A tick that
// went back a day would hold back those after it.
func (s *source) tick(asked time.Time) {
	t := asked.UnixMilli() - s.ahead()
	if !s.ticked.IsZero() {
		due := s.lastTick + asked.Sub(s.ticked).Milliseconds()
		t = min(max(t, due-s.bracket.maxFuture), due+s.bracket.maxFuture)
	}
	s.ticked, s.lastTick = asked, t
	s.watermark.see(t)
}

// ahead is how many ms the clock here is ahead of the brokers', which is the one
// to go by where they differ.
func (s *source) ahead() int64 {
	ahead := s.ClockAhead()
	s.metrics.clock.Set(ahead.Seconds())
	if ahead != 0 && !s.clockOff {
		s.log.Error("this worker's clock is not the brokers'; idle partitions go by theirs", "ahead", ahead)
	}
	s.clockOff = ahead != 0
	return ahead.Milliseconds()
}

// pass goes on at an offset. What lies before it and was not given is no record to
// read: transaction markers, and what aborted transactions wrote.
func (s *source) pass(to int64) {
	n := to - s.next
	if n <= 0 {
		return
	}
	s.next = to
	s.progress.Ledger.Fetched += n
	s.progress.Ledger.Control += n
	s.metrics.control.Add(float64(n))
}

// accept turns one record into an event and its facets, or into a dead letter.
func (s *source) accept(r *kafka.Record, now int64) {
	s.pass(r.Offset)
	s.next = r.Offset + 1
	s.progress.Ledger.Fetched++
	if s.History && isEnd(r) {
		s.event.Reset()
		s.progress.Ledger.Control++
		s.metrics.control.Inc()
		s.watermark = watermark(facet.EndWatermark)
		return
	}
	outcome, at, facets, err := s.take(r, now)
	switch l := &s.progress.Ledger; outcome {
	case Dead, Filtered:
		s.bury(r, err, now)
		return
	case Repeated:
		s.keyless(r)
		l.Repeat++
		s.metrics.repeats.Inc()
		return
	case Refused:
		l.Refused++
		s.metrics.refused.Inc()
	}
	s.keyless(r)
	s.count(at, facets)
}

// keyless counts an event with an id of its own whose record has no key.
func (s *source) keyless(r *kafka.Record) {
	if s.named && len(r.Key) == 0 {
		s.metrics.keyless.Inc()
	}
}

// count counts the event of an accepted record.
func (s *source) count(at placed, facets int64) {
	l := &s.progress.Ledger
	l.Accepted++
	l.Facets += facets
	s.metrics.accepted.Inc()
	if s.event.Has(event.Clipped) {
		s.metrics.clipped.Inc()
	}
	if at.skewed {
		l.Skewed++
		s.metrics.skewed.Inc()
	}
	if at.delayed {
		l.Delayed++
		s.metrics.delayed.Inc()
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

// keepEvent hands the event of the last accepted record to the store.
func (s *source) keepEvent(ctx context.Context, now int64) error {
	if !s.event.Has(event.ID) {
		return nil
	}
	return s.store.Append(ctx, s.next-1, s.progress.Owner, now, &s.event)
}

// write produces what was gathered and waits until it is acknowledged: one
// produce in flight, in order, never skipped. With all, every destination is
// told how far this source has been read.
func (s *source) write(ctx context.Context, all bool) error {
	if batch := s.frames.finish(s.next, s.watermark, all); len(batch) > 0 {
		if err := s.Log.Produce(ctx, s.Topics.Facets, batch); err != nil {
			return fmt.Errorf("produce facets: %w", err)
		}
		s.metrics.frames.Add(float64(len(batch)))
	}
	return s.writeDead(ctx)
}

// propose makes the present state the next commit.
func (s *source) propose() {
	s.proposed = s.Now()
	s.covered = &pending{offset: s.next, progress: s.present()}
}

// present is what a commit of the next offset says.
func (s *source) present() Progress {
	p := s.progress
	p.Low, p.Watermark = s.bracket.low, int64(s.watermark)
	return p
}

// commitCovered commits the proposal once the event store has caught up.
func (s *source) commitCovered(ctx context.Context) error {
	if s.covered == nil || s.store.Stored() < s.covered.offset {
		return nil
	}
	if err := s.commit(ctx, s.covered.offset, s.covered.progress.String()); err != nil {
		return fmt.Errorf("commit %d: %w", s.covered.offset, err)
	}
	s.covered = nil
	s.metrics.commits.Happened(s.partition, time.Now())
	return nil
}

// pace keeps frames from getting small: while traffic flows, turns are at least
// a linger apart. After an idle turn there is no wait, so a lone event is not
// held up.
func (s *source) pace(ctx context.Context, started time.Time) error {
	rest := s.cfg.Linger - s.Now().Sub(started)
	if rest <= 0 || s.idle || s.next < s.batch.Readable() {
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

// drain finishes a partition that is given up: what was read is written, stored
// and committed, within the drain time. A failure costs only reading again.
func (s *source) drain(ctx context.Context) error {
	if err := s.write(ctx, true); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	if err := s.store.Drain(ctx); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	s.propose()
	if err := s.commitCovered(ctx); err != nil && !errors.Is(err, kafka.ErrFenced) {
		return fmt.Errorf("drain: %w", err)
	}
	return nil
}

// bury keeps an unreadable record for the dead-letter topic.
func (s *source) bury(r *kafka.Record, err error, now int64) {
	reason := reasonOf(err)
	if reason == event.Filtered.String() {
		s.progress.Ledger.Control++
		s.metrics.filtered.Inc()
		return
	}
	s.progress.Ledger.Dead++
	s.metrics.dead.WithLabelValues(reason).Inc()
	s.dead = append(s.dead, letter(s.Topics.Events, s.partition, r, reason, err.Error(), now))
	s.deadBytes += len(r.Value) + min(len(r.Key), maxLetterKey) + letterOverhead
}

func (s *source) writeDead(ctx context.Context) error {
	if len(s.dead) == 0 {
		return nil
	}
	err := s.Log.Produce(ctx, s.Topics.Dead, []kafka.Produce{{Partition: s.partition % s.deadPartitions, Records: s.dead}})
	if err != nil {
		return fmt.Errorf("produce dead letters: %w", err)
	}
	clear(s.dead)
	s.dead, s.deadBytes = s.dead[:0], 0
	return nil
}
