package facet

import (
	"encoding/binary"
	"fmt"

	"github.com/weirdev/weir/event"
)

// A control frame is a frame of facets that carry control records in place of
// events' fields. Its sections are about the source of controls, so positions,
// owners, covers and counts work as they do for events. It has no table of kinds,
// and its facets end with
//
//	action u8 · rule text · category text · expires varint
//
// in place of presence bits and values.
const (
	flagControls    = 4
	controlsVersion = 4
)

// Action is what a control record does to its entity. The numbers are permanent.
type Action uint8

// Actions.
const (
	FalsePositive Action = 1 + iota // takes back what a rule has found, and holds the rule back
	TruePositive                    // ends a false positive
	Release                         // clears the score
	Passed                          // halves the score: a challenge was passed
	Erase                           // forgets the entity
	actions
)

var actionNames = [actions]string{
	FalsePositive: "false_positive", TruePositive: "true_positive", Release: "release", Passed: "challenge_passed", Erase: "erase",
}

// String returns the action's name in control records and tables.
func (a Action) String() string {
	if a == 0 || a >= actions {
		return "unknown"
	}
	return actionNames[a]
}

// ParseAction finds an action by its name.
func ParseAction(name string) (Action, bool) {
	for a := Action(1); a < actions; a++ {
		if actionNames[a] == name {
			return a, true
		}
	}
	return 0, false
}

// Actions lists every action, in number order.
func Actions() (all []Action) {
	for a := Action(1); a < actions; a++ {
		all = append(all, a)
	}
	return all
}

// Control is the part of a control record that detect needs.
type Control struct {
	Action   Action // 0: the facet is an event's
	Rule     string // whose finding a label is about; "": all of them
	Category string // that a passed challenge counts for; "": all
	Expires  int64  // Unix ms until which a false positive holds its rule back
}

// NewControlWriter creates a writer of control frames. Its facets are added by
// [Writer.AddControl].
func NewControlWriter(incarnation uint64) *Writer {
	return &Writer{incarnation: incarnation, flags: flagControls, table: []byte{0}}
}

// AddControl appends the facet of a control record about ent, of time t (Unix ms).
// Calls come in ascending order of offset.
func (w *Writer) AddControl(ent Entity, offset, t int64, c *Control) {
	b := w.begin(ent, 0, offset, t)
	b = appendText(append(b, byte(c.Action)), c.Rule)
	b = appendText(b, c.Category)
	w.body = binary.AppendVarint(b, c.Expires)
}

// readControl reads what a control frame has in place of fields.
func (r *Reader) readControl(f *Facet) (err error) {
	f.Fields.Reset()
	f.Fields.SetNum(event.Time, f.Time)
	action, err := r.byte()
	if err != nil {
		return err
	}
	c := &f.Control
	if c.Action = Action(action); c.Action == 0 || c.Action >= actions {
		return fmt.Errorf("%w: control with action %d", ErrFrame, action)
	}
	if c.Rule, err = r.text(); err != nil {
		return err
	}
	if c.Category, err = r.text(); err != nil {
		return err
	}
	c.Expires, err = r.varint()
	return err
}
