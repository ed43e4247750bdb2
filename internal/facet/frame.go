package facet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
	"slices"
	"unsafe"

	"github.com/weirdev/weir/event"
)

// A frame is one Kafka record of the facet topic. Integers are little-endian or
// varints; texts are a length and bytes:
//
//	magic "WF" · version u8 · flags u8 · CRC-32C u32 of what follows
//	epoch u64 · incarnation uvarint
//	kinds uvarint, each: kind u8 · fields uvarint · field u8 …
//	sections uvarint, each:
//	  source uvarint · owner uvarint · from uvarint · to uvarint · sent uvarint · watermark varint
//	  facets uvarint, each:
//	    offset uvarint (delta) · kind u8 · ordinal u8 · time varint (delta)
//	    tenant text · key text · presence bits · values
//
// The table of kinds makes a frame readable without the rules that it was made
// with. Presence bits and values follow the order of the kind's fields.
//
// The flags are 0, or those of a control frame; a record with others is a
// [LoopbackReader]'s, or a switch.
const (
	frameVersion = 2
	headerBytes  = 8

	// MaxFrameBytes is the size above which a frame is refused unread.
	MaxFrameBytes = 8 << 20
)

// NoWatermark is the watermark of a source that has not seen an event.
const NoWatermark = math.MinInt64

// EndWatermark is the watermark of a source that has ended.
const EndWatermark = math.MaxInt64

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Errors of frames. An unreadable frame is never skipped silently: we wrote it
// ourselves, and its loss would be a gap.
var (
	ErrFrame        = errors.New("facet frame is damaged")
	ErrFrameVersion = errors.New("facet frame has a version that this program does not read")
)

// Section is a frame's statement about one raw partition (source).
type Section struct {
	Source    int32
	Owner     uint64 // raised by each take-over of the source; older owners are ignored
	From, To  int64  // raw offsets covered for this destination: From ≤ offset < To
	Sent      uint64 // facets that this owner has sent to this destination, including these
	Watermark int64  // Unix ms; later events of this source that are older are late
	Facets    int
}

// Writer builds frames of one section for one destination partition. It is reused:
// [Writer.Finish] returns the frame, and the next Add starts another.
type Writer struct {
	// Sent is the number of facets added since the owner took over. Add counts.
	Sent uint64

	flags       byte // and, unless 0, another version
	epoch       uint64
	incarnation uint64
	projection  Projection // with the marks
	table       []byte     // encoded table of kinds
	body        []byte     // facets of the current frame
	frame       []byte
	facets      int
	lastOffset  int64
	lastTime    int64
}

// NewWriter creates a writer; epoch names the rules and data that p and the
// enrichment came from. Facets carry the marks of their time in addition to p.
func NewWriter(epoch, incarnation uint64, p *Projection) *Writer {
	w := &Writer{epoch: epoch, incarnation: incarnation, projection: p.marked()}
	p = &w.projection
	kinds := 0
	for k := range p {
		if p[k] != nil {
			kinds++
		}
	}
	w.table = binary.AppendUvarint(nil, uint64(kinds))
	for k := range p {
		if p[k] == nil {
			continue
		}
		w.table = append(w.table, byte(k))
		w.table = binary.AppendUvarint(w.table, uint64(len(p[k])))
		for _, f := range p[k] {
			w.table = append(w.table, byte(f))
		}
	}
	return w
}

// Add appends the facet of e for ent. Calls come in ascending order of (offset,
// kind, ordinal).
func (w *Writer) Add(ent Entity, ordinal uint8, offset int64, e *event.Event) {
	b := w.begin(ent, ordinal, offset, e.Num(event.Time))
	fields := w.projection[ent.Kind]
	bits := len(b)
	for range (len(fields) + 7) / 8 {
		b = append(b, 0)
	}
	for i, f := range fields {
		if !e.Has(f) {
			continue
		}
		b[bits+i/8] |= 1 << (i % 8)
		if f.Numeric() {
			b = binary.AppendVarint(b, e.Num(f))
		} else {
			b = appendText(b, e.Text(f))
		}
	}
	w.body = b
}

