package score

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// PositionLen is the length of a position as text: 32 hexadecimal digits.
const PositionLen = 8 + 16 + 8

// MaxValueBytes is the longest value that is written or read.
const MaxValueBytes = 4096

const (
	maxMillis   = 253_402_300_799_999 // the end of the year 9999
	maxHalfLife = 30 * 24 * 3600      // seconds
	maxName     = 128                 // bytes of a rule's id, a category or a reason
	maxVersion  = 999
)

// Errors of [Codec.Append], [Codec.Parse] and [Codec.Head].
var (
	ErrValue   = errors.New("malformed score")
	ErrForged  = errors.New("score with a wrong code") // of another key, secret or author
	ErrVersion = errors.New("score of another version")
)

// version is the version that is written. Version 1 had no code; version 2 had no
// lowering contributions.
const version = 3

// A value ends with its code: codeStart, [DigestLen] characters, codeEnd.
const (
	codeStart = `,"m":"`
	codeEnd   = `"}`
	codeLen   = len(codeStart) + DigestLen + len(codeEnd)
)

// Value is a stored score. The zero value means that none is stored.
type Value struct {
	Kind          facet.Kind // 0 where nothing is stored
	Digest        string     // of the entity
	Position      Position   // its partition is not stored and is 0
	Expires       int64      // Unix milliseconds
	Contributions []Contribution
}

// AppendPosition appends p in a form whose text order is that of the positions of
// one entity: incarnation in 8 hexadecimal digits, offset in 16, index in 8. The
// partition is left out, because an entity has only one in an incarnation.
func AppendPosition(b []byte, p Position) ([]byte, error) {
	if p.Incarnation > math.MaxUint32 || p.Offset < 0 || p.Index < 0 {
		return b, fmt.Errorf("%w: position %+v cannot be written", ErrValue, p)
	}
	b = appendHex(b, p.Incarnation, 8)
	b = appendHex(b, uint64(p.Offset), 16)
	return appendHex(b, uint64(p.Index), 8), nil
}

func appendHex(b []byte, v uint64, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[v>>shift&15])
	}
	return b
}

// Append appends the stored form of v, the only one that [Codec.Parse] accepts. On
// error it returns b unchanged.
func (c *Codec) Append(b []byte, v Value) ([]byte, error) {
	start := len(b)
	out, err := appendOpen(b, v)
	if err != nil {
		return b[:start], err
	}
	m := c.codes.get()
	defer c.codes.put(m)
	m.text = append(append(m.text, c.prefix...), ':')
	m.text = append(append(m.text, v.Kind.String()...), ":{"...)
	m.text = append(append(m.text, v.Digest...), "}\x00"...)
	m.text = append(m.text, out[start:]...)
	out = append(out, codeStart...)
	out = append(append(out, m.tag()...), codeEnd...)
	if len(out)-start > MaxValueBytes {
		return b[:start], fmt.Errorf("%w: %d bytes", ErrValue, len(out)-start)
	}
	return out, nil
}

// appendOpen appends the stored form of v up to its code.
func appendOpen(b []byte, v Value) ([]byte, error) {
	if v.Expires < 0 || v.Expires > maxMillis {
		return b, fmt.Errorf("%w: expiry %d", ErrValue, v.Expires)
	}
	b, err := AppendPosition(b, v.Position)
	if err != nil {
		return b, err
	}
	b = strconv.AppendInt(append(b, ` {"v":`...), version, 10)
	b = strconv.AppendInt(append(b, `,"x":`...), v.Expires, 10)
	return appendBody(b, v)
}

func appendBody(b []byte, v Value) ([]byte, error) {
	if !v.Kind.Exists() || !isDigest(v.Digest) || len(v.Contributions) > MaxContributions {
		return b, fmt.Errorf("%w: kind %d, digest of %d bytes, %d contributions", ErrValue, v.Kind, len(v.Digest), len(v.Contributions))
	}
	b = append(append(b, `,"k":"`...), v.Kind.String()...)
	b = append(append(b, `","id":"`...), v.Digest...)
	b = append(b, `","s":[`...)
	for i := range v.Contributions {
		c := &v.Contributions[i]
		if err := c.check(); err != nil {
			return b, err
		}
		if i > 0 {
			if v.Contributions[i-1].Rule >= c.Rule {
				return b, fmt.Errorf("%w: contributions are not in order of rules", ErrValue)
			}
			b = append(b, ',')
		}
		b = c.append(b)
	}
	return append(b, ']'), nil
}

func (c *Contribution) append(b []byte) []byte {
	b = append(append(b, `{"r":"`...), c.Rule...)
	b = append(append(b, `","c":"`...), c.Category...)
	b = strconv.AppendInt(append(b, `","w":`...), c.signed(), 10)
	b = strconv.AppendInt(append(b, `,"h":`...), c.HalfLife, 10)
	b = strconv.AppendInt(append(b, `,"t":`...), c.Time, 10)
	b = append(append(b, `,"p":"`...), c.Phase.String()...)
	b = append(append(b, `","why":"`...), c.Reason...)
	return append(b, `"}`...)
}

// signed returns the weight as it is stored: negative if it lowers.
func (c *Contribution) signed() int64 {
	if c.Lowers {
		return -int64(c.Weight)
	}
	return int64(c.Weight)
}

// Lasts returns the expiry of u, within the limits of the stored form.
func (u *Update) Lasts() int64 { return min(max(Expires(u.Contributions), u.Expires), maxMillis) }

// Check returns the error that would prevent u from being stored.
func (u *Update) Check() error {
	if _, err := AppendPosition(nil, u.Position); err != nil {
		return err
	}
	if !u.Entity.Kind.Exists() || u.Entity.Key == "" || len(u.Contributions) > MaxContributions {
		return fmt.Errorf("%w: entity of kind %d, %d contributions", ErrValue, u.Entity.Kind, len(u.Contributions))
	}
	if u.Expires < 0 || u.Expires > maxMillis {
		return fmt.Errorf("%w: expiry %d", ErrValue, u.Expires)
	}
	for i := range u.Contributions {
		if err := u.Contributions[i].check(); err != nil {
			return err
		}
		if i > 0 && u.Contributions[i-1].Rule >= u.Contributions[i].Rule {
			return fmt.Errorf("%w: contributions are not in order of rules", ErrValue)
		}
	}
	return nil
}

// check checks a contribution against what any reader may rely on.
func (c *Contribution) check() error {
	switch {
	case !isName(c.Rule), !isName(c.Category), !isName(c.Reason):
		return fmt.Errorf("%w: rule, category or reason is empty, too long or not plain", ErrValue)
	case c.Weight < 1 || c.Weight > 100:
		return fmt.Errorf("%w: weight %d", ErrValue, c.Weight)
	case c.HalfLife < 1 || c.HalfLife > maxHalfLife:
		return fmt.Errorf("%w: half-life of %d s", ErrValue, c.HalfLife)
	case c.Time < 0 || c.Time > maxMillis:
		return fmt.Errorf("%w: time %d", ErrValue, c.Time)
	case c.Category == rules.AnyCategory && !c.Lowers:
		return fmt.Errorf("%w: category %s of what raises", ErrValue, c.Category)
	case c.Phase > rules.Enforce:
		return fmt.Errorf("%w: phase %d", ErrValue, c.Phase)
	}
	return nil
}

// isName reports whether s needs no escapes in JSON: printable ASCII without
// quotes and backslashes.
func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}
