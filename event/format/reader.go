package format

import "github.com/weirdev/weir/event"

// Reader reads a JSON object as [Decoder] does: strictly, except that texts may
// contain any bytes, which [event.Keep] then handles. It is for requests about
// entities of events. Its errors are [*event.Refusal]s.
type Reader struct{ s scanner }

// NewReader starts to read data, which must not change any more.
func NewReader(data []byte) (*Reader, error) {
	r := &Reader{}
	return r, r.result(r.s.start(data))
}

func (r *Reader) result(ok bool) error {
	if ok {
		return nil
	}
	refusal := r.s.refusal
	return &refusal
}

// Object reads an object and calls member with the name of each of its members,
// in order, repeated ones too. member must read the value, with Text, Object or Field,
// or return an error, which ends the reading.
func (r *Reader) Object(member func(name string) error) error {
	s := &r.s
	if s.space(); !s.is('{') {
		return r.result(s.wrongType(event.None))
	}
	var err error
	ok := s.skipAll('}', 1, event.None, func() bool {
		name, ok := s.text(event.None)
		if !ok {
			return false
		}
		if s.space(); !s.take(':', event.None) {
			return false
		}
		s.space()
		err = member(name)
		return err == nil
	})
	if err != nil {
		return err
	}
	return r.result(ok)
}

// Text reads a text, byte for byte.
func (r *Reader) Text() (string, error) {
	v, ok := r.s.text(event.None)
	return v, r.result(ok)
}

// Bool reads true or false.
func (r *Reader) Bool() (bool, error) {
	s := &r.s
	if !s.is('t') && !s.is('f') {
		return false, r.result(s.wrongType(event.None))
	}
	start := s.i
	ok := s.skip(2, event.None)
	return ok && s.b[start] == 't', r.result(ok)
}

// Field reads the value of a field, in the form that events have it in, into e: a
// text, a whole number or a flag. What a client states and cannot be is left out, as
// in events; what the gateway makes is right, or an error.
func (r *Reader) Field(e *event.Event, f event.Field) error {
	s := &r.s
	switch spec := f.Spec(); {
	case spec.Kind == event.KindText:
		v, ok := s.text(f)
		if !ok {
			return r.result(false)
		}
		_, refused := e.AdmitText(f, v, false)
		return r.result(refused == 0 || s.refuse(refused, f))
	case spec.Kind == event.KindBool || spec.Kind == event.KindInt && spec.Client:
		start := s.i
		if !s.skip(2, f) {
			return r.result(false)
		}
		n, ok := claimed(f, alias(s.b[start:s.i]))
		admitClaim(e, f, n, ok)
		return nil
	case spec.Kind == event.KindInt:
		n, ok := s.integer(f)
		if !ok {
			return r.result(false)
		}
		_, refused := e.AdmitNumber(f, n, 0)
		return r.result(refused == 0 || s.refuse(refused, f))
	}
	return r.result(s.wrongType(f))
}

// End checks that nothing follows.
func (r *Reader) End() error {
	if r.s.space(); r.s.i < len(r.s.b) {
		return r.result(r.s.refuse(event.TrailingData, event.None))
	}
	return nil
}
