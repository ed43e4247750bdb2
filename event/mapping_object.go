package event

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// objectFormat reads a JSON object as its sources say. Keys that no source names
// are checked for syntax, and passed over.
//
// Three things are milder than in our own format, because clients' bytes are in
// logs unchecked, and no client may choose to have his request refused here and
// so go unseen: bytes that are not UTF-8 become \xhh, escaped halves of characters
// U+FFFD, and texts that are too long are clipped.
type objectFormat struct {
	root  pathNode
	fixed []source
	hasID bool

	scanner
	keys     []string // of the objects that are being read
	repaired []byte
	ranks    [MaxField]uint8 // of the sources of the values that the event has
}

// pathNode is a step on the paths to the values that are wanted.
type pathNode struct {
	children map[string]*pathNode
	sources  []source
}

func newObjectFormat(sources []source) *objectFormat {
	f := &objectFormat{}
	for _, s := range sources {
		if s.fixed != nil {
			f.fixed = append(f.fixed, s)
			continue
		}
		f.hasID = f.hasID || s.field == ID
		f.root.add(s.from, s)
	}
	return f
}

// add lays every way to path: a dot separates steps, or is part of a key.
func (n *pathNode) add(path string, s source) {
	for i := range len(path) {
		if path[i] == '.' {
			n.child(path[:i]).add(path[i+1:], s)
		}
	}
	last := n.child(path)
	last.sources = append(last.sources, s)
}

func (n *pathNode) child(key string) *pathNode {
	if n.children == nil {
		n.children = map[string]*pathNode{}
	}
	if n.children[key] == nil {
		n.children[key] = &pathNode{}
	}
	return n.children[key]
}

func (f *objectFormat) HasID() bool { return f.hasID }

// Decode fills e from one JSON object.
func (f *objectFormat) Decode(data []byte, e *Event) error {
	if !f.begin(data) || !f.whole(e) && !f.again(e) {
		return &f.refusal
	}
	for i := range f.fixed {
		set(e, f.fixed[i].field, *f.fixed[i].fixed)
	}
	if !e.Has(Time) {
		f.refuse(MissingField, Time)
		return &f.refusal
	}
	return nil
}

// begin is the scanner's start for records that may be long and are repaired.
func (f *objectFormat) begin(data []byte) bool {
	f.scanner = scanner{b: data, scratch: f.scratch[:0]}
	f.keys = f.keys[:0]
	if len(data) > maxLogBytes {
		return f.refuse(TooLarge, None)
	}
	if !utf8.Valid(data) {
		f.repaired = appendRepaired(f.repaired[:0], alias(data), `\\x`)
		f.b = f.repaired
	}
	return true
}

// again reads a record once more, if all that was wrong with it were escaped
// halves of characters, such as JavaScript writes where a client sent them.
func (f *objectFormat) again(e *Event) bool {
	if f.refusal.Reason != InvalidUTF8 {
		return false
	}
	f.repaired = append(f.repaired[:0], f.b...)
	repairSurrogates(f.repaired)
	return f.begin(f.repaired) && f.whole(e)
}

func (f *objectFormat) whole(e *Event) bool {
	e.Reset()
	if f.space(); !f.is('{') {
		return f.unexpected(None)
	}
	if !f.object(&f.root, 1, e) {
		return false
	}
	if f.space(); f.i < len(f.b) {
		return f.refuse(TrailingData, None)
	}
	return true
}

// object reads an object whose brace comes next. No key may be there twice.
func (f *objectFormat) object(n *pathNode, depth int, e *Event) bool {
	first := len(f.keys)
	if !f.skipAll('}', depth, None, func() bool { return f.member(n, depth, e) }) {
		return false
	}
	if repeats(f.keys[first:]) {
		return f.refuse(DuplicateKey, None)
	}
	f.keys = f.keys[:first]
	return true
}

func (f *objectFormat) member(n *pathNode, depth int, e *Event) bool {
	key, ok := f.text(None)
	if !ok {
		return false
	}
	f.keys = append(f.keys, key)
	if f.space(); !f.take(':', None) {
		return false
	}
	f.space()
	child := n.children[key]
	switch {
	case child == nil:
		return f.skip(depth+1, None)
	case child.children != nil && f.is('{'):
		return f.object(child, depth+1, e)
	}
	return f.value(child.sources, depth+1, e)
}

