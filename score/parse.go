package score

import (
	"crypto/subtle"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// Head is the part of a stored value that is in the same place in every version.
type Head struct {
	Position Position // its partition is not stored and is 0
	Expires  int64    // Unix milliseconds
	Version  int
}

// Head checks the code of the value stored under key, of any version, and reads its
// beginning. Without a valid code nothing in it can be trusted. [ErrForged] means
// that somebody else wrote it; [ErrVersion] means another version number and no
// code known here; [ErrValue] means anything else.
func (c *Codec) Head(key, text string) (Head, error) {
	h, _, err := c.open(key, text)
	return h, err
}

// Parse reads the value that is stored under key. It accepts exactly what
// [Codec.Append] writes for that key, and nothing longer than [MaxValueBytes]; any
// other spelling of the same JSON came from somebody else. The errors are those of
// [Codec.Head]; a value of another version is [ErrVersion] even if its code is
// valid. The result aliases text.
func (c *Codec) Parse(key, text string) (Value, error) {
	h, body, err := c.open(key, text)
	if err != nil {
		return Value{}, err
	}
	if h.Version != version {
		return Value{}, fmt.Errorf("%w: %d", ErrVersion, h.Version)
	}
	p := parser{rest: body}
	v := Value{Position: h.Position, Expires: h.Expires}
	p.expect(`,"k":"`)
	v.Kind = p.kind()
	p.expect(`,"id":"`)
	v.Digest = p.text()
	p.expect(`,"s":[`)
	v.Contributions = p.contributions()
	if p.bad || p.rest != "" || !c.isKeyOf(key, v.Kind, v.Digest) {
		return Value{}, fmt.Errorf("%w: at %.24q", ErrValue, p.rest)
	}
	return v, nil
}

// open checks the code of a value. body is the part between head and code.
func (c *Codec) open(key, text string) (h Head, body string, err error) {
	if len(text) > MaxValueBytes {
		return h, "", fmt.Errorf("%w: longer than %d bytes", ErrValue, MaxValueBytes)
	}
	p := parser{rest: text}
	h.Position = p.position()
	p.expect(` {"v":`)
	h.Version = int(p.number(maxVersion))
	p.expect(`,"x":`)
	h.Expires = p.number(maxMillis)
	if p.bad || !strings.HasPrefix(p.rest, ",") {
		return Head{}, "", fmt.Errorf("%w: at %.24q", ErrValue, p.rest)
	}
	end := len(p.rest) - codeLen
	switch {
	case end >= 0 && c.genuine(key, text):
		return h, p.rest[:end], nil
	case h.Version != version:
		return Head{}, "", fmt.Errorf("%w: %d", ErrVersion, h.Version)
	case end < 0 || p.rest[end:end+len(codeStart)] != codeStart:
		return Head{}, "", fmt.Errorf("%w: no code at its end", ErrValue)
	}
	return Head{}, "", ErrForged
}

// genuine reports whether text, which is long enough to have a code, has the right
// one for key.
func (c *Codec) genuine(key, text string) bool {
	signed, code := text[:len(text)-codeLen], text[len(text)-codeLen:]
	m := c.codes.get()
	defer c.codes.put(m)
	m.text = append(append(m.text, key...), 0)
	m.text = append(m.text, signed...)
	right := m.tag()
	m.text = append(append(append(m.text[:0], codeStart...), right...), codeEnd...)
	return subtle.ConstantTimeCompare(m.text, []byte(code)) == 1
}

// parser reads a text of known layout. After the first mismatch it stays bad and
// returns zero values.
type parser struct {
	rest string
	bad  bool
}

func (p *parser) expect(literal string) {
	if !p.accept(literal) {
		p.bad = true
	}
}

func (p *parser) accept(literal string) bool {
	rest, ok := strings.CutPrefix(p.rest, literal)
	if ok {
		p.rest = rest
	}
	return ok
}

// text reads up to the closing quote. Its callers check the content.
func (p *parser) text() string {
	s, rest, ok := strings.Cut(p.rest, `"`)
	if !ok {
		p.bad = true
		return ""
	}
	p.rest = rest
	return s
}

func (p *parser) number(most int64) int64 {
	n := 0
	for n < len(p.rest) && p.rest[n] >= '0' && p.rest[n] <= '9' {
		n++
	}
	v, err := strconv.ParseInt(p.rest[:n], 10, 64)
	if err != nil || v > most || n > 1 && p.rest[0] == '0' {
		p.bad = true
		return 0
	}
	p.rest = p.rest[n:]
	return v
}

func (p *parser) position() Position {
	incarnation, offset, index := p.hex(8), p.hex(16), p.hex(8)
	if offset > math.MaxInt64 || index > math.MaxInt32 {
		p.bad = true
	}
	return Position{Incarnation: incarnation, Offset: int64(offset), Index: int32(index)}
}

func (p *parser) hex(digits int) (v uint64) {
	if len(p.rest) < digits {
		p.bad = true
		return 0
	}
	for i := range digits {
		d := strings.IndexByte("0123456789abcdef", p.rest[i])
		if d < 0 {
			p.bad = true
			return 0
		}
		v = v<<4 | uint64(d)
	}
	p.rest = p.rest[digits:]
	return v
}

func (p *parser) kind() facet.Kind {
	k, ok := facet.ParseKind(p.text())
	if !ok {
		p.bad = true
	}
	return k
}

// contributions reads a list up to its closing bracket.
func (p *parser) contributions() []Contribution {
	if p.accept("]") {
		return nil
	}
	list := make([]Contribution, 0, 2)
	for !p.bad {
		c := p.contribution()
		if n := len(list); n == MaxContributions || n > 0 && list[n-1].Rule >= c.Rule {
			p.bad = true
			break
		}
		list = append(list, c)
		if p.accept("]") {
			return list
		}
		p.expect(",")
	}
	return nil
}

func (p *parser) contribution() Contribution {
	var c Contribution
	p.expect(`{"r":"`)
	c.Rule = p.text()
	p.expect(`,"c":"`)
	c.Category = p.text()
	p.expect(`,"w":`)
	c.Lowers = p.accept("-")
	c.Weight = uint8(p.number(100))
	p.expect(`,"h":`)
	c.HalfLife = p.number(maxHalfLife)
	p.expect(`,"t":`)
	c.Time = p.number(maxMillis)
	p.expect(`,"p":"`)
	phase, err := rules.ParsePhase(p.text())
	p.expect(`,"why":"`)
	c.Phase, c.Reason = phase, p.text()
	p.expect("}")
	if err != nil || c.check() != nil {
		p.bad = true
	}
	return c
}
