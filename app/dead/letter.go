// Package dead reads the dead letters of a stream, and puts records back after the
// cause has been fixed.
//
// It never deletes a letter; retention does. A topic of its own (STREAM.replays)
// records what was put back, and when, so that nothing is put back twice by
// accident.
package dead

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
)

// Log is the part of the Kafka client that this package uses.
type Log interface {
	Offsets(ctx context.Context, topic string) ([]kafka.OffsetRange, error)
	Fetch(ctx context.Context, topic string, partition int32, offset int64, b *kafka.Batch) error
	Produce(ctx context.Context, topic string, ps []kafka.Produce) error
	CreateTopic(ctx context.Context, spec kafka.TopicSpec) error
	Describe(ctx context.Context, topic string) (kafka.TopicSpec, error)
}

// Position is a position in the dead-letter topic.
type Position struct {
	Partition int32
	Offset    int64
}

// String formats a position as partition/offset.
func (p Position) String() string { return fmt.Sprintf("%d/%d", p.Partition, p.Offset) }

// ParsePosition parses partition/offset, or an offset of partition 0.
func ParsePosition(s string) (p Position, err error) {
	partition, offset, found := strings.Cut(s, "/")
	if !found {
		partition, offset = "0", s
	}
	n, err1 := strconv.ParseInt(partition, 10, 32)
	o, err2 := strconv.ParseInt(offset, 10, 64)
	if err1 != nil || err2 != nil || n < 0 || o < 0 {
		return p, fmt.Errorf("%q is no position such as 0/17, as `weir dead list` shows them", s)
	}
	return Position{int32(n), o}, nil
}

// Letter is a dead letter: a record, or a range of offsets that could not be read.
type Letter struct {
	Position Position
	ID       string // the source's partition and offset: the same for every reading of the record
	Reason   string
	Detail   string
	Topic    string
	Source   Position
	Until    int64 // of a range: the offset after its last one; otherwise 0
	Received time.Time
	Bytes    int64 // size of the record; greater than len(Value) if it was cut
	Value    []byte
	Key      []byte // of the record
	KeyKnown bool
}

// Cut reports whether the letter holds only the beginning of its record.
func (l *Letter) Cut() bool { return l.Bytes > int64(len(l.Value)) }

// parse reads a record of the dead-letter topic. Missing parts stay empty: a search
// for the cause of one failure should not run into another.
func parse(partition int32, r *kafka.Record) Letter {
	l := Letter{Position: Position{partition, r.Offset}, ID: string(r.Key), Value: bytes.Clone(r.Value), Bytes: int64(len(r.Value)), Received: time.UnixMilli(r.Time).UTC()}
	for _, h := range r.Headers {
		n, _ := strconv.ParseInt(string(h.Value), 10, 64)
		switch h.Key {
		case ingest.HeaderReason:
			l.Reason = string(h.Value)
		case ingest.HeaderDetail:
			l.Detail = string(h.Value)
		case ingest.HeaderTopic:
			l.Topic = string(h.Value)
		case ingest.HeaderPartition:
			l.Source.Partition = int32(n)
		case ingest.HeaderOffset:
			l.Source.Offset = n
		case ingest.HeaderUntil:
			l.Until = n
		case ingest.HeaderReceived:
			l.Received = time.UnixMilli(n).UTC()
		case ingest.HeaderBytes:
			l.Bytes = n
		case ingest.HeaderKey:
			l.Key, l.KeyKnown = bytes.Clone(h.Value), true
		}
	}
	return l
}

// Filter selects letters; its zero value selects all.
type Filter struct {
	Reasons   []string
	Since     time.Time // received at this time or later
	Positions []Position
}

func (f Filter) match(l *Letter) bool {
	return (len(f.Reasons) == 0 || contains(f.Reasons, l.Reason)) && !l.Received.Before(f.Since) && (len(f.Positions) == 0 || contains(f.Positions, l.Position))
}

func contains[T comparable](list []T, v T) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}

// each calls yield for each selected letter, in order. A record that was read twice
// is one letter.
func each(ctx context.Context, log Log, topic string, f Filter, yield func(Letter) error) error {
	seen := map[string]bool{}
	return scan(ctx, log, topic, nil, func(partition int32, r *kafka.Record) error {
		l := parse(partition, r)
		if seen[l.ID] && l.ID != "" {
			return nil
		}
		seen[l.ID] = true
		if !f.match(&l) {
			return nil
		}
		return yield(l)
	})
}

// scan calls yield for each record that a topic holds now, from the given offsets
// or from the beginning.
func scan(ctx context.Context, log Log, topic string, from []int64, yield func(partition int32, r *kafka.Record) error) error {
	ranges, err := log.Offsets(ctx, topic)
	if err != nil {
		return fmt.Errorf("topic %s: %w", topic, err)
	}
	var b kafka.Batch
	for p, r := range ranges {
		at := r.Start
		if p < len(from) {
			at = max(at, from[p])
		}
		for at < r.End {
			if err := log.Fetch(ctx, topic, int32(p), at, &b); err != nil {
				return err
			}
			for i := range b.Records {
				if err := yield(int32(p), &b.Records[i]); err != nil {
					return err
				}
			}
			at = max(at+1, b.Next)
		}
	}
	return nil
}

// mostKept is how many bytes of a letter [Last] keeps. Letters may have 3 MiB each, and
// strangers write what is in them.
const mostKept = 4 << 10

// Last returns the newest letters, the newest first, from the last n records of each
// partition, with the first 4 KiB of each.
func Last(ctx context.Context, log Log, topic string, n int64) (all []Letter, err error) {
	ranges, err := log.Offsets(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("topic %s: %w", topic, err)
	}
	from := make([]int64, len(ranges))
	for p, r := range ranges {
		from[p] = r.End - n
	}
	seen := map[string]bool{}
	err = scan(ctx, log, topic, from, func(partition int32, r *kafka.Record) error {
		if l := parse(partition, r); l.ID == "" || !seen[l.ID] {
			seen[l.ID] = true
			if len(l.Value) > mostKept {
				l.Value = bytes.Clone(l.Value[:mostKept])
			}
			all = append(all, l)
		}
		return nil
	})
	slices.SortStableFunc(all, func(a, b Letter) int { return b.Received.Compare(a.Received) })
	return all, err
}
