package ingest

import (
	"encoding/json"
	"fmt"

	"github.com/weirdev/weir/internal/facet"
)

// Ledger counts the outcomes of the records of one raw partition, from its first
// offset to a committed one. It is a function of the log and survives crashes,
// because it is committed with the offset.
//
// Fetched = Accepted + Repeat + Dead + Control + Skipped + Lost.
type Ledger struct {
	Fetched  int64 `json:"fetched"`
	Accepted int64 `json:"accepted"` // became an event
	Repeat   int64 `json:"repeat"`   // already sent by its gateway, see repeats; dropped
	Dead     int64 `json:"dead"`     // unreadable; is in the dead-letter topic
	Control  int64 `json:"control"`  // no request: end records of history streams, transaction markers, records of aborted transactions, records that the format's filter skips
	Skipped  int64 `json:"skipped"`  // unreadable, however often it is fetched
	Skips    int64 `json:"skips"`    // ranges of Skipped; each is a dead letter
	Lost     int64 `json:"lost"`     // gone from the log before it was read
	Skewed   int64 `json:"skewed"`   // of Accepted: the claimed time was moved
	Delayed  int64 `json:"delayed"`  // of Accepted: the claimed time was too far back, see bracket
	Refused  int64 `json:"refused"`  // of Accepted: refused by our own decision, so without facets
	Facets   int64 `json:"facets"`   // facets emitted, over all destinations
}

// Sum returns the number of records with a known outcome.
func (l Ledger) Sum() int64 { return l.Accepted + l.Repeat + l.Dead + l.Control + l.Skipped + l.Lost }

// Plus returns the sum of two ledgers.
func (l Ledger) Plus(m Ledger) Ledger {
	return Ledger{
		Fetched: l.Fetched + m.Fetched, Accepted: l.Accepted + m.Accepted, Repeat: l.Repeat + m.Repeat, Dead: l.Dead + m.Dead,
		Control: l.Control + m.Control, Skipped: l.Skipped + m.Skipped, Skips: l.Skips + m.Skips, Lost: l.Lost + m.Lost, Skewed: l.Skewed + m.Skewed, Delayed: l.Delayed + m.Delayed,
		Refused: l.Refused + m.Refused, Facets: l.Facets + m.Facets,
	}
}

// Progress is the metadata of an ingest commit: everything that a successor needs
// to continue exactly where the last owner stopped.
type Progress struct {
	Version   int    `json:"v"`
	Owner     uint64 `json:"owner"`            // raised by each take-over, acknowledged before anything is written
	Epoch     string `json:"epoch"`            // name of the epoch under which records from the offset on are read
	Pushed    int64  `json:"pushed,omitempty"` // offset of the topic of rules: those facets have the fields of all rules that were pushed below it
	Low       int64  `json:"low"`              // Unix ms; see bracket
	Watermark int64  `json:"wm"`               // Unix ms
	Skip      *Skip  `json:"skip,omitempty"`   // an unreadable range that begins at the offset, and is skipped
	Ledger    Ledger `json:"ledger"`
}

const progressVersion = 1

// ParseProgress reads a commit's metadata; empty metadata means the beginning.
func ParseProgress(metadata string) (Progress, error) {
	if metadata == "" {
		return Progress{Version: progressVersion, Watermark: facet.NoWatermark}, nil
	}
	var p Progress
	if err := json.Unmarshal([]byte(metadata), &p); err != nil {
		return p, fmt.Errorf("commit metadata of ingest: %w", err)
	}
	if p.Version != progressVersion {
		return p, fmt.Errorf("commit metadata of ingest has version %d, this program reads version %d", p.Version, progressVersion)
	}
	return p, nil
}

func (p Progress) String() string {
	b, _ := json.Marshal(p) // cannot fail: plain numbers and texts
	return string(b)
}
