package demo

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// progress reports the progress of a file now and then, and cancels its context if
// there is none any more.
type progress struct {
	d      *demo
	total  int
	lines  atomic.Int64 // lines sent
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// longestStill is the maximum time without progress.
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
			continue // try again next time; a caller that waits for the same data gets the error
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

// longestQuiet is the maximum time between two reports in a long run.
const longestQuiet = 30 * time.Second

// standing is the progress of a run: the lines that were sent and those that ingest
// has read and committed, and the records that detect has not read yet.
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

// line formats a standing, with an estimate of the remaining time at the pace since
// first.
func (s standing) line(first standing, total int, since time.Duration) string {
	total = max(total, 1)
	read := min(s.read, int64(total)) // without the record that closes the stream
	text := fmt.Sprintf("%3d%%  lines sent %d of %d, read %d, waiting for detection %d", 100*read/int64(total), s.sent, total, read, s.waiting)
	pace := float64(s.read-first.read) / since.Seconds()
	if rest := int64(total) - read; pace >= 1 && rest > 0 {
		text += fmt.Sprintf("  (%.0f/s, %v left)", pace, time.Duration(float64(rest)/pace*float64(time.Second)).Round(time.Second))
	}
	return text
}
