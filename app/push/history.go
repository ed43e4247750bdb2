package push

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
)

// Push is a set of rules that somebody has pushed.
type Push struct {
	Number      uint64 // from 1
	Incarnation uint32 // of the stream
	Lane        facet.Lane
	Version     string // of the rules; "": the shadow lane ends
	Count       int    // of the rules
	Time        int64  // Unix ms
	Who, Reason string
	Source      string
	Bundle      []byte // nil if the history was told to forget it

	// Decided means that switch records may be there, Done that each facet partition
	// has one.
	Decided, Done bool

	id string
}

// From says in one line where the rules came from, and why.
func (p *Push) From() string {
	s := "push " + strconv.FormatUint(p.Number, 10)
	if p.Source != "" {
		s += " of " + p.Source
	}
	if p.Reason != "" {
		s += ": " + p.Reason
	}
	return s
}

// State says in a word how far a push has come.
func (h *History) State(p *Push) string {
	switch {
	case p.Incarnation != h.Incarnation:
		return "of another incarnation"
	case h.InForce(p.Lane) == p:
		return "in force"
	case p.Done:
		return "replaced"
	case h.last(p.Lane) != p:
		return "given up"
	case p.Decided:
		return "unfinished"
	}
	return "proposed"
}

// History is what the topic of rules says: a function of its records, in order.
type History struct {
	Incarnation uint32
	Next        int64   // offset of the next record to read
	Pushes      []*Push // in order of number
	Foreign     int     // records that nobody can have pushed, which are passed over
}

// Take reads the record at offset h.Next or later. After an error, which is
// [ErrLater], h is unchanged.
func (h *History) Take(offset int64, value []byte) error {
	r, err := parse(value)
	switch {
	case errors.Is(err, ErrLater):
		return fmt.Errorf("offset %d: %w", offset, err)
	case err != nil:
		h.Foreign++
	case r.Step == proposed:
		h.propose(offset, r)
	case r.Incarnation == h.Incarnation:
		h.step(r)
	}
	h.Next = offset + 1
	return nil
}

func (h *History) propose(offset int64, r record) {
	if slices.ContainsFunc(h.Pushes, func(p *Push) bool { return p.id == r.ID }) {
		return // written twice
	}
	lane := facet.Live
	if r.Lane == facet.Shadow.String() {
		lane = facet.Shadow
	}
	h.Pushes = append(h.Pushes, &Push{
		Number: uint64(offset) + 1, Incarnation: r.Incarnation, Lane: lane, Version: r.Rules, Count: r.Count, Time: r.Time,
		Who: r.Who, Reason: r.Reason, Source: r.Source, Bundle: r.Bundle, id: r.ID,
	})
}

// step takes a decision, unless another proposal came first, and the end of a push,
// unless a later one has ended first.
func (h *History) step(r record) {
	p := h.Find(r.Number)
	switch {
	case p == nil || p.Incarnation != h.Incarnation:
	case r.Step == decided && h.last(p.Lane) == p:
		p.Decided = true
	case r.Step == done && p.Decided && (h.InForce(p.Lane) == nil || h.InForce(p.Lane).Number < p.Number):
		p.Done = true
	}
}

// Find returns the push of a number; nil if there is none.
func (h *History) Find(number uint64) *Push {
	for _, p := range h.Pushes {
		if p.Number == number {
			return p
		}
	}
	return nil
}

// of lists the pushes to a lane in this incarnation, the last first.
func (h *History) of(lane facet.Lane) func(func(*Push) bool) {
	return func(yield func(*Push) bool) {
		for _, p := range slices.Backward(h.Pushes) {
			if p.Lane == lane && p.Incarnation == h.Incarnation && !yield(p) {
				return
			}
		}
	}
}

// last returns the latest push to a lane; nil if there is none.
func (h *History) last(lane facet.Lane) *Push {
	for p := range h.of(lane) {
		return p
	}
	return nil
}

// Proposed returns the number of the latest push to a lane; 0 if there is none.
func (h *History) Proposed(lane facet.Lane) uint64 {
	if p := h.last(lane); p != nil {
		return p.Number
	}
	return 0
}

// InForce returns the last push to a lane that every facet partition has; nil if there
// is none. A later one may be in force in some partitions.
func (h *History) InForce(lane facet.Lane) *Push {
	for p := range h.of(lane) {
		if p.Done {
			return p
		}
	}
	return nil
}

// Previous returns the push whose rules were in force before others were; nil if there
// is none.
func (h *History) Previous(lane facet.Lane) *Push {
	now := h.InForce(lane)
	for p := range h.of(lane) {
		if p.Done && p.Version != now.Version {
			return p
		}
	}
	return nil
}

