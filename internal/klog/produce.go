package klog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
)

// Outgoing is a record to append.
type Outgoing struct {
	Key, Value []byte
	Headers    []Header
}

// Produce is what to append to one partition, in order.
type Produce struct {
	Partition int32
	Records   []Outgoing
}

// Produce appends to several partitions of a topic, one request per broker, and
// returns when all in-sync replicas have everything. Partitions that fail are
// tried again with the same records until ctx ends, so a record may be in the
// log twice, but never is one skipped or overtaken. [ErrTooLarge] is not
// retried.
func (c *Client) Produce(ctx context.Context, topic string, ps []Produce) error {
	if len(ps) == 0 {
		return nil
	}
	left := ps
	return c.retry(ctx, "produce to "+topic, func() (err error) {
		left, err = c.produceOnce(ctx, topic, left)
		return err
	})
}

// produceOnce sends what is left and returns what still is, with the reason.
func (c *Client) produceOnce(ctx context.Context, topic string, ps []Produce) (left []Produce, err error) {
	leaders, err := c.leaders(ctx, topic)
	if err != nil {
		return ps, err
	}
	byLeader := map[int][]Produce{}
	for _, p := range ps {
		leader, ok := leaders[p.Partition]
		if !ok {
			return ps, fmt.Errorf("%s has no partition %d", topic, p.Partition)
		}
		byLeader[leader] = append(byLeader[leader], p)
	}
	for _, group := range byLeader {
		failed, e := c.produceTo(ctx, topic, group)
		left, err = append(left, failed...), errors.Join(err, e)
	}
	return left, err
}

// leaders maps partitions to the ids of their leaders, from the metadata that
// the transport caches.
func (c *Client) leaders(ctx context.Context, topic string) (map[int32]int, error) {
	res, err := c.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return nil, err
	}
	leaders := map[int32]int{}
	for _, t := range res.Topics {
		if t.Name != topic {
			continue
		}
		if t.Error != nil {
			return nil, t.Error
		}
		for _, p := range t.Partitions {
			leaders[int32(p.ID)] = p.Leader.ID
		}
	}
	return leaders, nil
}

// produceTo sends one request to the leader of all of ps.
func (c *Client) produceTo(ctx context.Context, topic string, ps []Produce) (left []Produce, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req := &produce.Request{Acks: int16(kafka.RequireAll), Timeout: int32(c.cfg.Timeout.Milliseconds()), Topics: []produce.RequestTopic{{Topic: topic}}}
	now := time.Now()
	for _, p := range ps {
		set := protocol.RecordSet{Records: protocol.NewRecordReader(records(p.Records, now)...)}
		if c.codec != 0 {
			set.Attributes = protocol.Attributes(c.codec)
		}
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, produce.RequestPartition{Partition: p.Partition, RecordSet: set})
	}
	m, err := c.transport.RoundTrip(ctx, c.client.Addr, req)
	if err != nil {
		return ps, err
	}
	return refusedPartitions(ps, m.(*produce.Response))
}

func records(out []Outgoing, now time.Time) []protocol.Record {
	rs := make([]protocol.Record, len(out))
	for i, o := range out {
		rs[i] = protocol.Record{Time: now, Key: protocol.NewBytes(o.Key), Value: protocol.NewBytes(o.Value)}
		for _, h := range o.Headers {
			rs[i].Headers = append(rs[i].Headers, protocol.Header{Key: h.Key, Value: h.Value})
		}
	}
	return rs
}

// refusedPartitions picks what the broker did not acknowledge.
func refusedPartitions(ps []Produce, res *produce.Response) (left []Produce, err error) {
	code := map[int32]int16{}
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			code[p.Partition] = p.ErrorCode
		}
	}
	for _, p := range ps {
		e, answered := code[p.Partition]
		switch {
		case !answered:
			left, err = append(left, p), errors.Join(err, fmt.Errorf("partition %d: no answer", p.Partition))
		case e != 0:
			left, err = append(left, p), errors.Join(err, fmt.Errorf("partition %d: %w", p.Partition, kafka.Error(e)))
		}
	}
	return left, err
}
