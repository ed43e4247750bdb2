package sketch

import "math/bits"

// Distinct is a summary of distinct values, each given as 32 bits of its hash. Up
// to MostListed it is their ascending list, u32 each; beyond that it is a
// HyperLogLog of Registers bytes.
//
// The upper 10 bits of a hash select the register, which keeps the greatest rank:
// the place, from 1, of the first set bit among the other 22, or 23 if none is set.
type Distinct []byte

const (
	// MostListed is the number of values up to which a summary is exact.
	MostListed = 127
	// Registers is the number of registers of a larger summary, and its maximum
	// size in bytes.
	Registers = 1024

	rankBits = 22
	mostRank = rankBits + 1
	listed   = 4 // bytes of a value
)

// Room returns the bytes that the summary needs to add v: its present size if v is
// listed already, or changes nothing.
func (d Distinct) Room(v uint32) int {
	if d.dense() {
		return len(d)
	}
	if _, there := d.find(v); there {
		return len(d)
	}
	if len(d) < MostListed*listed {
		return len(d) + listed
	}
	return Registers
}

// Add adds v, and reports whether that changes anything. The summary must have the
// size that Room returned; it had used bytes before, and the rest is zero.
func (d Distinct) Add(used int, v uint32) (changed bool) {
	switch {
	case used == Registers:
		return d.raise(v)
	case len(d) == Registers:
		var list [MostListed * listed]byte
		former := list[:copy(list[:], d[:used])]
		clear(d)
		for ; len(former) > 0; former = former[listed:] {
			d.raise(le.Uint32(former))
		}
		d.raise(v)
		return true
	case len(d) > used:
		at, _ := d[:used].find(v)
		copy(d[at+listed:], d[at:used])
		le.PutUint32(d[at:], v)
		return true
	}
	return false
}

// Merge appends to b the union of d and other, and returns it.
func (d Distinct) Merge(b []byte, other Distinct) []byte {
	start := len(b)
	if !d.dense() && !other.dense() {
		b = mergeListed(b, d, other)
		if union := Distinct(b[start:]); len(union) <= MostListed*listed {
			return b
		}
		b = b[:start]
	}
	for range Registers / 8 {
		b = le.AppendUint64(b, 0)
	}
	Distinct(b[start:]).join(d)
	Distinct(b[start:]).join(other)
	return b
}

// mergeListed merges two ascending lists.
func mergeListed(b []byte, x, y Distinct) []byte {
	for len(x) > 0 || len(y) > 0 {
		from := &x
		if len(x) == 0 || len(y) > 0 && le.Uint32(y) < le.Uint32(x) {
			from = &y
		}
		v := le.Uint32(*from)
		b = le.AppendUint32(b, v)
		for _, l := range []*Distinct{&x, &y} {
			if len(*l) > 0 && le.Uint32(*l) == v {
				*l = (*l)[listed:]
			}
		}
	}
	return b
}

// Valid reports whether d is a summary.
func (d Distinct) Valid() bool {
	if d.dense() {
		for _, rank := range d {
			if rank > mostRank {
				return false
			}
		}
		return true
	}
	if len(d)%listed != 0 || len(d) > MostListed*listed {
		return false
	}
	for i := listed; i < len(d); i += listed {
		if le.Uint32(d[i:]) <= le.Uint32(d[i-listed:]) {
			return false
		}
	}
	return true
}

func (d Distinct) dense() bool { return len(d) == Registers }

// find returns where a value of the list is, or would be, in bytes.
func (d Distinct) find(v uint32) (at int, there bool) {
	from, to := 0, len(d)/listed
	for from < to {
		mid := (from + to) / 2
		if le.Uint32(d[mid*listed:]) < v {
			from = mid + 1
		} else {
			to = mid
		}
	}
	at = from * listed
	return at, at < len(d) && le.Uint32(d[at:]) == v
}

// raise adds v to registers, and reports whether that changes one.
func (d Distinct) raise(v uint32) (changed bool) {
	register, rest := v>>rankBits, v&(1<<rankBits-1)
	rank := byte(mostRank - bits.Len32(rest))
	if rank <= d[register] {
		return false
	}
	d[register] = rank
	return true
}

