package chaos

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/weirdev/weir/app/stack"
	"github.com/weirdev/weir/internal/kafka"
)

// sender produces the load like gateways: in order, with retries until it is
// acknowledged.
type sender struct {
	stack      *stack.Stack
	start      int64
	generators []*generator
	tried      []int64 // records of each partition passed to Kafka
	acked      []int64 // acknowledged ones among these
	total      atomic.Int64

	orders      *orders
	ordersAcked int64
}

func newSender(p plan, s *stack.Stack) *sender {
	all := &sender{stack: s, start: p.Start, orders: p.orders(), tried: make([]int64, p.Partitions), acked: make([]int64, p.Partitions)}
	for i := range p.Partitions {
		all.generators = append(all.generators, p.generator(i))
	}
	return all
}

func (s *sender) acknowledged() int64 { return s.total.Load() }

const (
	sendEvery = 50 * time.Millisecond
	sendTime  = time.Minute // maximum time for the broker to return
)

// run sends due records until ctx ends.
func (s *sender) run(ctx context.Context) error {
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			if err := s.send(context.WithoutCancel(ctx), now.UnixMilli()); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *sender) send(ctx context.Context, until int64) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	var batch []kafka.Produce
	total := int64(0)
	for p, g := range s.generators {
		var records []kafka.Outgoing
		g.until(until, func(r record) { records = append(records, kafka.Outgoing{Key: r.key, Value: r.value}) })
		if len(records) > 0 {
			batch = append(batch, kafka.Produce{Partition: int32(p), Records: records})
			s.tried[p] += int64(len(records))
			total += int64(len(records))
		}
	}
	if len(batch) == 0 {
		return nil
	}
	if err := s.stack.Kafka.Produce(ctx, s.stack.Config.Stream.Topic("events"), batch); err != nil {
		return fmt.Errorf("send the load: %w", err)
	}
	copy(s.acked, s.tried)
	s.total.Add(total)
	return s.sendOrders(ctx, until)
}

// sendOrders sends the control records that are due.
func (s *sender) sendOrders(ctx context.Context, until int64) error {
	var records []kafka.Outgoing
	s.orders.until(until, func(o kafka.Outgoing) { records = append(records, o) })
	if len(records) == 0 {
		return nil
	}
	if err := s.stack.Kafka.Produce(ctx, s.stack.Config.Stream.Topic("controls"), []kafka.Produce{{Records: records}}); err != nil {
		return fmt.Errorf("send control records: %w", err)
	}
	s.ordersAcked += int64(len(records))
	return nil
}
