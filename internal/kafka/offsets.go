package kafka

import (
	"context"
	"errors"
	"fmt"

	kafkago "github.com/segmentio/kafka-go"
)

// Offsets returns the offset range of each partition of topic, by partition, open
// transactions included.
func (c *Client) Offsets(ctx context.Context, topic string) ([]OffsetRange, error) {
	n, err := c.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	ranges := make([]OffsetRange, n)
	for p := range ranges {
		// Partitions are asked one by one. The library sends a request per
		// partition and end in any case, and would open a connection for each
		// concurrent one.
		if ranges[p].Start, err = c.offset(ctx, topic, p, kafkago.FirstOffset, kafkago.ReadUncommitted); err != nil {
			return nil, err
		}
		if ranges[p].End, err = c.offset(ctx, topic, p, kafkago.LastOffset, kafkago.ReadUncommitted); err != nil {
			return nil, err
		}
	}
	return ranges, nil
}

// offset asks for one end of a partition. The last committed offset is where an
// open transaction begins.
func (c *Client) offset(ctx context.Context, topic string, partition int, which int64, level kafkago.IsolationLevel) (offset int64, err error) {
	err = c.ask(ctx, "list offsets of", fmt.Sprintf("%s/%d", topic, partition), func(ctx context.Context) error {
		res, err := c.admin.ListOffsets(ctx, &kafkago.ListOffsetsRequest{
			Topics: map[string][]kafkago.OffsetRequest{topic: {{Partition: partition, Timestamp: which}}}, IsolationLevel: level,
		})
		if err != nil {
			return err
		}
		if got := res.Topics[topic]; len(got) != 1 || got[0].Partition != partition {
			return kafkago.UnknownTopicOrPartition
		}
		p := res.Topics[topic][0]
		if offset = p.FirstOffset; which == kafkago.LastOffset {
			offset = p.LastOffset
		}
		return p.Error
	})
	return offset, err
}

// Committed returns a group's commit for each partition of topic, by partition;
// offset −1 if there is none.
func (c *Client) Committed(ctx context.Context, group, topic string) ([]Commit, error) {
	n, err := c.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	partitions := make([]int, n)
	for i := range partitions {
		partitions[i] = i
	}
	commits := make([]Commit, n)
	err = c.ask(ctx, "read commits of group", group, func(ctx context.Context) error {
		res, err := c.admin.OffsetFetch(ctx, &kafkago.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: partitions}})
		if err != nil {
			return err
		}
		if errors.Is(res.Error, kafkago.GroupIdNotFound) { // nobody has joined it so far
			for i := range commits {
				commits[i] = Commit{Partition: int32(i), Offset: -1}
			}
			return nil
		}
		if res.Error != nil {
			return res.Error
		}
		return readCommits(commits, res.Topics[topic])
	})
	if err != nil {
		return nil, err
	}
	return commits, nil
}

func readCommits(commits []Commit, from []kafkago.OffsetFetchPartition) error {
	for i := range commits {
		commits[i] = Commit{Partition: int32(i), Offset: -1}
	}
	if len(from) != len(commits) {
		return fmt.Errorf("%d partitions answered, not %d", len(from), len(commits))
	}
	for _, p := range from {
		if p.Error != nil {
			return fmt.Errorf("partition %d: %w", p.Partition, p.Error)
		}
		if p.Partition < 0 || p.Partition >= len(commits) {
			return fmt.Errorf("partition %d answered, which was not asked for", p.Partition)
		}
		commits[p.Partition] = Commit{Partition: int32(p.Partition), Offset: p.CommittedOffset, Metadata: p.Metadata}
	}
	return nil
}
