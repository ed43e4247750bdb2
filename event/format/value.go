package format

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weirdev/weir/event"
)

// unit is the notation of a time or a duration: a power of ten of the second for
// numbers, or text.
type unit struct {
	shift int // a number is multiplied by 10^shift to be what the field holds
	form  textForm
	asOwn bool // as in our own format: text, or a number in the field's unit
	epoch bool // a number is in the unit that makes it a time since 1973: see epochShift
}

// textForm is the notation of a time as text.
type textForm uint8

const (
	noText      textForm = iota
	rfc3339              // and nothing else
	clf                  // common log format, and nothing else
	eitherForm           // one of the two, where it is no number
	rfc3339Text          // RFC 3339, where it is no number
)

// isText reports whether a time is a text, and not a number.
func (u *unit) isText(s string) bool {
	switch u.form {
	case rfc3339, clf:
		return true
	case eitherForm, rfc3339Text:
		return strings.IndexByte(s, ':') >= 0
	}
	return false
}

// parseText reads a time as Unix milliseconds.
func (u *unit) parseText(s string) (ms int64, ok bool) {
	switch u.form {
	case clf:
		return parseCLFTime(s)
	case eitherForm:
		return parseLogTime(s)
	}
	return parseTime(s)
}

// split splits a number from its factor. Durations may have a unit of their own:
// 3ms, 0.5s.
func (u *unit) split(f event.Field, s string) (number string, shift int) {
	if u.epoch {
		return s, epochShift(s)
	}
	held, timed := fieldPower(f)
	if !timed || f.Kind() == event.KindTime || s == "" || s[len(s)-1] != 's' {
		return s, u.shift
	}
	number = strings.TrimRight(s, "smunµ")
	name := s[len(number):]
	if name == "µs" {
		name = "us"
	}
	if power, ok := unitPower(name); ok {
		return number, held - power
	}
	return s, u.shift // which is no number
}

// epochShift derives the unit of a Unix time from the digits before the point, so
// that it becomes milliseconds: for times from 1973 to 5138 each unit has its own
// number of digits.
func epochShift(s string) int {
	whole, _, _ := strings.Cut(s, ".")
	switch n := len(whole); {
	case n <= 11:
		return 3
	case n <= 14:
		return 0
	case n <= 17:
		return -3
	}
	return -6
}

// unitPower returns how many powers of ten of a unit make a second.
func unitPower(name string) (int, bool) {
	switch name {
	case "s":
		return 0, true
	case "ms":
		return 3, true
	case "us":
		return 6, true
	case "ns":
		return 9, true
	}
	return 0, false
}

// fieldPower is the same for the unit of a field; false if it is neither a time nor
// a duration.
func fieldPower(f event.Field) (int, bool) {
	switch {
	case f.Kind() == event.KindTime:
		return 3, true
	case f == event.LatencyMicros:
		return 6, true
	case f == event.AttestationAge:
		return 0, true
	}
	return 0, false
}

// ownUnit is the unit of our own format, plus common log format for times.
func ownUnit() unit { return unit{asOwn: true, form: eitherForm} }

func parseUnit(f event.Field, name string) (unit, error) {
	held, timed := fieldPower(f)
	given, known := unitPower(name)
	switch {
	case name == "":
		return ownUnit(), nil
	case !timed:
		return unit{}, fmt.Errorf("unit %q: this field is neither a time nor a duration", name)
	case name == "rfc3339" && f.Kind() == event.KindTime:
		return unit{form: rfc3339}, nil
	case name == "clf" && f.Kind() == event.KindTime:
		return unit{form: clf}, nil
	case name == "rfc3339" || name == "clf":
		return unit{}, fmt.Errorf("unit %s: this field is a duration; its units are s, ms, us, ns", name)
	case !known:
		return unit{}, fmt.Errorf("unit %q is not known; there are s, ms, us, ns, and rfc3339 and clf for times", name)
	}
	return unit{shift: held - given}, nil
}

// parseValue reads a value from a mapping for a field.
func parseValue(f event.Field, s string) (value, error) {
	spec := f.Spec()
	if spec.Enum != nil && !slices.Contains(spec.Enum, s) {
		return value{}, fmt.Errorf("%q is none of %s", s, strings.Join(spec.Enum, ", "))
	}
	switch spec.Kind {
	case event.KindBool:
		v, err := strconv.ParseBool(s)
		if err != nil {
			return value{}, fmt.Errorf("%q is neither true nor false", s)
		}
		if v {
			return value{num: 1}, nil
		}
		return value{}, nil
	case event.KindInt, event.KindTime:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < spec.Min || n > spec.Max {
			return value{}, fmt.Errorf("%q is no whole number from %d to %d", s, spec.Min, spec.Max)
		}
		return value{num: n}, nil
	case event.KindAddress:
		if _, ok := event.ParseAddress(s); !ok {
			return value{}, fmt.Errorf("%q is no address", s)
		}
	}
	if len(s) > spec.MaxBytes {
		return value{}, fmt.Errorf("%.20q…: longer than %d bytes", s, spec.MaxBytes)
	}
	return value{text: s}, nil
}

// parseDecimal reads a decimal number, with or without fraction and exponent, times
// 10^shift, cut to a whole number. fits is false if that exceeds what a field can
// hold.
func parseDecimal(s string, shift int) (n int64, fits, ok bool) {
	negative := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		e, err := strconv.Atoi(s[i+1:])
		if err != nil || e > 999 || e < -999 {
			return 0, false, err == nil
		}
		s, shift = s[:i], shift+e
	}
	whole, fraction, dotted := strings.Cut(s, ".")
	if whole == "" || dotted && fraction == "" {
		return 0, false, false
	}
	for i := range len(whole) + len(fraction) {
		c := byte(0)
		if i < len(whole) {
			c = whole[i]
		} else {
			c = fraction[i-len(whole)]
			shift--
		}
		if c < '0' || c > '9' {
			return 0, false, false
		}
		if n >= 1e17 { // enough digits; those that follow count by their place alone
			shift++
			continue
		}
		n = n*10 + int64(c-'0')
	}
	n, fits = shiftDecimal(n, shift)
	if negative {
		n = -n
	}
	return n, fits, true
}

func shiftDecimal(n int64, shift int) (int64, bool) {
	for ; shift > 0 && n != 0; shift-- {
		if n > maxExact {
			return 0, false
		}
		n *= 10
	}
	for ; shift < 0 && n != 0; shift++ {
		n /= 10
	}
	return n, true
}
