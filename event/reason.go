package event

import "fmt"

// Reason says why a record was refused. The set is closed: it is the label of a
// metric and a header of dead letters.
type Reason uint8

const (
	TooLarge         Reason = iota + 1 // larger than 64 KiB
	Truncated                          // ends in the middle
	Syntax                             // not the format it should be
	TrailingData                       // something follows the event
	TooDeep                            // nested deeper than 16
	TooManyFields                      // more unknown fields, or attributes, than are kept apart
	DuplicateKey                       // a key twice
	FoldedKey                          // a known key in other letters: Account for account
	InvalidUTF8                        // bytes, or an escaped surrogate, that are no text
	ControlCharacter                   // a raw control character in a text
	BadEscape                          // an escape that does not exist
	WrongType                          // a number where a text belongs, or the like
	OutOfRange                         // a number outside its field's range
	BadTime                            // no RFC 3339 time
	TimeUnit                           // a time that looks like seconds, not milliseconds
	BadAddress                         // no IP address
	BadValue                           // not one of the values that the field may have
	TooLong                            // a text longer than its field allows
	DerivedField                       // a field that only ingest sets
	MissingField                       // id or time is absent
	lastReason
)

var reasonNames = [lastReason]string{
	TooLarge: "too_large", Truncated: "truncated", Syntax: "syntax", TrailingData: "trailing_data", TooDeep: "too_deep",
	TooManyFields: "too_many_fields", DuplicateKey: "duplicate_key", FoldedKey: "folded_key", InvalidUTF8: "invalid_utf8",
	ControlCharacter: "control_character", BadEscape: "bad_escape", WrongType: "wrong_type", OutOfRange: "out_of_range",
	BadTime: "bad_time", TimeUnit: "time_unit", BadAddress: "bad_address", BadValue: "bad_value", TooLong: "too_long",
	DerivedField: "derived_field", MissingField: "missing_field",
}

// String is the reason as a metric's label has it.
func (r Reason) String() string {
	if r == 0 || r >= lastReason {
		return "unknown"
	}
	return reasonNames[r]
}

// Reasons lists every reason.
func Reasons() []Reason {
	all := make([]Reason, 0, lastReason)
	for r := Reason(1); r < lastReason; r++ {
		all = append(all, r)
	}
	return all
}

// Refusal is the error of a record that was not accepted. A decoder reuses its
// refusal: it is valid until the next Decode.
type Refusal struct {
	Reason Reason
	Field  Field // None where no field is to blame
	Pos    int   // offset of the trouble in the record, bytes
}

func (r *Refusal) Error() string {
	if r.Field != None {
		return fmt.Sprintf("%s: field %s at byte %d", r.Reason, r.Field, r.Pos)
	}
	return fmt.Sprintf("%s at byte %d", r.Reason, r.Pos)
}
