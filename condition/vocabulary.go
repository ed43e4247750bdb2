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

// Vocabulary says which names conditions know.
type Vocabulary struct {
	Words []Word
	Lists []*List // as lists.NAME
}

// Word is a name for a value of an event. An event that lacks the value has "", 0
// or false.
type Word struct {
	Name, Doc string
	Sort      Sort

	// Field is what the word reads; event.None where it is computed.
	Field event.Field

	// Of a word that is computed, a text: what it is of an event, the fields that are
	// read for it, and a name of the function, which is another one where it answers
	// otherwise. Compute allocates nothing, and keeps nothing of the event.
	Compute func(*event.Event) string
	Reads   []event.Field
	Version string

	// What it can be.
	Values   []string // the only texts; nil: any
	MaxBytes int      // of a text; 0: any
	Min, Max int64    // of a number

	// Lists is the kind of lists of which its values are, beside those of texts; 0 where
	// there is none. Bits is how much of an IPv6 address is known.
	Lists ListKind
	Bits  int
}

// Fields are the words for the fields of an event, in order of their numbers.
func Fields() (all []Word) {
	for _, s := range event.Fields() {
		if w, ok := wordOf(s); ok {
			all = append(all, w)
		}
	}
	return all
}

// wordOf is the word for a field; ok is false where conditions cannot read it.
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

// ImpossibleText says why a field never has a value, and what to do; "" where it may.
func ImpossibleText(s event.Spec, value string) (what, do string) {
	w, _ := wordOf(s)
	return w.impossibleText(value)
}

// ImpossibleNumber is the same of a number.
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

// fields lists the fields that are read for the word.
func (w *Word) fields() []event.Field {
	if w.Compute != nil {
		return w.Reads
	}
	return []event.Field{w.Field}
}

// text is the word of an event; the word must be a text.
func (w *Word) text(e *event.Event) string {
	if w.Compute != nil {
		return w.Compute(e)
	}
	return e.Text(w.Field)
}

// has reports whether an event has the word; one that is computed, whether it is
// not "".
func (w *Word) has() Predicate {
	if w.Compute != nil {
		of := w.Compute
		return func(e *event.Event) bool { return of(e) != "" }
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
