package event

import "strings"

// Decoder reads events in Weir's own format. It is reused by one goroutine, and
// allocates nothing per event.
//
// Gateways write their fields in the same order each time, so the decoder
// remembers which field came after which, and compares the next bytes with that
// key before it looks the key up.
type Decoder struct {
	scanner
	after   [MaxField]Field // the field that last came after each
	unknown []string        // unknown keys of this event
}

// maxUnknown is how many unknown keys an event may have: each is compared with
// the others, to refuse a key that is there twice.
const maxUnknown = 64

// quoted is each field's key as it stands in JSON, with the colon.
var quoted = func() (q [MaxField]string) {
	for f := range specs {
		if specs[f].Name != "" {
			q[f] = `"` + specs[f].Name + `":`
		}
	}
	return q
}()

// Decode reads one event strictly into e. Texts of e alias data, or the
// decoder, and are valid until the next Decode. The error is a [*Refusal].
func (d *Decoder) Decode(data []byte, e *Event) error {
	e.Reset()
	d.unknown = d.unknown[:0]
	if !d.start(data) || !d.object(e) || !d.complete(e) {
		return &d.refusal
	}
	return nil
}

func (d *Decoder) complete(e *Event) bool {
	switch {
	case !e.Has(ID):
		return d.refuse(MissingField, ID)
	case !e.Has(Time):
		return d.refuse(MissingField, Time)
	}
	return true
}

func (d *Decoder) object(e *Event) bool {
	d.space()
	if !d.take('{', None) {
		return false
	}
	d.space()
	if !d.is('}') && !d.fields(e) {
		return false
	}
	if !d.take('}', None) {
		return false
	}
	d.space()
	if d.i < len(d.b) {
		return d.refuse(TrailingData, None)
	}
	return true
}

// fields takes the fields of an object, up to its closing brace.
func (d *Decoder) fields(e *Event) bool {
	var seen [2]uint64
	last := None
	for {
		f, ok := d.key(last)
		switch {
		case !ok:
			return false
		case f == None:
			ok = d.skip(2, None)
		case seen[f>>6]&(1<<(f&63)) != 0:
			return d.refuse(DuplicateKey, f)
		default:
			seen[f>>6] |= 1 << (f & 63)
			d.after[last] = f
			last = f
			ok = d.value(f, e)
		}
		if !ok {
			return false
		}
		if d.space(); d.is('}') {
			return true
		}
		if !d.take(',', None) {
			return false
		}
		d.space()
	}
}

// key takes a key and its colon; None is an unknown key.
func (d *Decoder) key(last Field) (Field, bool) {
	if f := d.after[last]; f != None {
		q := quoted[f]
		if end := d.i + len(q); end <= len(d.b) && string(d.b[d.i:end]) == q {
			d.i = end
			d.space()
			return f, true
		}
	}
	at := d.i
	name, ok := d.text(None)
	if !ok {
		return None, false
	}
	f, known := byName[name]
	switch {
	case known && specs[f].Derived:
		d.i = at
		return f, d.refuse(DerivedField, f)
	case !known && !d.unknownKey(name, at):
		return None, false
	}
	d.space()
	if !d.take(':', f) {
		return f, false
	}
	d.space()
	return f, true
}

// unknownKey checks that an unknown key is no known one in other letters, which
// another reader of the same event might take for it, and stands there once.
func (d *Decoder) unknownKey(name string, at int) bool {
	if !plain(name) {
		for f := range specs {
			if specs[f].Name != "" && strings.EqualFold(specs[f].Name, name) {
				d.i = at
				return d.refuse(FoldedKey, Field(f))
			}
		}
	}
	for _, u := range d.unknown {
		if u == name {
			d.i = at
			return d.refuse(DuplicateKey, None)
		}
	}
	if len(d.unknown) == maxUnknown {
		d.i = at
		return d.refuse(TooManyFields, None)
	}
	d.unknown = append(d.unknown, name)
	return true
}

