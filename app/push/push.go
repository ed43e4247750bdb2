package push

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
)

// ErrNothing means that there is nothing to go back to.
var ErrNothing = errors.New("nothing was pushed")

// Stream names what a push touches.
type Stream struct {
	Rules, Events, Facets string // topics
	Ingest, Detect        string // groups
	Incarnation           uint32
}

// Pusher pushes rules into one stream.
type Pusher struct {
	Log    Log
	Stream Stream
	Now    func() time.Time
	Every  time.Duration // how often workers are asked how far they are
	Tell   func(string)  // is told of the progress, in sentences
}

// Request is what to push.
type Request struct {
	Lane                facet.Lane
	Rules               *rules.Set // nil: the shadow lane ends
	Who, Reason, Source string
}

func (r *Request) version() string {
	if r.Rules == nil {
		return ""
	}
	return r.Rules.Version
}

// History reads what was pushed.
func (p *Pusher) History(ctx context.Context) (*History, error) {
	h := &History{Incarnation: p.Stream.Incarnation}
	return h, h.Read(ctx, p.Log, p.Stream.Rules, nil)
}

// Push puts rules in force, and returns when every facet partition has them. If the last
// push to the lane had the same rules, it finishes that. After an error it may be called
// again; the error says what has happened until then.
func (p *Pusher) Push(ctx context.Context, r Request) (*Push, error) {
	h, err := p.compared(ctx)
	if err != nil {
		return nil, err
	}
	is, err := p.propose(ctx, h, &r)
	if err != nil {
		return nil, err
	}
	if !is.Decided {
		if err := p.decide(ctx, h, is); err != nil {
			return is, err
		}
	}
	if !is.Done {
		if err := p.write(ctx, is); err != nil {
			return is, err
		}
	}
	return is, p.awaitDetect(ctx, is)
}

// compared returns the history, which must know of every switch that partitions have, and
// of every record that ingest has followed. If the topic was made anew, facet partitions
// would ignore its numbers, and ingest would seem to follow what it has not read. Commits
// are read first: others may push meanwhile.
func (p *Pusher) compared(ctx context.Context) (*History, error) {
	has, err := p.Applied(ctx)
	if err != nil {
		return nil, err
	}
	promises, err := p.promises(ctx)
	if err != nil {
		return nil, err
	}
	h, err := p.History(ctx)
	if err != nil {
		return nil, err
	}
	for partition, a := range has {
		if n := max(a.rules, a.shadow); n > uint64(h.Next) {
			return nil, p.anew(h, fmt.Sprintf("facet partition %d has rules of push %d", partition, n))
		}
	}
	for partition, n := range promises {
		if n > h.Next {
			return nil, p.anew(h, fmt.Sprintf("ingest of raw partition %d has followed it up to %d", partition, n))
		}
	}
	return h, nil
}

func (p *Pusher) anew(h *History, what string) error {
	return fmt.Errorf("%s, and the topic %s ends at %d: it was made anew, and partitions ignore its numbers; restore it, or begin a new incarnation of the stream", what, p.Stream.Rules, h.Next)
}

// promises returns, by raw partition, up to which record of the topic of rules its commit
// says that facets follow.
func (p *Pusher) promises(ctx context.Context) (map[int32]int64, error) {
	commits, err := p.Log.Committed(ctx, p.Stream.Ingest, p.Stream.Events)
	if err != nil {
		return nil, err
	}
	all := make(map[int32]int64, len(commits))
	for _, c := range commits {
		progress, err := ingest.ParseProgress(c.Metadata)
		if err != nil {
			return nil, fmt.Errorf("raw partition %d: %w", c.Partition, err)
		}
		all[c.Partition] = progress.Pushed
	}
	return all, nil
}

// propose returns the push that is to be put in force: the last one, if it has the same
// rules.
func (p *Pusher) propose(ctx context.Context, h *History, r *Request) (*Push, error) {
	switch last := h.last(r.Lane); {
	case last == nil && r.Rules == nil:
		return nil, fmt.Errorf("%w to the shadow lane", ErrNothing)
	case last != nil && last.Version == r.version():
		if !last.Done {
			p.Tell(fmt.Sprintf("push %d of %s, with the same rules, was not finished; it is now", last.Number, last.Who))
		}
		return last, nil
	}
	rec := record{
		Incarnation: p.Stream.Incarnation, Step: proposed, ID: rand.Text(), Lane: r.Lane.String(), Rules: r.version(),
		Time: p.Now().UnixMilli(), Who: text(r.Who), Reason: text(r.Reason), Source: text(r.Source),
	}
	if r.Rules != nil {
		rec.Count = len(r.Rules.Rules)
		var err error
		if rec.Bundle, err = r.Rules.Bundle(); err != nil {
			return nil, err
		}
	}
	if err := p.append(ctx, &rec); err != nil {
		return nil, fmt.Errorf("propose the rules: %w", err)
	}
	if err := h.Read(ctx, p.Log, p.Stream.Rules, nil); err != nil {
		return nil, err
	}
	for _, is := range h.Pushes {
		if is.id == rec.ID {
			return is, nil
		}
	}
	return nil, fmt.Errorf("the record just written to %s is not there", p.Stream.Rules)
}

