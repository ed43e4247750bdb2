package kafka

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/segmentio/kafka-go/compress"
)

// A record batch, version 2, is the only form that brokers since 4.0 keep.
// https://kafka.apache.org/documentation/#recordbatch
//
// The library's own decoder is not used, for three reasons. It runs in a goroutine
// of the library, where a panic ends the program. It returns the first part of a
// damaged batch as if it were the whole. And it drops the end offset of a batch and
// its append time.
const (
	batchPrefix = 12 // base offset, length of the rest
	batchHeader = 61 // prefix included
	crcFrom     = 21 // the checksum covers everything from here on

	attrCodec       = 0x07
	attrLogAppend   = 0x08
	attrTransaction = 0x10
	attrControl     = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the part of a batch's header that we need.
type header struct {
	base       int64 // offset of the first record, as written
	last       int64 // offset of the last one, which may no longer exist
	attributes uint16
	first, max int64 // Unix ms
	producer   int64 // id; −1: none
	count      int32
}

// decode reads the records at or above Next from a sequence of batches, of which
// the last may be incomplete. It stops early when enough was decompressed. An error
// in a batch is withheld if records were read before it: the next fetch begins with
// it.
func (b *Batch) decode(set []byte) error {
	from := b.Next
	for len(set) >= batchHeader && (b.inflated < enoughInflated || len(b.Records) == 0) && !b.crowded() {
		size := int64(int32(binary.BigEndian.Uint32(set[8:])))
		switch {
		case size < batchHeader-batchPrefix:
			return b.unlessPast(from, fmt.Errorf("a batch claims to have %d bytes", size))
		case size > int64(len(set)-batchPrefix):
			return nil
		}
		if err := b.decodeBatch(set[:batchPrefix+size]); err != nil {
			return b.unlessPast(from, err)
		}
		set = set[batchPrefix+size:]
	}
	return nil
}

// Limits on the records of one fetch, their headers, and the headers of one record.
// They take more memory here than on the wire: the smallest record has 7 bytes
// there, and 88 here.
const (
	maxRecords = 64 << 10
	maxHeaders = 64 << 10
)

// crowded reports whether the remaining records are left for the next fetch.
func (b *Batch) crowded() bool { return len(b.Records) >= maxRecords || len(b.headers) >= maxHeaders }

// unlessPast returns err if nothing was read from an offset on, neither records nor
// markers.
func (b *Batch) unlessPast(from int64, err error) error {
	if b.Next > from {
		return nil
	}
	return err
}

func (b *Batch) decodeBatch(batch []byte) error {
	h, err := readHeader(batch)
	if err != nil {
		return err
	}
	dropped := b.aborted.holds(&h, batch[batchHeader:])
	if h.last < b.Next {
		return nil
	}
	next := h.last + 1
	if h.attributes&attrControl == 0 && h.count > 0 && !dropped {
		if next, err = b.decodeRecords(&h, batch[batchHeader:]); err != nil {
			return fmt.Errorf("batch at offset %d: %w", h.base, err)
		}
	}
	b.Next = next
	return nil
}

func readHeader(batch []byte) (h header, err error) {
	be := binary.BigEndian
	h = header{
		base: int64(be.Uint64(batch)), attributes: be.Uint16(batch[21:]),
		first: int64(be.Uint64(batch[27:])), max: int64(be.Uint64(batch[35:])),
		producer: int64(be.Uint64(batch[43:])), count: int32(be.Uint32(batch[57:])),
	}
	last := int32(be.Uint32(batch[23:]))
	h.last = h.base + int64(last)
	if magic := batch[16]; magic != 2 {
		return h, fmt.Errorf("batch at offset %d has format %d, not 2", h.base, magic)
	}
	if sum, want := crc32.Checksum(batch[crcFrom:], castagnoli), be.Uint32(batch[17:]); sum != want {
		return h, fmt.Errorf("batch at offset %d is damaged: its sum is %08x, not %08x", h.base, sum, want)
	}
	if h.base < 0 || last < 0 || h.base > math.MaxInt64-int64(last)-1 || h.count < 0 {
		return h, fmt.Errorf("batch at offset %d has impossible numbers", h.base)
	}
	return h, nil
}

// decodeRecords adds the records of a complete batch, and returns the offset to
// continue from: after the batch, or within it if it is too much for one fetch. If
// one record is unreadable, none is added.
func (b *Batch) decodeRecords(h *header, body []byte) (next int64, err error) {
	if codec := compress.Compression(h.attributes & attrCodec); codec != compress.None {
		if body, err = b.inflate(codec, body); err != nil {
			return 0, err
		}
	}
	records, headers := len(b.Records), len(b.headers)
	c, least := cursor{b: body}, h.base
	for i := range h.count {
		if !b.decodeRecord(h, &c, &least) {
			b.Records, b.headers = b.Records[:records], b.headers[:headers]
			return 0, fmt.Errorf("record %d of %d does not read", i+1, h.count)
		}
		if b.crowded() && i+1 < h.count && len(b.Records) > records {
			return b.Records[len(b.Records)-1].Offset + 1, nil
		}
	}
	if len(c.b) > 0 {
		b.Records, b.headers = b.Records[:records], b.headers[:headers]
		return 0, fmt.Errorf("%d bytes are left behind the last record", len(c.b))
	}
	return h.last + 1, nil
}

// decodeRecord reads the next record, whose offset is at least *least because
// offsets ascend, and updates *least for the following record.
func (b *Batch) decodeRecord(h *header, all *cursor, least *int64) bool {
	c := cursor{b: all.text(), bad: all.bad}
	c.skip(1) // attributes, unused
	time := h.first + c.varint()
	offset := h.base + c.varint32()
	key, value := c.text(), c.text()
	n := c.varint32()
	if c.bad || n < 0 || n > min(int64(len(c.b)), maxHeaders) || offset < *least || offset > h.last {
		return false
	}
	*least = offset + 1
	first := len(b.headers)
	for range n {
		name := c.text()
		b.headers = append(b.headers, Header{Key: b.name(name), Value: c.text()})
	}
	if c.bad || len(c.b) > 0 {
		return false
	}
	if offset < b.Next {
		b.headers = b.headers[:first]
		return true
	}
	appended := h.attributes&attrLogAppend != 0
	if appended {
		time = h.max
	}
	b.Records = append(b.Records, Record{
		Offset: offset, Time: time, Appended: appended, Key: key, Value: value, Headers: b.headers[first:len(b.headers):len(b.headers)],
	})
	return true
}

// maxNames limits the header names that are remembered, so that equal ones share
// their text.
const maxNames = 64

func (b *Batch) name(of []byte) string {
	if s, ok := b.names[string(of)]; ok {
		return s
	}
	s := string(of)
	if b.names == nil {
		b.names = map[string]string{}
	}
	if len(b.names) < maxNames {
		b.names[s] = s
	}
	return s
}

// cursor reads from the front of b. A read beyond the end makes it bad, and returns
// nothing.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.b, c.bad = nil, true
		return 0
	}
	c.b = c.b[n:]
	return v
}

