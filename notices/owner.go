package notices

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/retry"
	"github.com/weirdev/weir/internal/watch"
	"github.com/weirdev/weir/score"
)

// owner reads one partition. One goroutine owns it.
type owner struct {
	*Stage
	partition int32
	kafka     kafka.Reader   // the stage's, which reports waits to loop
	in        kafka.Follower // of kafka
	log       *slog.Logger
	loop      *watch.Loop
	book      *book
	commit    func(ctx context.Context, offset int64, metadata string) error

	told int64 // Unix ms: all that was due by then is delivered
	wait []*sent

	committed position
	at        time.Time // of the commit
}

// position is what is committed: the offset from which a successor reads, and up to
// when all that was due was delivered.
type position struct{ from, told int64 }

// metadataVersion begins the metadata of a commit, "1 TOLD".
const metadataVersion = "1 "

func (p position) metadata() string { return metadataVersion + strconv.FormatInt(p.told, 10) }

func parsePosition(c kafka.Commit) (position, bool) {
	rest, ok := strings.CutPrefix(c.Metadata, metadataVersion)
	told, err := strconv.ParseInt(rest, 10, 64)
	return position{c.Offset, told}, ok && err == nil && told >= 0
}

// begin finds where to read. The first owner ever begins at the end of the log, since
// nobody wants to be told of last week.
func (o *owner) begin(ctx context.Context) error {
	commits, err := o.kafka.Committed(ctx, o.topics.Group, o.topics.Signals)
	if err != nil {
		return fmt.Errorf("read commits: %w", err)
	}
	for _, c := range commits {
		if c.Partition != o.partition || c.Offset < 0 {
			continue
		}
		p, ok := parsePosition(c)
		if !ok {
			o.log.Warn("the commit does not say what was told; all from its offset on is told", "offset", c.Offset, "metadata", c.Metadata)
		}
		o.in.Next, o.told, o.committed = p.from, p.told, p
		return nil
	}
	log, err := kafka.Extent(ctx, o.kafka, o.topics.Signals, o.partition)
	if err != nil {
		return err
	}
	o.in.Next = log.End
	return o.commitAt(ctx, position{o.in.Next, 0})
}

// run reads until ctx ends, waits for what is under way within the drain time, and
// commits.
func (o *owner) run(ctx context.Context) error {
	return kafka.Turns(ctx, DrainTimeout, o.turn, o.drain)
}

// turn fetches once, and hands over what is due.
func (o *owner) turn(ctx, finish context.Context) error {
	read, err := o.in.Fetch(ctx, finish)
	if err != nil || !read {
		o.loop.Beat()
		return err
	}
	o.book.use(o.file.current.Load())
	asked := o.in.Batch.Asked.UnixMilli()
	for i := range o.in.Batch.Records {
		r := &o.in.Batch.Records[i]
		o.take(r, min(r.Time, asked))
		o.loop.Beat()
	}
	o.in.Next = max(o.in.Next, o.in.Batch.Next)
	if o.in.Next >= o.in.Batch.HighWatermark {
		o.hand(o.book.advance(asked - behind))
	}
	o.loop.Beat()
	o.metrics.read(o.partition, &o.in.Batch, o.in.Next)
	o.metrics.open.WithLabelValues(strconv.Itoa(int(o.partition))).Set(float64(len(o.book.groups)))
	return o.commitDone(finish)
}

// take adds one record, written at time at. What was due before comes first.
func (o *owner) take(r *kafka.Record, at int64) {
	o.hand(o.book.advance(at))
	o.in.Next = r.Offset + 1
	var s score.Signal
	if err := json.Unmarshal(r.Value, &s); err != nil {
		o.metrics.unreadable.Inc()
		o.log.Error("record is no signal and is passed over", "offset", r.Offset, "bytes", len(r.Value), "error", err)
		return
	}
	o.metrics.signals.WithLabelValues(string(o.book.add(&s, r.Offset, at))).Inc()
}

// hand gives what is due to the channels, except for what was delivered before.
func (o *owner) hand(all []due) {
	for len(all) > 0 && all[0].at <= o.told {
		all = all[1:]
	}
	if len(all) > 0 {
		o.wait = append(o.wait, o.out.submit(o, all)...)
	}
}

// progress returns what may be committed: what is not delivered must be told by a
// successor, so it reads from the beginning of that group.
func (o *owner) progress() position {
	done := 0
	for done < len(o.wait) && o.out.done(o.wait[done]) {
		o.told = max(o.told, o.wait[done].at)
		done++
	}
	o.wait = o.wait[done:]
	p := position{min(o.in.Next, o.book.oldest()), o.told}
	for _, s := range o.wait {
		p.from, p.told = min(p.from, s.first), min(p.told, s.at-1)
	}
	return p
}

// commitDone commits at most once in an interval, and only what is new.
func (o *owner) commitDone(ctx context.Context) error {
	p := o.progress()
	if p == o.committed || time.Since(o.at) < commitInterval {
		return nil
	}
	return o.commitAt(ctx, p)
}

func (o *owner) commitAt(ctx context.Context, p position) error {
	if err := o.commit(ctx, p.from, p.metadata()); err != nil {
		return fmt.Errorf("commit %d: %w", p.from, err)
	}
	o.committed, o.at = p, time.Now()
	return nil
}

// drainLook is the interval at which an owner that ends looks at what is under way.
const drainLook = 50 * time.Millisecond

// drain waits for what is under way, as long as ctx allows, and commits.
func (o *owner) drain(ctx context.Context) error {
	p := o.progress()
	o.loop.Waiting()
	for end := time.Now().Add(DrainTimeout - time.Second); len(o.wait) > 0 && time.Now().Before(end) && retry.Sleep(ctx, drainLook); {
		p = o.progress()
	}
	o.loop.Working()
	if p == o.committed {
		return nil
	}
	if err := o.commitAt(ctx, p); err != nil && !errors.Is(err, kafka.ErrFenced) {
		return err
	}
	return nil
}
