package klog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Record is one record of a log. Its bytes belong to the [Batch].
type Record struct {
	Offset     int64
	Time       int64 // Unix ms, as the producer or the broker set it
	Key, Value []byte
	Headers    []Header
}

// Header is a record's header.
type Header struct {
	Key   string
	Value []byte
}

// Batch receives what a fetch returned. It is reused: its records are valid
// until the next fetch into it.
type Batch struct {
	Records       []Record
	HighWatermark int64 // end of the log when the fetch was answered

	arena []byte
	spans []span
	max   int64 // bytes asked for
}

// span is where a record's key and value lie in the arena, which may still move.
type span struct{ key, value, end int }

const (
	fetchBytes    = 1 << 20
	fetchBytesMax = 64 << 20
	fetchWait     = 250 * time.Millisecond
)

// Fetch reads records of a partition from offset on. It waits up to 250 ms for
// some, and returns an empty batch if there are none. Faults that pass are
// retried until ctx ends; [ErrOffsetOutOfRange] and [ErrUnreadable] are not.
func (c *Client) Fetch(ctx context.Context, topic string, partition int32, offset int64, b *Batch) error {
	b.max = max(b.max, fetchBytes)
	return c.retry(ctx, fmt.Sprintf("fetch %s/%d", topic, partition), func() error {
		for {
			again, err := c.fetchOnce(ctx, topic, partition, offset, b)
			if err != nil || !again {
				return err
			}
		}
	})
}

// fetchOnce sends one request. again says that there are records, but none fit
// into the size that was asked for, which has been doubled.
func (c *Client) fetchOnce(ctx context.Context, topic string, partition int32, offset int64, b *Batch) (again bool, err error) {
	// kafka-go has panicked on what brokers sent; that must not take the worker
	// down with it.
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: offset %d: %v", ErrUnreadable, offset, v)
		}
	}()
	b.Records, b.spans, b.arena = b.Records[:0], b.spans[:0], b.arena[:0]
	res, err := c.client.Fetch(ctx, &kafka.FetchRequest{
		Topic: topic, Partition: int(partition), Offset: offset, MinBytes: 1, MaxBytes: b.max, MaxWait: fetchWait,
	})
	if err != nil {
		return false, err
	}
	defer closeRecords(res.Records)
	if res.Error != nil {
		return false, res.Error
	}
	b.HighWatermark = res.HighWatermark
	err = b.read(res.Records, offset)
	if len(b.Records) > 0 {
		b.max = fetchBytes
		return false, nil // what could not be read comes first in the next fetch
	}
	switch {
	case errors.Is(err, errInflated):
		return false, fmt.Errorf("%w: offset %d: %w", ErrUnreadable, offset, err)
	case err != nil:
		return false, err
	case res.HighWatermark <= offset:
		return false, nil
	case b.max >= fetchBytesMax:
		return false, fmt.Errorf("%w: no record at or after offset %d, though the log ends at %d", ErrUnreadable, offset, res.HighWatermark)
	}
	b.max *= 2
	return true, nil
}

// read copies the records at or after offset into the arena.
func (b *Batch) read(records protocol.RecordReader, offset int64) error {
	defer b.settle()
	for {
		r, err := records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read records: %w", err)
		}
		if r.Offset >= offset {
			err = b.keep(r)
		}
		closeBytes(r.Key)
		closeBytes(r.Value)
		if err != nil {
			return fmt.Errorf("read record %d: %w", r.Offset, err)
		}
	}
}

func (b *Batch) keep(r *protocol.Record) error {
	s := span{key: len(b.arena)}
	if err := b.append(r.Key); err != nil {
		return err
	}
	s.value = len(b.arena)
	if err := b.append(r.Value); err != nil {
		return err
	}
	s.end = len(b.arena)
	out := Record{Offset: r.Offset, Time: r.Time.UnixMilli()}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, Header{Key: h.Key, Value: h.Value})
	}
	b.spans = append(b.spans, s)
	b.Records = append(b.Records, out)
	return nil
}

func (b *Batch) append(from protocol.Bytes) error {
	if from == nil {
		return nil
	}
	start, n := len(b.arena), from.Len()
	if cap(b.arena)-start < n {
		grown := make([]byte, start, 2*cap(b.arena)+n)
		copy(grown, b.arena)
		b.arena = grown
	}
	b.arena = b.arena[:start+n]
	_, err := io.ReadFull(from, b.arena[start:])
	if err != nil {
		b.arena = b.arena[:start]
	}
	return err
}

// settle points the records at the arena, which moves no more.
func (b *Batch) settle() {
	for i, s := range b.spans {
		b.Records[i].Key = b.arena[s.key:s.value:s.value]
		b.Records[i].Value = b.arena[s.value:s.end:s.end]
	}
}

func closeBytes(b protocol.Bytes) {
	if b != nil {
		_ = b.Close() // releases a buffer; nothing can be lost
	}
}

func closeRecords(r protocol.RecordReader) {
	if c, ok := r.(io.Closer); ok {
		_ = c.Close() // as above
	}
}
