package facet

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
)

// A loop-back frame is one Kafka record of the facet topic by which detect tells
// members of a group what a rule found about the group. One facet partition writes
// it for another, or for itself. After the envelope of every frame:
//
//	previous: offset + 1 u64 · part u32
//	incarnation uvarint · from uvarint
//	step: offset + 1 uvarint · part uvarint
//	findings uvarint, each:
//	  slot u32 · tier u8 · weight u8 · marks u8 · time varint · source uvarint · offset uvarint
//	  group: kind u8 · tenant text · key text
//	  evidence, as appendEvidence writes it
//	  members uvarint, each: kind u8 · key text
//
// The lowest bit of the marks means that the finding clears; the others are 0.
//
// A frame of verdicts differs in its flag, and in the part that replaces the
// findings.
//
// Version 2 had no marks, and its evidence was numbers, each name text · value
// varint. It can still be read, because a log holds these frames after an upgrade
// of the program that wrote them.
const (
	flagLoopback    = 1
	loopbackVersion = 4 // two bits from 2: the version is not under the checksum

	markClears = 1
)

// Step names a loop-back frame among those of its writer for one destination: the
// record that caused it, and its part number among the frames of that record. The
// zero Step comes before the first frame.
type Step struct {
	Next int64 // offset of the record, plus one
	Part uint32
}

// Compare orders steps as their frames were written.
func (s Step) Compare(t Step) int {
	return cmp.Or(cmp.Compare(s.Next, t.Next), cmp.Compare(s.Part, t.Part))
}

// Link is a loop-back frame's description of itself.
type Link struct {
	From int32 // facet partition that wrote it
	Step Step

	// Previous is the frame that the same owner of that partition wrote before this
	// one, to the same destination; zero if this is its first. See [Chain].
	Previous Step
}

// Finding is a rule's finding about a group.
type Finding struct {
	Slot     uint32 // of the rule
	Tier     uint8
	Weight   uint8 // for each member, 0 … 100
	Clears   bool  // the rule withdraws its earlier finding
	Time     int64 // event time, Unix ms
	Source   int32 // raw partition of the event that made the rule fire
	Offset   int64 // its raw offset
	Group    Entity
	Evidence []Evidence
}

// IsLoopback reports whether a record of the facet topic is a loop-back frame, and
// not one of ingest's.
func IsLoopback(frame []byte) bool {
	return len(frame) >= headerBytes && (frame[3] == flagLoopback || frame[3] == flagVerdicts)
}

// LoopbackWriter builds loop-back frames for one destination.
type LoopbackWriter struct {
	body     []byte
	findings uint64

	open    []byte // the current finding
	members uint64
	names   []byte
}

// Begin starts a finding; add its members next.
func (w *LoopbackWriter) Begin(f *Finding) {
	b := binary.LittleEndian.AppendUint32(w.open[:0], f.Slot)
	b = append(b, f.Tier, f.Weight, f.marks())
	b = binary.AppendVarint(b, f.Time)
	b = binary.AppendUvarint(b, uint64(f.Source))
	b = binary.AppendUvarint(b, uint64(f.Offset))
	b = append(b, byte(f.Group.Kind))
	b = appendText(b, f.Group.Tenant)
	b = appendText(b, f.Group.Key)
	b = appendEvidence(b, f.Evidence)
	w.open, w.members, w.names = b, 0, w.names[:0]
}

func (f *Finding) marks() (m byte) {
	if f.Clears {
		m |= markClears
	}
	return m
}

// Member adds a member to the current finding. Its tenant is the group's.
func (w *LoopbackWriter) Member(k Kind, key string) {
	w.members++
	w.names = appendText(append(w.names, byte(k)), key)
}

// End completes the finding. A finding without members is dropped.
func (w *LoopbackWriter) End() {
	if w.members == 0 {
		return
	}
	w.findings++
	w.body = append(w.body, w.open...)
	w.body = binary.AppendUvarint(w.body, w.members)
	w.body = append(w.body, w.names...)
	w.members = 0
}

// Len returns the number of bytes of findings gathered so far; 0 if there are none.
func (w *LoopbackWriter) Len() int { return len(w.body) }

const chainBytes = 12 // previous, after the envelope

// Chain stores in a loop-back frame the one that its writer wrote before it.
func Chain(frame []byte, previous Step) {
	binary.LittleEndian.PutUint64(frame[headerBytes:], uint64(previous.Next))
	binary.LittleEndian.PutUint32(frame[headerBytes+8:], previous.Part)
	putChecksum(frame)
}

// Finish completes the frame, in memory of its own, and empties w. It is its
// writer's first frame until [Chain] is called.
func (w *LoopbackWriter) Finish(from int32, step Step, incarnation uint64) []byte {
	b := loopFrame(flagLoopback, from, step, incarnation, w.findings, w.body)
	w.body, w.findings = w.body[:0], 0
	return b
}

// loopFrame builds a frame of n findings or verdicts.
func loopFrame(flag byte, from int32, step Step, incarnation, n uint64, body []byte) []byte {
	b := make([]byte, 0, headerBytes+chainBytes+40+len(body))
	b = append(b, 'W', 'F', loopbackVersion, flag, 0, 0, 0, 0)
	b = append(b, make([]byte, chainBytes)...)
	for _, n := range []uint64{incarnation, uint64(from), uint64(step.Next), uint64(step.Part), n} {
		b = binary.AppendUvarint(b, n)
	}
	b = append(b, body...)
	putChecksum(b)
	return b
}

