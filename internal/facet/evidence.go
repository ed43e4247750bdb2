package facet

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Limits on the evidence of one firing.
const (
	MostEvidence     = 16  // items
	MostEvidenceText = 256 // bytes of a text
)

// EvidenceKind is the kind of an item of evidence.
type EvidenceKind uint8

// Kinds of evidence.
const (
	NumberEvidence EvidenceKind = iota
	TextEvidence
	PlaceEvidence
	EventEvidence
	evidenceKinds
)

// Evidence is one thing that a rule found: a number, a text, a place, or a
// contributing event. Create it with [Number], [Text], [Place] and [EventAt].
type Evidence struct {
	Name string
	Kind EvidenceKind
	Text string // TextEvidence, at most MostEvidenceText bytes

	// Values are, by kind:
	//	number  value
	//	place   latitude and longitude in micro-degrees, accuracy radius in km
	//	event   raw partition, raw offset, event time in Unix ms
	Values [3]int64
}

// Number returns a number as evidence.
func Number(name string, value int64) Evidence {
	return Evidence{Name: name, Values: [3]int64{value}}
}

// Text returns a text as evidence; a long one is truncated.
func Text(name, text string) Evidence {
	return Evidence{Name: name, Kind: TextEvidence, Text: text[:min(len(text), MostEvidenceText)]}
}

// Place returns a place as evidence: micro-degrees, and the accuracy radius in km.
func Place(name string, latitude, longitude, radius int64) Evidence {
	return Evidence{Name: name, Kind: PlaceEvidence, Values: [3]int64{latitude, longitude, radius}}
}

// EventAt returns a contributing event as evidence: its raw partition and offset,
// and its time in Unix ms.
func EventAt(name string, partition int32, offset, time int64) Evidence {
	return Evidence{Name: name, Kind: EventEvidence, Values: [3]int64{int64(partition), offset, time}}
}

// values returns how many of the Values a kind uses.
func (k EvidenceKind) values() int { return [evidenceKinds]int{1, 0, 3, 3}[k] }

// appendEvidence writes a list: a uvarint of items, each kind u8 · name text, then
// a text, or its values as varints.
func appendEvidence(b []byte, list []Evidence) []byte {
	list = list[:min(len(list), MostEvidence)]
	b = binary.AppendUvarint(b, uint64(len(list)))
	for i := range list {
		e := &list[i]
		b = appendText(append(b, byte(e.Kind)), e.Name)
		if e.Kind == TextEvidence {
			b = appendText(b, e.Text)
		}
		for _, v := range e.Values[:e.Kind.values()] {
			b = binary.AppendVarint(b, v)
		}
	}
	return b
}

// evidence reads a list into the room of list. Texts alias the frame. With numbers,
// all items are numbers, and carry no kind.
func (c *cursor) evidence(list []Evidence, numbers bool) ([]Evidence, error) {
	list = list[:0]
	n, err := c.uvarint()
	if err != nil {
		return list, err
	}
	if n > MostEvidence {
		return list, fmt.Errorf("%w: %d items of evidence", ErrFrame, n)
	}
	for range n {
		var e Evidence
		if !numbers {
			kind, err := c.byte()
			if err != nil {
				return list, err
			}
			if e.Kind = EvidenceKind(kind); e.Kind >= evidenceKinds {
				return list, fmt.Errorf("%w: evidence of kind %d", ErrFrame, kind)
			}
		}
		if e.Name, err = c.text(); err != nil {
			return list, err
		}
		if e.Kind == TextEvidence {
			if e.Text, err = c.text(); err != nil {
				return list, err
			}
		}
		for i := range e.Kind.values() {
			if e.Values[i], err = c.varint(); err != nil {
				return list, err
			}
		}
		if len(e.Text) > MostEvidenceText || e.Kind == EventEvidence && (e.Values[0] < 0 || e.Values[0] > math.MaxInt32) {
			return list, fmt.Errorf("%w: evidence out of range", ErrFrame)
		}
		list = append(list, e)
	}
	return list, nil
}
