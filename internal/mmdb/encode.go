package mmdb

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// Types of the format.
const (
	typePointer = 1
	typeString  = 2
	typeUint16  = 5
	typeUint32  = 6
	typeMap     = 7
	typeUint64  = 9
	typeArray   = 11
	typeBool    = 14
	typeFloat   = 15
)

// longestText is the first length that is refused, in bytes.
const longestText = 1 << 16

// appendKey appends a key that is unique to the fields, and checks them.
func appendKey(b []byte, fields []Field) ([]byte, error) {
	text := func(t string) error {
		if !utf8.ValidString(t) || len(t) >= longestText {
			return fmt.Errorf("a text of %d bytes is longer than %d, or not UTF-8", len(t), longestText-1)
		}
		b = append(binary.AppendUvarint(b, uint64(len(t))), t...)
		return nil
	}
	for _, f := range fields {
		if err := text(f.Key); err != nil {
			return nil, err
		}
		switch v := f.Value.(type) {
		case string:
			b = append(b, typeString)
			if err := text(v); err != nil {
				return nil, fmt.Errorf("%s: %w", f.Key, err)
			}
		case uint32:
			b = binary.BigEndian.AppendUint32(append(b, typeUint32), v)
		case float32:
			b = binary.BigEndian.AppendUint32(append(b, typeFloat), math.Float32bits(v))
		case bool:
			b = append(b, typeBool, byte(truth(v)))
		default:
			return nil, fmt.Errorf("%s: a %T is no value of a record", f.Key, v)
		}
	}
	return b, nil
}

func truth(v bool) int {
	if v {
		return 1
	}
	return 0
}

// section is the data section: the records, one after the other.
type section struct {
	bytes []byte
	texts map[string]uint32 // offset of the first occurrence
}

// record appends a record. appendKey has checked its fields.
func (s *section) record(fields []Field) {
	s.bytes = appendControl(s.bytes, typeMap, len(fields))
	for _, f := range fields {
		s.text(f.Key)
		switch v := f.Value.(type) {
		case string:
			s.text(v)
		case uint32:
			s.bytes = appendUint(s.bytes, typeUint32, uint64(v))
		case float32:
			s.bytes = binary.BigEndian.AppendUint32(appendControl(s.bytes, typeFloat, 4), math.Float32bits(v))
		case bool:
			s.bytes = appendControl(s.bytes, typeBool, truth(v))
		}
	}
}

// text appends a text, or a pointer to its first occurrence.
func (s *section) text(text string) {
	if at, known := s.texts[text]; known {
		s.bytes = appendPointer(s.bytes, at)
		return
	}
	if len(text) > 3 { // a pointer takes up to 5 bytes
		s.texts[text] = uint32(len(s.bytes))
	}
	s.bytes = appendText(s.bytes, text)
}

func appendText(b []byte, text string) []byte {
	return append(appendControl(b, typeString, len(text)), text...)
}

// appendPointer appends the shortest form of a pointer.
func appendPointer(b []byte, to uint32) []byte {
	const second, third = 1 << 11, 1<<11 + 1<<19
	switch {
	case to < second:
		return append(b, typePointer<<5|byte(to>>8), byte(to))
	case to < third:
		to -= second
		return append(b, typePointer<<5|1<<3|byte(to>>16), byte(to>>8), byte(to))
	case to < third+1<<27:
		to -= third
		return append(b, typePointer<<5|2<<3|byte(to>>24), byte(to>>16), byte(to>>8), byte(to))
	}
	return binary.BigEndian.AppendUint32(append(b, typePointer<<5|3<<3), to)
}

// appendControl appends the control byte of a type and size, and its extensions.
func appendControl(b []byte, kind, size int) []byte {
	first, extended := byte(kind<<5), []byte(nil)
	if kind > 7 {
		first, extended = 0, []byte{byte(kind - 7)}
	}
	switch {
	case size < 29:
		return append(append(b, first|byte(size)), extended...)
	case size < 285:
		return append(append(append(b, first|29), extended...), byte(size-29))
	case size < 285+1<<16:
		return append(append(append(b, first|30), extended...), byte((size-285)>>8), byte(size-285))
	}
	panic("mmdb: texts are shorter than this")
}

// appendUint appends a number without its leading zeros.
func appendUint(b []byte, kind int, n uint64) []byte {
	digits := binary.BigEndian.AppendUint64(nil, n)
	for len(digits) > 0 && digits[0] == 0 {
		digits = digits[1:]
	}
	return append(appendControl(b, kind, len(digits)), digits...)
}

// metadata returns the last section of a database, with its marker.
func metadata(m Metadata, nodes uint32, recordSize int) []byte {
	b := []byte("\xab\xcd\xefMaxMind.com")
	b = appendControl(b, typeMap, 9)
	number := func(key string, kind int, n uint64) { b = appendUint(appendText(b, key), kind, n) }
	number("binary_format_major_version", typeUint16, 2)
	number("binary_format_minor_version", typeUint16, 0)
	number("build_epoch", typeUint64, uint64(max(0, m.Built.Unix())))
	number("ip_version", typeUint16, 6)
	number("node_count", typeUint32, uint64(nodes))
	number("record_size", typeUint16, uint64(recordSize))
	b = appendText(appendText(b, "database_type"), m.Type)
	b = appendControl(appendText(b, "languages"), typeArray, 0)
	b = appendControl(appendText(b, "description"), typeMap, 1)
	return appendText(appendText(b, "en"), m.Description)
}
