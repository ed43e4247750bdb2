package score

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// signalJSON is a signal in the signal log.
type signalJSON struct {
	ID           string           `json:"id"`
	Rule         string           `json:"rule"`
	RulesVersion string           `json:"rules_version"`
	Category     string           `json:"category"`
	Reason       string           `json:"reason"`
	Kind         string           `json:"entity_kind"`
	Tenant       string           `json:"tenant,omitempty"`
	Entity       string           `json:"entity"`
	GroupKind    string           `json:"group_kind,omitempty"`
	Group        string           `json:"group,omitempty"`
	Weight       uint8            `json:"weight"`
	HalfLife     int64            `json:"half_life_s"`
	Phase        rules.Phase      `json:"phase"`
	Lowers       bool             `json:"lowers,omitempty"`
	Clears       bool             `json:"clears,omitempty"`
	Asks         rules.Asks       `json:"asks,omitempty"`
	Tier         int              `json:"tier"`
	Evidence     []facet.Evidence `json:"evidence,omitempty"`
	Time         int64            `json:"time"` // Unix milliseconds
	Source       int32            `json:"source_partition"`
	SourceOffset int64            `json:"source_offset"`
	Late         bool             `json:"late,omitempty"`
	Position     positionJSON     `json:"position"`
}

type positionJSON struct {
	Incarnation uint64 `json:"incarnation"`
	Partition   int32  `json:"partition"`
	Offset      int64  `json:"offset"`
	Index       int32  `json:"index"`
}

// MarshalJSON writes s in the form of the signal log.
func (s Signal) MarshalJSON() ([]byte, error) {
	j := signalJSON{
		ID: s.ID(), Rule: s.Rule, RulesVersion: s.RulesVersion, Category: s.Category, Reason: s.Reason,
		Kind: s.Entity.Kind.String(), Tenant: s.Entity.Tenant, Entity: s.Entity.Key,
		Weight: s.Weight, HalfLife: int64(s.HalfLife / time.Second), Phase: s.Phase, Tier: s.Tier,
		Lowers: s.Lowers, Clears: s.Clears, Asks: s.Asks, Evidence: s.Evidence, Time: s.Time, Source: s.Source, SourceOffset: s.SourceOffset, Late: s.Late,
		Position: positionJSON(s.Position),
	}
	if s.Group.Kind != 0 {
		j.GroupKind, j.Group = s.Group.Kind.String(), s.Group.Key
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads the output of MarshalJSON. It does not trust the id, and
// computes it from the rest.
func (s *Signal) UnmarshalJSON(b []byte) error {
	var j signalJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("decode signal: %w", err)
	}
	kind, ok := facet.ParseKind(j.Kind)
	if !ok {
		return fmt.Errorf("decode signal: no entity kind is called %q", j.Kind)
	}
	group, ok := facet.ParseKind(j.GroupKind)
	if !ok && j.GroupKind != "" {
		return fmt.Errorf("decode signal: no entity kind is called %q", j.GroupKind)
	}
	*s = Signal{
		Position: Position(j.Position), Rule: j.Rule, RulesVersion: j.RulesVersion, Category: j.Category, Reason: j.Reason,
		Entity: facet.Entity{Kind: kind, Tenant: j.Tenant, Key: j.Entity}, Weight: j.Weight,
		HalfLife: time.Duration(j.HalfLife) * time.Second, Phase: j.Phase, Tier: j.Tier, Evidence: j.Evidence,
		Lowers: j.Lowers, Clears: j.Clears, Asks: j.Asks,
		Time: j.Time, Source: j.Source, SourceOffset: j.SourceOffset, Late: j.Late,
	}
	if group != 0 {
		s.Group = facet.Entity{Kind: group, Tenant: j.Tenant, Key: j.Group}
	}
	return nil
}
