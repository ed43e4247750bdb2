package event

import (
	"slices"
	"strings"
)

// objectFormat reads a JSON object as its sources say. Keys that no source names
// are checked for syntax, and passed over. What clients wrote is kept as in our
// own format, see [Keep].
type objectFormat struct {
	root  pathNode
	fixed []source
	hasID bool

	scanner
	keys  []string        // of the objects that are being read
	ranks [MaxField]uint8 // of the sources of the values that the event has
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
	f.keys = f.keys[:0]
	if !f.start(data) || !f.whole(e) {
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
	f.isSound, f.raw = true, false // no text, or none that is wanted
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
		done, refused := f.apply(s, t, e)
		if done {
			f.ranks[s.field] = s.rank
		}
		if refused != 0 {
			f.i = at
			return f.refuse(refused, s.field)
		}
	}
	return true
}

// apply gives the event the value that was found, if it is one. The reason is 0
// where there is nothing to refuse.
func (f *objectFormat) apply(s *source, t token, e *Event) (done bool, refused Reason) {
	numeric := s.field.Kind().Numeric()
	switch {
	case t.kind == tokenNull:
		return false, 0
	case t.kind == tokenOther && numeric:
		return admitNumber(e, s.field, 0, WrongType)
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
	case numeric:
		n, wrong := s.number(t)
		return admitNumber(e, s.field, n, wrong)
	case f.raw && !specs[s.field].Client:
		return false, ControlCharacter
	}
	return putLogText(e, s.field, t.text, f.isSound)
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