// repeats reports whether a key is there twice. Many keys are sorted for it, so
// that a stranger's thousands do not cost their square.
func repeats(keys []string) bool {
	if len(keys) <= 48 {
		for i, k := range keys {
			if contains(keys[:i], k) {
				return true
			}
		}
		return false
	}
	slices.Sort(keys)
	for i := 1; i < len(keys); i++ {
		if keys[i] == keys[i-1] {
			return true
		}
	}
	return false
}

// token is a value as it stands in the record.
type token struct {
	kind tokenKind
	text string
}

type tokenKind uint8

const (
	tokenText   tokenKind = iota + 1
	tokenScalar           // a number, true or false, as it is written
	tokenNull
	tokenOther // an object or an array, passed over
)

func (f *objectFormat) token(depth int) (t token, ok bool) {
	if f.is('"') {
		s, ok := f.text(None)
		return token{tokenText, s}, ok
	}
	kind := tokenScalar
	switch {
	case f.is('{'), f.is('['):
		kind = tokenOther
	case f.is('n'):
		kind = tokenNull
	}
	start := f.i
	ok = f.skip(depth, None)
	return token{kind, alias(f.b[start:f.i])}, ok
}

func (f *objectFormat) value(sources []source, depth int, e *Event) bool {
	at := f.i
	t, ok := f.token(depth)
	if !ok {
		return false
	}
	for i := range sources {
		s := &sources[i]
		if e.Has(s.field) && f.ranks[s.field] <= s.rank {
			continue
		}
		done, reason := s.apply(t, e)
		if done {
			f.ranks[s.field] = s.rank
		}
		if reason != 0 && !claimed(s.field) {
			f.i = at
			return f.refuse(reason, s.field)
		}
	}
	return true
}

// claimed are the numbers that a client states about himself and a gateway
// passes on unread: nonsense in them is no reason to refuse his request.
func claimed(f Field) bool {
	switch f {
	case ClientTime, Rooted, Emulator, PinningError, AttestationAge:
		return true
	}
	return false
}

// apply gives the event the value that was found, if it is one. The reason is 0
// where there was nothing to refuse.
func (s *source) apply(t token, e *Event) (done bool, reason Reason) {
	switch {
	case t.kind == tokenNull:
		return false, 0
	case t.kind == tokenOther:
		return false, WrongType
	case s.values != nil:
		v, ok := s.values[t.text]
		if ok {
			set(e, s.field, v)
		}
		return ok, 0
	case t.text == "" || t.text == "-":
		return false, 0
	case !s.field.Kind().Numeric():
		if enum := specs[s.field].Enum; enum != nil && !contains(enum, t.text) {
			return false, BadValue
		}
		if s.field == Tenant && !visible(t.text) {
			return false, ControlCharacter
		}
		return putText(e, s.field, t.text), 0
	}
	n, reason := s.number(t)
	if reason == 0 {
		e.SetNum(s.field, n)
	}
	return reason == 0, reason
}

func set(e *Event, f Field, v value) {
	if f.Kind().Numeric() {
		e.SetNum(f, v.num)
	} else {
		e.SetText(f, v.text)
	}
}

// number reads a numeric value, which logs put in quotes as often as not.
func (s *source) number(t token) (int64, Reason) {
	spec := &specs[s.field]
	if spec.Kind == KindBool {
		return parseFlag(t.text)
	}
	asText := s.unit.textOnly || s.unit.asOwn && spec.Kind == KindTime && strings.Contains(t.text, ":")
	if asText {
		ms, ok := parseTime(t.text)
		if !ok || ms < spec.Min || ms > spec.Max {
			return 0, BadTime
		}
		return ms, 0
	}
	n, fits, ok := parseDecimal(t.text, s.unit.shift)
	switch {
	case !ok:
		return 0, WrongType
	case !fits || n < spec.Min || n > spec.Max:
		return 0, OutOfRange
	case s.unit.asOwn && spec.Kind == KindTime && n < earliestMillis:
		return 0, TimeUnit
	}
	return n, 0
}

func parseFlag(s string) (int64, Reason) {
	switch s {
	case "true", "1":
		return 1, 0
	case "false", "0":
		return 0, 0
	}
	return 0, WrongType
}
