package notices

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/weirdev/weir/internal/retry"
)

// sent is a notice on its way to some channels. Guarded by dispatcher.mu.
type sent struct {
	due
	owner any
	left  int // channels that have neither taken it nor given it up
}

// delivery is a notice on its way to one channel. A later one of the same group takes
// its place while it waits.
type delivery struct {
	notice Notice
	owner  any
	stands []*sent // that are done with it
	began  time.Time
	busy   bool // an attempt is under way
}

// dispatcher hands notices to channels. Each has a goroutine and a queue of its own,
// so none waits for another.
type dispatcher struct {
	log     *slog.Logger
	metrics *metrics
	bury    func(ctx context.Context, channel string, n *Notice, cause error) error

	ctx     context.Context // of the lines
	running sync.WaitGroup

	mu    sync.Mutex
	lines map[string]*line // by channel
}

// line is the queue of one channel. Guarded by dispatcher.mu.
type line struct {
	*dispatcher
	channel *Channel
	queue   []*delivery
	wake    chan struct{} // has room for one
	end     context.CancelFunc
	tokens  float64 // how many notices may be sent now
	counted time.Time
}

// start serves the channels of file, and of those that are passed to [dispatcher.use]
// later, until ctx ends; [dispatcher.running] is done then.
func (d *dispatcher) start(ctx context.Context, file *File) {
	d.ctx = ctx
	d.use(file)
}

// use changes to the channels of another file. What waits for a channel that is gone
// is told to nobody.
func (d *dispatcher) use(file *File) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, l := range d.lines {
		if file.Channel(id) == nil {
			for _, one := range l.queue {
				d.finish(one)
			}
			l.queue = nil
			l.end()
			delete(d.lines, id)
			d.metrics.forget(id)
		}
	}
	for _, c := range file.Channels {
		l := d.lines[c.ID]
		if l != nil {
			l.channel = c
			l.poke()
			continue
		}
		ctx, end := context.WithCancel(d.ctx)
		l = &line{dispatcher: d, channel: c, wake: make(chan struct{}, 1), end: end, tokens: burst(c), counted: time.Now()}
		d.lines[c.ID] = l
		d.metrics.known(c.ID)
		d.running.Go(func() { l.run(ctx) })
	}
}

// Teller tells channels of a file what does not come from signals.
type Teller struct {
	file *File
	out  *dispatcher
}

// NewTeller makes a teller of the channels of a file. It starts nothing.
func NewTeller(file *File, log *slog.Logger) *Teller {
	t := &Teller{file: file, out: &dispatcher{log: log, metrics: newMetrics(nil, nil), lines: map[string]*line{}}}
	t.out.bury = func(context.Context, string, *Notice, error) error { return nil } // it is logged
	return t
}

// Start serves the channels until ctx ends.
func (t *Teller) Start(ctx context.Context) { t.out.start(ctx, t.file) }

// Tell gives a notice to all channels. It does not wait for them.
func (t *Teller) Tell(n Notice) {
	n.Version = 1
	d := due{notice: n}
	for _, c := range t.file.Channels {
		d.channels = append(d.channels, c.ID)
	}
	t.out.submit(t, []due{d})
}

// Flush waits until all is delivered or given up, or until ctx ends.
func (t *Teller) Flush(ctx context.Context) {
	for t.out.waiting() && retry.Sleep(ctx, drainLook) {
	}
}

// waiting reports whether a notice waits for a channel.
func (d *dispatcher) waiting() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lines {
		if len(l.queue) > 0 {
			return true
		}
	}
	return false
}

// submit hands over what is due, for the owner of a partition.
func (d *dispatcher) submit(owner any, all []due) (list []*sent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range all {
		s := &sent{due: one, owner: owner}
		list = append(list, s)
		for _, id := range one.channels {
			if l := d.lines[id]; l != nil && (one.notice.Status != Resolved || l.channel.Resolved) {
				s.left++
				l.add(s)
			}
		}
	}
	return list
}

// add queues a notice. One of its group that waits is superseded: receivers are told
// what is so now. But a receiver that does not know of a group could make nothing of its
// end, so its first notice stays.
func (l *line) add(s *sent) {
	for _, d := range l.queue {
		was := d.notice.Status
		if d.owner != s.owner || d.busy || d.notice.GroupID != s.notice.GroupID || was == Firing && s.notice.Status == Resolved {
			continue
		}
		d.notice, d.stands = s.notice, append(d.stands, s)
		if was == Firing && d.notice.Status == Update {
			d.notice.Status = Firing
		}
		return
	}
	l.queue = append(l.queue, &delivery{notice: s.notice, owner: s.owner, stands: []*sent{s}, began: time.Now()})
	l.metrics.waiting(l.channel.ID, l.queue)
	l.poke()
}

