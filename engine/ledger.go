package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"sort"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/state"
)

// Ledger counts what became of the facets of one partition, by raw partition.
// It is part of the state.
type Ledger struct {
	Sources []SourceLedger
}

// SourceLedger is the ledger of one raw partition.
type SourceLedger struct {
	Next int64 // raw offset up to which everything is covered; 0 where nothing was heard
	Totals
}

// Total is the sum over the sources.
func (l Ledger) Total() (t Totals) {
	for _, s := range l.Sources {
		t.Applied += s.Applied
		t.Late += s.Late
		t.Duplicate += s.Duplicate
	}
	return t
}

// Ledger is the partition's ledger up to the last record applied.
func (p *Partition) Ledger() Ledger {
	l := Ledger{Sources: make([]SourceLedger, len(p.sources))}
	for i := range p.sources {
		l.Sources[i] = SourceLedger{Next: p.sources[i].next, Totals: p.sources[i].ledger}
	}
	return l
}

// Watermark is the event time that all sources have passed, Unix ms.
func (p *Partition) Watermark() int64 { return p.watermark }

// Entities is the number of entities that have state.
func (p *Partition) Entities() (n int) {
	for _, k := range facet.Kinds() {
		n += p.table.Len(uint8(k))
	}
	return n
}

// Bytes is the memory that the state holds.
func (p *Partition) Bytes() int { return p.table.Bytes() }

// Digest names the state: the same for the same records of the log, however
// they were fetched and whoever applied them.
func (p *Partition) Digest() [32]byte {
	h := sha256.New()
	num := func(v int64) { _, _ = h.Write(binary.LittleEndian.AppendUint64(nil, uint64(v))) }
	num(p.watermark)
	for i := range p.sources {
		s := &p.sources[i]
		for _, v := range []int64{int64(s.owner), s.next, s.watermark, s.ledger.Applied, s.ledger.Late, s.ledger.Duplicate} {
			num(v)
		}
	}
	var records []state.Record
	p.table.All(p.watermark, func(rec state.Record) bool {
		records = append(records, rec)
		return true
	})
	sort.Slice(records, func(i, j int) bool { return records[i].Key() < records[j].Key() })
	for i := range records {
		rec := &records[i]
		num(int64(rec.Key()))
		num(rec.Last())
		num(rec.Expires())
		rec.Slots(func(id uint32, payload []byte) bool {
			num(int64(id))
			num(int64(len(payload)))
			_, _ = h.Write(payload)
			return true
		})
	}
	return [32]byte(h.Sum(nil))
}
