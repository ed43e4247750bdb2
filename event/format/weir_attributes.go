package format

import "github.com/weirdev/weir/event"

// maxAttributes limits the free attributes of an event.
const maxAttributes = 32

// attribute is a member of the free attributes.
type attribute struct {
	name  string
	text  string
	bare  string // a number, true, false or null, as it is written; "" where the value is a text
	whole bool   // it stands in the record as it is kept
}

// attributes reads a flat object of scalars, and keeps its text. Clients can
// influence it, so everything but the syntax is tolerated: excess, nested and
// duplicate members are left out, and texts are repaired.
func (d *Decoder) attributes(f event.Field, e *event.Event) bool {
	start := d.i
	if !d.is('{') {
		return d.wrongType(f)
	}
	var kept [maxAttributes]attribute
	n, whole := 0, true
	ok := d.skipAll('}', 1, f, func() bool {
		a, flat, ok := d.attribute(f)
		if ok && flat && n < maxAttributes && !named(kept[:n], a.name) {
			kept[n] = a
			n++
			whole = whole && a.whole
		} else {
			whole = false
		}
		return ok
	})
	if !ok || n == 0 && whole {
		return ok
	}
	v := alias(d.b[start:d.i])
	if longest := f.Spec().MaxBytes; !whole || len(v) > longest {
		e.SetNum(event.Clipped, 1)
		v = writeAttributes(kept[:n], longest)
	}
	if v != "" {
		e.SetText(f, v)
	}
	return true
}

func named(list []attribute, name string) bool {
	for i := range list {
		if list[i].name == name {
			return true
		}
	}
	return false
}

// attribute reads one member; flat is false if its value is not kept.
func (d *Decoder) attribute(f event.Field) (a attribute, flat, ok bool) {
	a.whole = true
	if a.name, ok = d.attributeText(f, &a); !ok {
		return a, false, false
	}
	if d.space(); !d.take(':', f) {
		return a, false, false
	}
	d.space()
	switch {
	case d.is('"'):
		a.text, ok = d.attributeText(f, &a)
		return a, true, ok
	case d.is('{'), d.is('['):
		return a, false, d.skip(2, f)
	}
	start := d.i
	ok = d.skip(2, f)
	a.bare = alias(d.b[start:d.i])
	return a, true, ok
}

// attributeText reads a text of a, and repairs it.
func (d *Decoder) attributeText(f event.Field, a *attribute) (string, bool) {
	v, ok := d.text(f)
	if !ok || d.isSound {
		return v, ok
	}
	fixed := event.Repaired(v)
	a.whole = a.whole && fixed == v && !d.raw
	return fixed, true
}

// writeAttributes writes as many attributes as fit into most bytes; "" if none
// does.
func writeAttributes(list []attribute, most int) string {
	b := []byte{'{'}
	for i := range list {
		before := len(b)
		if before > 1 {
			b = append(b, ',')
		}
		if b = list[i].appendTo(b); len(b) >= most { // the closing brace must fit, too
			b = b[:before]
		}
	}
	if len(b) == 1 {
		return ""
	}
	return string(append(b, '}'))
}

func (a *attribute) appendTo(b []byte) []byte {
	b = append(event.AppendText(b, a.name), ':')
	if a.bare != "" {
		return append(b, a.bare...)
	}
	return event.AppendText(b, a.text)
}
