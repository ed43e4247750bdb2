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

	m *member
}

// Commit stores positions of partitions of this generation, with metadata. It
// tries on until ctx ends, but fails with [ErrFenced] once the partitions belong
// to somebody else: then nothing was stored. While the group rebalances, commits
// are still taken.
func (g *Generation) Commit(ctx context.Context, commits []Commit) error {
	if len(commits) == 0 {
		return nil
	}
	list := make([]kafka.OffsetCommit, len(commits))
	for i, c := range commits {
		if !slices.Contains(g.Assigned, c.Partition) {
			return fmt.Errorf("commit partition %d of %s: %w", c.Partition, g.m.topic, ErrFenced)
		}
		list[i] = kafka.OffsetCommit{Partition: int(c.Partition), Offset: c.Offset, Metadata: c.Metadata}
	}
	return g.m.c.ask(ctx, "commit for group", g.m.group, func(ctx context.Context) error { return g.commit(ctx, list) })
}

func (g *Generation) commit(ctx context.Context, commits []kafka.OffsetCommit) error {
	res, err := g.m.c.admin.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID: g.m.group, GenerationID: int(g.ID), MemberID: g.MemberID,
		Topics: map[string][]kafka.OffsetCommit{g.m.topic: commits},
	})
	if err != nil {
		return err
	}
	answered := res.Topics[g.m.topic]
	if len(answered) != len(commits) {
		return fmt.Errorf("%d partitions answered, not %d", len(answered), len(commits))
	}
	var errs []error
	for _, p := range answered {
		if p.Error != nil {
			errs = append(errs, fmt.Errorf("partition %d: %w", p.Partition, p.Error))
		}
	}
	return worst(errs)
}
