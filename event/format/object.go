package format

import (
	"slices"
	"strings"

	"github.com/weirdev/weir/event"
)

// objectFormat reads a JSON object through its sources. Keys without a source are
// checked for syntax, and skipped. Client values are kept as in our own format, see
// [event.Keep].
type objectFormat struct {
	root    pathNode
	fixed   []compiledSource
	hasID   bool
	filters bool // only some records are events

	scanner
	keys   []string              // of the objects that are being read
	ranks  [event.MaxField]uint8 // of the sources of the values that the event has
	joined []byte                // texts of arrays
	passed bool                  // the filter lets the record through
	wrong  event.Refusal         // of a value, while it is not known whether the filter does
}

// pathNode is a step on the paths to the wanted values.
type pathNode struct {
	children map[string]*pathNode
	elements []element
	sources  []compiledSource
}

func newObjectFormat(sources []compiledSource) *objectFormat {
	f := &objectFormat{}
	for _, s := range sources {
		if s.fixed != nil {
			f.fixed = append(f.fixed, s)
			continue
		}
		f.hasID = f.hasID || s.field == event.ID
		f.filters = f.filters || s.is != nil
		f.root.add(s.from, s)
	}
	return f
}

// add adds every way to path: a dot separates steps, or is part of a key, and so is
// an index in brackets.
func (n *pathNode) add(path string, s compiledSource) {
	for i := range len(path) {
		if path[i] == '.' {
			for _, next := range n.step(path[:i]) {
				next.add(path[i+1:], s)
			}
		}
	}
	for _, last := range n.step(path) {
		last.sources = append(last.sources, s)
	}
}

// step returns the target of a step: the value of that key and, if the step ends in
// an index, that element of the value of the key before it.
func (n *pathNode) step(s string) []*pathNode {
	ways := []*pathNode{n.child(s)}
	if key, at, ok := cutIndex(s); ok {
		ways = append(ways, n.child(key).element(at))
	}
	return ways
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
func (f *objectFormat) Decode(data []byte, e *event.Event) error {
	f.keys, f.joined = f.keys[:0], f.joined[:0]
	f.passed, f.wrong = !f.filters, event.Refusal{}
	if !f.start(data) || !f.whole(e) || !f.admitted(e) {
		return &f.refusal
	}
	return nil
}

// admitted completes a fully read event.
func (f *objectFormat) admitted(e *event.Event) bool {
	switch {
	case !f.passed:
		return f.refuse(event.Filtered, event.None)
	case f.wrong.Reason != 0:
		f.refusal = f.wrong
		return false
	}
	for i := range f.fixed {
		set(e, f.fixed[i].field, *f.fixed[i].fixed)
	}
	if !e.Has(event.Time) {
		return f.refuse(event.MissingField, event.Time)
	}
	return true
}

func (f *objectFormat) whole(e *event.Event) bool {
	e.Reset()
	if f.space(); !f.is('{') {
		return f.unexpected(event.None)
	}
	if !f.object(&f.root, 1, e) {
		return false
	}
	if f.space(); f.i < len(f.b) {
		return f.refuse(event.TrailingData, event.None)
	}
	return true
}

// object reads the object that begins here. No key may occur twice.
func (f *objectFormat) object(n *pathNode, depth int, e *event.Event) bool {
	first := len(f.keys)
	if !f.skipAll('}', depth, event.None, func() bool { return f.member(n, depth, e) }) {
		return false
	}
	if repeats(f.keys[first:]) {
		return f.refuse(event.DuplicateKey, event.None)
	}
	f.keys = f.keys[:first]
	return true
}

func (f *objectFormat) member(n *pathNode, depth int, e *event.Event) bool {
	key, ok := f.text(event.None)
	if !ok {
		return false
	}
	f.keys = append(f.keys, key)
	if f.space(); !f.take(':', event.None) {
		return false
	}
	f.space()
	if child := n.children[key]; child != nil {
		return f.value(child, depth+1, e)
	}
	return f.skip(depth+1, event.None)
}

// repeats reports whether a key occurs twice. Many keys are sorted for it, so that
// an attacker's thousands do not cost their square.
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

// token is a value as written in the record.
type token struct {
	kind    tokenKind
	text    string
	isSound bool // the text is known to be UTF-8 without control characters and U+FFFD
	raw     bool // it had a control character that was not escaped
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
		s, ok := f.text(event.None)
		return token{tokenText, s, f.isSound, f.raw}, ok
	}
	kind := tokenScalar
	switch {
	case f.is('{'), f.is('['):
		kind = tokenOther
	case f.is('n'):
		kind = tokenNull
	}
	start := f.i
	ok = f.skip(depth, event.None)
	return token{kind: kind, text: alias(f.b[start:f.i]), isSound: true}, ok
}

