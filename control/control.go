// Package control defines control records: what an analyst, an operator or a gate
// says about one entity by hand. They are written to Kafka as JSON; ingest makes
// facets of them, and rows in ClickHouse.
//
// Records about gates (blocks, releases and switches) are rows only. They say what
// was done elsewhere, and change no score.
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/weirdev/weir/internal/facet"
)

// Version is the version of the JSON form. Members may be added to a version;
// readers ignore those that they do not know.
const Version = 1

// Limits of a record.
const (
	MaxBytes = 16 << 10           // of the JSON
	MaxID    = 64                 // bytes
	MaxText  = 512                // bytes of a name
	MaxWhy   = 2 << 10            // bytes of a reason
	Longest  = 366 * 24 * 60 * 60 // seconds that a false positive may hold a rule back

	maxTenant = 255
	maxTime   = 4_102_444_800_000 // 2100, in Unix ms: what the tables' times hold
)

// Record is one control record.
type Record struct {
	Version  int    `json:"v"`
	ID       string `json:"id"`     // made by the writer; of two records with one id, the first counts
	Action   string `json:"action"` // as facet.Action names it, or one about gates
	Time     int64  `json:"time"`   // Unix ms, by the writer's clock
	Tenant   string `json:"tenant,omitempty"`
	Kind     string `json:"entity_kind"`        // of GateOff and GateOn: global, detector, rule, route or tenant
	Key      string `json:"entity"`             // in the form of facet.KeyOf; of GateOff and GateOn: the name, "" of global
	Rule     string `json:"rule,omitempty"`     // of a label: whose finding it is about; "": of all rules
	Category string `json:"category,omitempty"` // of a passed challenge: what it counts for; "": for all
	Who      string `json:"who"`
	Reason   string `json:"reason"`
	Origin   string `json:"origin,omitempty"`      // where it was said: FromCommand, FromConsole, FromGate; "": not known
	Gate     string `json:"gate_action,omitempty"` // of GateBlock: what gates answer
	Expires  int64  `json:"expires,omitempty"`     // Unix ms: of a false positive, until when it holds the rule back; of GateBlock, GateRelease and GateOff, the end
}

// Actions of records about gates.
const (
	GateBlock   = "gate_block"   // requests of the entity get an action
	GateRelease = "gate_release" // requests of the entity are served
	GateClear   = "gate_clear"   // a block or release of the entity ended early
	GateOff     = "gate_off"     // something is switched off
	GateOn      = "gate_on"      // a switch ended early
)

// Where records come from.
const (
	FromCommand = "command"
	FromConsole = "console"
	FromGate    = "gate" // over HTTP, or at its admin listener
)

// OfGates reports whether r is about what gates do, and reaches no entity's state.
func (r *Record) OfGates() bool {
	switch r.Action {
	case GateBlock, GateRelease, GateClear, GateOff, GateOn:
		return true
	}
	return false
}

// Encode returns the JSON of r, with the current version.
func (r Record) Encode() ([]byte, error) {
	r.Version = Version
	return json.Marshal(r)
}

// Entity returns the entity that r is about.
func (r *Record) Entity() facet.Entity {
	k, _ := facet.ParseKind(r.Kind)
	return facet.Entity{Kind: k, Tenant: r.Tenant, Key: r.Key}
}

// Facet returns the part of r that detect needs.
func (r *Record) Facet() facet.Control {
	a, _ := facet.ParseAction(r.Action)
	return facet.Control{Action: a, Rule: r.Rule, Category: r.Category, Expires: r.Expires}
}

// Parse reads the JSON of a record, which may be anything. Its error says what is
// wrong in one line.
func Parse(b []byte) (Record, error) {
	var r Record
	if len(b) > MaxBytes {
		return r, fmt.Errorf("%d bytes are more than a control record may have, %d", len(b), MaxBytes)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("not the JSON of a control record: %w", err)
	}
	if r.Version != Version {
		return r, fmt.Errorf("version %d of control records; this program reads version %d", r.Version, Version)
	}
	return r, r.Check()
}

