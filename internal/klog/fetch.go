package klog

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// maxFetchBytes is as much as is asked for when less brings nothing.
const maxFetchBytes = 64 << 20

// Fetch reads the records of a partition from offset on into b. It returns as
// soon as there are any, and without any when nothing came within FetchWait.
// Moved leaders, lost connections and restarting brokers are waited out until
// ctx ends; [ErrOffsetOutOfRange], [ErrUnknownTopic], [ErrUnreadable] and
// [ErrDenied] come back.
func (c *Client) Fetch(ctx context.Context, topic string, partition int32, offset int64, b *Batch) error {
	b.reset(offset)
	t := c.newTries("fetch", fmt.Sprintf("%s/%d", topic, partition))
	size := c.cfg.FetchBytes
	for {
		err := c.fetchOnce(ctx, topic, partition, size, b)
		if err == nil && b.Next < b.HighWatermark && len(b.Records) == 0 {
			if size < maxFetchBytes {
				size = min(2*size, maxFetchBytes)
				continue
			}
			err = fmt.Errorf("%w: %w: offset %d, log end %d, %d bytes asked for", ErrUnreadable, ErrNoProgress, b.Next, b.HighWatermark, size)
		}
		if err == nil {
			t.succeeded()
			return nil
		}
		if err := t.failed(ctx, err); err != nil {
			return fmt.Errorf("fetch %s/%d at %d: %w", topic, partition, offset, err)
		}
	}
}

func (c *Client) fetchOnce(ctx context.Context, topic string, partition int32, size int, b *Batch) error {
	if c.closed.Load() {
		return ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.FetchWait+c.cfg.RequestTimeout)
	defer cancel()
	b.reset(b.Next)
	b.Asked = c.now()
	res, err := c.admin.Fetch(ctx, &kafka.FetchRequest{
		Topic: topic, Partition: int(partition), Offset: b.Next, MinBytes: 1, MaxBytes: int64(size), MaxWait: c.cfg.FetchWait,
	})
	if err != nil {
		return err
	}
	if res.Error != nil {
		return res.Error
	}
	b.HighWatermark, b.LogStart = res.HighWatermark, res.LogStartOffset
	return b.read(res.Records)
}

// read takes the records at or above Next; a broker sends whole batches, which
// may begin below.
func (b *Batch) read(records kafka.RecordReader) error {
	stream, ok := records.(*protocol.RecordStream)
	if !ok {
		return b.readBatch(records, false)
	}
	for _, r := range stream.Records {
		_, control := r.(*protocol.ControlBatch)
		if err := b.readBatch(r, control); err != nil {
			return err
		}
	}
	return nil
}

func (b *Batch) readBatch(records kafka.RecordReader, control bool) error {
	for {
		r, err := records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.Offset < b.Next {
			continue
		}
		if !control {
			if err := b.add(r); err != nil {
				return err
			}
		}
		b.Next = r.Offset + 1
	}
}
