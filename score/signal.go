package score

import (
	"strconv"
	"time"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// Position is a place in the facet log: the facet that caused something.
type Position struct {
	Incarnation uint64 // of the stream
	Partition   int32  // facet partition
	Offset      int64  // of the record
	Index       int32  // of the facet within the record's frame
}

// Less reports whether p comes before q. Both must be of the same partition,
// or of different incarnations.
func (p Position) Less(q Position) bool {
	switch {
	case p.Incarnation != q.Incarnation:
		return p.Incarnation < q.Incarnation
	case p.Offset != q.Offset:
		return p.Offset < q.Offset
	}
	return p.Index < q.Index
}

// Signal is the output of a rule that fires.
type Signal struct {
	Position Position

	Rule         string
	RulesVersion string
	Category     string
	Reason       string
	Entity       facet.Entity
	Group        facet.Entity  // that the entity is a member of, where the rule fired for a group; else none
	Weight       uint8         // 0 … 100; 0 leaves the score as it is
	HalfLife     time.Duration // whole seconds
	Phase        rules.Phase
	Lowers       bool // the weight speaks for the entity
	Clears       bool // the rule takes back what it contributed; the weight is 0, and nothing is asked for
	Asks         rules.Asks
	Tier         int // which of the rule's tiers, from 0
	Evidence     []facet.Evidence

	Time         int64 // event time of the facet, Unix milliseconds
	Source       int32 // raw partition of the event
	SourceOffset int64 // raw offset of the event
	Late         bool  // the event was later than the allowed lateness
}

// ID names the signal. It is the same in every replay of the log:
// "<incarnation>-<partition>-<offset>-<index>-<rule>".
func (s Signal) ID() string {
	b := make([]byte, 0, 64)
	b = strconv.AppendUint(b, s.Position.Incarnation, 10)
	b = strconv.AppendInt(append(b, '-'), int64(s.Position.Partition), 10)
	b = strconv.AppendInt(append(b, '-'), s.Position.Offset, 10)
	b = strconv.AppendInt(append(b, '-'), int64(s.Position.Index), 10)
	return string(append(append(b, '-'), s.Rule...))
}

// Contribution returns what the signal adds to its entity's score, if its weight is
// not 0.
func (s Signal) Contribution() Contribution {
	return Contribution{
		Rule: s.Rule, Category: s.Category, Reason: s.Reason, Phase: s.Phase, Lowers: s.Lowers,
		Weight: s.Weight, HalfLife: int64(s.HalfLife / time.Second), Time: s.Time,
	}
}
