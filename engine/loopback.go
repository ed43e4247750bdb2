package engine

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Loop is a loop-back frame that goes into the facet log.
type Loop struct {
	To    int32 // facet partition
	Frame []byte
}

// mostLoopBytes is how many bytes of findings are gathered for one frame.
const mostLoopBytes = 64 << 10

// loopback is what a partition says to members of groups, and what it is told.
//
// A rule that fires for a group writes what it found into the partitions of the
// group's members, each of which has one writer, and that is the owner of its
// partition. Frames from one partition to another are a chain: each names the one
// before it. They follow from the writer's log, so whoever writes them again writes
// the same, and the reader drops what it has and sees what is missing.
type loopback struct {
	terms uint64 // names them
	begun int64  // facet offset at which the state began; 0, unless a loss was declared
	links []link // by facet partition

	told       int64 // members that were written to
	heard      int64 // members that were read of
	unadmitted int64 // of heard: the cap left them no place
	repeated   int64 // members in frames that were known

	writers []facet.LoopWriter // by destination
	opened  []int32            // those with a finding under way
	filled  bool               // some hold findings
	reader  facet.LoopReader
	finding facet.Finding
}

// link is what is known of one other partition.
type link struct {
	sent facet.Step // of the last frame written to it

	heard bool
	terms uint64 // under which the last frame from it was made
	begun int64
	got   facet.Step // of that frame
}

func newLoopback(t terms, partitions int) loopback {
	return loopback{terms: t.name(), links: make([]link, partitions), writers: make([]facet.LoopWriter, partitions)}
}

// tell writes to the members of the group that fired.
func (p *Partition) tell(a *active, at score.Position, out *Output) {
	f, l := &p.facet, &p.loopback
	l.finding = facet.Finding{
		Slot: a.rule.Slot, Tier: uint8(p.firing.Tier), Weight: a.rule.Members.Weight, Time: f.Time, Source: f.Source, Offset: f.Offset,
		Group: f.Entity, Numbers: l.finding.Numbers[:0],
	}
	for _, n := range p.firing.Evidence[:p.firing.Numbers] {
		l.finding.Numbers = append(l.finding.Numbers, facet.Number{Name: n.Name, Value: n.Value})
	}
	p.slot.id = a.rule.Members.Slot
	l.opened = l.opened[:0]
	a.members.Take(&p.slot, f.Time, func(kind facet.Kind, key []byte) {
		member := facet.Entity{Kind: kind, Tenant: f.Entity.Tenant, Key: unsafe.String(unsafe.SliceData(key), len(key))}
		to := facet.Partition(p.hasher.Sum(member), len(l.links))
		if l.open(to) {
			l.writers[to].Begin(&l.finding)
		}
		l.writers[to].Member(kind, member.Key)
		l.told++
	})
	for _, to := range l.opened {
		l.filled = true
		l.writers[to].End()
		if l.writers[to].Len() > mostLoopBytes {
			p.emit(to, at.Offset, out)
		}
	}
}

// open reports whether this is the first member in a partition.
func (l *loopback) open(to int32) bool {
	for _, o := range l.opened {
		if o == to {
			return false
		}
	}
	l.opened = append(l.opened, to)
	return true
}

// emitAll completes the frames that the record at an offset caused.
func (p *Partition) emitAll(offset int64, out *Output) {
	if !p.loopback.filled {
		return
	}
	p.loopback.filled = false
	for to := range p.loopback.writers {
		if p.loopback.writers[to].Len() > 0 {
			p.emit(int32(to), offset, out)
		}
	}
}

func (p *Partition) emit(to int32, offset int64, out *Output) {
	l := &p.loopback.links[to]
	step := facet.Step{Next: offset + 1}
	if l.sent.Next == step.Next {
		step.Part = l.sent.Part + 1
	}
	frame := p.loopback.writers[to].Finish(facet.Link{
		Terms: p.loopback.terms, From: p.id, Begun: p.loopback.begun, Previous: l.sent, Step: step,
	}, p.incarnation)
	l.sent = step
	out.Loops = append(out.Loops, Loop{to, frame})
}

