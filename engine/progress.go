package engine

import (
	"encoding/json"
	"fmt"
)

// Progress is the metadata of a detect commit: the ledger of the facet partition up
// to the committed offset, and the rules in force there.
type Progress struct {
	Version int    `json:"v"`
	Ledger  Totals `json:"ledger"`
	Rules   uint64 `json:"rules,omitempty"`  // number of the last switch record for live rules; 0: none came
	Shadow  uint64 `json:"shadow,omitempty"` // the same for shadow rules
}

// Totals is the ledger of a facet partition, summed over its sources.
type Totals struct {
	Applied    int64 `json:"applied"`         // facets that changed the state, late ones included
	Late       int64 `json:"late"`            // of Applied
	Unadmitted int64 `json:"unadmitted"`      // of Applied and Heard: of entities that the cap left no place, counted in the sketch only
	Duplicate  int64 `json:"duplicate"`       // facets already known, or of a former owner
	Told       int64 `json:"told"`            // members of groups, written to by loop-back
	Heard      int64 `json:"heard"`           // members of groups, read of by loop-back
	Said       int64 `json:"said,omitempty"`  // verdicts on cohorts, one for each facet partition that they were written to
	Noted      int64 `json:"noted,omitempty"` // verdicts on cohorts that were read
	Unknown    int64 `json:"unknown"`         // of Heard: told by a rule that this worker does not have, so without a signal
}

const progressVersion = 1

// ParseProgress reads a commit's metadata; ok is false if it holds no ledger.
func ParseProgress(metadata string) (p Progress, ok bool, err error) {
	if metadata == "" {
		return p, false, nil
	}
	if err := json.Unmarshal([]byte(metadata), &p); err != nil {
		return p, false, fmt.Errorf("commit metadata of detect: %w", err)
	}
	if p.Version != progressVersion {
		return p, false, fmt.Errorf("commit metadata of detect has version %d, this program reads version %d", p.Version, progressVersion)
	}
	return p, true, nil
}

func (p Progress) String() string {
	b, _ := json.Marshal(p) // cannot fail: plain numbers
	return string(b)
}
