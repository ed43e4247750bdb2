// Package mmdb writes databases in MaxMind's format. It is for millions of networks:
// eight bytes are kept of each node of the tree, and every record and every text once.
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

// Writer is a database that is being made. One goroutine uses it.
type Writer struct {
	nodes []node
	v4    uint32 // node of ::/96, which holds IPv4
	data  section
	key   []byte            // scratch
	known map[string]Record // by what tells their fields apart
}

// node has what follows for an address whose next bit is 0, and for one whose is 1.
type node [2]child

// child is nothing, another node (its index), or a record (its offset in the data).
// Node 0 is the root, and nobody's child.
type child uint32

const (
	nothing  child = 0
	isRecord child = 1 << 31
)

// Record is one that has been added to a database.
type Record struct{ offset uint32 }

// Field is a member of a record. Its value is a string, a uint32, a float32 or true.
type Field struct {
	Key   string
	Value any
}

// New makes an empty database.
func New() *Writer {
	w := &Writer{nodes: make([]node, 1), data: section{texts: map[string]uint32{}}, known: map[string]Record{}}
	w.v4 = w.path(0, make([]byte, 16), 96)
	return w
}

// ErrFull says that there are more nodes or records than the format has room for.
var ErrFull = errors.New("too much for one database")

// Record adds a record, or finds the one with the same fields in the same order. Texts
// are UTF-8, and shorter than 64 KiB.
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

// Insert has a network's addresses answered with a record. What was inserted before
// for them is replaced. An IPv6 network that holds ::/96, the place of IPv4, or lies
// in it, is an error.
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
	if bits == 0 { // of IPv4: the whole of it
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

// path is the node that is reached by the first bits of addr; nodes that are missing
// are made. A record on the way is given to both halves of its network.
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

// join has a node whose halves are the same record, or both nothing, replaced by that
// record; and gives those that are left, and are reached from the root, their numbers.
// A node's children are made after it.
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
				numbers[c] = 0 // it is reached, and gets its number in its turn
			}
		}
	}
	return numbers, count
}

// Metadata is what a database says of itself.
type Metadata struct {
	Type        string
	Description string
	Built       time.Time // of the data, not of the file
}

// separator stands between the tree and the data.
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
			continue // joined into another one: its number is none, or 0
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

// recordSize is how many bits a child takes: the fewest that hold the highest value.
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
