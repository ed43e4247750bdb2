package kafka

import (
	"errors"
	"fmt"

	kafkago "github.com/segmentio/kafka-go"
)

// Versions of the fetch API that we read: 4 is the first that brokers since 4.0
// know, 11 the last that the library writes.
const (
	oldestFetch = 4
	newestFetch = 11
)

var errResponse = errors.New("the answer to a fetch does not read")

// readResponse reads the response to a fetch of one partition into b. The records
// alias frame. https://kafka.apache.org/protocol#The_Messages_Fetch
func (b *Batch) readResponse(frame []byte, version int16, partition int32) error {
	c := cursor{b: frame}
	c.skip(4) // throttle time
	if version >= 7 {
		code := kafkago.Error(c.int16())
		c.skip(4) // session
		if code != 0 {
			return code
		}
	}
	if n := c.int32(); c.bad || n != 1 {
		return fmt.Errorf("%w: it has %d topics", errResponse, n)
	}
	c.skip(int64(c.int16())) // topic
	if n := c.int32(); c.bad || n != 1 {
		return fmt.Errorf("%w: it has %d partitions", errResponse, n)
	}
	return b.readPartition(&c, version, partition)
}

func (b *Batch) readPartition(c *cursor, version int16, partition int32) error {
	got, code := c.int32(), kafkago.Error(c.int16())
	b.HighWatermark = c.int64()
	if stable := c.int64(); stable >= 0 {
		b.Held = max(0, b.HighWatermark-stable)
	}
	if version >= 5 {
		b.LogStart = c.int64()
	}
	if n := c.int32(); n > 0 {
		b.aborted.read(c, n)
	}
	if version >= 11 {
		c.skip(4) // replica to read from: we name no rack
	}
	set := c.take(max(int64(c.int32()), 0)) // −1: none
	switch {
	case c.bad:
		return fmt.Errorf("%w: it is cut off", errResponse)
	case got != partition:
		return fmt.Errorf("%w: it is about partition %d", errResponse, got)
	case code != 0:
		return code
	}
	b.set = set
	return b.decode(set)
}