// plain reports whether a key has only letters that fold to nothing else.
func plain(name string) bool {
	for i := range len(name) {
		if c := name[i]; c >= 'A' && c <= 'Z' || c >= 0x80 {
			return false
		}
	}
	return true
}

// value takes the value of f. An empty text and null are absent values.
func (d *Decoder) value(f Field, e *Event) bool {
	if d.is('n') {
		return d.word("null", f)
	}
	spec := &specs[f]
	switch spec.Kind {
	case KindText, KindAddress:
		v, ok := d.text(f)
		if !ok {
			return false
		}
		return v == "" || d.set(f, v, e)
	case KindInt:
		n, ok := d.integer(f)
		if !ok {
			return false
		}
		return d.setNum(f, n, e)
	case KindTime:
		return d.moment(f, e)
	case KindBool:
		if d.is('t') {
			e.SetNum(f, 1)
			return d.word("true", f)
		}
		if d.is('f') {
			e.SetNum(f, 0)
			return d.word("false", f)
		}
		return d.wrongType(f)
	}
	return d.attributes(f, e)
}

// set checks a text against its field's spec. The same check serves the
// mappings from other formats.
func (s *scanner) set(f Field, v string, e *Event) bool {
	spec := &specs[f]
	if len(v) > spec.MaxBytes && spec.Kind != KindAddress {
		return s.refuse(TooLong, f)
	}
	if spec.Kind == KindAddress {
		exact, ok := exactAddress(v)
		if !ok {
			return s.refuse(BadAddress, f)
		}
		v = exact
	}
	if spec.Enum != nil && !contains(spec.Enum, v) {
		return s.refuse(BadValue, f)
	}
	if f == Tenant && !visible(v) {
		return s.refuse(ControlCharacter, f)
	}
	e.SetText(f, v)
	return true
}

// visible reports whether a tenant is free of control characters, which
// separate tenants from what stands behind them wherever both are one key.
func visible(v string) bool {
	for i := range len(v) {
		if v[i] < ' ' {
			return false
		}
	}
	return true
}

func contains(list []string, v string) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}

func (s *scanner) setNum(f Field, n int64, e *Event) bool {
	if n < specs[f].Min || n > specs[f].Max {
		return s.refuse(OutOfRange, f)
	}
	e.SetNum(f, n)
	return true
}

// earliestMillis is the smallest integer time that is believed to be in
// milliseconds: anything below would be before April 1973, and is far likelier
// to be in seconds.
const earliestMillis = 100_000_000_000

func (d *Decoder) moment(f Field, e *Event) bool {
	if !d.is('"') {
		n, ok := d.integer(f)
		if !ok {
			return false
		}
		if n >= 0 && n < earliestMillis {
			return d.refuse(TimeUnit, f)
		}
		return d.setNum(f, n, e)
	}
	at := d.i
	v, ok := d.text(f)
	if !ok || v == "" {
		return ok
	}
	ms, ok := parseTime(v)
	if !ok {
		d.i = at
		return d.refuse(BadTime, f)
	}
	return d.setNum(f, ms, e)
}

const maxAttributes = 32

// attributes takes a flat object of scalars, and keeps its text.
func (d *Decoder) attributes(f Field, e *Event) bool {
	start := d.i
	if !d.is('{') {
		return d.wrongType(f)
	}
	var names [maxAttributes]string
	n := 0
	ok := d.skipAll('}', 1, f, func() bool {
		at := d.i
		name, ok := d.text(f)
		if !ok {
			return false
		}
		if contains(names[:n], name) {
			d.i = at
			return d.refuse(DuplicateKey, f)
		}
		if n == maxAttributes {
			d.i = at
			return d.refuse(TooManyFields, f)
		}
		names[n] = name
		n++
		d.space()
		if !d.take(':', f) {
			return false
		}
		d.space()
		if d.is('{') || d.is('[') {
			return d.refuse(WrongType, f)
		}
		return d.skip(2, f)
	})
	if !ok || n == 0 {
		return ok
	}
	return d.set(f, alias(d.b[start:d.i]), e)
}
