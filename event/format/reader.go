package format

import "github.com/weirdev/weir/event"

// Reader reads a JSON object as [Decoder] does: strictly, but that texts may have
// any bytes, of which [event.Keep] makes something. It is for questions about what
// is in events. Its errors are [*event.Refusal]s.
type Reader struct{ s scanner }

// NewReader begins to read data, which is not to be written to any more.
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
// in order, repeated ones too. member must read the value, with Text or Object,
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

// Text reads a text, byte for byte as it was written.
func (r *Reader) Text() (string, error) {
	v, ok := r.s.text(event.None)
	return v, r.result(ok)
}

// End checks that nothing follows.
func (r *Reader) End() error {
	if r.s.space(); r.s.i < len(r.s.b) {
		return r.result(r.s.refuse(event.TrailingData, event.None))
	}
	return nil
}