// LoopbackReader reads a loop-back frame: Reset, then Finding until it reports the
// end, and within each Member until it reports the end.
type LoopbackReader struct {
	cursor
	Link
	Incarnation uint64
	Verdicts    bool // it holds verdicts instead of findings

	findings, members uint64 // that remain; for verdicts, findings counts them
	tenant            string
	version2          bool
}

// Reset starts on a frame. Everything read from it aliases its bytes.
func (r *LoopbackReader) Reset(frame []byte) (err error) {
	flag := byte(flagLoopback)
	if r.Verdicts = len(frame) >= headerBytes && frame[3] == flagVerdicts; r.Verdicts {
		flag = flagVerdicts
	}
	if r.b, err = open(frame, flag); err != nil {
		return err
	}
	r.version2 = frame[2] == frameVersion
	if len(r.b) < chainBytes {
		return errCut
	}
	next, part := binary.LittleEndian.Uint64(r.b), binary.LittleEndian.Uint32(r.b[8:])
	r.b = r.b[chainBytes:]
	var v [5]uint64
	for i := range v {
		if v[i], err = r.uvarint(); err != nil {
			return err
		}
	}
	if v[1] > math.MaxInt32 || max(v[2], next) > math.MaxInt64 || v[3] > math.MaxUint32 || v[4] > uint64(len(r.b)) {
		return fmt.Errorf("%w: loop-back out of range", ErrFrame)
	}
	r.Incarnation, r.findings, r.members = v[0], v[4], 0
	r.Link = Link{From: int32(v[1]), Step: Step{int64(v[2]), uint32(v[3])}, Previous: Step{int64(next), part}}
	if r.Step.Compare(r.Previous) <= 0 {
		return fmt.Errorf("%w: loop-back frame %v comes before the one before it, %v", ErrFrame, r.Step, r.Previous)
	}
	return nil
}

// Finding reads the next finding into f, reusing its Evidence; ok is false after
// the last. Its texts alias the frame.
func (r *LoopbackReader) Finding(f *Finding) (ok bool, err error) {
	if r.Verdicts {
		return false, nil
	}
	if r.findings == 0 {
		if len(r.b) != 0 {
			return false, fmt.Errorf("%w: %d bytes too many", ErrFrame, len(r.b))
		}
		return false, nil
	}
	r.findings--
	if len(r.b) < 6 {
		return false, errCut
	}
	f.Slot, f.Tier, f.Weight, f.Clears = binary.LittleEndian.Uint32(r.b), r.b[4], r.b[5], false
	r.b = r.b[6:]
	if err := r.marks(f); err != nil {
		return false, err
	}
	if f.Time, err = r.varint(); err != nil {
		return false, err
	}
	source, err := r.uvarint()
	if err != nil {
		return false, err
	}
	offset, err := r.uvarint()
	if err != nil {
		return false, err
	}
	if source > math.MaxInt32 || offset > math.MaxInt64 {
		return false, fmt.Errorf("%w: finding out of range", ErrFrame)
	}
	f.Source, f.Offset = int32(source), int64(offset)
	if f.Group.Kind, err = r.kind(); err != nil {
		return false, err
	}
	if f.Group.Tenant, err = r.text(); err != nil {
		return false, err
	}
	if f.Group.Key, err = r.text(); err != nil {
		return false, err
	}
	if f.Evidence, err = r.evidence(f.Evidence, r.version2); err != nil {
		return false, err
	}
	r.tenant = f.Group.Tenant
	r.members, err = r.uvarint()
	return true, err
}

// marks reads the part that version 2 lacks.
func (r *LoopbackReader) marks(f *Finding) error {
	if r.version2 {
		return nil
	}
	m, err := r.byte()
	if err == nil && m&^markClears != 0 {
		err = fmt.Errorf("%w: finding with marks %#x", ErrFrame, m)
	}
	f.Clears = m&markClears != 0
	return err
}

func (r *LoopbackReader) kind() (Kind, error) {
	k, err := r.byte()
	if err == nil && (!Kind(k).Exists()) {
		err = fmt.Errorf("%w: entity of kind %d", ErrFrame, k)
	}
	return Kind(k), err
}

// Member reads the next member of the finding; ok is false after the last. Its
// texts alias the frame.
func (r *LoopbackReader) Member(e *Entity) (ok bool, err error) {
	if r.members == 0 {
		return false, nil
	}
	r.members--
	e.Tenant = r.tenant
	if e.Kind, err = r.kind(); err != nil {
		return false, err
	}
	e.Key, err = r.text()
	return err == nil, err
}

// Found is a finding with its members.
type Found struct {
	Finding
	Members []Entity
}

// ReadLoopback reads a whole loop-back frame, for callers without time pressure: it
// copies everything.
func ReadLoopback(frame []byte) (l Link, incarnation uint64, all []Found, err error) {
	var r LoopbackReader
	if err := r.Reset(bytes.Clone(frame)); err != nil {
		return l, 0, nil, err
	}
	for {
		var f Found
		ok, err := r.Finding(&f.Finding)
		if err != nil || !ok {
			return r.Link, r.Incarnation, all, err
		}
		for {
			var e Entity
			ok, err := r.Member(&e)
			if err != nil {
				return l, 0, nil, err
			}
			if !ok {
				break
			}
			f.Members = append(f.Members, e)
		}
		all = append(all, f)
	}
}
