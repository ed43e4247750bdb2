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

// NewLease makes one whose commits go to a function: for fakes of a log.
func NewLease(partition int32, commit func(ctx context.Context, offset int64, metadata string) error) *Lease {
	return &Lease{Partition: partition, commit: commit}
}

// Commit stores the position, with metadata. It tries on until ctx ends, but
// fails with [ErrFenced] once the partition may belong to somebody else: what is
// stored then was stored before it did. While the group rebalances, commits are
// still taken.
func (l *Lease) Commit(ctx context.Context, offset int64, metadata string) error {
	return l.commit(ctx, offset, metadata)
}

// leftAlone is how long a partition that stopped is not tried again.
const leftAlone = 5 * time.Minute

// LeaveAlone waits with a partition that stopped rather than lose something: until
// the lease ends, as ctx says, or for five minutes. Whatever stopped it may be
// mended by then, and nobody else would fare better meanwhile.
func LeaveAlone(ctx context.Context) {
	retry.Sleep(ctx, leftAlone)
}

// commit is the Lease's: a request to the group's coordinator, under the generation
// that the holding is of by then. A generation that the coordinator no longer knows
// may have been followed by one that we have not heard of yet.
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
			return err // it goes on without h
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
