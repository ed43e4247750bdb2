package ingest

import (
	"bytes"
	"errors"
	"slices"
	"strconv"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/kafka"
)

// Headers of a dead letter. Its value is the record's own bytes; its key is
// "<partition>-<offset>", the same however often the record is read again.
const (
	HeaderReason    = "weir-reason"
	HeaderDetail    = "weir-detail"
	HeaderTopic     = "weir-source-topic"
	HeaderPartition = "weir-source-partition"
	HeaderOffset    = "weir-source-offset"
	HeaderReceived  = "weir-received"   // Unix ms
	HeaderKey       = "weir-source-key" // of the record; empty where it had none, absent where it is too long

	// HeaderUntil is the offset behind a range of records that do not read, which
	// are one dead letter, without bytes.
	HeaderUntil = "weir-source-until"

	// HeaderBytes is how long a record was that was cut to MaxLetterBytes.
	HeaderBytes = "weir-source-bytes"
)

// HeaderReplay marks a record that was a dead letter and was put back into its
// topic; its value is the letter's key.
const HeaderReplay = "weir-replay"

// repeatKey is the key by which a record's repeats are told. One that was put back
// has the bytes of the dead one, and is no repeat of it; but it is one of the same
// letter put back before.
func repeatKey(r *kafka.Record) []byte {
	for _, h := range r.Headers {
		if h.Key == HeaderReplay {
			return slices.Concat(r.Key, []byte{0}, h.Value)
		}
	}
	return r.Key
}

// MaxLetterBytes is how much of a record's value a dead letter holds: more than
// any gateway means to write, and less than the dead-letter topic takes. A record
// that was small when it was compressed may be larger than that.
const MaxLetterBytes = 3 << 20

// maxLetterKey is the longest key that is kept, so that the letter fits its topic.
const maxLetterKey = 1 << 10

// reasonUnreadable is that of records that even the broker's client cannot read.
const reasonUnreadable = "unreadable"

// letterOverhead is about what headers and framing add to a dead letter, bytes.
const letterOverhead = 256

func letter(topic string, partition int32, r *kafka.Record, reason, detail string, now int64) kafka.Outgoing {
	p, o := strconv.Itoa(int(partition)), strconv.FormatInt(r.Offset, 10)
	l := kafka.Outgoing{
		Key:   []byte(p + "-" + o),
		Value: bytes.Clone(r.Value[:min(len(r.Value), MaxLetterBytes)]),
		Headers: []kafka.Header{
			{Key: HeaderReason, Value: []byte(reason)},
			{Key: HeaderDetail, Value: []byte(detail)},
			{Key: HeaderTopic, Value: []byte(topic)},
			{Key: HeaderPartition, Value: []byte(p)},
			{Key: HeaderOffset, Value: []byte(o)},
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

// reasonOf is the short reason of a refusal, from a closed set.
func reasonOf(err error) string {
	var refusal *event.Refusal
	if errors.As(err, &refusal) {
		return refusal.Reason.String()
	}
	if errors.Is(err, errPanic) {
		return "decoder_failed"
	}
	return "other"
}
