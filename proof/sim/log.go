package sim

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/internal/kafka"
)

const (
	topicRaw      = "events"
	topicFacets   = "facets"
	topicDead     = "dead"
	topicSignals  = "signals"
	topicControls = "controls"
)

// fetchWait is how long a fetch waits for records.
const fetchWait = 100 * time.Millisecond

// partition is a partition of a topic. Records are never removed, so that the
// verdict sees those that retention took from the processes.
type partition struct {
	records []kafka.Record
	start   int64 // records before it are deleted
}

func (p *partition) end() int64 { return int64(len(p.records)) }

func (p *partition) append(list []kafka.Outgoing) {
	now := time.Now().UnixMilli()
	for _, o := range list {
		p.records = append(p.records, kafka.Record{Offset: p.end(), Time: now, Key: o.Key, Value: o.Value, Headers: o.Headers})
	}
}

// Fetch implements the Log of both stages.
func (p *process) Fetch(ctx context.Context, topic string, number int32, offset int64, b *kafka.Batch) error {
	log := p.w.topics[topic][number]
	b.Records = b.Records[:0]
	room := p.forget(b)
	asked := p.now()
	c := &call{
		what: fmt.Sprintf("fetch %s/%d at %d", topic, number, offset), sink: "fetch " + topic,
		ready: func() bool { return p.w.load.stable(topic, number, log.end()) > offset }, until: time.Now().Add(fetchWait),
	}
	c.do = func() bool {
		end := p.w.load.stable(topic, number, log.end())
		switch {
		case offset < log.start || offset > log.end():
			c.err = fmt.Errorf("%s: %w", c.what, kafka.ErrOffsetOutOfRange)
			return true
		case p.w.load.next(topic, number, offset, end) > offset:
			c.err = fmt.Errorf("%s: %w", c.what, kafka.ErrUnreadable)
			return true
		}
		n := min(end-offset, 1+int64(p.w.rng.IntN(p.w.plan.FetchRecords)))
		for _, r := range log.records[offset : offset+n] {
			if p.w.load.next(topic, number, r.Offset, end) > r.Offset {
				n = r.Offset - offset
				break
			}
			if topic == topicRaw && p.w.load.aborted[place{number, r.Offset}] {
				continue
			}
			r.Key, r.Value = room.keep(r.Key), room.keep(r.Value)
			r.Appended = topic == topicRaw && p.w.plan.Appended
			b.Records = append(b.Records, r)
		}
		b.HighWatermark, b.Held, b.LogStart, b.Next, b.Asked = log.end(), log.end()-end, log.start, offset+n, asked
		return true
	}
	return p.call(ctx, c)
}

// room holds the bytes of a batch. The next fetch overwrites them, to expose code
// that keeps them.
type room struct{ bytes []byte }

func (r *room) keep(b []byte) []byte {
	if b == nil {
		return nil
	}
	n := len(r.bytes)
	if n+len(b) > cap(r.bytes) {
		r.bytes, n = make([]byte, 0, max(4096, len(b))), 0
	}
	r.bytes = append(r.bytes, b...)
	return r.bytes[n:len(r.bytes):len(r.bytes)]
}

// forget overwrites the records fetched into b before.
func (p *process) forget(b *kafka.Batch) *room {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.rooms[b]
	if r == nil {
		r = &room{}
		p.rooms[b] = r
	}
	for i := range r.bytes {
		r.bytes[i] = '#'
	}
	r.bytes = r.bytes[:0]
	return r
}

// Produce implements the Log of both stages. Partitions are written one after the
// other, and unacknowledged records are sent again.
func (p *process) Produce(ctx context.Context, topic string, ps []kafka.Produce) error {
	all, what, content := copied(ps)
	log := p.w.topics[topic]
	left := slices.Clone(all)
	c := &call{what: "produce " + topic + what, content: content, sink: topic, mutates: true}
	c.do = func() bool {
		left = slices.DeleteFunc(left, func(o kafka.Produce) bool {
			if len(all) > 1 && p.w.chance(p.w.plan.Faults.Torn) {
				return false
			}
			log[o.Partition].append(o.Records)
			return true
		})
		return len(left) == 0
	}
	c.again = func() { left = slices.Clone(all) }
	c.stray = func() {
		for _, o := range all {
			if p.w.rng.IntN(3) > 0 {
				log[o.Partition].append(o.Records)
			}
		}
	}
	return p.call(ctx, c)
}

// copied returns a copy of ps as it is sent: later changes by the caller have no
// effect.
func copied(ps []kafka.Produce) (all []kafka.Produce, what string, content uint64) {
	var b strings.Builder
	for _, q := range ps {
		fmt.Fprintf(&b, " %d:%d", q.Partition, len(q.Records))
		list := make([]kafka.Outgoing, len(q.Records))
		for i, r := range q.Records {
			list[i] = kafka.Outgoing{Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value), Headers: slices.Clone(r.Headers)}
			content = content*31 + sum(r.Key, r.Value)
		}
		all = append(all, kafka.Produce{Partition: q.Partition, Records: list})
	}
	return all, b.String(), content
}

// Offsets implements the Log of both stages.
func (p *process) Offsets(ctx context.Context, topic string) (ranges []kafka.OffsetRange, err error) {
	err = p.call(ctx, &call{what: "offsets of " + topic, do: func() bool {
		for _, l := range p.w.topics[topic] {
			ranges = append(ranges, kafka.OffsetRange{Start: l.start, End: l.end()})
		}
		return true
	}})
	return ranges, err
}

// Partitions implements the Log of both stages.
func (p *process) Partitions(ctx context.Context, topic string) (n int, err error) {
	err = p.call(ctx, &call{what: "partitions of " + topic, do: func() bool {
		n = len(p.w.topics[topic])
		return true
	}})
	return n, err
}

// Committed implements the Log of both stages.
func (p *process) Committed(ctx context.Context, name, _ string) (commits []kafka.Commit, err error) {
	err = p.call(ctx, &call{what: "commits of " + name, do: func() bool {
		commits = slices.Clone(p.w.groups[name].commits)
		return true
	}})
	return commits, err
}

// NextReadable implements kafka.Reader.
func (p *process) NextReadable(ctx context.Context, topic string, number int32, offset int64) (next int64, err error) {
	what := fmt.Sprintf("look behind %d of %s/%d", offset, topic, number)
	err = p.call(ctx, &call{what: what, do: func() bool {
		end := p.w.topics[topic][number].end()
		next = p.w.load.next(topic, number, offset, p.w.load.stable(topic, number, end))
		return true
	}})
	return next, err
}
