package ingest

import (
	"encoding/json"
	"fmt"

	"github.com/weirdev/weir/internal/facet"
)

// Ledger counts what became of the records of one raw partition, from its
// first offset to a committed one. It is a function of the log and survives
// crashes, because it is committed with the offset.
//
// Fetched = Accepted + Repeat + Dead + Control + Skipped + Lost.
type Ledger struct {
	Fetched  int64 `json:"fetched"`
	Accepted int64 `json:"accepted"` // became an event
	Repeat   int64 `json:"repeat"`   // sent before by its gateway, see repeats; dropped
	Dead     int64 `json:"dead"`     // could not be read; is in the dead-letter topic
	Control  int64 `json:"control"`  // no request: end records of history streams, transaction markers, records of aborted transactions, what the format's filter passes over
	Skipped  int64 `json:"skipped"`  // does not read, however often it is fetched
	Skips    int64 `json:"skips"`    // ranges of Skipped; each is a dead letter
	Lost     int64 `json:"lost"`     // gone from the log before it was read
	Skewed   int64 `json:"skewed"`   // of Accepted: the claimed time was moved
	Delayed  int64 `json:"delayed"`  // of Accepted: the claimed time lay too far back, see bracket
	Refused  int64 `json:"refused"`  // of Accepted: refused by our own decision, so without facets
	Facets   int64 `json:"facets"`   // facets emitted, over all destinations
}

// Sum is the number of records of which it is known what they became.
func (l Ledger) Sum() int64 { return l.Accepted + l.Repeat + l.Dead + l.Control + l.Skipped + l.Lost }

// Plus is the sum of two ledgers.
func (l Ledger) Plus(m Ledger) Ledger {
	return Ledger{
		Fetched: l.Fetched + m.Fetched, Accepted: l.Accepted + m.Accepted, Repeat: l.Repeat + m.Repeat, Dead: l.Dead + m.Dead,
		Control: l.Control + m.Control, Skipped: l.Skipped + m.Skipped, Skips: l.Skips + m.Skips, Lost: l.Lost + m.Lost, Skewed: l.Skewed + m.Skewed, Delayed: l.Delayed + m.Delayed,
		Refused: l.Refused + m.Refused, Facets: l.Facets + m.Facets,
	}
}

// Progress is what a commit of ingest says in its metadata, beside the offset:
// all that whoever takes the partition over needs in order to go on exactly
// where the last owner stopped.
type Progress struct {
	Version   int    `json:"v"`
	Owner     uint64 `json:"owner"`          // raised by each take-over, acknowledged before anything is written
	Epoch     string `json:"epoch"`          // name of the one that records from the offset on are read under
	Low       int64  `json:"low"`            // Unix ms; see bracket
	Watermark int64  `json:"wm"`             // Unix ms
	Skip      *Skip  `json:"skip,omitempty"` // what begins at the offset does not read, and is passed over
	Ledger    Ledger `json:"ledger"`
}

const progressVersion = 1

// ParseProgress reads a commit's metadata; empty metadata is the beginning.
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
