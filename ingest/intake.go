package ingest

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
)

// intake makes events and facets from the records of one raw partition. It needs no
// Kafka and no store: an owner runs it live, and an [Offline] runs it on records
// from anywhere.
type intake struct {
	partition int32
	source    int32 // number in frames
	log       *slog.Logger
	reader    *Reader
	amend     func(*event.Event) // changes completed events; nil: no change
	repeats   *repeats
	bracket   bracket
	watermark watermark
	frames    *frames

	event event.Event
	said  control.Record // without an id: the last record was none, or did not count
	named bool           // the event has an id of its own, so equal bytes mean the same event
}

// Outcome is the outcome of a record.
type Outcome uint8

const (
	Dead     Outcome = iota // not an event
	Filtered                // skipped by the format's filter
	Repeated                // already sent by its gateway
	Refused                 // an event that our own decision refused: it feeds no rule
	Accepted                // an event with facets
)

// String returns the outcome as people read it.
func (o Outcome) String() string {
	return [...]string{"dead", "filtered", "repeated", "refused", "accepted"}[o]
}

// recall shows a record to the window of repeats again.
func (in *intake) recall(r *kafka.Record) {
	if in.frames.controls {
		_, _ = in.seeControl(r) // one that is none is in no window
		return
	}
	in.repeats.see(r.Offset, repeatKey(r), r.Value)
}

// take turns a record, read at now (Unix ms), into the event and its facets. err
// says why a record is dead or filtered.
func (in *intake) take(r *kafka.Record, now int64) (o Outcome, p placed, facets int64, err error) {
	in.event.Reset()
	if in.frames.controls {
		if o, p, facets, err = in.takeControl(r); o != Accepted {
			in.said = control.Record{}
		}
		return o, p, facets, err
	}
	again := in.repeats.see(r.Offset, repeatKey(r), r.Value) // for every record: a later epoch may find an id in it
	if err := in.decode(r); err != nil {
		in.event.Reset()
		var refusal *event.Refusal
		if errors.As(err, &refusal) && refusal.Reason == event.Filtered {
			return Filtered, p, 0, err
		}
		return Dead, p, 0, err
	}
	if in.named && again {
		in.event.Reset()
		return Repeated, p, 0, nil
	}
	p = in.fixTime(r, now)
	if in.event.Refused() {
		// It must not count as another failure of its entities.
		return Refused, p, 0, nil
	}
	return Accepted, p, in.frames.add(r.Offset, &in.event), nil
}

// fixTime turns the event's claimed time into its time.
func (in *intake) fixTime(r *kafka.Record, now int64) placed {
	e := &in.event
	p := in.bracket.place(e.Num(event.Time), r, now)
	e.SetNum(event.Time, p.time)
	in.watermark.see(p.passed)
	if p.skewed {
		e.SetNum(event.Skewed, 1)
	}
	if p.delayed {
		e.SetNum(event.Delayed, 1)
	}
	return p
}

// errPanic is a decoder that panicked: our own bug, but no reason to stop the
// stream for all other events.
var errPanic = errors.New("decoder failed")

func (in *intake) decode(r *kafka.Record) (err error) {
	defer func() {
		if v := recover(); v != nil {
			in.log.Error("decoder panicked; the record is dead-lettered", "offset", r.Offset, "panic", v, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: %v", errPanic, v)
		}
	}()
	in.named, err = in.reader.Read(in.partition, r, &in.event)
	if err == nil && in.amend != nil {
		in.amend(&in.event)
	}
	return err
}

// Offline is ingest of one raw partition without Kafka. It gets the records one by
// one, and returns the frames instead of writing them. It believes the times of
// events, as a history stream does. One goroutine uses it.
type Offline struct {
	in   intake
	next int64
}

// NewOffline creates an Offline that has read no record. Its frames are for the
// given number of facet partitions, of incarnation 1. amend, unless nil, changes
// completed events.
func NewOffline(cfg Config, places Places, p facet.Projection, h facet.Hasher, partitions int, amend func(*event.Event)) (*Offline, error) {
	epoch, err := NewManifest(cfg, p, nil).Epoch(places)
	if err != nil {
		return nil, err
	}
	reader, err := NewReader(cfg, places)
	if err != nil {
		return nil, err
	}
	return &Offline{in: intake{
		log: slog.New(slog.DiscardHandler), reader: reader, amend: amend, repeats: newRepeats(0), bracket: bracket{believe: true},
		watermark: watermark(facet.NoWatermark), frames: newFrames(0, 1, 0, partitions, epoch, Shared{Incarnation: 1, Hasher: h, History: true}, false),
	}}, nil
}

// Take reads the next record. The event is valid until the next call. It is nil if
// the record became none; err then says why, unless the record was a repeat.
func (o *Offline) Take(value []byte) (Outcome, *event.Event, error) {
	r := kafka.Record{Offset: o.next, Value: value}
	o.next++
	outcome, _, _, err := o.in.take(&r, 0)
	if outcome < Refused {
		return outcome, nil, err
	}
	return outcome, &o.in.event, nil
}

// Watermark returns the partition's watermark, Unix ms.
func (o *Offline) Watermark() int64 { return o.in.watermark.section() }

// Pass moves the watermark to t (Unix ms), as if the log were idle until then.
func (o *Offline) Pass(t int64) { o.in.watermark.see(t) }

// Frames calls yield with a frame for every facet partition, covering everything
// read since the last call. The frames are valid until the next call.
func (o *Offline) Frames(yield func(partition int32, frame []byte) error) error {
	for _, p := range o.in.frames.finish(o.next, o.in.watermark, true) {
		if err := yield(p.Partition, p.Records[0].Value); err != nil {
			return err
		}
	}
	return nil
}
