package engine

import (
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/state"
)

// Ledger counts the outcomes of the facets of one partition, by raw partition. It
// is part of the state.
type Ledger struct {
	Sources  []SourceLedger
	Loopback Totals // of what no raw partition accounts for
}

// SourceLedger is the ledger of one raw partition.
type SourceLedger struct {
	Next int64 // raw offset up to which everything is covered; 0 where nothing was heard
	Totals
}

// Total is the sum over the sources.
func (l Ledger) Total() Totals {
	t := l.Loopback
	for _, s := range l.Sources {
		t = t.Plus(s.Totals)
	}
	return t
}

// Plus returns the sum of two ledgers.
func (t Totals) Plus(u Totals) Totals {
	return Totals{
		Applied: t.Applied + u.Applied, Late: t.Late + u.Late, Unadmitted: t.Unadmitted + u.Unadmitted,
		Duplicate: t.Duplicate + u.Duplicate, Told: t.Told + u.Told, Heard: t.Heard + u.Heard, Unknown: t.Unknown + u.Unknown,
		Said: t.Said + u.Said, Noted: t.Noted + u.Noted,
	}
}

// Ledger returns the partition's ledger up to the last applied record.
func (p *Partition) Ledger() Ledger {
	l := Ledger{Sources: make([]SourceLedger, len(p.sources))}
	for i := range p.sources {
		l.Sources[i] = SourceLedger{Next: p.sources[i].next, Totals: p.sources[i].ledger}
	}
	b := &p.loopback
	l.Loopback = Totals{Told: b.told, Heard: b.heard, Unknown: b.unknown, Unadmitted: b.unadmitted, Duplicate: b.repeated, Said: b.said, Noted: b.noted}
	return l
}

// Watermark returns the event time that all sources have passed, Unix ms.
func (p *Partition) Watermark() int64 { return p.watermark }

// Entities returns the number of entities with state.
func (p *Partition) Entities() (n int) {
	for _, k := range facet.Kinds() {
		n += p.table.Len(uint8(k))
	}
	return n
}

// Evicted returns how many entities of a kind lost their state because of the cap.
func (p *Partition) Evicted(k facet.Kind) int64 { return p.table.Evicted(uint8(k)) }

// Cohorts returns the number of cohorts with state.
func (p *Partition) Cohorts() int { return cohortsIn(p.table) }

func cohortsIn(t *state.Table) (n int) {
	for i := range cohortFields {
		n += t.Len(firstCohort + uint8(i))
	}
	return n
}

// Timers returns the number of entities with a timer.
func (p *Partition) Timers() int { return p.table.Held() }

// DroppedTimers returns how many entities of a kind lost timers with their state,
// because of the cap.
func (p *Partition) DroppedTimers(k facet.Kind) int64 { return p.table.Dropped(uint8(k)) }

// Refused returns how many facets of a kind reached no rule, because the cap left
// no room for the state of their entities.
func (p *Partition) Refused(k facet.Kind) int64 { return p.table.Refused(uint8(k)) }

// Bytes returns the memory that the state uses.
func (p *Partition) Bytes() int { return p.table.Bytes() }

// Used returns the part of those bytes that holds the state of entities and cohorts. It
// reads every record.
func (p *Partition) Used() int { return p.table.Used() }
