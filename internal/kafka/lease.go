package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weirdev/weir/internal/retry"
)

// Lease is a partition that a member of a group owns, until own has returned.
type Lease struct {
	Partition int32

	commit func(ctx context.Context, offset int64, metadata string) error
}

// NewLease creates a lease whose commits call a function, for fakes of a log.
func NewLease(partition int32, commit func(ctx context.Context, offset int64, metadata string) error) *Lease {
	return &Lease{Partition: partition, commit: commit}
}

// Commit stores the position, with metadata. It retries until ctx ends, but fails
// with [ErrFenced] once the partition may belong to another member. While the group
// rebalances, commits are still accepted.
func (l *Lease) Commit(ctx context.Context, offset int64, metadata string) error {
	return l.commit(ctx, offset, metadata)
}

// leftAlone is how long a stopped partition is not retried.
const leftAlone = 5 * time.Minute

// LeaveAlone holds a partition that stopped rather than lose data: until the lease
// ends, as ctx says, or for five minutes. The cause may be fixed by then, and
// another member would fail in the same way meanwhile.
func LeaveAlone(ctx context.Context) {
	retry.Sleep(ctx, leftAlone)
}

// commit implements [Lease.Commit]: a request to the group's coordinator, under the
// current generation of the holding. If the coordinator does not know that
// generation, a newer one may have begun that we have not heard of yet.
func (m *member) commit(ctx context.Context, h *holding, c Commit) error {
	for {
		t := m.generationOf(h)
		if t == nil {
			return fmt.Errorf("commit partition %d, which is no longer ours: %w", c.Partition, ErrFenced)
		}
		err := m.commitIn(ctx, t, c)
		if !errors.Is(err, ErrFenced) {
			return err
		}
		select {
		case <-t.over:
		case <-ctx.Done():
			return err
		}
		if m.generationOf(h) == t {
			return err // the generation goes on without h
		}
	}
}

func (m *member) commitIn(ctx context.Context, t *generation, c Commit) error {
	req := &kafkago.OffsetCommitRequest{
		GroupID: m.group, GenerationID: int(t.id), MemberID: t.member,
		Topics: map[string][]kafkago.OffsetCommit{m.topic: {{Partition: int(c.Partition), Offset: c.Offset, Metadata: c.Metadata}}},
	}
	return m.c.ask(ctx, "commit for group", m.group, func(ctx context.Context) error {
		res, err := m.c.admin.OffsetCommit(ctx, req)
		if err != nil {
			return err
		}
		answered := res.Topics[m.topic]
		if len(answered) != 1 {
			return fmt.Errorf("%d partitions answered, not 1", len(answered))
		}
		if err := answered[0].Error; err != nil {
			return fmt.Errorf("partition %d: %w", answered[0].Partition, err)
		}
		return nil
	})
}
