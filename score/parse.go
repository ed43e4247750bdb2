package score

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// ParseValue reads a stored value. It takes exactly what [AppendValue] writes
// (any other spelling of the same JSON came from somebody else) and nothing
// longer than [MaxValueBytes]. The result does not alias b.
func ParseValue(b []byte) (Value, error) {
	if len(b) > MaxValueBytes {
		return Value{}, fmt.Errorf("%w: %d bytes", ErrValue, len(b))
	}
	p := parser{rest: string(b)}
	v := Value{Position: p.position()}
	p.expect(" ")
	if !p.bad && !strings.HasPrefix(p.rest, `{"v":1,`) && strings.HasPrefix(p.rest, `{"v":`) {
		return Value{}, fmt.Errorf("%w: %.16q", ErrValueVersion, p.rest)
	}
	p.expect(`{"v":1,"x":`)
	v.Expires = p.number(maxMillis)
	p.expect(`,"k":"`)
	v.Kind = p.kind()
	p.expect(`,"id":"`)
	v.Digest = p.text()
	p.expect(`,"s":[`)
	v.Contributions = p.contributions()
	p.expect("}")
	if p.bad || p.rest != "" || !isDigest(v.Digest) {
		return Value{}, fmt.Errorf("%w: at %.24q", ErrValue, p.rest)
	}
	return v, nil
}

// parser goes through a text of known layout. After the first surprise it stays
// bad and gives zero values.
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

// text reads up to the closing quote.
func (p *parser) text() string {
	s, rest, ok := strings.Cut(p.rest, `"`)
	if !ok || !isName(s) {
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
