package clickhouse

import (
	"context"
	"log/slog"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/event"
)

const eventsTable = "events"

// Stream names the stream whose rows are written.
type Stream struct {
	Name        string
	Incarnation uint32
}

// Events writes the table events.
type Events struct {
	w *writer
}

// NewEvents creates a writer; [Events.Run] does the work.
func NewEvents(c Config, s Stream, log *slog.Logger, r prometheus.Registerer) (*Events, error) {
	w, err := newWriter(eventsTable, c, newEventRows(c, s), newEventRows(c, s), log, r)
	if err != nil {
		return nil, err
	}
	return &Events{w}, nil
}

// Uncounted has the writer leave out the counts per minute, to measure what they cost.
// It is called before Run.
func (w *Events) Uncounted() {
	w.w.filling.(*eventRows).uncounted, w.w.spare.(*eventRows).uncounted = true, true
}

// Check fails if the tables are not those that this program writes.
func (w *Events) Check(ctx context.Context) error { return check(ctx, w.w.conn, w.w.cfg) }

// Run inserts until ctx ends, then inserts the rest. It returns early only on an
// error that no retry can fix.
func (w *Events) Run(ctx context.Context) error { return w.w.run(ctx) }

// Open creates a track for the events of one raw partition.
func (w *Events) Open(partition int32) *EventTrack { return &EventTrack{w.w.open(), uint32(partition)} }

// EventTrack takes the events of one raw partition, in order of offset.
type EventTrack struct {
	*track
	partition uint32
}

// Append copies e. It blocks while two batches are full, until ctx ends. received
// is Unix ms; owner identifies the writer of a row that is written twice.
func (t *EventTrack) Append(ctx context.Context, offset int64, owner uint64, received int64, e *event.Event) error {
	return t.add(ctx, offset, func() {
		t.w.filling.(*eventRows).add(t.partition, offset, owner, received, e)
	})
}

// eventRows is a batch of events, in columns. The columns of fields are created
// once, from the table of fields.
type eventRows struct {
	database  string
	stream    Stream
	uncounted bool

	partitions []uint32
	offsets    []uint64
	owners     []uint64
	received   []int64
	fields     []event.Spec
	texts      [event.MaxField]texts
	nums       [event.MaxField][]int64
	flags      [event.MaxField][]uint8
	used       [event.MaxField]bool // by any of the rows

	names        []string
	incarnations []uint32
	columns      []column
}

func newEventRows(c Config, s Stream) *eventRows {
	return &eventRows{database: c.Database, stream: s, fields: event.Fields()}
}

func (r *eventRows) len() int { return len(r.offsets) }

func (r *eventRows) add(partition uint32, offset int64, owner uint64, received int64, e *event.Event) {
	r.partitions = append(r.partitions, partition)
	r.offsets = append(r.offsets, uint64(offset))
	r.owners = append(r.owners, owner)
	r.received = append(r.received, received)
	for i := range r.fields {
		f := r.fields[i].Field
		r.used[f] = r.used[f] || e.Has(f)
		switch r.fields[i].Kind {
		case event.KindInt, event.KindTime:
			r.nums[f] = append(r.nums[f], e.Num(f))
		case event.KindBool:
			r.flags[f] = append(r.flags[f], uint8(e.Num(f)))
		default:
			r.texts[f].add(e.Text(f))
		}
	}
}

func (r *eventRows) reset() {
	r.partitions, r.offsets, r.owners, r.received = r.partitions[:0], r.offsets[:0], r.owners[:0], r.received[:0]
	for f := range r.texts {
		r.texts[f].reset()
		r.nums[f], r.flags[f], r.used[f] = r.nums[f][:0], r.flags[f][:0], false
	}
}

// insert leaves out the columns that no row has: they would hold defaults, and a
// gateway that knows a third of the fields should not pay for the others.
func (r *eventRows) insert(ctx context.Context, conn driver.Conn) error {
	n := r.len()
	r.names, r.incarnations = repeat(r.names, r.stream.Name, n), repeat(r.incarnations, r.stream.Incarnation, n)
	r.columns = append(r.columns[:0],
		column{"stream", r.names}, column{"incarnation", r.incarnations}, column{"src_partition", r.partitions},
		column{"src_offset", r.offsets}, column{"owner", r.owners}, column{"received", r.received})
	for i := range r.fields {
		f := r.fields[i].Field
		if !r.used[f] {
			continue
		}
		c := column{name: r.fields[i].Name}
		switch r.fields[i].Kind {
		case event.KindInt, event.KindTime:
			c.data = r.nums[f]
		case event.KindBool:
			c.data = r.flags[f]
		default:
			c.data = r.texts[f].strings()
		}
		r.columns = append(r.columns, c)
	}
	if err := insertColumns(ctx, conn, r.database, eventsTable, r.columns); err != nil {
		return err
	}
	if r.uncounted {
		return nil
	}
	return count(ctx, conn, r.database, r.stream, blocks(r.partitions, r.offsets))
}
