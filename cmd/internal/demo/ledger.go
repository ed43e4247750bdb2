package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/klog"
)

// books is what the two stages have committed of their ledgers.
type books struct {
	ingest  ingest.Ledger
	detect  engine.Totals
	rawEnd  int64 // records in the raw topic
	waiting int64 // raw records not committed yet
	behind  int64 // facet records not committed yet
}

// read reads the ledgers from the commits.
func (d *demo) read(ctx context.Context) (b books, err error) {
	s := d.cfg.Stream
	commits, ends, err := d.progress(ctx, s.Group("ingest"), s.Topic("events"))
	if err != nil {
		return b, err
	}
	for i, c := range commits {
		b.rawEnd += ends[i].End
		b.waiting += ends[i].End - max(c.Offset, 0)
		p, err := ingest.ParseProgress(c.Metadata)
		if err != nil {
			return b, err
		}
		b.ingest = b.ingest.Plus(p.Ledger)
	}
	if commits, ends, err = d.progress(ctx, s.Group("detect"), s.Topic("facets")); err != nil {
		return b, err
	}
	for i, c := range commits {
		b.behind += ends[i].End - max(c.Offset, 0)
		p, ok, err := engine.ParseProgress(c.Metadata)
		if err != nil {
			return b, err
		}
		if ok {
			b.detect.Applied += p.Ledger.Applied
			b.detect.Late += p.Ledger.Late
			b.detect.Duplicate += p.Ledger.Duplicate
		}
	}
	return b, nil
}

func (d *demo) progress(ctx context.Context, group, topic string) ([]klog.Commit, []klog.OffsetRange, error) {
	commits, err := d.kafka.Committed(ctx, group, topic)
	if err != nil {
		return nil, nil, err
	}
	ends, err := d.kafka.Offsets(ctx, topic)
	if err == nil && len(ends) != len(commits) {
		err = fmt.Errorf("%s has %d partitions, %s knows %d", topic, len(ends), group, len(commits))
	}
	return commits, ends, err
}

// settle waits until everything that was sent is through both stages.
func (d *demo) settle(ctx context.Context, longest time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	s := d.cfg.Stream
	if err := d.reach(ctx, s.Group("ingest"), s.Topic("events")); err != nil {
		return fmt.Errorf("ingest is not through: %w", err)
	}
	if err := d.reach(ctx, s.Group("detect"), s.Topic("facets")); err != nil {
		return fmt.Errorf("detect is not through: %w", err)
	}
	return nil
}

// reach waits until a group has committed what a topic holds now.
func (d *demo) reach(ctx context.Context, group, topic string) error {
	_, ends, err := d.progress(ctx, group, topic)
	if err != nil {
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		commits, _, err := d.progress(ctx, group, topic)
		if err != nil {
			return err
		}
		left := int64(0)
		for i, c := range commits {
			left += max(ends[i].End-max(c.Offset, 0), 0)
		}
		if left == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case err := <-d.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("%d records of %s are left: %w", left, topic, ctx.Err())
		}
	}
}

// deadLetters counts dead letters by reason. A record that was read again after
// a crash is in the topic twice, under the same key.
func (d *demo) deadLetters(ctx context.Context) (byReason map[string]int64, total int64, err error) {
	topic := d.cfg.Stream.Topic("dead")
	ends, err := d.kafka.Offsets(ctx, topic)
	if err != nil {
		return nil, 0, err
	}
	byReason = map[string]int64{}
	seen := map[string]bool{}
	var b klog.Batch
	for p, r := range ends {
		for at := r.Start; at < r.End; {
			if err := d.kafka.Fetch(ctx, topic, int32(p), at, &b); err != nil {
				return nil, 0, err
			}
			for _, rec := range b.Records {
				if seen[string(rec.Key)] {
					continue
				}
				seen[string(rec.Key)] = true
				for _, h := range rec.Headers {
					if h.Key == ingest.HeaderReason {
						byReason[string(h.Value)]++
					}
				}
			}
			at = max(at, b.Next)
		}
	}
	return byReason, int64(len(seen)), nil
}
