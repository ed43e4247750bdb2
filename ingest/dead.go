package ingest

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strconv"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/kafka"
)

// Headers of a dead letter. Its value is the record's own bytes. Its key is
// "<partition>-<offset>", for a control record "controls-<partition>-<offset>", the
// same however often the record is read.
const (
	HeaderReason    = "weir-reason"
	HeaderDetail    = "weir-detail"
	HeaderTopic     = "weir-source-topic"
	HeaderPartition = "weir-source-partition"
	HeaderOffset    = "weir-source-offset"
	HeaderReceived  = "weir-received"   // Unix ms
	HeaderKey       = "weir-source-key" // of the record; empty if it had none, absent if it is too long

	// HeaderUntil is the offset after a range of unreadable records, which share
	// one dead letter, without bytes.
	HeaderUntil = "weir-source-until"

	// HeaderBytes is the original length of a record that was cut to
	// MaxLetterBytes.
	HeaderBytes = "weir-source-bytes"
)

// HeaderReplay marks a dead record that was put back into its topic. Its value is
// the letter's key.
const HeaderReplay = "weir-replay"

// repeatKey returns the key by which a record's repeats are recognised. A replayed
// record has the bytes of the dead one, and is no repeat of it. But it is a repeat
// of an earlier replay of the same letter.
func repeatKey(r *kafka.Record) []byte {
	for _, h := range r.Headers {
		if h.Key == HeaderReplay {
			return slices.Concat(r.Key, []byte{0}, h.Value)
		}
	}
	return r.Key
}

// MaxLetterBytes limits the value in a dead letter: more than any gateway means to
// write, and less than the dead-letter topic accepts. A record that was small when
// compressed may be larger.
const MaxLetterBytes = 3 << 20

// maxLetterKey is the longest key that is kept, so that the letter fits its topic.
const maxLetterKey = 1 << 10

// reasonUnreadable is the reason of records that even the broker's client cannot
// read.
const reasonUnreadable = "unreadable"

const (
	reasonPanic = "decoder_failed"
	reasonOther = "other"
)

// DeadReasons lists the reasons that dead letters of ingest have, in order of name.
func DeadReasons() []string {
	all := []string{reasonUnreadable, reasonControl, reasonPanic, reasonOther}
	for _, r := range event.Reasons() {
		if r != event.Filtered {
			all = append(all, r.String())
		}
	}
	slices.Sort(all)
	return all
}

// letterOverhead is roughly what headers and framing add to a dead letter, in
// bytes.
const letterOverhead = 256

// DeadTrack stores what became no event, in order of offset.
type DeadTrack interface {
	// Append copies l. It blocks while the store is behind, until ctx ends.
	Append(ctx context.Context, owner uint64, received int64, l *event.DeadLetter) error
	// Stored returns an offset below which every appended letter is acknowledged.
	Stored() int64
	// Drain returns when everything appended is acknowledged.
	Drain(ctx context.Context) error
}

// tracks are the stores of one owner: what is stored is stored by all of them.
type tracks []track

func (all tracks) Stored() int64 {
	least := int64(math.MaxInt64)
	for _, t := range all {
		least = min(least, t.Stored())
	}
	return least
}

func (all tracks) Drain(ctx context.Context) error {
	for _, t := range all {
		if err := t.Drain(ctx); err != nil {
			return err
		}
	}
	return nil
}

// keepLetter passes the letter of the last record that became no event to its store.
func (o *owner) keepLetter(ctx context.Context, now int64) error {
	if o.letters == nil {
		return nil
	}
	o.refusal.Controls = o.input.controls
	return o.letters.Append(ctx, o.progress.Owner, now, &o.refusal)
}

func (o *owner) letter(r *kafka.Record, reason, detail string, now int64) kafka.Outgoing {
	l := kafka.Outgoing{
		Key:   []byte(o.letterKey(r.Offset)),
		Value: bytes.Clone(r.Value[:min(len(r.Value), MaxLetterBytes)]),
		Headers: []kafka.Header{
			{Key: HeaderReason, Value: []byte(reason)},
			{Key: HeaderDetail, Value: []byte(detail)},
			{Key: HeaderTopic, Value: []byte(o.input.topic)},
			{Key: HeaderPartition, Value: strconv.AppendInt(nil, int64(o.partition), 10)},
			{Key: HeaderOffset, Value: strconv.AppendInt(nil, r.Offset, 10)},
			{Key: HeaderReceived, Value: strconv.AppendInt(nil, now, 10)},
		},
	}
	if len(r.Key) <= maxLetterKey {
		l.Headers = append(l.Headers, kafka.Header{Key: HeaderKey, Value: bytes.Clone(r.Key)})
	}
	if len(r.Value) > MaxLetterBytes {
		l.Headers = append(l.Headers, kafka.Header{Key: HeaderBytes, Value: strconv.AppendInt(nil, int64(len(r.Value)), 10)})
	}
	return l
}

// reasonOf returns the short reason of a refusal, from a closed set.
func reasonOf(err error) string {
	var refusal *event.Refusal
	if errors.As(err, &refusal) {
		return refusal.Reason.String()
	}
	if errors.Is(err, errPanic) {
		return reasonPanic
	}
	if errors.Is(err, errControl) {
		return reasonControl
	}
	return reasonOther
}
