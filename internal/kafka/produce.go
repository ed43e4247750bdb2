package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
)

// Produce writes to partitions of topic, and returns when every record is
// acknowledged by all in-sync replicas. Records of one partition are written in
// order. A failed batch is sent again, unchanged, until ctx ends. After
// [ErrTooLarge], [ErrUnknownTopic] and [ErrDenied], some of the records may have
// been written, others not.
//
// A record may be written twice, because a lost reply says nothing about the
// outcome. Order and absence of gaps hold as long as the caller has one Produce to
// a partition in progress, and gives the partition up when it fails.
func (c *Client) Produce(ctx context.Context, topic string, ps []Produce) error {
	pending := make([]*outbox, 0, len(ps))
	for _, p := range ps {
		if len(p.Records) > 0 {
			pending = append(pending, &outbox{partition: p.Partition, records: p.Records})
		}
	}
	t := c.newTries("produce", topic)
	for len(pending) > 0 {
		err := c.produceRound(ctx, topic, pending)
		if err == nil {
			t.succeeded()
		} else if err := t.failed(ctx, err); err != nil {
			return fmt.Errorf("produce to %s: %w", topic, err)
		}
		pending = unsent(pending)
	}
	return nil
}

// outbox holds the unwritten records of one partition.
type outbox struct {
	partition int32
	records   []Outgoing
	batch     int // how many of records are in the current request
	err       error
}

func unsent(all []*outbox) []*outbox {
	left := all[:0]
	for _, o := range all {
		if len(o.records) > 0 {
			left = append(left, o)
		}
	}
	return left
}

// take chooses the records of the next batch: at least one, and no more bytes than
// limit, so that no batch is refused for a size that splitting would fix.
func (o *outbox) take(limit int) []Outgoing {
	o.batch = 0
	for size := 0; o.batch < len(o.records); o.batch++ {
		if size += o.records[o.batch].size(); size > limit && o.batch > 0 {
			break
		}
	}
	return o.records[:o.batch]
}

// produceRound sends one batch for every pending partition, in one request per
// leader, and removes acknowledged records from the outboxes.
func (c *Client) produceRound(ctx context.Context, topic string, pending []*outbox) error {
	leaders, err := c.leaders(ctx, topic)
	if err != nil {
		return err
	}
	byLeader := map[int32][]*outbox{}
	var missing error
	for _, o := range pending {
		if int(o.partition) >= len(leaders) || o.partition < 0 {
			missing = protocol.NewErrNoPartition(topic, o.partition)
			continue
		}
		l := leaders[o.partition]
		if l < 0 {
			missing = protocol.NewErrNoLeader(topic, o.partition)
			continue
		}
		byLeader[l] = append(byLeader[l], o)
	}
	if len(byLeader) == 1 && missing == nil {
		for _, group := range byLeader {
			return c.produceTo(ctx, topic, group)
		}
	}
	return errors.Join(missing, c.produceToEach(ctx, topic, byLeader))
}

func (c *Client) produceToEach(ctx context.Context, topic string, byLeader map[int32][]*outbox) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for _, group := range byLeader {
		wg.Go(func() {
			if err := c.produceTo(ctx, topic, group); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return worst(errs)
}

// worst picks the error that decides: a permanent one before a passing one.
func worst(errs []error) (w error) {
	var at outlook
	for _, err := range errs {
		if o, _ := classify(err); w == nil || o > at {
			w, at = err, o
		}
	}
	return w
}

// produceTo sends one request with a batch for each partition of group; all have
// the same leader.
func (c *Client) produceTo(ctx context.Context, topic string, group []*outbox) error {
	partitions := make([]produce.RequestPartition, len(group))
	for i, o := range group {
		o.err = errUnanswered
		partitions[i] = produce.RequestPartition{Partition: o.partition, RecordSet: protocol.RecordSet{
			Version: 2, Attributes: protocol.Attributes(c.cfg.codec()), Records: newOutgoingReader(o.take(c.cfg.BatchBytes)),
		}}
	}
	asked := c.now()
	m, err := c.roundTrip(ctx, &produce.Request{
		Acks: int16(kafkago.RequireAll), Timeout: int32(c.cfg.RequestTimeout.Milliseconds() / 2),
		Topics: []produce.RequestTopic{{Topic: topic, Partitions: partitions}},
	})
	if err != nil {
		return err
	}
	res := m.(*produce.Response)
	c.compare(asked, c.now(), res)
	return settle(group, res)
}

var errUnanswered = errors.New("the broker's answer leaves the partition out")

// settle removes acknowledged records, and returns the error that decides for the
// rest.
func settle(group []*outbox, res *produce.Response) error {
	for _, t := range res.Topics {
		for i := range t.Partitions {
			for _, o := range group {
				if o.partition == t.Partitions[i].Partition {
					o.err = verdict(&t.Partitions[i])
				}
			}
		}
	}
	var errs []error
	for _, o := range group {
		if o.err != nil {
			errs = append(errs, fmt.Errorf("partition %d: %w", o.partition, o.err))
			continue
		}
		o.records = o.records[o.batch:]
	}
	return worst(errs)
}

func verdict(p *produce.ResponsePartition) error {
	switch {
	case p.ErrorCode == 0:
		return nil
	case p.ErrorMessage != "":
		return fmt.Errorf("%w: %s", kafkago.Error(p.ErrorCode), p.ErrorMessage)
	}
	return kafkago.Error(p.ErrorCode)
}
