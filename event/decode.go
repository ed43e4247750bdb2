package event

import (
	"net/netip"
	"strings"
	"unicode/utf8"
)

// Decoder reads events in Weir's own format. It is reused by one goroutine, and
// allocates nothing per event, but for texts that [Keep] has to change.
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
	for _, spec := range Fields() {
		q[spec.Field] = `"` + spec.Name + `":`
	}
	return q
}()

// Decode reads one event into e: strictly, but for what clients write, of which
// [Keep] makes something. Texts of e alias data, or the decoder, and are valid
// until the next Decode. The error is a [*Refusal].
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
	spec, known := Lookup(name)
	f := spec.Field
	switch {
	case known && spec.Derived:
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
	if reason := d.keyTrouble(name); reason != 0 {
		d.i = at
		return d.refuse(reason, None)
	}
	if !plain(name) {
		for f := Field(1); f < MaxField; f++ {
			if strings.EqualFold(f.Spec().Name, name) {
				d.i = at
				return d.refuse(FoldedKey, f)
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

// keyTrouble says why an unknown key that was just read is no text; 0: it is.
func (d *Decoder) keyTrouble(name string) Reason {
	switch {
	case d.raw:
		return ControlCharacter
	case !d.isSound && !utf8.ValidString(name):
		return InvalidUTF8
	}
	return 0
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
	switch spec := f.Spec(); spec.Kind {
	case KindText, KindAddress:
		v, ok := d.text(f)
		if !ok || v == "" {
			return ok
		}
		return d.set(f, v, e)
	case KindObject:
		return d.attributes(f, e)
	case KindTime:
		if !spec.Client {
			return d.moment(f, e)
		}
	case KindInt:
		if !spec.Client {
			n, ok := d.integer(f)
			return ok && d.setNum(f, n, e)
		}
	}
	return d.claim(f, e)
}

// set gives f a text that was just read.
func (d *Decoder) set(f Field, v string, e *Event) bool {
	if !f.Spec().Client {
		if wrong := d.wrongText(f, v); wrong != 0 {
			return d.refuse(wrong, f)
		}
	}
	if f.Kind() == KindAddress {
		v, _ = exactAddress(v)
	}
	_, refused := e.AdmitText(f, v, d.isSound)
	return refused == 0 || d.refuse(refused, f)
}

// exactAddress reads what our own format may have in [IP]: an address and nothing
// around it, or unix: with or without a path.
func exactAddress(s string) (string, bool) {
	if strings.HasPrefix(s, UnixPeer) {
		return UnixPeer, true
	}
	a, err := netip.ParseAddr(s)
	return s, err == nil && a.Zone() == "" && len(s) <= IP.Spec().MaxBytes
}

// wrongText says what is wrong with a gateway's text that was just read, of what
// only this format can tell.
func (d *Decoder) wrongText(f Field, v string) Reason {
	if f.Kind() == KindAddress {
		if _, ok := exactAddress(v); !ok {
			return BadAddress
		}
	}
	if d.raw {
		return ControlCharacter
	}
	return 0
}

func (d *Decoder) setNum(f Field, n int64, e *Event) bool {
	_, refused := e.AdmitNumber(f, n, 0)
	return refused == 0 || d.refuse(refused, f)
}

// claim takes a number, time or flag that a client states. Whatever else stands
// there is passed over.
func (d *Decoder) claim(f Field, e *Event) bool {
	if d.is('"') {
		v, ok := d.text(f)
		if !ok || v == "" {
			return ok
		}
		ms, ok := parseTime(v)
		return admitClaim(e, f, ms, ok && f.Kind() == KindTime)
	}
	start := d.i
	if !d.skip(2, f) {
		return false
	}
	n, ok := claimed(f, alias(d.b[start:d.i]))
	return admitClaim(e, f, n, ok)
}

func admitClaim(e *Event, f Field, n int64, ok bool) bool {
	wrong := Reason(0)
	if !ok {
		wrong = WrongType
	}
	_, refused := e.AdmitNumber(f, n, wrong)
	return refused == 0
}

// claimed reads a number or a flag as it stands in JSON.
func claimed(f Field, v string) (n int64, ok bool) {
	if f.Kind() == KindBool {
		return int64(len("false") - len(v)), v == "true" || v == "false"
	}
	n, ok = digits(v)
	return n, ok && v != "" && len(v) <= maxDigits && (f.Kind() != KindTime || n >= earliestMillis)
}

func contains(list []string, v string) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}

// earliestMillis is the smallest integer time that is believed to be in
// milliseconds: anything below would be before April 1973, and is far likelier
// to be in seconds.
const earliestMillis = 100_000_000_000

// moment takes a time that the gateway states.
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