func (f *objectFormat) value(n *pathNode, depth int, e *event.Event) bool {
	switch {
	case n.children != nil && f.is('{'):
		return f.object(n, depth, e)
	case n.elements != nil && f.is('['):
		return f.array(n, depth, e)
	}
	at := f.i
	t, ok := f.token(depth)
	return ok && f.offer(n.sources, t, at, e)
}

// offer passes a value, at byte at, to the sources that want it.
func (f *objectFormat) offer(sources []compiledSource, t token, at int, e *event.Event) bool {
	for i := range sources {
		s := &sources[i]
		switch {
		case s.is != nil:
			f.passed = f.passed || s.matches(t.text)
		case s.line:
			f.requestLine(s, t, e)
		case !f.hasBetter(s.field, s.rank, e):
			done, refused := s.apply(t, e)
			if done {
				f.ranks[s.field] = s.rank
			}
			if refused != 0 && !f.postpone(refused, s.field, at) {
				return false
			}
		}
	}
	return true
}

// hasBetter reports whether f already has a value from a source of a better rank.
func (f *objectFormat) hasBetter(field event.Field, rank uint8, e *event.Event) bool {
	return e.Has(field) && f.ranks[field] <= rank
}

// postpone refuses a value, unless the filter may still skip the record.
func (f *objectFormat) postpone(r event.Reason, field event.Field, at int) bool {
	wrong := event.Refusal{Reason: r, Field: field, Pos: at}
	if !f.filters {
		f.refusal = wrong
		return false
	}
	if f.wrong.Reason == 0 {
		f.wrong = wrong
	}
	return true
}

// requestLine takes method and path from METHOD TARGET PROTOCOL.
func (f *objectFormat) requestLine(s *compiledSource, t token, e *event.Event) {
	if t.kind != tokenText {
		return
	}
	method, target := splitRequest(t.text)
	if !f.hasBetter(event.Method, s.rank, e) && putText(e, event.Method, method) {
		f.ranks[event.Method] = s.rank
	}
	if !f.hasBetter(event.Path, s.rank, e) && putText(e, event.Path, target) {
		f.ranks[event.Path] = s.rank
	}
}

// matches reports whether a filter passes a record with that value.
func (s *compiledSource) matches(text string) bool {
	for _, is := range s.is {
		if prefix, ok := strings.CutSuffix(is, "*"); ok && strings.HasPrefix(text, prefix) || is == text {
			return true
		}
	}
	return false
}

// apply stores the found value in the event, if it is valid. The reason is 0 if
// nothing is refused.
func (s *compiledSource) apply(t token, e *event.Event) (done bool, refused event.Reason) {
	numeric := s.field.Numeric()
	switch {
	case t.kind == tokenNull:
		return false, 0
	case t.kind == tokenOther && numeric:
		return e.AdmitNumber(s.field, 0, event.WrongType)
	case t.kind == tokenOther:
		return false, event.WrongType
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
		return e.AdmitNumber(s.field, n, wrong)
	case t.raw && !s.field.Spec().Client:
		return false, event.ControlCharacter
	}
	return putLogText(e, s.field, t.text, t.isSound)
}

func set(e *event.Event, f event.Field, v value) {
	if f.Numeric() {
		e.SetNum(f, v.num)
	} else {
		e.SetText(f, v.text)
	}
}

// number reads a numeric value, with or without quotes.
func (s *compiledSource) number(t token) (int64, event.Reason) {
	spec := s.field.Spec()
	if spec.Kind == event.KindBool {
		return parseFlag(t.text)
	}
	if spec.Kind == event.KindTime && s.unit.isText(t.text) {
		ms, ok := s.unit.parseText(t.text)
		if !ok || ms < spec.Min || ms > spec.Max {
			return 0, event.BadTime
		}
		return ms, 0
	}
	text, shift := s.unit.split(s.field, t.text)
	n, fits, ok := parseDecimal(text, shift)
	switch {
	case !ok:
		return 0, event.WrongType
	case !fits || n < spec.Min || n > spec.Max:
		return 0, event.OutOfRange
	case s.unit.asOwn && spec.Kind == event.KindTime && n < earliestMillis:
		return 0, event.TimeUnit
	}
	return n, 0
}

func parseFlag(s string) (int64, event.Reason) {
	switch s {
	case "true", "1":
		return 1, 0
	case "false", "0":
		return 0, 0
	}
	return 0, event.WrongType
}
