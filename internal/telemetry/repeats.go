package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// mostAlike is how many warnings or errors with one message are logged in a
	// minute.
	mostAlike = 60
	// mostMessages limits the messages that are told apart. They are constants, so
	// there are fewer.
	mostMessages = 1000
)

// limiter is a handler that leaves out warnings and errors of which there are too
// many: a store that is down would fill a disk with the same line. It goes by the
// records' own times.
type limiter struct {
	slog.Handler
	seen *repeats // shared by handlers with other attributes
}

type repeats struct {
	mu        sync.Mutex
	byMessage map[string]*repeat
}

// repeat counts one message within a minute.
type repeat struct {
	began time.Time
	n     int
}

func newLimiter(h slog.Handler) slog.Handler {
	return limiter{h, &repeats{byMessage: map[string]*repeat{}}}
}

// Handle implements [slog.Handler].
func (l limiter) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return l.Handler.Handle(ctx, r)
	}
	last, missed, ok := l.seen.take(r.Message, r.Time)
	if !ok {
		return nil
	}
	if last || missed > 0 {
		r = r.Clone()
	}
	if missed > 0 {
		r.AddAttrs(slog.Int("left_out_before", missed))
	}
	if last {
		r.AddAttrs(slog.String("left_out", "further lines with this message, until a minute is over"))
	}
	return l.Handler.Handle(ctx, r)
}

// take counts a message at a time. ok is false if it is left out, last is true if the
// next one is; missed is how many were left out before this one.
func (s *repeats) take(message string, at time.Time) (last bool, missed int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.byMessage[message]
	switch {
	case m == nil && len(s.byMessage) >= mostMessages:
		return false, 0, true
	case m == nil:
		m = &repeat{began: at}
		s.byMessage[message] = m
	case at.Sub(m.began) >= time.Minute || at.Before(m.began):
		missed = max(m.n-mostAlike, 0)
		*m = repeat{began: at}
	}
	m.n++
	return m.n == mostAlike, missed, m.n <= mostAlike
}

// WithAttrs implements [slog.Handler].
func (l limiter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return limiter{l.Handler.WithAttrs(attrs), l.seen}
}

// WithGroup implements [slog.Handler].
func (l limiter) WithGroup(name string) slog.Handler {
	return limiter{l.Handler.WithGroup(name), l.seen}
}
