package format

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/weirdev/weir/event"
)

// Decoder reads events in Weir's own format. One goroutine reuses it. It allocates
// nothing per event, except for texts that [event.Keep] has to change.
//
// Gateways write their fields in the same order each time, so the decoder remembers
// which field came after which, and compares the next bytes with that key before it
// looks the key up.
type Decoder struct {
	scanner
	after   [event.MaxField]event.Field // the field that last came after each
	unknown []string                    // unknown keys of this event
}

// maxUnknown limits the unknown keys of an event: each is compared with the others,
// to refuse duplicates.
const maxUnknown = 64

// quoted holds each field's key in JSON, with the colon.
var quoted = func() (q [event.MaxField]string) {
	for _, spec := range event.Fields() {
		q[spec.Field] = `"` + spec.Name + `":`
	}
	return q
}()

// Decode reads one event into e: strictly, except for client values, which
// [event.Keep] handles. Texts of e alias data, or the decoder, and are valid until
// the next Decode. The error is a [*event.Refusal].
func (d *Decoder) Decode(data []byte, e *event.Event) error {
	e.Reset()
	d.unknown = d.unknown[:0]
	if !d.start(data) || !d.object(e) || !d.complete(e) {
		return &d.refusal
	}
	return nil
}

func (d *Decoder) complete(e *event.Event) bool {
	switch {
	case !e.Has(event.ID):
		return d.refuse(event.MissingField, event.ID)
	case !e.Has(event.Time):
		return d.refuse(event.MissingField, event.Time)
	}
	return true
}

func (d *Decoder) object(e *event.Event) bool {
	d.space()
	if !d.take('{', event.None) {
		return false
	}
	d.space()
	if !d.is('}') && !d.fields(e) {
		return false
	}
	if !d.take('}', event.None) {
		return false
	}
	d.space()
	if d.i < len(d.b) {
		return d.refuse(event.TrailingData, event.None)
	}
	return true
}

