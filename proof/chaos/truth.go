package chaos

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"

	"github.com/go-faster/city"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/kafka"
)

// repeatWindow is the number of preceding records that a record is compared with to
// detect a gateway's repeat.
const repeatWindow = 65_536

// truth is the required content of the stores. It is made from the seed, and checked
// against the raw log, which contributes only the offsets of the records.
type truth struct {
	parts []*rawPart

	unacknowledged int64 // acknowledged records that are missing from the raw log
	foreign        int64 // records in the raw log that the seed does not contain
	repeats        int64 // records with the same bytes as one shortly before
}

// rawPart is the truth of one raw partition, by offset.
type rawPart struct {
	what    []content
	rows    []uint64            // of good records: the digest of the row
	facets  []bundle            // of good records: all their facets
	letters map[int64][]byte    // of garbage
	ids     map[string]struct{} // of good records
}

// bundle is a multiset of facets: their number, and the sum of their digests.
type bundle struct {
	n   uint32
	sum uint64
}

func (b *bundle) add(digest uint64) { b.n++; b.sum += digest }

// expected returns the number of good records that count.
func (t *truth) expected() (n int64) {
	for _, p := range t.parts {
		for _, w := range p.what {
			if w == good {
				n++
			}
		}
	}
	return n
}

func (t *truth) garbage() (n int64) {
	for _, p := range t.parts {
		n += int64(len(p.letters))
	}
	return n
}

// reading is the raw log of one partition during reading, next to the records
// expected from the seed.
type reading struct {
	*rawPart
	partition int32
	log       *logReader
	generator *generator
	due       []record // made by the seed, not yet found in the log
	recent    map[uint64]int64
	seen      int64 // records of the seed that were found
	horizon   int64 // how far the generator was asked
	format    format.Format
	enrich    *ingest.Enricher
	event     event.Event
	line      []byte
	scratch   []byte
	seedHash  maphash.Seed
}

// learn reads the raw log and creates the truth, and the findings without any
// disturbance.
func (r *run) learn(ctx context.Context, calm *calm) (*truth, error) {
	t := &truth{}
	var all []*reading
	for p := range r.plan.Partitions {
		rd, err := r.newReading(ctx, int32(p))
		if err != nil {
			return nil, err
		}
		all = append(all, rd)
		t.parts = append(t.parts, rd.rawPart)
	}
	const slice = 1000 // ms of the load that are read from each partition in turn
	for at := r.plan.Start + slice; ; at += slice {
		over := true
		for _, rd := range all {
			more, err := rd.read(ctx, t, at, calm)
			if err != nil {
				return nil, err
			}
			over = over && !more
		}
		if err := calm.flush(); err != nil {
			return nil, err
		}
		if over {
			break
		}
	}
	for p, rd := range all {
		if missing := r.sender.acked[p] - rd.seen; missing > 0 {
			t.unacknowledged += missing
		}
	}
	return t, nil
}

func (r *run) newReading(ctx context.Context, p int32) (*reading, error) {
	f, err := format.New(r.cluster.stack.Config.Ingest.Format, nil)
	if err != nil {
		return nil, err
	}
	enrich, err := ingest.NewEnricher(r.cluster.stack.Config.Ingest, geo.Nowhere{})
	if err != nil {
		return nil, err
	}
	log, err := openLog(ctx, r.cluster.stack.Kafka, r.cluster.stack.Config.Stream.Topic("events"), p)
	if err != nil {
		return nil, err
	}
	return &reading{
		rawPart:   &rawPart{letters: map[int64][]byte{}, ids: map[string]struct{}{}},
		partition: p, log: log, generator: r.plan.generator(int(p)), recent: map[uint64]int64{}, horizon: r.plan.Start,
		format: f, enrich: enrich, scratch: make([]byte, 0, 32), seedHash: maphash.MakeSeed(),
	}, nil
}

// read goes through the log until a record that is due at or after until. more is
// false at the log's end.
func (rd *reading) read(ctx context.Context, t *truth, until int64, calm *calm) (more bool, err error) {
	for {
		rec, err := rd.log.peek(ctx)
		if err != nil || rec == nil {
			return false, err
		}
		if next := rd.next(); next != nil && next.at >= until && !rd.known(rec) {
			return true, nil
		}
		rd.log.take()
		rd.judge(rec, t, calm)
	}
}

// next returns the next record of the seed, without those that are repeats.
func (rd *reading) next() *record {
	const ahead = 1000 // ms
	for len(rd.due) == 0 {
		if rd.horizon > rd.generator.last() {
			return nil
		}
		rd.horizon += ahead
		rd.generator.until(rd.horizon, func(r record) { rd.due = append(rd.due, r) })
	}
	return &rd.due[0]
}

func (rd *reading) known(rec *kafka.Record) bool {
	at, ok := rd.recent[maphash.Bytes(rd.seedHash, rec.Value)]
	return ok && rec.Offset-at <= repeatWindow
}

