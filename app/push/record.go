// Package push brings rules into a running stream, and reads what was brought: it
// writes to the topic of rules, waits until workers can follow, and writes the switch
// records. docs/adr/0030-pushed-rules.md has the steps and what they promise.
//
// It checks no rules and decides nothing about state: a switch record does that.
package push

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// MaxBytes limits a record of the topic: a bundle in base 64, and texts.
const MaxBytes = (rules.MaxBundle+2)/3*4 + 64<<10

const recordVersion = 1

// step is how far a push has come.
type step string

const (
	proposed step = "proposed"
	decided  step = "decided"
	done     step = "done"
)

// record is one record of the topic, as JSON. Its first part is in each, its second
// only in those that propose.
type record struct {
	Version     int    `json:"v"`
	Incarnation uint32 `json:"incarnation"`
	Step        step   `json:"step"`
	Number      uint64 `json:"number,omitempty"` // of the push; not in a proposal, whose offset tells it

	ID     string `json:"id,omitempty"` // of two proposals with the same one, the first counts
	Lane   string `json:"lane,omitempty"`
	Rules  string `json:"rules,omitempty"` // their version; empty: the shadow lane ends
	Count  int    `json:"count,omitempty"`
	Time   int64  `json:"time,omitempty"` // Unix ms
	Who    string `json:"who,omitempty"`
	Reason string `json:"reason,omitempty"`
	Source string `json:"source,omitempty"`
	Bundle []byte `json:"bundle,omitempty"`
}

// longestText limits who, reason and source, in bytes.
const longestText = 1 << 10

// text returns the beginning of s that a record holds.
func text(s string) string {
	s = strings.ToValidUTF8(s, "?")
	for len(s) > longestText {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

var (
	// errForeign means that a record is none of ours.
	errForeign = errors.New("no record of pushed rules")
	// ErrLater means that a later version of the program wrote a record.
	ErrLater = errors.New("a later version of weir has pushed rules; run that version, or a later one")
)

func parse(value []byte) (r record, err error) {
	if len(value) > MaxBytes {
		return r, fmt.Errorf("%w: it has %d bytes", errForeign, len(value))
	}
	if err := json.Unmarshal(value, &r); err != nil {
		return r, fmt.Errorf("%w: %w", errForeign, err)
	}
	switch {
	case r.Version > recordVersion:
		return r, fmt.Errorf("%w: its record has version %d, this program reads version %d", ErrLater, r.Version, recordVersion)
	case r.Version != recordVersion:
		return r, fmt.Errorf("%w: version %d", errForeign, r.Version)
	case r.Step == proposed && (r.Lane != facet.Live.String() && r.Lane != facet.Shadow.String()),
		r.Step == proposed && (r.ID == "" || len(r.Rules) > longestText || len(r.ID) > longestText),
		r.Step == proposed && r.Rules == "" && (r.Lane == facet.Live.String() || len(r.Bundle) > 0),
		r.Step == proposed && r.Rules != "" && len(r.Bundle) == 0,
		r.Step != proposed && (r.Step != decided && r.Step != done || r.Number == 0):
		return r, fmt.Errorf("%w: step %.32q, lane %.32q", errForeign, r.Step, r.Lane)
	}
	r.Who, r.Reason, r.Source = text(r.Who), text(r.Reason), text(r.Source)
	return r, nil
}

func (r *record) encode() ([]byte, error) {
	r.Version = recordVersion
	b, err := json.Marshal(r)
	if err == nil && len(b) > MaxBytes {
		err = fmt.Errorf("the rules take %d bytes, packed; %d are possible", len(r.Bundle), rules.MaxBundle)
	}
	return b, err
}