// varint32 reads a 32-bit number. An overlong encoding is an error, as in other
// clients.
func (c *cursor) varint32() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 || n > binary.MaxVarintLen32 || v != int64(int32(v)) {
		c.b, c.bad = nil, true
		return 0
	}
	c.b = c.b[n:]
	return v
}

// text reads a length and that many bytes; length −1 is nil.
func (c *cursor) text() []byte {
	n := c.varint32()
	if n == -1 || c.bad {
		return nil
	}
	return c.take(n)
}

func (c *cursor) take(n int64) []byte {
	if n < 0 || n > int64(len(c.b)) {
		c.b, c.bad = nil, true
		return nil
	}
	t := c.b[:n:n]
	c.b = c.b[n:]
	return t
}

func (c *cursor) skip(n int64) { c.take(n) }

func (c *cursor) int16() int16 {
	if t := c.take(2); t != nil {
		return int16(binary.BigEndian.Uint16(t))
	}
	return 0
}

func (c *cursor) int32() int32 {
	if t := c.take(4); t != nil {
		return int32(binary.BigEndian.Uint32(t))
	}
	return 0
}

func (c *cursor) int64() int64 {
	if t := c.take(8); t != nil {
		return int64(binary.BigEndian.Uint64(t))
	}
	return 0
}