// hear applies a loop-back frame.
func (p *Partition) hear(frame []byte, at score.Position, out *Output) error {
	r := &p.loopback.reader
	if err := r.Reset(frame); err != nil {
		return err
	}
	if err := p.belongs(r.Incarnation); err != nil {
		return err
	}
	if int(r.From) >= len(p.loopback.links) {
		return fmt.Errorf("%w: facet partition %d of %d", ErrForeign, r.From, len(p.loopback.links))
	}
	l := &p.loopback.links[r.From]
	known, err := l.follow(&r.Link, p.loopback.begun > 0)
	if err != nil {
		return err
	}
	f := &p.loopback.finding
	for {
		ok, err := r.Finding(f)
		if err != nil || !ok {
			return err
		}
		rule := p.bySlot[f.Slot]
		for {
			var e facet.Entity
			ok, err := r.Member(&e)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if known {
				p.loopback.repeated++
			} else {
				p.loopback.heard++
				p.member(rule, e, at, out)
			}
			at.Index++
		}
	}
}

// follow says whether a frame is known already, and takes it in as the last one
// where it is not. Without partial, the log of this partition is whole, and so is
// the chain.
func (l *link) follow(f *facet.Link, partial bool) (known bool, err error) {
	missing := func(why string) error {
		return fmt.Errorf("%w: loop-back from facet partition %d: %s (frame %d.%d, before it %d.%d, known %d.%d)",
			ErrGap, f.From, why, f.Step.Next, f.Step.Part, f.Previous.Next, f.Previous.Part, l.got.Next, l.got.Part)
	}
	switch {
	case !l.heard && partial: // what came before is lost, and that is declared
	case l.heard && (f.Begun < l.begun || f.Begun == l.begun && f.Step.Compare(l.got) <= 0):
		return true, nil
	case f.Begun > l.begun: // its writer has lost its state, and that is declared: a new chain
		if f.Previous != (facet.Step{}) {
			return false, missing("the beginning of its chain is missing")
		}
	case f.Previous.Compare(l.got) > 0:
		return false, missing("the frame before it is missing")
	case f.Previous != l.got && f.Terms == l.terms:
		return false, missing("it does not know of the last one")
	}
	// Under other terms a writer may not have found what its predecessor, which
	// ended without a commit, had written.
	l.heard, l.terms, l.begun, l.got = true, f.Terms, f.Begun, f.Step
	return false, nil
}

// member gives a member of a group its signal. Loop-back is never late, and causes
// no more of it. What is worth nothing any more leaves the score as it is.
func (p *Partition) member(r *rules.Rule, e facet.Entity, at score.Position, out *Output) {
	if r == nil {
		return // the rule is gone
	}
	f := &p.loopback.finding
	e.Tenant, e.Key = strings.Clone(e.Tenant), strings.Clone(e.Key)
	sig := p.signal(r, e, at)
	sig.Group = facet.Entity{Kind: f.Group.Kind, Tenant: e.Tenant, Key: strings.Clone(f.Group.Key)}
	sig.Weight, sig.Tier, sig.Time, sig.Source, sig.SourceOffset = f.Weight, int(f.Tier), f.Time, f.Source, f.Offset
	for _, n := range f.Numbers {
		sig.Evidence = append(sig.Evidence, score.Number{Name: strings.Clone(n.Name), Value: n.Value})
	}
	out.Signals = append(out.Signals, sig)
	if score.Expires([]score.Contribution{sig.Contribution()}) <= p.watermark {
		return
	}
	rec, key, found := &p.current, p.hasher.Sum(e), false
	if rec.Record, found = p.table.Get(key, p.watermark); !found {
		rec.Record, found = p.table.Admit(key, uint8(e.Kind), p.hasher.Text(e.Tenant), p.watermark)
	}
	if !found {
		p.loopback.unadmitted++
		return
	}
	rec.Touch(at.Offset, p.closed(f.Time))
	// The finding may be so old that the record may be gone or not: what it held is
	// worth nothing by now.
	p.addToScore(rec, p.watermark, sig, out)
}