// fields reads the fields of an object, up to its closing brace.
func (d *Decoder) fields(e *event.Event) bool {
	var seen [2]uint64
	last := event.None
	for {
		f, ok := d.key(last)
		switch {
		case !ok:
			return false
		case f == event.None:
			ok = d.skip(2, event.None)
		case seen[f>>6]&(1<<(f&63)) != 0:
			return d.refuse(event.DuplicateKey, f)
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
		if !d.take(',', event.None) {
			return false
		}
		d.space()
	}
}

// key reads a key and its colon; None is an unknown key.
func (d *Decoder) key(last event.Field) (event.Field, bool) {
	if f := d.after[last]; f != event.None {
		q := quoted[f]
		if end := d.i + len(q); end <= len(d.b) && string(d.b[d.i:end]) == q {
			d.i = end
			d.space()
			return f, true
		}
	}
	at := d.i
	name, ok := d.text(event.None)
	if !ok {
		return event.None, false
	}
	spec, known := event.Lookup(name)
	f := spec.Field
	switch {
	case known && spec.Derived:
		d.i = at
		return f, d.refuse(event.DerivedField, f)
	case !known && !d.unknownKey(name, at):
		return event.None, false
	}
	d.space()
	if !d.take(':', f) {
		return f, false
	}
	d.space()
	return f, true
}

// unknownKey checks that an unknown key is not a known one in another case, which
// another reader of the event might mistake for it, and that it occurs once.
func (d *Decoder) unknownKey(name string, at int) bool {
	if reason := d.keyTrouble(name); reason != 0 {
		d.i = at
		return d.refuse(reason, event.None)
	}
	if !plain(name) {
		for f := event.Field(1); f < event.MaxField; f++ {
			if strings.EqualFold(f.Spec().Name, name) {
				d.i = at
				return d.refuse(event.FoldedKey, f)
			}
		}
	}
	for _, u := range d.unknown {
		if u == name {
			d.i = at
			return d.refuse(event.DuplicateKey, event.None)
		}
	}
	if len(d.unknown) == maxUnknown {
		d.i = at
		return d.refuse(event.TooManyFields, event.None)
	}
	d.unknown = append(d.unknown, name)
	return true
}

// keyTrouble returns the reason why an unknown key is invalid text; 0 if it is
// valid.
func (d *Decoder) keyTrouble(name string) event.Reason {
	switch {
	case d.raw:
		return event.ControlCharacter
	case !d.isSound && !utf8.ValidString(name):
		return event.InvalidUTF8
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

// value reads the value of f. An empty text and null are absent values.
func (d *Decoder) value(f event.Field, e *event.Event) bool {
	if d.is('n') {
		return d.word("null", f)
	}
	switch spec := f.Spec(); spec.Kind {
	case event.KindText, event.KindAddress:
		v, ok := d.text(f)
		if !ok || v == "" {
			return ok
		}
		return d.set(f, v, e)
	case event.KindObject:
		return d.attributes(f, e)
	case event.KindTime:
		if !spec.Client {
			return d.moment(f, e)
		}
	case event.KindInt:
		if !spec.Client {
			n, ok := d.integer(f)
			return ok && d.setNum(f, n, e)
		}
	}
	return d.claim(f, e)
}

// set stores the last text in f.
func (d *Decoder) set(f event.Field, v string, e *event.Event) bool {
	if !f.Spec().Client {
		if wrong := d.wrongText(f, v); wrong != 0 {
			return d.refuse(wrong, f)
		}
	}
	if f.Kind() == event.KindAddress {
		v, _ = exactAddress(v)
	}
	_, refused := e.AdmitText(f, v, d.isSound)
	return refused == 0 || d.refuse(refused, f)
}

// exactAddress reads a valid [event.IP] of our own format: an address with nothing
// around it, or unix: with or without a path.
func exactAddress(s string) (string, bool) {
	if strings.HasPrefix(s, event.UnixPeer) {
		return event.UnixPeer, true
	}
	a, err := netip.ParseAddr(s)
	return s, err == nil && a.Zone() == "" && len(s) <= event.IP.Spec().MaxBytes
}

// wrongText checks a gateway's text for errors that only this format can have.
func (d *Decoder) wrongText(f event.Field, v string) event.Reason {
	if f.Kind() == event.KindAddress {
		if _, ok := exactAddress(v); !ok {
			return event.BadAddress
		}
	}
	if d.raw {
		return event.ControlCharacter
	}
	return 0
}

func (d *Decoder) setNum(f event.Field, n int64, e *event.Event) bool {
	_, refused := e.AdmitNumber(f, n, 0)
	return refused == 0 || d.refuse(refused, f)
}

// claim reads a number, time or flag that a client states. Any other value is
// skipped.
func (d *Decoder) claim(f event.Field, e *event.Event) bool {
	if d.is('"') {
		v, ok := d.text(f)
		if !ok || v == "" {
			return ok
		}
		ms, ok := parseTime(v)
		return admitClaim(e, f, ms, ok && f.Kind() == event.KindTime)
	}
	start := d.i
	if !d.skip(2, f) {
		return false
	}
	n, ok := claimed(f, alias(d.b[start:d.i]))
	return admitClaim(e, f, n, ok)
}

func admitClaim(e *event.Event, f event.Field, n int64, ok bool) bool {
	wrong := event.Reason(0)
	if !ok {
		wrong = event.WrongType
	}
	_, refused := e.AdmitNumber(f, n, wrong)
	return refused == 0
}

// claimed reads a number or a flag from JSON.
func claimed(f event.Field, v string) (n int64, ok bool) {
	if f.Kind() == event.KindBool {
		return int64(len("false") - len(v)), v == "true" || v == "false"
	}
	n, ok = digits(v)
	return n, ok && v != "" && len(v) <= maxDigits && (f.Kind() != event.KindTime || n >= earliestMillis)
}

func contains(list []string, v string) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}

// earliestMillis is the smallest integer time that is read as milliseconds:
// anything below would be before April 1973, and is far more likely to be in
// seconds.
const earliestMillis = 100_000_000_000

// moment reads a time that the gateway states.
func (d *Decoder) moment(f event.Field, e *event.Event) bool {
	if !d.is('"') {
		n, ok := d.integer(f)
		if !ok {
			return false
		}
		if n >= 0 && n < earliestMillis {
			return d.refuse(event.TimeUnit, f)
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
		return d.refuse(event.BadTime, f)
	}
	return d.setNum(f, ms, e)
}
