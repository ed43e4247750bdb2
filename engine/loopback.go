package engine

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// LoopbackFrame is a loop-back frame to be written to the facet log.
type LoopbackFrame struct {
	To    int32 // facet partition
	Step  facet.Step
	Frame []byte // as the first of a chain
}

// mostLoopBytes limits the findings in one frame, in bytes.
const mostLoopBytes = 64 << 10

// loopback holds what a partition tells members of groups, and what it is told.
//
// A rule that fires for a group writes its finding to the partitions of the group's
// members. Each partition has one writer, its owner. The frames follow from the
// writer's log, so every owner that writes them again writes the same frames, and
// the reader drops duplicates. The frames of each owner form a chain, in which the
// reader notices a missing one. The chain belongs to the owner, not to the state:
// frames that a replay produces are not written, and under other rules a replay
// produces frames that nobody has written.
type loopback struct {
	got []facet.Step // by facet partition: the last frame that was read from it

	told       int64 // members that were written to
	heard      int64 // members that were read of
	unknown    int64 // of heard: by a rule that is not there
	said       int64 // verdicts that were written, one for each partition
	noted      int64 // verdicts that were read
	unadmitted int64 // of heard: the cap left them no place
	repeated   int64 // members in frames that were known

	parts   []facet.Step           // by destination: of the last frame that was made
	writers []facet.LoopbackWriter // by destination
	opened  []int32                // those with a finding under way
	filled  bool                   // some hold findings
	reader  facet.LoopbackReader
	finding facet.Finding

	verdicts facet.VerdictWriter // for all partitions
	verdict  facet.Verdict
}

func newLoopback(partitions int) loopback {
	return loopback{got: make([]facet.Step, partitions), parts: make([]facet.Step, partitions), writers: make([]facet.LoopbackWriter, partitions)}
}

// tell writes to the members of the group that fired.
func (p *Partition) tell(a *active, at score.Position, out *Output) {
	f, l := &p.context, &p.loopback
	l.finding = facet.Finding{
		Slot: a.rule.Slot, Tier: uint8(p.firing.Tier), Weight: a.rule.Members.Weight, Time: f.Time, Source: f.Source, Offset: f.Offset,
		Group: f.Entity, Clears: p.firing.Clears, Evidence: append(l.finding.Evidence[:0], p.firing.Evidence...),
	}
	if l.finding.Clears {
		l.finding.Weight = 0
	}
	p.slot.id = a.rule.Members.Slot
	l.opened = l.opened[:0]
	a.members.Take(&p.slot, f.Time, func(kind facet.Kind, key []byte) {
		member := facet.Entity{Kind: kind, Tenant: f.Entity.Tenant, Key: unsafe.String(unsafe.SliceData(key), len(key))}
		to := facet.Partition(p.hasher.Sum(member), len(l.got))
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

// emitAll completes the frames caused by the record at an offset.
func (p *Partition) emitAll(offset int64, out *Output) {
	p.emitFindings(offset, out)
	p.emitVerdicts(offset, out)
}

func (p *Partition) emitFindings(offset int64, out *Output) {
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
	step := p.loopback.step(to, offset)
	out.Loopback = append(out.Loopback, LoopbackFrame{to, step, p.loopback.writers[to].Finish(p.id, step, p.incarnation)})
}

// step returns the name of the next frame to a partition.
func (l *loopback) step(to int32, offset int64) facet.Step {
	step := facet.Step{Next: offset + 1}
	if last := l.parts[to]; last.Next == step.Next {
		step.Part = last.Part + 1
	}
	l.parts[to] = step
	return step
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
	if int(r.From) >= len(p.loopback.got) {
		return fmt.Errorf("%w: facet partition %d of %d", ErrForeign, r.From, len(p.loopback.got))
	}
	got := &p.loopback.got[r.From]
	known := r.Step.Compare(*got) <= 0
	if !known && p.begun == 0 && r.Previous.Compare(*got) > 0 {
		return fmt.Errorf("%w: loop-back %d.%d from facet partition %d follows %d.%d, and the last one here is %d.%d",
			ErrGap, r.Step.Next, r.Step.Part, r.From, r.Previous.Next, r.Previous.Part, got.Next, got.Part)
	}
	if !known {
		*got = r.Step
	}
	if r.Verdicts {
		return p.hearVerdicts(known, at)
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

// member gives a member of a group its signal. Loop-back is never late, and causes
// no further loop-back. A finding that is worth nothing any more leaves the score
// unchanged.
func (p *Partition) member(r *rules.Rule, e facet.Entity, at score.Position, out *Output) {
	if r == nil {
		p.loopback.unknown++
		return
	}
	f := &p.loopback.finding
	e.Tenant, e.Key = strings.Clone(e.Tenant), strings.Clone(e.Key)
	sig := p.signal(r, e, at)
	sig.Group = facet.Entity{Kind: f.Group.Kind, Tenant: e.Tenant, Key: strings.Clone(f.Group.Key)}
	say(&sig, f.Weight, f.Clears)
	sig.Tier, sig.Time, sig.Source, sig.SourceOffset = int(f.Tier), f.Time, f.Source, f.Offset
	sig.Evidence = ownEvidence(f.Evidence)
	rec, key, found := &p.current, p.hasher.Sum(e), false
	if rec.Record, found = p.table.Find(key, p.watermark); found && !sig.Clears {
		if label, held := p.heldBack(rec, sig.Rule, sig.Time); held {
			excuse(&sig, label)
		}
	}
	out.Signals = append(out.Signals, sig)
	if sig.Clears {
		if found {
			p.addToScore(rec, p.watermark, sig, out)
		}
		return
	}
	if sig.Weight == 0 || score.Fades([]score.Contribution{sig.Contribution()}) <= p.watermark {
		return
	}
	if rec.Record, found = p.table.Get(key, p.watermark); !found {
		rec.Record, found = p.table.Admit(key, uint8(e.Kind), p.hasher.Text(e.Tenant), p.watermark)
	}
	if !found {
		p.loopback.unadmitted++
		return
	}
	rec.Touch(at.Offset, p.closed(f.Time))
	// The finding may be so old that the record may or may not exist any more; its
	// content is worth nothing then. A finding does not spare the record from
	// eviction, because an attacker chooses whom he names.
	if merged := p.addToScore(rec, p.watermark, sig, out); merged != nil {
		rec.Prolong(p.closed(score.Fades(merged)))
	}
}
