package condition

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/problem"
)

// Sort is the type of a value.
type Sort uint8

const (
	Flag   Sort = iota + 1 // true or false
	Number                 // 64 bits
	Text
)

func (s Sort) String() string {
	return [...]string{"nothing", "a flag", "a number", "a text"}[s]
}

// Vocabulary defines the names that conditions know.
type Vocabulary struct {
	Words []Word
	Lists []*List // as lists.NAME
}

// Word is a name for a value of an event. If the event lacks the value, it is "", 0
// or false.
type Word struct {
	Name, Doc string
	Sort      Sort

	// Field is the field that the word reads; event.None if it is computed.
	Field event.Field

	// For a computed word, which is a text: Compute returns its value for an event;
	// then follow the fields that it reads, and a name of the function, which
	// changes whenever its results do. Compute allocates nothing, and keeps nothing
	// of the event.
	Compute func(*event.Event) string
	Reads   []event.Field
	Version string
	derived *event.Derivation // of Compute

	// The possible values.
	Values   []string // the only texts; nil: any
	MaxBytes int      // of a text; 0: any
	Min, Max int64    // of a number

	// Lists is the kind of lists that contain its values, besides lists of texts; 0
	// if there is none. Bits is the known part of an IPv6 address.
	Lists ListKind
	Bits  int
}

// Fields returns the words for the fields of an event, in order of their numbers.
func Fields() (all []Word) {
	for _, s := range event.Fields() {
		if w, ok := wordOf(s); ok {
			all = append(all, w)
		}
	}
	return all
}

// wordOf returns the word for a field; ok is false if conditions cannot read it.
func wordOf(s event.Spec) (w Word, ok bool) {
	w = Word{Name: s.Name, Doc: s.Doc, Field: s.Field, Values: s.Enum, MaxBytes: s.MaxBytes, Min: s.Min, Max: s.Max}
	switch s.Kind {
	case event.KindText, event.KindAddress:
		w.Sort = Text
	case event.KindInt, event.KindTime:
		w.Sort = Number
	case event.KindBool:
		w.Sort = Flag
	default:
		return w, false
	}
	switch s.Field {
	case event.ClientIP:
		w.Lists, w.Bits = Networks, 64
	case event.IP, event.ConnectingIP:
		w.Lists, w.Bits = Networks, 128
	case event.ASN:
		w.Lists = ASNs
	case event.Country:
		w.Lists = Countries
	case event.JA4:
		w.Lists = JA4s
	}
	return w, true
}

// ImpossibleText explains why a field never has a value, and what to do; "" if it
// may.
func ImpossibleText(s event.Spec, value string) (what, do string) {
	w, _ := wordOf(s)
	return w.impossibleText(value)
}

// ImpossibleNumber does the same for a number.
func ImpossibleNumber(s event.Spec, value int64) (what, do string) {
	w, _ := wordOf(s)
	return w.impossibleNumber(value)
}

func (w *Word) impossibleText(value string) (what, do string) {
	if w.Values != nil && !slices.Contains(w.Values, value) {
		return fmt.Sprintf("%s is never %q", w.Name, value), problem.DidYouMean(value, w.Values)
	}
	if w.MaxBytes > 0 && len(value) > w.MaxBytes {
		return fmt.Sprintf("%s is never that long", w.Name), fmt.Sprintf("its longest values have %d bytes", w.MaxBytes)
	}
	return "", ""
}

func (w *Word) impossibleNumber(value int64) (what, do string) {
	if value < w.Min || value > w.Max {
		return fmt.Sprintf("%s is never %d", w.Name, value), fmt.Sprintf("it is %d to %d", w.Min, w.Max)
	}
	return "", ""
}

// fields lists the fields that the word reads.
func (w *Word) fields() []event.Field {
	if w.Compute != nil {
		return w.Reads
	}
	return []event.Field{w.Field}
}

// text returns the word's value for an event; the word must be a text.
func (w *Word) text(e *event.Event) string {
	if w.derived != nil {
		return e.Derive(w.derived)
	}
	return e.Text(w.Field)
}

// has tests whether an event has the word; for a computed one, whether it is not
// "".
func (w *Word) has() Predicate {
	if w.Compute != nil {
		d := w.derived
		return func(e *event.Event) bool { return e.Derive(d) != "" }
	}
	f := w.Field
	return func(e *event.Event) bool { return e.Has(f) }
}

func (s Sort) cel() *cel.Type {
	switch s {
	case Flag:
		return cel.BoolType
	case Number:
		return cel.IntType
	}
	return cel.StringType
}