func (l *line) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// finish marks a delivery as done; mu is held.
func (d *dispatcher) finish(one *delivery) {
	for _, s := range one.stands {
		s.left--
	}
	one.stands = nil
}

// done reports whether all channels are done with a notice.
func (d *dispatcher) done(s *sent) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return s.left == 0
}

// withdraw drops what waits for an owner that has lost its partition. Its successor
// tells it.
func (d *dispatcher) withdraw(owner any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, l := range d.lines {
		kept := l.queue[:0]
		for _, one := range l.queue {
			if one.owner != owner || one.busy {
				kept = append(kept, one)
			}
		}
		clear(l.queue[len(kept):])
		l.queue = kept
		d.metrics.waiting(id, kept)
	}
}

// The pauses between attempts.
const (
	firstPause = time.Second
	mostPause  = 2 * time.Minute
)

// run delivers one notice after the other, until ctx ends.
func (l *line) run(ctx context.Context) {
	pauses := retry.Backoff{First: firstPause, Most: mostPause}
	for ctx.Err() == nil {
		one, c := l.next()
		if one == nil {
			select {
			case <-l.wake:
			case <-ctx.Done():
			}
			continue
		}
		if !l.mayGo(ctx, c) {
			return
		}
		err := l.attempt(ctx, c, one)
		switch later := (busy{}); {
		case err == nil:
			pauses.Reset()
		case errors.As(err, &later):
			retry.Sleep(ctx, later.after)
		default:
			pauses.Wait(ctx)
		}
	}
}

// next returns the notice to try, and where to send it.
func (l *line) next() (*delivery, *Channel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return nil, nil
	}
	return l.queue[0], l.channel
}

func burst(c *Channel) float64 { return float64(min(c.PerMinute, 10)) }

// mayGo waits until the channel's rate allows another attempt.
func (l *line) mayGo(ctx context.Context, c *Channel) bool {
	for {
		now := time.Now()
		l.tokens = min(l.tokens+now.Sub(l.counted).Minutes()*float64(c.PerMinute), burst(c))
		l.counted = now
		if l.tokens >= 1 {
			l.tokens--
			return ctx.Err() == nil
		}
		if !retry.Sleep(ctx, time.Duration((1-l.tokens)/float64(c.PerMinute)*float64(time.Minute))+time.Millisecond) {
			return false
		}
	}
}

// attempt tries to deliver a notice. Its error means that the same is tried again.
func (l *line) attempt(ctx context.Context, c *Channel, one *delivery) error {
	l.mu.Lock()
	if len(l.queue) == 0 || l.queue[0] != one { // withdrawn
		l.mu.Unlock()
		return nil
	}
	one.busy = true
	n := one.notice
	l.mu.Unlock()

	trying, cancel := context.WithTimeout(ctx, attemptTime)
	err := c.sender.Send(trying, &n)
	cancel()
	final, part := refusal{}, inPart{}
	if errors.As(err, &part) {
		l.log.Error("a notice did not reach everybody", "channel", c.ID, "notice", n.ID, "error", err)
		err = nil
	}
	switch {
	case err == nil:
		l.metrics.sent.WithLabelValues(c.ID, string(n.Status)).Inc()
	case ctx.Err() != nil:
		l.release(one)
		return err
	case errors.As(err, &final) || time.Since(one.began) >= c.GiveUp:
		l.metrics.failed.WithLabelValues(c.ID).Inc()
		l.log.Error("a notice is given up", "channel", c.ID, "notice", n.ID, "error", err)
		if err := l.bury(ctx, c.ID, &n, err); err != nil {
			l.release(one)
			return err
		}
		l.metrics.dead.WithLabelValues(c.ID).Inc()
	default:
		l.metrics.failed.WithLabelValues(c.ID).Inc()
		l.log.Warn("a notice is not delivered yet", "channel", c.ID, "notice", n.ID, "error", err)
		l.release(one)
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finish(one)
	if len(l.queue) > 0 && l.queue[0] == one {
		l.queue = l.queue[1:]
	}
	l.metrics.waiting(c.ID, l.queue)
	return nil
}

func (l *line) release(one *delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one.busy = false
}