// Check says what is wrong with r in one line.
func (r *Record) Check() error {
	if err := r.checkShape(); err != nil {
		return err
	}
	if r.OfGates() {
		return r.checkOfGates()
	}
	action, ok := facet.ParseAction(r.Action)
	switch {
	case !ok:
		return fmt.Errorf("action %.32q: one of false_positive, true_positive, release, challenge_passed, erase is possible", r.Action)
	case r.Gate != "":
		return fmt.Errorf("%s names an action of gates; only %s does", r.Action, GateBlock)
	case r.Rule != "" && action != facet.FalsePositive && action != facet.TruePositive:
		return fmt.Errorf("%s names a rule; only labels do", r.Action)
	case r.Category != "" && action != facet.Passed:
		return fmt.Errorf("%s names a category; only passed challenges do", r.Action)
	}
	if err := r.checkEntity(); err != nil {
		return err
	}
	return r.checkExpiry(action)
}

// checkShape checks what all records have in common.
func (r *Record) checkShape() error {
	switch {
	case !isID(r.ID):
		return fmt.Errorf("id %.70q: 1 to %d letters, digits and - _ . : are possible", r.ID, MaxID)
	case r.Time <= 0 || r.Time > maxTime:
		return fmt.Errorf("time %d is outside 1970 … 2100", r.Time)
	case len(r.Tenant) > maxTenant || !utf8.ValidString(r.Tenant):
		return fmt.Errorf("a tenant of %d bytes; at most %d of UTF-8 are possible", len(r.Tenant), maxTenant)
	case r.Who == "" || r.Reason == "":
		return errors.New("who says it, and the reason, are needed")
	case len(r.Reason) > MaxWhy || len(r.Who) > MaxWhy || len(r.Key) > MaxWhy || len(r.Rule) > MaxText || len(r.Category) > MaxText:
		return fmt.Errorf("a text is too long: %d bytes are possible of a reason, a name and who says it, %d of others", MaxWhy, MaxText)
	case r.Origin != "" && r.Origin != FromCommand && r.Origin != FromConsole && r.Origin != FromGate:
		return fmt.Errorf("origin %.32q: one of %s, %s, %s is possible", r.Origin, FromCommand, FromConsole, FromGate)
	}
	return nil
}

// checkOfGates checks a record about gates.
func (r *Record) checkOfGates() error {
	ends := r.Action != GateClear && r.Action != GateOn
	switch {
	case r.Rule != "" || r.Category != "":
		return fmt.Errorf("%s names a rule or a category", r.Action)
	case (r.Gate != "") != (r.Action == GateBlock) || len(r.Gate) > MaxID:
		return fmt.Errorf("%s with the action %.32q of gates; %s has one, and nothing else", r.Action, r.Gate, GateBlock)
	case !ends && r.Expires != 0:
		return fmt.Errorf("%s has an expiry", r.Action)
	case ends && (r.Expires <= r.Time || r.Expires > r.Time+Longest*1000):
		return fmt.Errorf("expires %d: from the time of the record to %v later is possible", r.Expires, Longest*time.Second)
	case r.Action == GateOff || r.Action == GateOn:
		return r.checkSwitch()
	}
	return r.checkEntity()
}

func (r *Record) checkSwitch() error {
	switch r.Kind {
	case "global", "detector", "rule", "route", "tenant":
	default:
		return fmt.Errorf("nothing is switched by %.32q", r.Kind)
	}
	if r.Tenant != "" || (r.Key == "") != (r.Kind == "global") || !utf8.ValidString(r.Key) {
		return fmt.Errorf("a switch of a %s named %.64q, tenant %.64q", r.Kind, r.Key, r.Tenant)
	}
	return nil
}

func (r *Record) checkEntity() error {
	kind, ok := facet.ParseKind(r.Kind)
	if !ok {
		return fmt.Errorf("there is no kind of entity %.32q", r.Kind)
	}
	if key, _, ok := facet.KeyOf(kind, r.Key); !ok || key != r.Key {
		return fmt.Errorf("%q is no key of an entity of kind %s", r.Key, r.Kind)
	}
	return nil
}

func (r *Record) checkExpiry(action facet.Action) error {
	switch {
	case action != facet.FalsePositive && r.Expires != 0:
		return fmt.Errorf("%s has an expiry; only false positives have one", r.Action)
	case action == facet.FalsePositive && (r.Expires < r.Time || r.Expires > r.Time+Longest*1000):
		return fmt.Errorf("expires %d: from the time of the label to %v later is possible", r.Expires, Longest*time.Second)
	}
	return nil
}

func isID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' && c != ':' {
			return false
		}
	}
	return s != "" && len(s) <= MaxID
}
