package sim

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// trace keeps the latest lines of a log of the run.
type trace struct {
	mu    sync.Mutex
	lines [traced]line
	n     int
}

const traced = 70

type line struct {
	at     time.Duration
	format string
	args   []any
}

// add adds a line; args are rendered only when the trace is read.
func (t *trace) add(at time.Duration, format string, args []any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines[t.n%traced] = line{at, format, args}
	t.n++
}

// String returns the remaining trace, the oldest line first.
func (t *trace) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for i := max(0, t.n-traced); i < t.n; i++ {
		l := &t.lines[i%traced]
		fmt.Fprintf(&b, "%10.3fs  %s\n", l.at.Seconds(), fmt.Sprintf(l.format, l.args...))
	}
	return b.String()
}

// handler adds warnings and errors of a process to the trace.
type handler struct {
	p     *process
	attrs []slog.Attr
}

func (h handler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (h handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	for _, a := range h.attrs {
		fmt.Fprintf(&b, " %s", a)
	}
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s", a)
		return true
	})
	h.p.w.trace.add(time.Since(epoch), "%s logs %s:%s", []any{h.p, r.Message, b.String()})
	return nil
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.p, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

func (h handler) WithGroup(string) slog.Handler { return h }