func (p *Pusher) append(ctx context.Context, r *record) error {
	value, err := r.encode()
	if err != nil {
		return err
	}
	return p.Log.Produce(ctx, p.Stream.Rules, []kafka.Produce{{Records: []kafka.Outgoing{{Value: value}}}})
}

// decide decides that the push is put in force, once ingest has its fields. h has its
// proposal.
func (p *Pusher) decide(ctx context.Context, h *History, is *Push) error {
	if is.Version != "" {
		if err := p.awaitIngest(ctx, h, is); err != nil {
			return err
		}
	}
	if err := p.append(ctx, &record{Incarnation: p.Stream.Incarnation, Step: decided, Number: is.Number}); err != nil {
		return fmt.Errorf("decide push %d: %w; push the same rules again", is.Number, err)
	}
	h, err := p.History(ctx)
	if err != nil {
		return err
	}
	if now := h.Find(is.Number); now == nil || !now.Decided {
		last := h.last(is.Lane)
		return fmt.Errorf("%s has pushed rules of version %s meanwhile (push %d), which count; nothing of push %d is in force", last.Who, last.Version, last.Number, is.Number)
	}
	is.Decided = true
	return nil
}

// awaitIngest returns when the facets of all raw partitions have the fields of the push.
func (p *Pusher) awaitIngest(ctx context.Context, h *History, is *Push) error {
	var behind []int32
	var followed int64
	kept, since := false, int64(-1)
	for first := true; ; first = false {
		all, least, err := p.behind(ctx, is)
		if err == nil {
			behind, followed = all, least
			if len(behind) > 0 && least != since { // it follows from records that do not change
				kept, err = p.keptSince(ctx, is, least)
				since = least
			}
		}
		if err == nil && (kept || len(behind) == 0) {
			return nil
		}
		if err == nil && first {
			p.Tell(fmt.Sprintf("push %d: waits until workers read its rules and facets have their fields", is.Number))
		}
		if err == nil {
			err = p.pause(ctx)
		}
		if err != nil {
			return fmt.Errorf("push %d: nothing has changed: ingest of the raw %s does not say that it follows (%w). "+
				"A worker that cannot read the rules says so in its log; ingest commits nothing while ClickHouse takes no rows; workers of earlier versions never follow. %sPush the same rules again when that is mended",
				is.Number, partitions(behind), err, h.inTheWay(is, followed))
		}
	}
}

// behind lists the raw partitions whose commit does not promise the fields of a push,
// and returns the least offset of the topic of rules that a commit promises.
func (p *Pusher) behind(ctx context.Context, is *Push) (all []int32, least int64, err error) {
	promises, err := p.promises(ctx)
	if err != nil {
		return nil, 0, err
	}
	least = int64(is.Number)
	for partition, n := range promises {
		if least = min(least, n); n < int64(is.Number) {
			all = append(all, partition)
		}
	}
	slices.Sort(all)
	return all, least, nil
}

// keptSince reports whether ingest has kept the fields of these rules, because of other
// pushes, ever since the topic had the given length. Workers that have followed it so
// far read them.
func (p *Pusher) keptSince(ctx context.Context, is *Push, since int64) (bool, error) {
	if since == 0 {
		return false, nil
	}
	kept := true
	h := &History{Incarnation: p.Stream.Incarnation}
	err := h.Read(ctx, p.Log, p.Stream.Rules, func() {
		if h.Next >= since {
			kept = kept && slices.ContainsFunc(h.Kept(), func(k *Push) bool { return k.Version == is.Version })
		}
	})
	return err == nil && kept, err
}

// mostBytes limits the switch records that are written in one request.
const mostBytes = 4 << 20

// write writes the switch record to every facet partition, and says so.
func (p *Pusher) write(ctx context.Context, is *Push) error {
	ranges, err := p.Log.Offsets(ctx, p.Stream.Facets)
	if err == nil {
		all := make([]int32, len(ranges))
		for i := range all {
			all[i] = int32(i)
		}
		err = p.toEach(ctx, all, is)
	}
	if err == nil {
		err = p.append(ctx, &record{Incarnation: p.Stream.Incarnation, Step: done, Number: is.Number})
	}
	if err != nil {
		return fmt.Errorf("push %d is in force in some facet partitions, perhaps not in all: %w; push the same rules again", is.Number, err)
	}
	is.Done = true
	return nil
}

