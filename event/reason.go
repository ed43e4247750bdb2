package event

import "fmt"

// Reason says why a record was refused. The set is closed: it is the label of a
// metric and a header of dead letters.
type Reason uint8

const (
	TooLarge Reason = iota + 1
	Truncated
	Syntax
	TrailingData
	TooDeep
	TooManyFields
	DuplicateKey
	FoldedKey
	InvalidUTF8
	ControlCharacter
	BadEscape
	WrongType
	OutOfRange
	BadTime
	TimeUnit
	BadAddress
	BadValue
	TooLong
	DerivedField
	MissingField
	Filtered
	lastReason
)

var reasonNames = [lastReason]string{
	TooLarge: "too_large", Truncated: "truncated", Syntax: "syntax", TrailingData: "trailing_data", TooDeep: "too_deep",
	TooManyFields: "too_many_fields", DuplicateKey: "duplicate_key", FoldedKey: "folded_key", InvalidUTF8: "invalid_utf8",
	ControlCharacter: "control_character", BadEscape: "bad_escape", WrongType: "wrong_type", OutOfRange: "out_of_range",
	BadTime: "bad_time", TimeUnit: "time_unit", BadAddress: "bad_address", BadValue: "bad_value", TooLong: "too_long",
	DerivedField: "derived_field", MissingField: "missing_field", Filtered: "filtered",
}

// String returns the reason as a metric label.
func (r Reason) String() string {
	if r == 0 || r >= lastReason {
		return "unknown"
	}
	return reasonNames[r]
}

var explanations = [lastReason]string{
	TooLarge:         "is larger than 1 MiB",
	Truncated:        "ends in the middle",
	Syntax:           "is not in the configured format",
	TrailingData:     "has data after the event",
	TooDeep:          "is nested deeper than 16 levels",
	TooManyFields:    "has more than 64 unknown fields",
	DuplicateKey:     "has a duplicate key",
	FoldedKey:        "has a known key in another case, such as `Account`",
	InvalidUTF8:      "has invalid UTF-8, or an escaped half of a character, in a key or in a value of the gateway",
	ControlCharacter: "has a raw control character, or an escape such as \\x41, in a key or in a value of the gateway, or any control character in the tenant",
	BadEscape:        "has an invalid escape",
	WrongType:        "has a value of the wrong type, such as a number instead of a text",
	OutOfRange:       "has a number of the gateway that is outside its field's range",
	BadTime:          "has a `time` that is not RFC 3339",
	TimeUnit:         "has a `time` that looks like seconds, not milliseconds",
	BadAddress:       "has an `ip` that is neither an IP address nor `unix:`",
	BadValue:         "has a value that its field does not allow",
	TooLong:          "has a text of the gateway that is too long for its field",
	DerivedField:     "has a field that only ingest sets",
	MissingField:     "has no id or no time",
	Filtered:         "is not an event by the format's filter, such as another message in an access log; it is counted, and is no dead letter",
}

// Explain completes the sentence "the record …".
func (r Reason) Explain() string {
	if r >= lastReason {
		r = 0
	}
	return explanations[r]
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
	Field  Field // None if no field is to blame
	Pos    int   // offset of the error in the record, bytes
}

func (r *Refusal) Error() string {
	if r.Field != None {
		return fmt.Sprintf("%s: field %s at byte %d", r.Reason, r.Field, r.Pos)
	}
	return fmt.Sprintf("%s at byte %d", r.Reason, r.Pos)
}
