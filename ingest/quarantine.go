package ingest

import (
	"context"
	"fmt"
	"strconv"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/kafka"
)

// Skip is a range of unreadable raw offsets that is skipped.
type Skip struct {
	From int64 `json:"from"`
	To   int64 `json:"to"` // not included
}

// quarantine skips records that are unreadable however often they are fetched. A
// commit of everything before them decides it and names the range; only then they
// are skipped. So every successor skips the same records.
func (o *owner) quarantine(ctx context.Context, cause error) error {
	to, err := o.Log.NextReadable(ctx, o.input.topic, o.partition, o.next)
	if err != nil {
		return fmt.Errorf("look behind what does not read: %w", err)
	}
	if to == o.next {
		return nil // it can be read now
	}
	if err := o.write(ctx, true); err != nil {
		return err
	}
	if err := o.store.Drain(ctx); err != nil {
		return fmt.Errorf("quarantine: %w", err)
	}
	o.covered = nil
	p := o.present()
	p.Skip = &Skip{From: o.next, To: to}
	if err := o.commit(ctx, o.next, p.String()); err != nil {
		return fmt.Errorf("commit %d: %w", o.next, err)
	}
	o.log.Error("records do not read and are passed over", "from", o.next, "to", to, "error", cause)
	return o.skip(ctx, *p.Skip)
}

// skip skips a range that a commit names.
func (o *owner) skip(ctx context.Context, r Skip) error {
	n := r.To - r.From
	o.progress.Skip = nil
	o.progress.Ledger.Fetched += n
	o.progress.Ledger.Skipped += n
	o.progress.Ledger.Skips++
	o.metrics.skipped.Add(float64(n))
	const detail = "the brokers hand out nothing that reads at these offsets"
	now := o.Now().UnixMilli()
	l := o.letter(&kafka.Record{Offset: r.From}, reasonUnreadable, detail, now)
	l.Headers = append(l.Headers, kafka.Header{Key: HeaderUntil, Value: strconv.AppendInt(nil, r.To, 10)})
	o.dead = append(o.dead, l)
	o.refusal = event.DeadLetter{Offset: r.From, Until: r.To, Reason: reasonUnreadable, Detail: detail}
	if err := o.keepLetter(ctx, now); err != nil {
		return err
	}
	o.next = r.To
	o.loop.Beat()
	return o.write(ctx, true)
}