// begin appends what every facet begins with.
func (w *Writer) begin(ent Entity, ordinal uint8, offset, t int64) []byte {
	if w.facets == 0 {
		w.lastOffset, w.lastTime = 0, 0
	}
	w.facets++
	w.Sent++
	b := binary.AppendUvarint(w.body, uint64(offset-w.lastOffset))
	b = append(b, byte(ent.Kind), ordinal)
	b = binary.AppendVarint(b, t-w.lastTime)
	w.lastOffset, w.lastTime = offset, t
	b = appendText(b, ent.Tenant)
	return appendText(b, ent.Key)
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// Len returns the number of bytes of facets gathered so far.
func (w *Writer) Len() int { return len(w.body) }

// Facets returns the number of facets gathered so far.
func (w *Writer) Facets() int { return w.facets }

// Finish completes the frame. Sent and Facets of s are filled in. The bytes are
// valid until the next Finish.
func (w *Writer) Finish(s Section) []byte {
	b := append(w.frame[:0], 'W', 'F', versions[w.flags][0], w.flags, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, w.epoch)
	b = binary.AppendUvarint(b, w.incarnation)
	b = append(b, w.table...)
	b = binary.AppendUvarint(b, 1)
	b = binary.AppendUvarint(b, uint64(s.Source))
	b = binary.AppendUvarint(b, s.Owner)
	b = binary.AppendUvarint(b, uint64(s.From))
	b = binary.AppendUvarint(b, uint64(s.To))
	b = binary.AppendUvarint(b, w.Sent)
	b = binary.AppendVarint(b, s.Watermark)
	b = binary.AppendUvarint(b, uint64(w.facets))
	b = append(b, w.body...)
	putChecksum(b)
	w.frame, w.body, w.facets = b, w.body[:0], 0
	return b
}

func putChecksum(frame []byte) {
	binary.LittleEndian.PutUint32(frame[4:], crc32.Checksum(frame[headerBytes:], castagnoli))
}

// Reader reads a frame: Reset, then Section until it reports the end, and within
// each section Facet until it reports the end.
type Reader struct {
	cursor
	Epoch       uint64
	Incarnation uint64
	Controls    bool // its facets carry control records

	fields     [MaxKind][]event.Field
	store      []event.Field
	known      [MaxKind]bool
	sections   uint64
	facets     uint64
	section    Section
	lastOffset int64
	lastTime   int64
	lastIndex  int32
}

// versions lists the supported versions, by the flags of a frame.
var versions = [...][]byte{0: {frameVersion}, flagLoopback: {frameVersion, loopbackVersion}, flagVerdicts: {loopbackVersion}, flagSwitch: {switchVersion}, flagControls: {controlsVersion}}

// open checks the envelope of a record of the facet topic, and returns its content.
func open(frame []byte, flags byte) ([]byte, error) {
	if len(frame) < headerBytes || frame[0] != 'W' || frame[1] != 'F' {
		return nil, fmt.Errorf("%w: no frame header", ErrFrame)
	}
	if len(frame) > MaxFrameBytes {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrFrame, len(frame), MaxFrameBytes)
	}
	if frame[3] != flags || !slices.Contains(versions[flags], frame[2]) {
		return nil, fmt.Errorf("%w: version %d flags %d", ErrFrameVersion, frame[2], frame[3])
	}
	if crc32.Checksum(frame[headerBytes:], castagnoli) != binary.LittleEndian.Uint32(frame[4:]) {
		return nil, fmt.Errorf("%w: checksum does not match", ErrFrame)
	}
	return frame[headerBytes:], nil
}

// Reset starts on a frame. Everything read from it aliases its bytes.
func (r *Reader) Reset(frame []byte) error {
	flags := byte(0)
	if r.Controls = len(frame) >= headerBytes && frame[3] == flagControls; r.Controls {
		flags = flagControls
	}
	b, err := open(frame, flags)
	if err != nil {
		return err
	}
	r.b = b
	r.facets, r.section = 0, Section{}
	if len(r.b) < 8 {
		return fmt.Errorf("%w: cut short", ErrFrame)
	}
	r.Epoch = binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	if r.Incarnation, err = r.uvarint(); err != nil {
		return err
	}
	if err := r.readTable(); err != nil {
		return err
	}
	r.sections, err = r.uvarint()
	return err
}

func (r *Reader) readTable() error {
	r.known = [MaxKind]bool{}
	r.store = r.store[:0]
	n, err := r.uvarint()
	if err != nil {
		return err
	}
	if n >= MaxKind {
		return fmt.Errorf("%w: %d kinds", ErrFrame, n)
	}
	// The store grows once to its limit, so that the lists below keep their place.
	if cap(r.store) < MaxKind*event.MaxField {
		r.store = make([]event.Field, 0, MaxKind*event.MaxField)
	}
	for range n {
		k, err := r.byte()
		if err != nil {
			return err
		}
		m, err := r.uvarint()
		if err != nil {
			return err
		}
		if !Kind(k).Exists() || r.known[k] || m > event.MaxField {
			return fmt.Errorf("%w: kind %d with %d fields", ErrFrame, k, m)
		}
		start := len(r.store)
		for range m {
			f, err := r.byte()
			if err != nil {
				return err
			}
			if event.Field(f).Kind() == 0 {
				return fmt.Errorf("%w: unknown field %d", ErrFrame, f)
			}
			r.store = append(r.store, event.Field(f))
		}
		r.known[k] = true
		r.fields[k] = r.store[start:]
	}
	return nil
}