// ErrNoWayBack means that nobody knows which rules were in force before.
var ErrNoWayBack = errors.New("no way back")

// Back returns the push to which a lane goes back: the one in force everywhere, if a
// later one has reached some partitions, else the one before. The error is
// [ErrNoWayBack], and says what to do.
func (h *History) Back(lane facet.Lane) (*Push, error) {
	now, back := h.InForce(lane), h.Previous(lane)
	if last := h.last(lane); last != nil && !last.Decided {
		text := fmt.Sprintf("push %d of %s was only proposed, and has changed nothing, so there is nothing to go back from", last.Number, last.Who)
		if back != nil {
			text += fmt.Sprintf("; name the push that you want: -number %d has the rules before those in force", back.Number)
		}
		return nil, fmt.Errorf("%w: %s", ErrNoWayBack, text)
	}
	for p := range h.of(lane) {
		if p == now {
			break
		}
		if p.Decided {
			back = now
		}
	}
	if back == nil {
		return nil, fmt.Errorf("%w: no other rules were pushed before; push those that you want by their directory", ErrNoWayBack)
	}
	return back, nil
}

// Unfinished returns the last push to a lane if some partitions may have it and others
// not; nil otherwise.
func (h *History) Unfinished(lane facet.Lane) *Push {
	for p := range h.of(lane) {
		if p.Done {
			return nil
		}
		if p.Decided {
			return p
		}
	}
	return nil
}

// inTheWay says which proposal to the other lane keeps workers from following is; "" if
// none does. They have followed the topic up to the given offset.
func (h *History) inTheWay(is *Push, followed int64) string {
	other, end := facet.Shadow, "`weir rules push -shadow -none` ends it"
	if is.Lane == facet.Shadow {
		other, end = facet.Live, "push live rules that they read"
	}
	if p := h.last(other); p != nil && !p.Decided && p.Number < is.Number && followed < int64(p.Number) {
		return fmt.Sprintf("Before it, %s has proposed push %d to the %s lane, and if workers do not read that, they follow nothing after it: %s. ", p.Who, p.Number, other, end)
	}
	return ""
}

// Kept lists the pushes whose fields ingest projects: those that may be in force, the
// one to which they may go back, and the proposed one.
func (h *History) Kept() (all []*Push) {
	for _, lane := range []facet.Lane{facet.Live, facet.Shadow} {
		before := h.Previous(lane)
		over := false
		for p := range h.of(lane) {
			if p == before || !over && (p.Decided || p == h.last(lane)) {
				all = append(all, p)
			}
			over = over || p.Done
		}
	}
	return all
}

// forget drops the bundles of pushes that are kept no more. None of them is ever kept
// again.
func (h *History) forget() {
	kept := h.Kept()
	for _, p := range h.Pushes {
		if !slices.Contains(kept, p) {
			p.Bundle = nil
		}
	}
}

// Log is the part of a [kafka.Client] that this package uses.
type Log interface {
	Fetch(ctx context.Context, topic string, partition int32, offset int64, b *kafka.Batch) error
	Produce(ctx context.Context, topic string, ps []kafka.Produce) error
	Offsets(ctx context.Context, topic string) ([]kafka.OffsetRange, error)
	Committed(ctx context.Context, group, topic string) ([]kafka.Commit, error)
}

// Read reads the topic from h.Next to its end. each is called after each record; it may
// be nil.
func (h *History) Read(ctx context.Context, log Log, topic string, each func()) error {
	ranges, err := log.Offsets(ctx, topic)
	if errors.Is(err, kafka.ErrUnknownTopic) {
		return fmt.Errorf("topic %s: %w; `weir migrate` makes it", topic, err)
	} else if err != nil {
		return err
	}
	if len(ranges) == 0 || ranges[0].End < h.Next {
		return fmt.Errorf("topic %s: it was read up to %d, and ends before: it was made anew", topic, h.Next)
	}
	b, next, held := new(kafka.Batch), max(h.Next, ranges[0].Start), false
	for next < ranges[0].End {
		if err := log.Fetch(ctx, topic, 0, next, b); err != nil {
			if held {
				err = fmt.Errorf("topic %s: a transaction that somebody has begun at %d is open, and nothing behind it can be read until it ends: %w", topic, next, err)
			}
			return err
		}
		held = b.Held > 0 && b.Next <= next
		for i := range b.Records {
			if err := h.Take(b.Records[i].Offset, b.Records[i].Value); err != nil {
				return fmt.Errorf("topic %s: %w", topic, err)
			}
			if each != nil {
				each()
			}
		}
		next = max(next, b.Next)
	}
	h.Next = max(h.Next, next)
	return nil
}
