package facet

import (
	"encoding/binary"
	"fmt"
)

// A switch frame is one Kafka record of the facet topic that sets the rules for the
// records after it. After the envelope of every frame:
//
//	incarnation uvarint · number uvarint · set u8 · version text
//	time varint · who text · source text · bundle: length uvarint, bytes
const (
	flagSwitch    = 3
	switchVersion = 5
)

// Lane names one of a partition's two sets of rules.
type Lane uint8

// The lanes: rules that give scores, and shadow rules.
const (
	Live Lane = iota
	Shadow
	lanes
)

// String returns live or shadow.
func (l Lane) String() string {
	if l == Shadow {
		return "shadow"
	}
	return "live"
}

// Switch is a change of rules.
type Switch struct {
	Incarnation uint64
	Number      uint64 // of the bundle, from 1; a number that is not above the last one of the lane is ignored
	Lane        Lane
	Version     string // of the set of rules; "" in the shadow lane: no rules any more
	Time        int64  // when somebody decided it, Unix ms; changes no state
	Who         string // decided it
	Source      string // where the rules came from, for people
	Bundle      []byte // as rules.Pack makes it
}

// IsSwitch reports whether a record of the facet topic is a switch frame.
func IsSwitch(frame []byte) bool { return len(frame) >= headerBytes && frame[3] == flagSwitch }

// AppendSwitch appends the frame.
func AppendSwitch(b []byte, s *Switch) []byte {
	from := len(b)
	b = append(b, 'W', 'F', switchVersion, flagSwitch, 0, 0, 0, 0)
	b = binary.AppendUvarint(b, s.Incarnation)
	b = binary.AppendUvarint(b, s.Number)
	b = appendText(append(b, byte(s.Lane)), s.Version)
	b = appendText(appendText(binary.AppendVarint(b, s.Time), s.Who), s.Source)
	b = append(binary.AppendUvarint(b, uint64(len(s.Bundle))), s.Bundle...)
	putChecksum(b[from:])
	return b
}

// ReadSwitch reads a switch frame. Texts and bundle alias the frame.
func ReadSwitch(frame []byte) (s Switch, err error) {
	c := cursor{}
	if c.b, err = open(frame, flagSwitch); err != nil {
		return s, err
	}
	if s.Incarnation, err = c.uvarint(); err != nil {
		return s, err
	}
	if s.Number, err = c.uvarint(); err != nil {
		return s, err
	}
	lane, err := c.byte()
	if err != nil {
		return s, err
	}
	if s.Version, err = c.text(); err != nil {
		return s, err
	}
	if s.Time, err = c.varint(); err != nil {
		return s, err
	}
	if s.Who, err = c.text(); err != nil {
		return s, err
	}
	if s.Source, err = c.text(); err != nil {
		return s, err
	}
	n, err := c.uvarint()
	switch s.Lane = Lane(lane); {
	case err != nil:
		return s, err
	case n != uint64(len(c.b)):
		return s, fmt.Errorf("%w: a bundle of %d bytes, of which %d are there", ErrFrame, n, len(c.b))
	case s.Lane >= lanes || s.Number == 0 || s.Lane == Live && s.Version == "":
		return s, fmt.Errorf("%w: switch %d of lane %d to %q", ErrFrame, s.Number, lane, s.Version)
	}
	s.Bundle = c.b
	return s, nil
}
