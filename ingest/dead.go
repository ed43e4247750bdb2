package ingest

import (
	"bytes"
	"errors"
	"slices"
	"strconv"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/kafka"
)

// Headers of a dead letter. Its value is the record's own bytes. Its key is
// "<partition>-<offset>", the same however often the record is read.
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

// letterOverhead is roughly what headers and framing add to a dead letter, in
// bytes.
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

// reasonOf returns the short reason of a refusal, from a closed set.
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
