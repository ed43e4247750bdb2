package stack

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
)

// Books are the committed ledgers of both stages.
type Books struct {
	Ingest  ingest.Ledger
	Said    ingest.Ledger // of the topic of controls
	Detect  engine.Totals
	RawEnd  int64 // records in the raw topic
	SaidEnd int64 // records in the topic of controls
	Waiting int64 // raw records not committed yet
}

// Books reads the ledgers from the commits.
func (s *Stack) Books(ctx context.Context) (b Books, err error) {
	stream := s.Config.Stream
	var waits int64
	if b.Ingest, b.RawEnd, b.Waiting, err = s.ledger(ctx, "ingest", "events"); err != nil {
		return b, err
	}
	if b.Said, b.SaidEnd, waits, err = s.ledger(ctx, "controls", "controls"); err != nil {
		return b, err
	}
	b.Waiting += waits
	commits, _, err := s.progress(ctx, stream.Group("detect"), stream.Topic("facets"))
	if err != nil {
		return b, err
	}
	for _, c := range commits {
		p, ok, err := engine.ParseProgress(c.Metadata)
		if err != nil {
			return b, err
		}
		if ok {
			b.Detect = b.Detect.Plus(p.Ledger)
		}
	}
	return b, nil
}

// ledger reads the ledger of a topic that ingest reads. end is the number of its
// records, and waiting how many of them are not committed yet.
func (s *Stack) ledger(ctx context.Context, group, topic string) (l ingest.Ledger, end, waiting int64, err error) {
	commits, ends, err := s.progress(ctx, s.Config.Stream.Group(group), s.Config.Stream.Topic(topic))
	if err != nil {
		return l, 0, 0, err
	}
	for i, c := range commits {
		end += ends[i].End
		waiting += ends[i].End - max(c.Offset, 0)
		p, err := ingest.ParseProgress(c.Metadata)
		if err != nil {
			return l, 0, 0, err
		}
		l = l.Plus(p.Ledger)
	}
	return l, end, waiting, nil
}

// Imbalances describes how the ledger does not balance, given the distinct events
// that ClickHouse holds and the distinct dead letters. Call it once everything is
// through.
func (b Books) Imbalances(stored uint64, dead int64) (all []string) {
	check := func(what string, got, want int64) {
		if got != want {
			all = append(all, fmt.Sprintf("%s: %d, not %d", what, got, want))
		}
	}
	check("records that ingest fetched, of those in the raw topic", b.Ingest.Fetched, b.RawEnd)
	check("records fetched, as sum of what became of them", b.Ingest.Sum(), b.Ingest.Fetched)
	check("events stored in ClickHouse, of those accepted", int64(stored), b.Ingest.Accepted)
	check("dead letters, of records that could not be read", dead, b.Ingest.Dead+b.Ingest.Skips+b.Said.Dead+b.Said.Skips)
	check("facets that detect applied, of those that ingest emitted", b.Detect.Applied, b.Ingest.Facets+b.Said.Facets)
	check("control records that ingest fetched, of those in their topic", b.Said.Fetched, b.SaidEnd)
	check("control records fetched, as sum of what became of them", b.Said.Sum(), b.Said.Fetched)
	check("members of groups that detect heard of, of those that it told", b.Detect.Heard, b.Detect.Told)
	return all
}

// Position is a stage's progress in each partition that it reads.
type Position struct {
	Committed []kafka.Commit
	Log       []kafka.OffsetRange
}

// Left returns the number of uncommitted records.
func (p Position) Left() (n int64) {
	for i, c := range p.Committed {
		n += max(p.Log[i].End-max(c.Offset, p.Log[i].Start), 0)
	}
	return n
}

// Ingested returns the progress of ingest in the raw topic.
func (s *Stack) Ingested(ctx context.Context) (p Position, err error) {
	p.Committed, p.Log, err = s.progress(ctx, s.Config.Stream.Group("ingest"), s.Config.Stream.Topic("events"))
	return p, err
}

// Detected returns the progress of detect in the facet topic.
func (s *Stack) Detected(ctx context.Context) (p Position, err error) {
	p.Committed, p.Log, err = s.progress(ctx, s.Config.Stream.Group("detect"), s.Config.Stream.Topic("facets"))
	return p, err
}

func (s *Stack) progress(ctx context.Context, group, topic string) ([]kafka.Commit, []kafka.OffsetRange, error) {
	commits, err := s.Kafka.Committed(ctx, group, topic)
	if err != nil {
		return nil, nil, err
	}
	ends, err := s.Kafka.Offsets(ctx, topic)
	if err == nil && len(ends) != len(commits) {
		err = fmt.Errorf("%s has %d partitions, %s knows %d", topic, len(ends), group, len(commits))
	}
	return commits, ends, err
}

// Settle waits until everything that was sent is through both stages.
func (s *Stack) Settle(ctx context.Context, longest time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	stream := s.Config.Stream
	if err := s.reach(ctx, stream.Group("ingest"), stream.Topic("events")); err != nil {
		return fmt.Errorf("ingest is not through: %w", err)
	}
	if err := s.reach(ctx, stream.Group("controls"), stream.Topic("controls")); err != nil {
		return fmt.Errorf("control records are not through: %w", err)
	}
	// Twice: the loop-back frames that ingest's facets cause come after them in the
	// same topic, and cause no further ones.
	for range 2 {
		if err := s.reach(ctx, stream.Group("detect"), stream.Topic("facets")); err != nil {
			return fmt.Errorf("detect is not through: %w", err)
		}
	}
	return nil
}

// reach waits until a group has committed the present content of a topic.
func (s *Stack) reach(ctx context.Context, group, topic string) error {
	_, ends, err := s.progress(ctx, group, topic)
	if err != nil {
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		commits, _, err := s.progress(ctx, group, topic)
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
		case err := <-s.Failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("%d records of %s are left: %w", left, topic, context.Cause(ctx))
		}
	}
}

// Dead is the content of the dead-letter topic.
type Dead struct {
	Total    int64
	ByReason map[string]int64
	Examples map[string]Letter // the first of each reason
}

// Letter is an unreadable record.
type Letter struct {
	Detail string // why
	Line   []byte
}

// DeadLetters counts dead letters by reason. A record that was read again after a
// crash is in the topic twice, under the same key.
func (s *Stack) DeadLetters(ctx context.Context) (d Dead, err error) {
	topic := s.Config.Stream.Topic("dead")
	ends, err := s.Kafka.Offsets(ctx, topic)
	if err != nil {
		return d, err
	}
	d = Dead{ByReason: map[string]int64{}, Examples: map[string]Letter{}}
	seen := map[string]bool{}
	var b kafka.Batch
	for p, r := range ends {
		for at := r.Start; at < r.End; at = max(at, b.Next) {
			if err := s.Kafka.Fetch(ctx, topic, int32(p), at, &b); err != nil {
				return d, err
			}
			for i := range b.Records {
				if key := string(b.Records[i].Key); !seen[key] {
					seen[key] = true
					d.add(&b.Records[i])
				}
			}
		}
	}
	return d, nil
}

func (d *Dead) add(r *kafka.Record) {
	headers := map[string]string{}
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	reason := headers[ingest.HeaderReason]
	d.Total++
	d.ByReason[reason]++
	if _, known := d.Examples[reason]; !known {
		d.Examples[reason] = Letter{Detail: headers[ingest.HeaderDetail], Line: bytes.Clone(r.Value)}
	}
}
