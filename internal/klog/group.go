package klog

import (
	"context"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// Generation is one assignment of partitions to this member of a group.
type Generation struct {
	Assigned []int32 // ascending

	client   *Client
	group    string
	topic    string
	id       int
	memberID string
}

// Commit commits offsets with their metadata. It is refused with [ErrFenced]
// when the generation is no longer the group's.
func (g *Generation) Commit(ctx context.Context, commits []Commit) error {
	req := &kafka.OffsetCommitRequest{GroupID: g.group, GenerationID: g.id, MemberID: g.memberID, Topics: map[string][]kafka.OffsetCommit{}}
	for _, c := range commits {
		req.Topics[g.topic] = append(req.Topics[g.topic], kafka.OffsetCommit{Partition: int(c.Partition), Offset: c.Offset, Metadata: c.Metadata})
	}
	return g.client.retry(ctx, "commit of "+g.group, func() error {
		res, err := g.client.client.OffsetCommit(ctx, req)
		if err != nil {
			return err
		}
		for _, p := range res.Topics[g.topic] {
			if p.Error != nil {
				return fmt.Errorf("partition %d: %w", p.Partition, p.Error)
			}
		}
		return nil
	})
}

const joinBackoff = 500 * time.Millisecond

// Join makes the caller a member of a group that reads one topic. serve is
// called for each generation, never twice at a time; its context ends when the
// generation or ctx does, and heartbeats go on until it returns. An error of
// serve is logged, and the group is joined anew. Join returns when ctx has
// ended, serve has returned and the group has been left.
func (c *Client) Join(ctx context.Context, group, topic string, serve func(ctx context.Context, g *Generation) error) error {
	cg, err := c.consumerGroup(group, topic)
	if err != nil {
		return fmt.Errorf("join %s: %w", group, err)
	}
	defer cg.Close()
	last := ""
	for {
		gen, err := cg.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if err.Error() != last {
				c.log.Warn("waiting for the consumer group", "group", group, "error", err)
				last = err.Error()
			}
			continue // Next itself waits before it joins again
		}
		last = ""
		g := &Generation{client: c, group: group, topic: topic, id: int(gen.ID), memberID: gen.MemberID}
		for _, a := range gen.Assignments[topic] {
			g.Assigned = append(g.Assigned, int32(a.ID))
		}
		c.log.Info("partitions assigned", "group", group, "generation", gen.ID, "partitions", g.Assigned)
		if err := serveGeneration(ctx, gen, g, serve); err != nil && ctx.Err() == nil {
			c.log.Error("generation ended with an error; joining anew", "group", group, "error", err)
			pause(ctx, joinBackoff)
		}
	}
}

// serveGeneration runs serve inside the generation, and waits for it.
func serveGeneration(ctx context.Context, gen *kafka.Generation, g *Generation, serve func(context.Context, *Generation) error) error {
	done := make(chan error, 1)
	gen.Start(func(genCtx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			select {
			case <-genCtx.Done():
				cancel()
			case <-ctx.Done():
			}
		}()
		err := serve(ctx, g)
		if err == nil && ctx.Err() == nil {
			// Nothing is assigned, or nothing is left to do: returning would end
			// the generation for everybody.
			<-ctx.Done()
		}
		cancel()
		<-stop
		done <- err
	})
	return <-done
}

func (c *Client) consumerGroup(group, topic string) (*kafka.ConsumerGroup, error) {
	tlsConfig, err := c.cfg.tls()
	if err != nil {
		return nil, err
	}
	mechanism, err := c.cfg.sasl()
	if err != nil {
		return nil, err
	}
	return kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                group,
		Brokers:           c.cfg.Brokers,
		Dialer:            &kafka.Dialer{ClientID: c.cfg.ClientID, Timeout: c.cfg.DialTimeout, DualStack: true, TLS: tlsConfig, SASLMechanism: mechanism},
		Topics:            []string{topic},
		GroupBalancers:    []kafka.GroupBalancer{kafka.RangeGroupBalancer{}},
		HeartbeatInterval: c.cfg.HeartbeatInterval,
		SessionTimeout:    c.cfg.SessionTimeout,
		RebalanceTimeout:  c.cfg.RebalanceTimeout,
		JoinGroupBackoff:  joinBackoff,
		StartOffset:       kafka.FirstOffset,
	})
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
