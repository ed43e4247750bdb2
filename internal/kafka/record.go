package kafka

import (
	"bytes"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Record is a record from the log.
type Record struct {
	Offset   int64
	Time     int64 // Unix ms: the append time if the topic keeps it; else the producer's time
	Appended bool  // Time is the append time, by the broker's clock
	Key      []byte
	Value    []byte // nil if the record has none
	Headers  []Header
}

// Batch is the result of a fetch. It owns the bytes of its records, and reuses
// them: they are valid until the next fetch into it.
type Batch struct {
	Records       []Record
	HighWatermark int64     // offset after the last record of the partition
	Held          int64     // number of last records that are withheld: in an open transaction, or after its start
	LogStart      int64     // offset of the first record that still exists
	Next          int64     // next offset to fetch; after transaction markers and aborted records, which are not returned
	Asked         time.Time // when the fetch was sent: records at or above HighWatermark were appended later

	frame    []byte // the response
	set      []byte // the batches in it
	arena    []byte // what was decompressed last
	inflated int    // total bytes decompressed
	source   bytes.Reader
	headers  []Header
	names    map[string]string // of headers
	aborted  aborted
}

// Readable returns the offset after the last record that can be read now.
func (b *Batch) Readable() int64 { return b.HighWatermark - b.Held }

// ReadUpTo returns the time up to which a partition was read, for a reader that goes
// on at next: if that is the end, when the end was asked for; otherwise the time of
// the last record. It reports false if the batch has no record that tells.
func (b *Batch) ReadUpTo(next int64) (time.Time, bool) {
	switch {
	case next >= b.HighWatermark:
		return b.Asked, true
	case len(b.Records) > 0:
		return time.UnixMilli(b.Records[len(b.Records)-1].Time), true
	}
	return time.Time{}, false
}

func (b *Batch) reset(offset int64) {
	b.Records, b.headers, b.inflated = b.Records[:0], b.headers[:0], 0
	b.frame, b.arena, b.set = shrunk(b.frame), shrunk(b.arena), nil
	b.HighWatermark, b.Held, b.LogStart, b.Next, b.Asked = 0, 0, 0, offset, time.Time{}
	b.aborted.reset()
}

// Outgoing is a record to be written. Nil and empty keys differ, as in Kafka.
type Outgoing struct {
	Key, Value []byte
	Headers    []Header
}

func (o *Outgoing) size() int {
	n := len(o.Key) + len(o.Value) + recordOverhead
	for _, h := range o.Headers {
		n += len(h.Key) + len(h.Value) + headerOverhead
	}
	return n
}

// The most bytes that framing adds to a record, and to one of its headers.
const (
	recordOverhead = 32
	headerOverhead = 10
)

// Produce holds the records to write to one partition, in order.
type Produce struct {
	Partition int32
	Records   []Outgoing
}

// OffsetRange is the content of a partition: Start ≤ offset < End.
type OffsetRange struct{ Start, End int64 }

// Commit is a group's position in a partition: the offset of the next record to
// read, and its owner's metadata.
type Commit struct {
	Partition int32
	Offset    int64 // −1: none
	Metadata  string
}

// TopicSpec describes a topic. Replication is that of the partition with the fewest
// replicas.
type TopicSpec struct {
	Name        string
	Partitions  int
	Replication int
	Config      map[string]string // such as "retention.ms": "-1"
}

func (s TopicSpec) entries() []kafkago.ConfigEntry {
	list := make([]kafkago.ConfigEntry, 0, len(s.Config))
	for k, v := range s.Config {
		list = append(list, kafkago.ConfigEntry{ConfigName: k, ConfigValue: v})
	}
	return list
}
