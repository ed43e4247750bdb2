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

// Record is a record as it was read.
type Record struct {
	Offset   int64
	Time     int64 // Unix ms: when it was appended, where the topic keeps that; else what the producer says
	Appended bool  // Time is when it was appended, by the broker's clock
	Key      []byte
	Value    []byte // nil where the record has none
	Headers  []Header
}

// Batch is what a fetch brought. It owns the bytes of its records, and reuses
// them: they are valid until the next fetch into it.
type Batch struct {
	Records       []Record
	HighWatermark int64     // offset behind the last record of the partition
	Held          int64     // so many of the last records are not given yet: of an open transaction, or behind one
	LogStart      int64     // offset of the first record that is still there
	Next          int64     // offset to ask for next; behind transaction markers and aborted records, which are not given
	Asked         time.Time // when the fetch was sent: what lies at or above HighWatermark was appended later

	frame    []byte // the answer as it came
	set      []byte // the batches in it
	arena    []byte // what was decompressed last
	inflated int    // bytes that were decompressed in all
	source   bytes.Reader
	headers  []Header
	names    map[string]string // of headers
	aborted  aborted
}

// Readable is the offset behind the last record that is given by now.
func (b *Batch) Readable() int64 { return b.HighWatermark - b.Held }

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

// Most bytes that framing adds to a record, and to one of its headers.
const (
	recordOverhead = 32
	headerOverhead = 10
)

// Produce is what is to be written to one partition, in order.
type Produce struct {
	Partition int32
	Records   []Outgoing
}

// OffsetRange is what a partition holds: Start ≤ offset < End.
type OffsetRange struct{ Start, End int64 }

// Commit is a group's position in a partition: the offset of the next record to
// read, and what its owner wanted to be told with it.
type Commit struct {
	Partition int32
	Offset    int64 // −1: none
	Metadata  string
}

// TopicSpec is how a topic is made. Replication is that of the partition that has
// the fewest replicas.
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
