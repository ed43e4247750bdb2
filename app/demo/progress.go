package demo

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// progress says how far a file is, every now and then, and ends its context when
// nothing gets on any more.
type progress struct {
	d      *demo
	total  int
	lines  atomic.Int64 // sent
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// longestStill is how long nothing may get on.
const longestStill = 3 * time.Minute

var errStill = errors.New("nothing has got on for 3 minutes")

func (d *demo) newProgress(ctx context.Context, total int) (context.Context, *progress) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &progress{d: d, total: total, cancel: cancel, done: make(chan struct{})}
	go p.run(ctx)
	return ctx, p
}

func (p *progress) sent(lines int) { p.lines.Store(int64(lines)) }

func (p *progress) end() {
	p.cancel(context.Canceled)
	<-p.done
}

func (p *progress) run(ctx context.Context) {
	defer close(p.done)
	tick := time.NewTicker(showEvery)
	defer tick.Stop()
	began, moved, shown := time.Now(), time.Now(), time.Time{}
	var first, was standing
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now, err := p.look(ctx)
		if err != nil {
			continue // the next look says more; who waits for the same thing has the error
		}
		if now != was {
			moved, was = time.Now(), now
		} else if time.Since(moved) > longestStill {
			p.cancel(p.d.stack.Explain(errStill))
			return
		}
		if shown.IsZero() {
			first = now
		}
		if took := time.Since(began); shown.IsZero() || time.Since(shown) > min(took/10, longestQuiet) {
			p.d.say("%5.0fs  %s", took.Seconds(), now.line(first, p.total, took))
			shown = time.Now()
		}
	}
}

// longestQuiet is how long nothing is said, once a run has lasted a while.
const longestQuiet = 30 * time.Second

// standing is where things stand: how many lines are sent, read by ingest and
// committed, and how many records wait for detect.
type standing struct{ sent, read, waiting int64 }

func (p *progress) look(ctx context.Context) (s standing, err error) {
	in, err := p.d.stack.Ingested(ctx)
	if err != nil {
		return s, err
	}
	out, err := p.d.stack.Detected(ctx)
	if err != nil {
		return s, err
	}
	return standing{p.lines.Load(), max(in.Committed[0].Offset, 0), out.Left()}, nil
}

// line tells a standing, and how long the rest may take at the pace since first.
func (s standing) line(first standing, total int, since time.Duration) string {
	total = max(total, 1)
	read := min(s.read, int64(total)) // the record that closes the stream is no line
	text := fmt.Sprintf("%3d%%  lines sent %d of %d, read %d, waiting for detection %d", 100*read/int64(total), s.sent, total, read, s.waiting)
	pace := float64(s.read-first.read) / since.Seconds()
	if rest := int64(total) - read; pace >= 1 && rest > 0 {
		text += fmt.Sprintf("  (%.0f/s, %v left)", pace, time.Duration(float64(rest)/pace*float64(time.Second)).Round(time.Second))
	}
	return text
}
