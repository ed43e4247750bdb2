// Package decision defines the record of a decision: what a gate decided about one
// request, and why. Gates write it to Kafka as JSON, and workers write it to
// ClickHouse.
package decision

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/weirdev/weir/event"
)

// Version is the version of the JSON form. Members may be added to a version;
// readers ignore those that they do not know.
const Version = 1

const (
	// MaxBytes limits the JSON of a record.
	MaxBytes = 64 << 10
	// MaxLimits is how many limits a record names.
	MaxLimits = 64
)

// Record is one decision.
type Record struct {
	Version   int               `json:"v"`
	ID        string            `json:"id"`
	Time      int64             `json:"time"` // Unix ms, by the gate's clock
	Gateway   string            `json:"gateway,omitempty"`
	Tenant    string            `json:"tenant,omitempty"`
	Route     string            `json:"route,omitempty"`
	RequestID string            `json:"request_id,omitempty"`
	TraceID   string            `json:"trace_id,omitempty"`
	Entities  map[string]string `json:"entities,omitempty"` // keys by kind

	Action        string   `json:"action"`
	Would         string   `json:"would"` // the action in phase enforce
	Phase         string   `json:"phase"` // how far the decision could go
	Level         string   `json:"level"` // of the score
	Score         int      `json:"score"`
	ObservedScore int      `json:"observed_score"`
	Reasons       []Reason `json:"reasons,omitempty"`
	Limits        []string `json:"limits,omitempty"`     // ids of the limits that the request hit, MaxLimits at most
	LimitedBy     string   `json:"limited_by,omitempty"` // the one that decided
	Switch        string   `json:"switch,omitempty"`
	Policy        string   `json:"policy"`
	PolicyVersion string   `json:"policy_version"`
	Degraded      bool     `json:"degraded,omitempty"`
	DegradedBy    string   `json:"degraded_by,omitempty"`
	LastKnownGood bool     `json:"last_known_good,omitempty"`
	LatencyMicros int64    `json:"latency_us"`
}

// Reason is a rule that contributed to the score.
type Reason struct {
	Rule     string `json:"rule"`
	Reason   string `json:"reason"`
	Category string `json:"category"`
	Weight   int    `json:"weight"`
	Lowers   bool   `json:"lowers,omitempty"`
	Phase    string `json:"phase"`
	Entity   string `json:"entity"` // kind
}

// Encode returns the JSON of r, with the current version.
func (r Record) Encode() ([]byte, error) {
	r.Version = Version
	return json.Marshal(r)
}

// Limits of what a record may hold. Kinds of entities, reasons and limits are fewer
// than that; the texts are those of events, or shorter.
const (
	maxID    = 64
	maxText  = 512
	maxName  = 4*maxText + 64 // of a switch: scope, kind, a tenant of %41, and a key
	maxList  = MaxLimits
	maxScore = 100
	maxTime  = 4_102_444_800_000 // 2100, in Unix ms: what the table's times hold
)

// Parse reads the JSON of a record, which may be anything. Its error says what is
// wrong in one line.
func Parse(b []byte) (Record, error) {
	var r Record
	if len(b) > MaxBytes {
		return r, fmt.Errorf("%d bytes are more than a decision may have, %d", len(b), MaxBytes)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("not the JSON of a decision: %w", err)
	}
	return r, r.check()
}

func (r *Record) check() error {
	switch {
	case r.Version != Version:
		return fmt.Errorf("version %d of decisions; this program reads version %d", r.Version, Version)
	case r.ID == "" || len(r.ID) > maxID:
		return errors.New("no id of a decision")
	case r.Time < 0 || r.Time > maxTime:
		return fmt.Errorf("time %d is outside 1970 … 2100", r.Time)
	case !isAction(r.Action) || !isAction(r.Would):
		return fmt.Errorf("%.32q, %.32q: no actions", r.Action, r.Would)
	case r.Score < 0 || r.Score > maxScore || r.ObservedScore < 0 || r.ObservedScore > maxScore:
		return fmt.Errorf("scores %d, %d are outside 0 … %d", r.Score, r.ObservedScore, maxScore)
	case r.LatencyMicros < 0:
		return fmt.Errorf("latency %d", r.LatencyMicros)
	case len(r.Entities) > maxList || len(r.Reasons) > maxList || len(r.Limits) > maxList:
		return fmt.Errorf("more than %d entities, reasons or limits", maxList)
	}
	return r.checkTexts()
}

func (r *Record) checkTexts() error {
	all := []string{r.Gateway, r.Tenant, r.Route, r.RequestID, r.TraceID, r.Phase, r.Level, r.LimitedBy, r.Policy, r.PolicyVersion, r.DegradedBy}
	all = append(all, r.Limits...)
	for kind, key := range r.Entities {
		all = append(all, kind, key)
	}
	for _, why := range r.Reasons {
		if why.Weight < 0 || why.Weight > maxScore {
			return fmt.Errorf("weight %d is outside 0 … %d", why.Weight, maxScore)
		}
		all = append(all, why.Rule, why.Reason, why.Category, why.Phase, why.Entity)
	}
	if len(r.Switch) > maxName {
		return fmt.Errorf("a switch of %d bytes; at most %d are allowed", len(r.Switch), maxName)
	}
	for _, text := range all {
		if len(text) > maxText {
			return fmt.Errorf("a text of %d bytes; at most %d are allowed", len(text), maxText)
		}
	}
	return nil
}

// isAction reports whether events know the action.
func isAction(s string) bool { return slices.Contains(event.DecisionAction.Values(), s) }
