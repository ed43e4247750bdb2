package kafka

import (
	"context"
	"fmt"
	"strconv"
)

// maxFetchBytes is the size of a fetch when a smaller one returns nothing.
const maxFetchBytes = 64 << 20

// Fetch reads the committed records of a partition from offset on into b. It
// returns as soon as there are any, and without any if nothing came within
// FetchWait. Records of a transaction come when the transaction has ended, and
// never if it was aborted; until then, nothing after the transaction's beginning
// comes. Fetch waits through moved leaders, lost connections and restarting brokers
// until ctx ends. It returns [ErrOffsetOutOfRange], [ErrUnknownTopic],
// [ErrUnreadable] and [ErrDenied]. b.Next is the next offset to fetch.
func (c *Client) Fetch(ctx context.Context, topic string, partition int32, offset int64, b *Batch) error {
	b.reset(offset)
	t := c.newTries("fetch", topic+"/"+strconv.Itoa(int(partition)))
	size := c.cfg.FetchBytes
	for {
		from := b.Next
		err := c.fetchOnce(ctx, topic, partition, size, b)
		if err == nil && len(b.Records) == 0 && b.Next < b.Readable() {
			if b.Next > from {
				continue // markers, or records that compaction removed
			}
			if size < maxFetchBytes {
				size = min(2*size, maxFetchBytes)
				continue
			}
			err = fmt.Errorf("%w: %w: the log ends at %d, and %d bytes were asked for", ErrUnreadable, ErrNoProgress, b.Readable(), size)
		}
		if err == nil {
			t.succeeded()
			return nil
		}
		if err := t.failed(ctx, err); err != nil {
			return fmt.Errorf("fetch %s/%d at %d: %w", topic, partition, b.Next, err)
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
	return c.fetcher.fetch(ctx, topic, partition, size, b)
}
