package klog

import (
	"io"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Record is a record as it was read.
type Record struct {
	Offset  int64
	Time    int64 // Unix ms: the producer's, even where the topic keeps the broker's
	Key     []byte
	Value   []byte // nil where the record has none
	Headers []Header
}

// Batch is what a fetch brought. It owns the bytes of its records, and reuses
// them: they are valid until the next fetch into it.
type Batch struct {
	Records       []Record
	HighWatermark int64     // offset behind the last record of the partition
	LogStart      int64     // offset of the first record that is still there
	Next          int64     // offset to ask for next; behind transaction markers, which are no records
	Asked         time.Time // when the fetch was sent: what lies at or above HighWatermark was appended later

	arena   []byte
	headers []Header
}

func (b *Batch) reset(offset int64) {
	clear(b.Records)
	clear(b.headers)
	*b = Batch{Records: b.Records[:0], headers: b.headers[:0], arena: b.arena[:0], Next: offset}
}

// add copies r.
func (b *Batch) add(r *protocol.Record) error {
	key, err := b.copy(r.Key)
	if err != nil {
		return err
	}
	value, err := b.copy(r.Value)
	if err != nil {
		return err
	}
	first := len(b.headers)
	for _, h := range r.Headers {
		b.headers = append(b.headers, Header(h))
	}
	b.Records = append(b.Records, Record{
		Offset: r.Offset, Time: r.Time.UnixMilli(), Key: key, Value: value, Headers: b.headers[first:len(b.headers):len(b.headers)],
	})
	return nil
}

// copy appends to the arena. A full one is left to the records that are in it,
// and a larger one is begun.
func (b *Batch) copy(from protocol.Bytes) ([]byte, error) {
	if from == nil {
		return nil, nil
	}
	defer from.Close()
	n := from.Len()
	if len(b.arena)+n > cap(b.arena) {
		b.arena = make([]byte, 0, max(n, 2*cap(b.arena), 64<<10))
	}
	at := len(b.arena)
	b.arena = b.arena[:at+n]
	to := b.arena[at : at+n : at+n]
	_, err := io.ReadFull(from, to)
	return to, err
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

// TopicSpec is how a topic is to be made.
type TopicSpec struct {
	Name        string
	Partitions  int
	Replication int
	Config      map[string]string // such as "retention.ms": "-1"
}

func (s TopicSpec) entries() []kafka.ConfigEntry {
	list := make([]kafka.ConfigEntry, 0, len(s.Config))
	for k, v := range s.Config {
		list = append(list, kafka.ConfigEntry{ConfigName: k, ConfigValue: v})
	}
	return list
}
