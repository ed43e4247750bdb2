package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	kafkago "github.com/segmentio/kafka-go"
)

// NextReadable finds where the log continues after unreadable records at offset,
// which [Client.Fetch] reports as [ErrUnreadable]. It returns the offset after that
// batch, so that offset < next ≤ the end of what is committed; or offset itself, if
// it has become readable and nothing should be skipped. The records at next may be
// unreadable, too; the next Fetch will show that.
//
// If the batch's header is intact, or the batch after it is visible, that gives
// next. Otherwise it searches from further and further on, and next is the first
// offset whose response differs. It decides nothing: the caller decides whether to
// declare what lies between as lost.
func (c *Client) NextReadable(ctx context.Context, topic string, partition int32, offset int64) (next int64, err error) {
	subject := topic + "/" + strconv.Itoa(int(partition))
	end, err := c.offset(ctx, topic, int(partition), kafkago.LastOffset, kafkago.ReadCommitted)
	if err != nil {
		return 0, err
	}
	if offset < 0 || offset >= end {
		return 0, fmt.Errorf("look behind %d of %s, which ends at %d: %w", offset, subject, end, ErrOffsetOutOfRange)
	}
	l := looker{c: c, topic: topic, subject: subject, partition: partition, offset: offset, end: end}
	next, found, err := l.behind(ctx, offset)
	if err == nil && !found {
		next, err = l.search(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("look behind %d of %s: %w", offset, subject, err)
	}
	return next, nil
}

// looker looks for the end of the unreadable batch at offset.
type looker struct {
	c              *Client
	topic, subject string
	partition      int32
	offset, end    int64
	b              Batch
}

// behind sends one request from an offset, and returns where the log continues
// after l.offset, if the response shows that.
func (l *looker) behind(ctx context.Context, from int64) (next int64, found bool, err error) {
	t := l.c.newTries("look behind", l.subject)
	for {
		l.b.reset(from)
		err := l.c.fetchOnce(ctx, l.topic, l.partition, l.c.cfg.FetchBytes, &l.b)
		outlook, named := classify(err)
		switch {
		case err == nil && l.b.Next > from:
			return from, true, nil
		case err == nil, errors.Is(named, ErrUnreadable):
			next, found = endOf(l.b.set, l.offset, l.end)
			return next, found, nil
		case outlook == never:
			return 0, false, named
		}
		if err := t.failed(ctx, err); err != nil {
			return 0, false, err
		}
	}
}

// search finds the least offset from which the response shows something after
// l.offset; the log's end if none does. Brokers return the whole batch that
// contains an offset, so what is true of one offset is true of the following ones.
func (l *looker) search(ctx context.Context) (int64, error) {
	low, high := l.offset, l.end // low shows nothing, high shows something
	for step := int64(1); low+step < l.end; step *= 2 {
		_, found, err := l.behind(ctx, low+step)
		if err != nil {
			return 0, err
		}
		if found {
			high = low + step
			break
		}
		low += step
	}
	for high-low > 1 {
		middle := low + (high-low)/2
		_, found, err := l.behind(ctx, middle)
		switch {
		case err != nil:
			return 0, err
		case found:
			high = middle
		default:
			low = middle
		}
	}
	return high, nil
}

// endOf reads from a sequence of batches where the one that contains offset ends:
// from its header if that is intact, else from the following batch. It finds
// nothing if neither works, and nothing beyond end.
func endOf(set []byte, offset, end int64) (next int64, found bool) {
	for len(set) >= batchHeader {
		base, size := int64(binary.BigEndian.Uint64(set)), int64(int32(binary.BigEndian.Uint32(set[8:])))
		if base > offset && base < end && set[16] == 2 {
			return base, true
		}
		if size < batchHeader-batchPrefix || size > int64(len(set)-batchPrefix) {
			return 0, false
		}
		h, err := readHeader(set[:batchPrefix+size])
		if err == nil && h.last >= offset && h.last < end {
			return h.last + 1, true
		}
		set = set[batchPrefix+size:]
	}
	return 0, false
}