// toEach writes the switch record to some facet partitions.
func (p *Pusher) toEach(ctx context.Context, some []int32, is *Push) error {
	frame := facet.AppendSwitch(nil, &facet.Switch{
		Incarnation: uint64(p.Stream.Incarnation), Number: is.Number, Lane: is.Lane, Version: is.Version, Time: is.Time, Who: is.Who, Source: is.From(), Bundle: is.Bundle,
	})
	for few := range slices.Chunk(some, max(1, mostBytes/len(frame))) {
		var all []kafka.Produce
		for _, i := range few {
			all = append(all, kafka.Produce{Partition: i, Records: []kafka.Outgoing{{Value: frame}}})
		}
		if err := p.Log.Produce(ctx, p.Stream.Facets, all); err != nil {
			return err
		}
	}
	return nil
}

// Applied is what the commit of a facet partition says.
type Applied struct {
	offset        int64
	says          bool   // what is in force; outputs were not all stored otherwise
	rules, shadow uint64 // numbers in force; 0: none
}

// Number returns the number of the push to a lane that the partition has; 0 if it has
// none, or the commit does not say.
func (a Applied) Number(lane facet.Lane) uint64 {
	if lane == facet.Shadow {
		return a.shadow
	}
	return a.rules
}

// Applied returns what facet partitions have, in order of partition.
func (p *Pusher) Applied(ctx context.Context) ([]Applied, error) {
	commits, err := p.Log.Committed(ctx, p.Stream.Detect, p.Stream.Facets)
	if err != nil {
		return nil, err
	}
	all := make([]Applied, len(commits))
	for i, c := range commits {
		progress, says, err := engine.ParseProgress(c.Metadata)
		if err != nil {
			return nil, fmt.Errorf("facet partition %d: %w", i, err)
		}
		all[i] = Applied{c.Offset, says, progress.Rules, progress.Shadow}
	}
	return all, nil
}

// awaitDetect returns when every facet partition has committed that it has the push. If
// some have read their whole log and have it not, their record is lost, and is written
// again: they began anew after a loss that was declared, or the log lost its end.
func (p *Pusher) awaitDetect(ctx context.Context, is *Push) error {
	ends, err := p.Log.Offsets(ctx, p.Stream.Facets)
	if err != nil {
		return err
	}
	was, again := -1, false
	for {
		all, err := p.Applied(ctx)
		var waits, without []int32
		later := uint64(0)
		for i := range all {
			a := &all[i]
			n, read := a.Number(is.Lane), i < len(ends) && a.offset >= ends[i].End
			if later = max(later, n); n >= is.Number || read && !a.says {
				continue
			}
			if waits = append(waits, int32(i)); read {
				without = append(without, int32(i))
			}
		}
		switch {
		case err != nil:
		case len(waits) == 0:
			return p.counts(ctx, is, later)
		case len(without) > 0 && !again:
			p.Tell(fmt.Sprintf("push %d: its record is lost in facet %s; it is written again", is.Number, partitions(without)))
			again = true
			if err = p.toEach(ctx, without, is); err == nil {
				ends, err = p.Log.Offsets(ctx, p.Stream.Facets)
			}
		case len(waits) != was:
			was = len(waits)
			p.Tell(fmt.Sprintf("push %d: in force in %d of %d facet partitions", is.Number, len(all)-was, len(all)))
		}
		if err == nil {
			err = p.pause(ctx)
		}
		if err != nil {
			return fmt.Errorf("push %d is in the log of every facet partition and cannot get lost, but the facet %s have committed nothing after it (%w): no worker reads them, they are behind or stopped, or a store takes nothing; workers' logs tell",
				is.Number, partitions(waits), err)
		}
	}
}

// counts returns an error if a partition has a later push, of the given number.
func (p *Pusher) counts(ctx context.Context, is *Push, later uint64) error {
	if later <= is.Number {
		return nil
	}
	h, err := p.History(ctx)
	if err != nil {
		return err
	}
	who := "somebody"
	if next := h.Find(later); next != nil {
		who = next.Who
	}
	return fmt.Errorf("%s has pushed other rules meanwhile (push %d), which count where partitions have them; push %d does not", who, later, is.Number)
}

func (p *Pusher) pause(ctx context.Context) error {
	select {
	case <-time.After(p.Every):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// partitions names some partitions.
func partitions(all []int32) string {
	const most = 8
	names := make([]string, 0, most)
	for _, p := range all[:min(len(all), most)] {
		names = append(names, strconv.Itoa(int(p)))
	}
	switch {
	case len(all) == 1:
		return "partition " + names[0]
	case len(all) > most:
		return fmt.Sprintf("partitions %s and %d others", strings.Join(names, ", "), len(all)-most)
	}
	return "partitions " + strings.Join(names, ", ")
}
