package ingest

import (
	"context"
	"fmt"
	"strconv"

	"github.com/weirdev/weir/internal/kafka"
)

// Skip is a range of raw offsets that does not read, and is passed over.
type Skip struct {
	From int64 `json:"from"`
	To   int64 `json:"to"` // not included
}

// quarantine passes over records that do not read, however often they are
// fetched. That is decided once, by a commit of everything before them that
// names the range, and only then done: whoever takes over passes over the same.
func (s *source) quarantine(ctx context.Context, cause error) error {
	to, err := s.Log.NextReadable(ctx, s.Topics.Events, s.partition, s.next)
	if err != nil {
		return fmt.Errorf("look behind what does not read: %w", err)
	}
	if to == s.next {
		return nil // it reads by now
	}
	if err := s.write(ctx, true); err != nil {
		return err
	}
	if err := s.store.Drain(ctx); err != nil {
		return fmt.Errorf("quarantine: %w", err)
	}
	s.covered = nil
	p := s.present()
	p.Skip = &Skip{From: s.next, To: to}
	if err := s.commit(ctx, s.next, p.String()); err != nil {
		return fmt.Errorf("commit %d: %w", s.next, err)
	}
	s.log.Error("records do not read and are passed over", "from", s.next, "to", to, "error", cause)
	return s.skip(ctx, *p.Skip)
}

// skip passes over a range that a commit names.
func (s *source) skip(ctx context.Context, r Skip) error {
	n := r.To - r.From
	s.progress.Skip = nil
	s.progress.Ledger.Fetched += n
	s.progress.Ledger.Skipped += n
	s.progress.Ledger.Skips++
	s.metrics.skipped.Add(float64(n))
	l := letter(s.Topics.Events, s.partition, &kafka.Record{Offset: r.From}, reasonUnreadable,
		"the brokers hand out nothing that reads at these offsets", s.Now().UnixMilli())
	l.Headers = append(l.Headers, kafka.Header{Key: HeaderUntil, Value: strconv.AppendInt(nil, r.To, 10)})
	s.dead = append(s.dead, l)
	s.next = r.To
	s.loop.Beat()
	return s.write(ctx, true)
}
