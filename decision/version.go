package decision

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// VersionHeader marks a record of the topic of decisions that is a [RuleVersion].
// Programs that do not know it pass such a record over.
const VersionHeader = "weir-rule-version"

// Kinds of what a program puts in force.
const (
	Rules    = "rules"
	Policies = "policies"
)

// MaxRulesText limits the text of a version, in bytes, so that a record of it stays
// within MaxBytes even where every byte is escaped.
const MaxRulesText = 8 << 10

// RuleVersion says that a program has put rules or policies in force.
type RuleVersion struct {
	Record   int    `json:"v"`    // Version
	Time     int64  `json:"time"` // Unix ms, by the program's clock
	Kind     string `json:"kind"`
	Version  string `json:"version"` // names the content
	Program  string `json:"program"`
	Instance string `json:"instance"` // host and process
	Who      string `json:"who"`      // user that the program runs as
	Source   string `json:"source"`   // file or directory; empty: built in
	Count    int    `json:"count"`    // of rules, or policies
	Text     string `json:"text"`     // of the files, or its beginning
}

// Encode returns the JSON of r, with the current version of records. It cuts the text
// to MaxRulesText.
func (r RuleVersion) Encode() ([]byte, error) {
	r.Record = Version
	if len(r.Text) > MaxRulesText {
		n := MaxRulesText
		for n > 0 && !utf8.RuneStart(r.Text[n]) {
			n--
		}
		r.Text = r.Text[:n]
	}
	return json.Marshal(r)
}

// ParseRuleVersion reads the JSON of a version, which may be anything. Its error says
// what is wrong in one line.
func ParseRuleVersion(b []byte) (RuleVersion, error) {
	var r RuleVersion
	if len(b) > MaxBytes {
		return r, fmt.Errorf("%d bytes are more than a version of rules may have, %d", len(b), MaxBytes)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("not the JSON of a version of rules: %w", err)
	}
	longest := 0
	for _, text := range []string{r.Version, r.Program, r.Instance, r.Who, r.Source} {
		longest = max(longest, len(text))
	}
	switch {
	case r.Record != Version:
		return r, fmt.Errorf("version %d of records; this program reads version %d", r.Record, Version)
	case r.Kind != Rules && r.Kind != Policies:
		return r, fmt.Errorf("%.32q is neither %s nor %s", r.Kind, Rules, Policies)
	case r.Version == "" || r.Program == "":
		return r, errors.New("no version, or no program")
	case r.Time < 0 || r.Time > maxTime:
		return r, fmt.Errorf("time %d is outside 1970 … 2100", r.Time)
	case r.Count < 0 || r.Count > 1<<20:
		return r, fmt.Errorf("count %d", r.Count)
	case longest > maxText || len(r.Text) > MaxRulesText:
		return r, fmt.Errorf("a text is longer than it may be: %d, %d bytes", longest, len(r.Text))
	}
	return r, nil
}