// Section reads the next section; ok is false after the last.
func (r *Reader) Section() (s Section, ok bool, err error) {
	if r.facets != 0 {
		return s, false, errors.New("facet: section asked for before the facets of the last one were read")
	}
	if r.sections == 0 {
		if len(r.b) != 0 {
			return s, false, fmt.Errorf("%w: %d bytes too many", ErrFrame, len(r.b))
		}
		return s, false, nil
	}
	r.sections--
	var v [5]uint64
	for i := range v {
		if v[i], err = r.uvarint(); err != nil {
			return s, false, err
		}
	}
	wm, err := r.varint()
	if err != nil {
		return s, false, err
	}
	n, err := r.uvarint()
	if err != nil {
		return s, false, err
	}
	if v[0] > math.MaxInt32 || v[2] > math.MaxInt64 || v[3] > math.MaxInt64 || v[2] > v[3] || n > uint64(len(r.b)) || n > v[4] {
		return s, false, fmt.Errorf("%w: section out of range", ErrFrame)
	}
	r.section = Section{Source: int32(v[0]), Owner: v[1], From: int64(v[2]), To: int64(v[3]), Sent: v[4], Watermark: wm, Facets: int(n)}
	r.facets, r.lastOffset, r.lastTime, r.lastIndex = n, 0, 0, -1
	return r.section, true, nil
}

// Facet reads the next facet of the section into f; ok is false after the
// last. f's texts alias the frame.
func (r *Reader) Facet(f *Facet) (ok bool, err error) {
	if r.facets == 0 {
		return false, nil
	}
	r.facets--
	delta, err := r.uvarint()
	if err != nil {
		return false, err
	}
	kind, err := r.byte()
	if err != nil {
		return false, err
	}
	ordinal, err := r.byte()
	if err != nil {
		return false, err
	}
	dt, err := r.varint()
	if err != nil {
		return false, err
	}
	offset := r.lastOffset + int64(delta)
	index := int32(kind)<<8 | int32(ordinal)
	if offset != r.lastOffset {
		r.lastIndex = -1
	}
	if kind >= MaxKind || !r.known[kind] && !(r.Controls && Kind(kind).Exists()) || delta > math.MaxInt64 ||
		offset < r.section.From || offset >= r.section.To || index <= r.lastIndex {
		return false, fmt.Errorf("%w: facet out of order or range (kind %d, offset %d)", ErrFrame, kind, offset)
	}
	r.lastOffset, r.lastIndex = offset, index
	r.lastTime += dt
	f.Entity.Kind, f.Source, f.Offset, f.Ordinal, f.Time = Kind(kind), r.section.Source, offset, ordinal, r.lastTime
	if f.Entity.Tenant, err = r.text(); err != nil {
		return false, err
	}
	if f.Entity.Key, err = r.text(); err != nil {
		return false, err
	}
	if f.Control.Action = 0; r.Controls {
		return true, r.readControl(f)
	}
	return true, r.readFields(f, r.fields[kind])
}

func (r *Reader) readFields(f *Facet, fields []event.Field) error {
	f.Fields.Reset()
	f.Fields.SetNum(event.Time, f.Time)
	n := (len(fields) + 7) / 8
	if len(r.b) < n {
		return fmt.Errorf("%w: cut short", ErrFrame)
	}
	c := cursor{r.b[n:]}
	for i, b := range r.b[:n] {
		// Most rules' fields are absent from most events, so only present ones are
		// walked.
		for ; b != 0; b &= b - 1 {
			at := 8*i + bits.TrailingZeros8(b)
			if at >= len(fields) {
				return fmt.Errorf("%w: a field behind the last", ErrFrame)
			}
			if field := fields[at]; field.Numeric() {
				v, err := c.varint()
				if err != nil {
					return err
				}
				f.Fields.SetNum(field, v)
			} else {
				v, err := c.text()
				if err != nil {
					return err
				}
				f.Fields.SetText(field, v)
			}
		}
	}
	r.b = c.b
	return nil
}

var (
	errCut    = fmt.Errorf("%w: cut short", ErrFrame)
	errNumber = fmt.Errorf("%w: bad number", ErrFrame)
)

// cursor reads the parts of a frame one after the other.
type cursor struct{ b []byte }

func (r *cursor) byte() (byte, error) {
	if len(r.b) == 0 {
		return 0, errCut
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v, nil
}

// uvarint is split so that the compiler inlines the case of one byte, which nearly
// all numbers of a frame are.
func (r *cursor) uvarint() (uint64, error) {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		v := uint64(r.b[0])
		r.b = r.b[1:]
		return v, nil
	}
	return r.longUvarint()
}

func (r *cursor) longUvarint() (uint64, error) {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		return 0, errNumber
	}
	r.b = r.b[n:]
	return v, nil
}

func (r *cursor) varint() (int64, error) {
	v, err := r.uvarint()
	return int64(v>>1) ^ -int64(v&1), err
}

func (r *cursor) text() (string, error) {
	n, err := r.uvarint()
	if err != nil {
		return "", err
	}
	if n > uint64(len(r.b)) {
		return "", fmt.Errorf("%w: text of %d bytes where %d are left", ErrFrame, n, len(r.b))
	}
	s := unsafe.String(unsafe.SliceData(r.b), int(n))
	r.b = r.b[n:]
	return s, nil
}
