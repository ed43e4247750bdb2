package klog

import (
	"context"
	"fmt"
	"slices"

	"github.com/segmentio/kafka-go"
)

// Generation is one sharing-out of a topic's partitions among a group's members.
type Generation struct {
	ID       int32
	MemberID string
	Assigned []int32 // partitions of this member, ascending; may be none

	commit func(ctx context.Context, commits []Commit) error
}

// NewGeneration makes one whose commits go to a function: for fakes of a log.
func NewGeneration(assigned []int32, commit func(ctx context.Context, commits []Commit) error) *Generation {
	return &Generation{Assigned: assigned, commit: commit}
}

// Commit stores positions of partitions of this generation, with metadata. It
// tries on until ctx ends, but fails with [ErrFenced] once the partitions belong
// to somebody else: then nothing was stored. While the group rebalances, commits
// are still taken.
func (g *Generation) Commit(ctx context.Context, commits []Commit) error {
	if len(commits) == 0 {
		return nil
	}
	for _, c := range commits {
		if !slices.Contains(g.Assigned, c.Partition) {
			return fmt.Errorf("commit partition %d, which is not assigned: %w", c.Partition, ErrFenced)
		}
	}
	return g.commit(ctx, commits)
}

// committer is the Generation's commit: a request to the group's coordinator.
func (m *member) committer(g *Generation) func(ctx context.Context, commits []Commit) error {
	return func(ctx context.Context, commits []Commit) error {
		list := make([]kafka.OffsetCommit, len(commits))
		for i, c := range commits {
			list[i] = kafka.OffsetCommit{Partition: int(c.Partition), Offset: c.Offset, Metadata: c.Metadata}
		}
		req := &kafka.OffsetCommitRequest{
			GroupID: m.group, GenerationID: int(g.ID), MemberID: g.MemberID, Topics: map[string][]kafka.OffsetCommit{m.topic: list},
		}
		return m.c.ask(ctx, "commit for group", m.group, func(ctx context.Context) error {
			res, err := m.c.admin.OffsetCommit(ctx, req)
			if err != nil {
				return err
			}
			return committed(res.Topics[m.topic], len(commits))
		})
	}
}

func committed(answered []kafka.OffsetCommitPartition, asked int) error {
	if len(answered) != asked {
		return fmt.Errorf("%d partitions answered, not %d", len(answered), asked)
	}
	var errs []error
	for _, p := range answered {
		if p.Error != nil {
			errs = append(errs, fmt.Errorf("partition %d: %w", p.Partition, p.Error))
		}
	}
	return worst(errs)
}
