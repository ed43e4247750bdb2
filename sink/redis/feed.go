package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/internal/retry"
	"github.com/weirdev/weir/score"
)

// Writers publish each score that they write, and say once a second that they are there.
// A message is "<writer> <number>", and, of a score, " <key> <value>" behind it: 16
// hexadecimal digits that are a writer's own, its messages counted from 1, and what
// stands in Redis from then on.
const (
	channelName = ":changes" // behind the prefix of keys
	writerLen   = 16
	maxMessage  = writerLen + 1 + 20 + 1 + 256 + 1 + score.MaxValueBytes
)

// voice numbers what a writer publishes.
type voice struct {
	channel string
	writer  string
	number  atomic.Uint64
}

func newVoice(prefix string) *voice {
	var b [writerLen / 2]byte
	_, _ = rand.Read(b[:]) // never fails
	return &voice{channel: prefix + channelName, writer: hex.EncodeToString(b[:])}
}

// next is the beginning of the next message.
func (v *voice) next() string { return v.writer + " " + strconv.FormatUint(v.number.Add(1), 10) }

const (
	// feedSilence is how long a connection may be silent before it is asked whether it
	// is there. A worker says something each second.
	feedSilence = 2 * time.Second
	feedAnswer  = time.Second
)

// Follow tells h of the scores that writers write, until ctx ends. It subscribes again
// for as long as it takes, and says when something may have been missed.
func (r *Reader) Follow(ctx context.Context, h score.Hearer) error {
	pauses := retry.Backoff{First: 50 * time.Millisecond, Most: time.Second}
	trouble := ""
	for ctx.Err() == nil {
		err := r.follow(ctx, h, func() {
			pauses.Reset()
			if trouble != "" {
				r.log.Info("changes of scores are followed again")
			}
			trouble = ""
		})
		if ctx.Err() != nil {
			break
		}
		if reason := reasonOf(err); reason != trouble {
			trouble = reason
			r.log.Warn("changes of scores are not heard; scores are kept for a second only", "reason", reason, "error", err)
		}
		pauses.Wait(ctx)
	}
	return nil
}

// follow subscribes once, and listens until that ends. began is called when it hears.
func (r *Reader) follow(ctx context.Context, h score.Hearer, began func()) error {
	sub := r.client.Subscribe(ctx)
	defer sub.Close()
	defer context.AfterFunc(ctx, func() { _ = sub.Close() })() // the library does not look at ctx while it reads
	limit, cancel := context.WithTimeout(ctx, r.cfg.DialTimeout)
	err := sub.Subscribe(limit, r.cfg.KeyPrefix+channelName)
	cancel()
	if err != nil {
		return fmt.Errorf("redis: subscribe: %w", err)
	}
	defer h.Broken()
	said := map[string]uint64{} // the last number of each writer
	quiet := false              // it was asked whether it is there
	for ctx.Err() == nil {
		wait := feedSilence
		if quiet {
			wait = feedAnswer
		}
		msg, err := sub.ReceiveTimeout(ctx, wait)
		var timeout net.Error
		switch {
		case err == nil:
			quiet = false
		case ctx.Err() == nil && !quiet && errors.As(err, &timeout) && timeout.Timeout():
			if err := sub.Ping(ctx); err != nil {
				return fmt.Errorf("redis: listen: %w", err)
			}
			quiet = true
			continue
		default:
			return fmt.Errorf("redis: listen: %w", err)
		}
		switch m := msg.(type) {
		case *goredis.Subscription:
			if len(said) > 0 {
				return errors.New("redis: the library subscribed anew")
			}
			h.Whole()
			began()
		case *goredis.Message:
			r.hear(m.Payload, said, h)
		}
	}
	return ctx.Err()
}

// mostWriters bounds who is remembered: anybody who may publish can make writers up.
const mostWriters = 10_000

// hear takes in one message.
func (r *Reader) hear(text string, said map[string]uint64, h score.Hearer) {
	m, ok := parseMessage(text)
	if !ok {
		r.bad(reasonMalformed, r.cfg.KeyPrefix+channelName)
		return
	}
	last, known := said[m.writer]
	if !known && len(said) >= mostWriters {
		clear(said)
		h.Broken()
		h.Whole()
	}
	if known && m.number != last+1 {
		h.Broken()
		h.Whole()
	}
	said[strings.Clone(m.writer)] = m.number
	if m.key == "" {
		return
	}
	v, err := r.codec.Parse(m.key, m.value)
	if err != nil {
		r.bad(reasonOfValue(err), m.key)
		return
	}
	h.Changed(m.key, v)
}

// message is one that a writer publishes. It aliases its text.
type message struct {
	writer     string
	number     uint64
	key, value string // "": it says only that it is there
}

func parseMessage(text string) (m message, ok bool) {
	if len(text) > maxMessage {
		return m, false
	}
	writer, rest, _ := strings.Cut(text, " ")
	number, rest, more := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(number, 10, 64)
	if len(writer) != writerLen || err != nil || n == 0 || number[0] == '+' || number[0] == '0' {
		return m, false
	}
	m.writer, m.number = writer, n
	if !more {
		return m, true
	}
	m.key, m.value, ok = strings.Cut(rest, " ")
	return m, ok && m.key != "" && m.value != ""
}