// join adds another summary to registers.
func (d Distinct) join(other Distinct) {
	if !other.dense() {
		for ; len(other) > 0; other = other[listed:] {
			d.raise(le.Uint32(other))
		}
		return
	}
	// This compares eight ranks at once: no rank has its highest bit set, so that
	// bit of a+high−b tells whether a is at least b.
	const high = 0x8080808080808080
	for i := 0; i < Registers; i += 8 {
		a, b := le.Uint64(d[i:]), le.Uint64(other[i:])
		greater := (a | high) - b&^high
		mask := (greater & high >> 7) * 0xFF
		le.PutUint64(d[i:], a&mask|b&^mask)
	}
}

// Union counts the distinct values of several summaries together. Its zero value is
// not ready: call Reset.
type Union struct {
	registers [Registers]byte
	dense     bool // some summary has registers
	values    set
}

// NewUnion creates a union for at most this many summaries.
func NewUnion(most int) *Union {
	u := &Union{}
	u.values.init(most * MostListed)
	return u
}

// Reset empties the union.
func (u *Union) Reset() {
	u.dense = false
	u.values.reset()
}

// Add takes in a summary.
func (u *Union) Add(d Distinct) {
	switch {
	case u.dense:
		Distinct(u.registers[:]).join(d)
	case d.dense():
		u.dense = true
		clear(u.registers[:])
		for _, v := range u.values.list {
			Distinct(u.registers[:]).raise(v)
		}
		Distinct(u.registers[:]).join(d)
	default:
		for ; len(d) > 0; d = d[listed:] {
			u.values.add(le.Uint32(d))
		}
	}
}

// Count returns the number of distinct values: exact as long as no summary has more
// than MostListed, else an estimate with a standard error of 3.3 %.
func (u *Union) Count() int64 {
	if !u.dense {
		return int64(len(u.values.list))
	}
	var ranks [32]uint32
	for _, rank := range u.registers {
		ranks[rank&31]++
	}
	return estimate(&ranks)
}

// scale is Registers² / (2 ln 2), in units of 2⁻³².
const scale = 3248660424278399

// estimate is Ertl's estimator (arXiv 1702.01284, algorithm 6) in fixed point: the
// likely number of values, given the number of registers with each rank. Fractions
// have 32 bits, and each step rounds down.
//
//	z = Σ ranks[k]·2⁻ᵏ + Registers·σ(ranks[0]/Registers), σ(x) = x + Σ x^(2ᵏ)·2ᵏ⁻¹, k ≥ 1
//	estimate = Registers² / (2 ln 2) / z
func estimate(ranks *[32]uint32) int64 {
	if ranks[0] == Registers {
		return 0
	}
	x := uint64(ranks[0]) << 32 / Registers
	sigma := x
	for k := 0; ; k++ {
		if x = x * x >> 32; x == 0 {
			break
		}
		sigma += x << k
	}
	z := Registers * sigma
	for k := 1; k <= mostRank; k++ {
		z += uint64(ranks[k]) << (32 - k)
	}
	return int64(scale / z)
}

// set is a set of values that is cleared in constant time.
type set struct {
	slots []uint64 // round << 32 | value
	round uint32
	list  []uint32
}

func (s *set) init(values int) {
	n := 16
	for n < 2*values {
		n *= 2
	}
	s.slots, s.list = make([]uint64, n), make([]uint32, 0, values)
}

func (s *set) reset() {
	s.list = s.list[:0]
	if s.round++; s.round == 0 {
		clear(s.slots)
		s.round = 1
	}
}

func (s *set) add(v uint32) {
	mask := uint32(len(s.slots) - 1)
	for i := (v * 0x9E3779B1) >> 7 & mask; ; i = (i + 1) & mask {
		switch {
		case uint32(s.slots[i]>>32) != s.round:
			s.slots[i] = uint64(s.round)<<32 | uint64(v)
			s.list = append(s.list, v)
			return
		case uint32(s.slots[i]) == v:
			return
		}
	}
}