// judge classifies a record of the log. The records of the seed must come in their
// order. Between them only repeated bytes are allowed, because a gateway repeats
// itself, or the sender after a lost answer.
func (rd *reading) judge(rec *kafka.Record, t *truth, calm *calm) {
	for int64(len(rd.what)) < rec.Offset { // transaction markers and the like: there are none
		rd.keep(repeat, 0, bundle{})
	}
	next := rd.next()
	isNext := next != nil && bytes.Equal(next.value, rec.Value)
	isKnown := rd.known(rec)
	what := good
	switch {
	case isNext:
		what = next.what
		rd.due = rd.due[1:]
		rd.seen++
	case !isKnown:
		t.foreign++
		rd.keep(repeat, 0, bundle{})
		return
	}
	rd.recent[maphash.Bytes(rd.seedHash, rec.Value)] = rec.Offset
	if what == garbage || rd.format.Decode(rec.Value, &rd.event) != nil {
		rd.letters[rec.Offset] = bytes.Clone(rec.Value)
		rd.keep(garbage, 0, bundle{})
		return
	}
	if isKnown { // ingest drops it
		t.repeats++
		rd.keep(repeat, 0, bundle{})
		return
	}
	rd.enrich.Complete(&rd.event, rd.partition, rec.Offset, rec.Key)
	rd.ids[strings.Clone(rd.event.Text(event.ID))] = struct{}{}
	rd.line = rowText(rd.line[:0], rd.partition, rec.Offset, &rd.event)
	rd.keep(good, city.CH64(rd.line), rd.facetsOf(rec.Offset, calm))
}

func (rd *reading) keep(what content, row uint64, facets bundle) {
	rd.what, rd.rows, rd.facets = append(rd.what, what), append(rd.rows, row), append(rd.facets, facets)
}

// facetsOf returns the facets that ingest must have made of an event.
func (rd *reading) facetsOf(offset int64, calm *calm) (all bundle) {
	e := &rd.event
	if e.Refused() {
		return all // refused by Weir: no new evidence
	}
	for _, k := range calm.kinds {
		ent, ok := facet.EntityOf(k, e, rd.scratch)
		if !ok {
			continue
		}
		to := facet.Partition(calm.hasher.Sum(ent), calm.partitions())
		var digest uint64
		rd.line, digest = facetDigest(rd.line, to, rd.partition, offset, 0, ent, e, calm.always[k])
		all.add(digest)
		calm.add(rd.partition, to, ent, offset, e)
	}
	calm.read(rd.partition, offset, e.Num(event.Time))
	return all
}

// rowText returns a row of the events table as text, in the format of [rowSQL].
func rowText(b []byte, partition int32, offset int64, e *event.Event) []byte {
	b = strconv.AppendInt(b, int64(partition), 10)
	b = strconv.AppendInt(append(b, separator...), offset, 10)
	for _, f := range event.Fields() {
		b = append(b, separator...)
		if f.Kind.Numeric() {
			b = strconv.AppendInt(b, e.Num(f.Field), 10)
		} else {
			b = append(b, e.Text(f.Field)...)
		}
	}
	return b
}

const separator = "\x1f"

// rowSQL returns an expression for the digest of a row of events.
func rowSQL() string {
	text := `cityHash64(concatWithSeparator('\x1f', toString(src_partition), toString(src_offset)`
	for _, f := range event.Fields() {
		switch {
		case f.Kind == event.KindTime:
			text += ", toString(toUnixTimestamp64Milli(" + f.Name + "))"
		case f.Kind.Numeric():
			text += ", toString(" + f.Name + ")"
		default:
			text += ", " + f.Name
		}
	}
	return text + "))"
}

// facetDigest returns the digest of a facet and its place. b is scratch.
func facetDigest(b []byte, to, source int32, offset int64, ordinal uint8, ent facet.Entity, e *event.Event, fields []event.Field) ([]byte, uint64) {
	b = binary.LittleEndian.AppendUint32(b[:0], uint32(to))
	b = binary.LittleEndian.AppendUint32(b, uint32(source))
	b = binary.LittleEndian.AppendUint64(b, uint64(offset))
	b = append(b, byte(ent.Kind), ordinal)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Num(event.Time)))
	b = append(append(append(b, ent.Tenant...), 0), ent.Key...)
	for _, f := range fields {
		b = append(b, 0, byte(f))
		switch {
		case !e.Has(f):
		case f.Kind().Numeric():
			b = strconv.AppendInt(b, e.Num(f), 10)
		default:
			b = append(b, e.Text(f)...)
		}
	}
	return b, city.CH64(b)
}

// logReader reads one partition up to its initial end.
type logReader struct {
	kafka     *kafka.Client
	topic     string
	partition int32
	next, end int64
	batch     kafka.Batch
	at        int
}

func openLog(ctx context.Context, client *kafka.Client, topic string, partition int32) (*logReader, error) {
	ranges, err := client.Offsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	if int(partition) >= len(ranges) {
		return nil, fmt.Errorf("%s has %d partitions", topic, len(ranges))
	}
	return &logReader{kafka: client, topic: topic, partition: partition, next: ranges[partition].Start, end: ranges[partition].End}, nil
}

// peek returns the next record, nil at the end. It is valid until the next peek
// after take.
func (l *logReader) peek(ctx context.Context) (*kafka.Record, error) {
	for l.at >= len(l.batch.Records) {
		if l.next >= l.end {
			return nil, nil
		}
		if err := l.kafka.Fetch(ctx, l.topic, l.partition, l.next, &l.batch); err != nil {
			return nil, fmt.Errorf("read %s/%d at %d: %w", l.topic, l.partition, l.next, err)
		}
		l.at, l.next = 0, max(l.next, l.batch.Next)
	}
	return &l.batch.Records[l.at], nil
}

func (l *logReader) take() { l.at++ }

// each calls yield for every record.
func (l *logReader) each(ctx context.Context, yield func(*kafka.Record) error) error {
	for {
		rec, err := l.peek(ctx)
		if err != nil || rec == nil {
			return err
		}
		l.take()
		if err := yield(rec); err != nil {
			return err
		}
	}
}
