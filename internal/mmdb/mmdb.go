// Package mmdb writes databases in MaxMind's format. It is designed for millions of
// networks: a node of the tree takes eight bytes, and each record and text is
// stored once.
//
// The format is described in MaxMind's specification, version 2.0.
package mmdb

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Writer builds a database. It is not safe for concurrent use.
type Writer struct {
	nodes []node
	v4    uint32 // the node of ::/96, which holds IPv4
	data  section
	key   []byte            // scratch
	known map[string]Record // by appendKey
}

// node has two children: for addresses whose next bit is 0, and for those whose
// next bit is 1.
type node [2]child

// child is empty, another node (its index), or a record (its offset in the data).
// Node 0 is the root, which is never a child.
type child uint32

const (
	nothing  child = 0
	isRecord child = 1 << 31
)

// Record identifies a record of a database.
type Record struct{ offset uint32 }

// Field is a member of a record. Its value is a string, a uint32, a float32 or true.
type Field struct {
	Key   string
	Value any
}

// New returns an empty database.
func New() *Writer {
	w := &Writer{nodes: make([]node, 1), data: section{texts: map[string]uint32{}}, known: map[string]Record{}}
	w.v4 = w.path(0, make([]byte, 16), 96)
	return w
}

// ErrFull means that the format has no room for more nodes or records.
var ErrFull = errors.New("too much for one database")

// Record adds a record, unless one with the same fields in the same order exists, and
// returns it. Texts must be UTF-8, and shorter than 64 KiB.
func (w *Writer) Record(fields []Field) (Record, error) {
	key, err := appendKey(w.key[:0], fields)
	if err != nil {
		return Record{}, err
	}
	w.key = key
	if r, ok := w.known[string(key)]; ok {
		return r, nil
	}
	if len(w.data.bytes)+2*len(key)+longestText >= int(isRecord) {
		return Record{}, ErrFull
	}
	r := Record{uint32(len(w.data.bytes))}
	w.data.record(fields)
	w.known[string(key)] = r
	return r, nil
}

// Insert gives a network its record, which replaces earlier ones. IPv6 networks must
// not overlap ::/96, which holds IPv4.
func (w *Writer) Insert(p netip.Prefix, r Record) error {
	from, addr, bits := uint32(0), p.Addr().AsSlice(), p.Bits()
	switch {
	case !p.IsValid() || p.Addr().Is4In6():
		return fmt.Errorf("%v is no network", p)
	case p.Addr().Is4():
		from = w.v4
	case p.Overlaps(netip.PrefixFrom(netip.IPv6Unspecified(), 96)):
		return fmt.Errorf("%v is where IPv4 lies", p)
	}
	if bits == 0 { // the whole IPv4 space
		w.nodes[from] = node{isRecord | child(r.offset), isRecord | child(r.offset)}
		return nil
	}
	at := w.path(from, addr, bits-1)
	if len(w.nodes) >= int(isRecord) {
		return ErrFull
	}
	w.nodes[at][bit(addr, bits-1)] = isRecord | child(r.offset)
	return nil
}

// path returns the node at the first bits of addr, and creates missing nodes. A record
// on the way moves down to both halves of its network.
func (w *Writer) path(at uint32, addr []byte, bits int) uint32 {
	for i := range bits {
		next := &w.nodes[at][bit(addr, i)]
		if *next == nothing || *next&isRecord != 0 {
			was := *next
			*next = child(len(w.nodes))
			w.nodes = append(w.nodes, node{was, was})
			at = uint32(len(w.nodes) - 1)
			continue
		}
		at = uint32(*next)
	}
	return at
}

func bit(addr []byte, i int) byte { return addr[i/8] >> (7 - i%8) & 1 }

// join replaces each node whose children are equal by that child, and numbers the
// remaining nodes that the root leads to. Children always come after their parents.
func (w *Writer) join() (numbers []uint32, count uint32) {
	for i := len(w.nodes) - 1; i >= 0; i-- {
		for side, c := range w.nodes[i] {
			if c == nothing || c&isRecord != 0 {
				continue
			}
			if of := w.nodes[c]; of[0] == of[1] && (of[0] == nothing || of[0]&isRecord != 0) {
				w.nodes[i][side] = of[0]
			}
		}
	}
	const unreached = 1<<32 - 1
	numbers = make([]uint32, len(w.nodes))
	for i := range numbers {
		numbers[i] = unreached
	}
	numbers[0] = 0
	for i, n := range w.nodes {
		if numbers[i] == unreached {
			continue
		}
		numbers[i] = count
		count++
		for _, c := range n {
			if c != nothing && c&isRecord == 0 {
				numbers[c] = 0 // reached; numbered in its turn
			}
		}
	}
	return numbers, count
}

// Metadata describes a database.
type Metadata struct {
	Type        string
	Description string
	Built       time.Time // of the data, not of the file
}

// separator is the gap between the tree and the data.
const separator = 16

// Write writes the database. Nothing may be inserted afterwards.
func (w *Writer) Write(to io.Writer, m Metadata) error {
	numbers, count := w.join()
	size, err := recordSize(uint64(count) + separator + uint64(len(w.data.bytes)))
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(to, 1<<20)
	value := func(c child) uint32 {
		switch {
		case c == nothing:
			return count
		case c&isRecord != 0:
			return count + separator + uint32(c&^isRecord)
		}
		return numbers[c]
	}
	var line []byte
	written := uint32(0)
	for i, n := range w.nodes {
		if numbers[i] != written || written == count {
			continue // unreached, or joined
		}
		written++
		line = appendNode(line[:0], size, value(n[0]), value(n[1]))
		_, _ = out.Write(line) // Flush has the error
	}
	_, _ = out.Write(make([]byte, separator))
	_, _ = out.Write(w.data.bytes)
	_, _ = out.Write(metadata(m, count, size))
	return out.Flush()
}

// recordSize returns the number of bits of a child: the smallest size that holds the
// highest value.
func recordSize(highest uint64) (int, error) {
	for _, size := range []int{24, 28, 32} {
		if highest < 1<<size {
			return size, nil
		}
	}
	return 0, ErrFull
}

func appendNode(b []byte, size int, left, right uint32) []byte {
	switch size {
	case 24:
		return append(b, byte(left>>16), byte(left>>8), byte(left), byte(right>>16), byte(right>>8), byte(right))
	case 28:
		return append(b, byte(left>>16), byte(left>>8), byte(left), byte(left>>24)<<4|byte(right>>24), byte(right>>16), byte(right>>8), byte(right))
	}
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, left), right)
}
