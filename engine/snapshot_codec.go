package engine

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/state"
	"github.com/weirdev/weir/rules"
)

// A snapshot is the state of a partition before one offset of its facet log, as
// one immutable object. Fixed integers are little-endian, the others varints:
//
//	magic "WEIRSNAP" · format u32 · CRC-32C u32 of everything but itself
//	next facet offset i64 · body, compressed with zstd
//	body:
//	  semantics · incarnation · partition · hasher u64 · sources · partitions
//	  terms: lateness (ms) · most entities · most cohorts · length and text of the rules' version · past u64
//	  begun · watermark · latest time of a source
//	  sources, each: heard u8 · owner · next · watermark · sent · applied · late · unadmitted · duplicate
//	  switches: number · length and bytes of the bundle; number · u8 whether there is a shadow lane, then length and bytes of its bundle
//	  loop-back: told · heard · unknown · unadmitted · repeated · said · noted
//	  facet partitions, each: got next · part
//	  dump of the table; of the shadow lane's
//
// The body is canonical: the same records of the log give the same bytes. The
// compressed form may change with the library, so bodies are what is compared.
// The first 16 bytes stay where they are in every format.
const (
	snapshotMagic  = "WEIRSNAP"
	snapshotFormat = 2
	snapshotHeader = 24

	// semantics is raised whenever the same log would give another state: by a
	// change to a detector, to the merging of scores, to eviction, or to the names
	// of slots.
	semantics = 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Errors of snapshots.
var (
	// ErrSnapshotDamaged means that the bytes are no snapshot, or an incomplete
	// one.
	ErrSnapshotDamaged = errors.New("snapshot is damaged")
	// ErrSnapshotNewer means that a later version of the program wrote it.
	ErrSnapshotNewer = errors.New("snapshot has a newer format than this program reads")
	// ErrSnapshotForeign means that it is intact, but of another partition, stream,
	// secret or semantics.
	ErrSnapshotForeign = errors.New("snapshot is not of this partition")
)

// SnapshotForm names the format and the semantics of snapshots. Snapshots of
// different forms are not interchangeable, and have different names.
func SnapshotForm() string { return fmt.Sprintf("%d.%d", snapshotFormat, semantics) }

// terms are the settings under which a state came about. They may change between
// owners, and apply from the offset at which the new owner took over; windows are
// kept. Two states of the same offset can be compared only under the same terms.
type terms struct {
	lateness    int64 // ms
	maxEntities int
	maxCohorts  int
	rules       string
	past        uint64 // names those before, and where they ended
}

func (p *Partition) terms() terms {
	return terms{lateness: p.cfg.Lateness.Milliseconds(), maxEntities: p.cfg.MaxEntities, maxCohorts: p.cfg.MaxCohorts, rules: p.rules.Version, past: p.past}
}

// until returns the past of a state whose terms were t before the record at next.
func (t terms) until(next int64) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %d %s %d %d", t.lateness, t.maxEntities, t.maxCohorts, t.rules, t.past, next))
	return le.Uint64(sum[:])
}

// frozen is a partition as it was at one moment.
type frozen struct {
	next      int64
	head      []byte // of the body, up to the table
	table     *state.Frozen
	shadow    *state.Frozen // nil: there is none
	watermark int64
}

// freeze returns the current state, before the record at offset next. It takes
// microseconds, and the partition can continue while the result is encoded on
// another goroutine. The caller must release the result.
func (p *Partition) freeze(next int64) *frozen {
	f := &frozen{next: next, head: p.appendHead(nil), table: p.table.Freeze(), watermark: p.watermark}
	if p.shadow != nil {
		f.shadow = p.shadow.table.Freeze()
	}
	return f
}

func (f *frozen) release() {
	f.table.Release()
	if f.shadow != nil {
		f.shadow.Release()
	}
}

// Snapshot encodes the state; next is the offset of the next record.
func (p *Partition) Snapshot(next int64) ([]byte, error) {
	f := p.freeze(next)
	defer f.release()
	return f.encode(context.Background())
}

// Digest identifies the state. It is the same for the same records of the log,
// whatever the batches and the owner.
func (p *Partition) Digest() (sum [32]byte) {
	f := p.freeze(0)
	defer f.release()
	h := sha256.New()
	_ = f.body(h) // a hash takes everything
	return [32]byte(h.Sum(nil))
}

func (p *Partition) appendHead(b []byte) []byte {
	is, t := p.identity(), p.terms()
	b = binary.AppendUvarint(b, is.semantics)
	b = binary.AppendUvarint(b, is.incarnation)
	b = binary.AppendUvarint(b, is.partition)
	b = le.AppendUint64(b, is.hasher)
	b = binary.AppendUvarint(b, is.sources)
	b = binary.AppendUvarint(b, is.partitions)
	b = binary.AppendUvarint(b, uint64(t.lateness))
	b = binary.AppendUvarint(b, uint64(t.maxEntities))
	b = binary.AppendUvarint(b, uint64(t.maxCohorts))
	b = binary.AppendUvarint(b, uint64(len(t.rules)))
	b = append(b, t.rules...)
	b = le.AppendUint64(b, t.past)
	b = p.appendSwitches(b)
	b = binary.AppendUvarint(b, uint64(p.begun))
	b = binary.AppendVarint(b, p.watermark)
	b = binary.AppendVarint(b, p.latest)
	for i := range p.sources {
		b = p.sources[i].append(b)
	}
	return p.loopback.append(b)
}

func (p *Partition) appendSwitches(b []byte) []byte {
	b = binary.AppendUvarint(b, p.number)
	b = append(binary.AppendUvarint(b, uint64(len(p.bundle))), p.bundle...)
	b = binary.AppendUvarint(b, p.shadowNumber)
	if p.shadow == nil {
		return append(b, 0)
	}
	b = append(b, 1)
	return append(binary.AppendUvarint(b, uint64(len(p.shadow.bundle))), p.shadow.bundle...)
}

func (l *loopback) append(b []byte) []byte {
	for _, n := range []int64{l.told, l.heard, l.unknown, l.unadmitted, l.repeated, l.said, l.noted} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	for _, got := range l.got {
		b = binary.AppendUvarint(b, uint64(got.Next))
		b = binary.AppendUvarint(b, uint64(got.Part))
	}
	return b
}

func (s *source) append(b []byte) []byte {
	heard := byte(0)
	if s.heard {
		heard = 1
	}
	b = append(b, heard)
	b = binary.AppendUvarint(b, s.owner)
	b = binary.AppendUvarint(b, uint64(s.next))
	b = binary.AppendVarint(b, s.watermark)
	b = binary.AppendUvarint(b, s.sent)
	for _, n := range []int64{s.ledger.Applied, s.ledger.Late, s.ledger.Unadmitted, s.ledger.Duplicate} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

// body writes the canonical form of the state.
func (f *frozen) body(w io.Writer) error {
	if _, err := w.Write(f.head); err != nil {
		return err
	}
	if err := f.table.Dump(w, f.watermark); err != nil || f.shadow == nil {
		return err
	}
	return f.shadow.Dump(w, f.watermark)
}

// encode creates the snapshot. It ends early when ctx does.
func (f *frozen) encode(ctx context.Context) ([]byte, error) {
	b := append(make([]byte, 0, 64<<10), snapshotMagic...)
	b = le.AppendUint32(b, snapshotFormat)
	b = le.AppendUint32(b, 0) // the checksum, once all is there
	b = le.AppendUint64(b, uint64(f.next))
	out := bytes.NewBuffer(b)
	z, err := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("compress snapshot: %w", err)
	}
	if err := errors.Join(f.body(untilDone{ctx, z}), z.Close()); err != nil {
		return nil, fmt.Errorf("encode snapshot: %w", err)
	}
	b = out.Bytes()
	le.PutUint32(b[12:], snapshotChecksum(b))
	return b, nil
}

// untilDone writes until ctx ends.
type untilDone struct {
	ctx context.Context
	w   io.Writer
}

func (u untilDone) Write(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.w.Write(b)
}

func snapshotChecksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:])
}

// openSnapshot checks the envelope. It returns the next offset, and the body, which
// the caller must close.
func openSnapshot(b []byte) (next int64, body *snapshotBody, err error) {
	if len(b) < snapshotHeader || string(b[:8]) != snapshotMagic {
		return 0, nil, fmt.Errorf("%w: no header", ErrSnapshotDamaged)
	}
	if snapshotChecksum(b) != le.Uint32(b[12:]) {
		return 0, nil, fmt.Errorf("%w: the checksum does not match", ErrSnapshotDamaged)
	}
	switch v := le.Uint32(b[8:]); {
	case v > snapshotFormat:
		return 0, nil, fmt.Errorf("%w: %d, where %d is the latest known; run the version that wrote it, or a later one",
			ErrSnapshotNewer, v, snapshotFormat)
	case v != snapshotFormat:
		return 0, nil, fmt.Errorf("%w: format %d", ErrSnapshotDamaged, v)
	}
	if next = int64(le.Uint64(b[16:])); next < 0 {
		return 0, nil, fmt.Errorf("%w: next offset %d", ErrSnapshotDamaged, next)
	}
	z, err := zstd.NewReader(bytes.NewReader(b[snapshotHeader:]), zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(snapshotWindow))
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrSnapshotDamaged, err)
	}
	return next, &snapshotBody{z: z, r: bufio.NewReaderSize(z, 64<<10)}, nil
}

// snapshotWindow limits the memory for decompression.
const snapshotWindow = 8 << 20

// snapshotBody reads a body. After the first error every read returns zero.
type snapshotBody struct {
	z   *zstd.Decoder
	r   *bufio.Reader
	err error
}

func (s *snapshotBody) close() { s.z.Close() }

func (s *snapshotBody) failed(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("%w: "+format, append([]any{ErrSnapshotDamaged}, args...)...)
	}
}

func (s *snapshotBody) bytes(n int) []byte {
	b := make([]byte, n)
	if s.err == nil {
		if _, err := io.ReadFull(s.r, b); err != nil {
			s.failed("%w", err)
		}
	}
	return b
}

// number reads a number between 0 and most.
func (s *snapshotBody) number(most uint64) uint64 {
	if s.err != nil {
		return 0
	}
	v, err := binary.ReadUvarint(s.r)
	switch {
	case err != nil:
		s.failed("%w", err)
		return 0
	case v > most:
		s.failed("%d where at most %d is possible", v, most)
		return 0
	}
	return v
}

func (s *snapshotBody) offset() int64 { return int64(s.number(math.MaxInt64)) }

func (s *snapshotBody) signed() int64 {
	if s.err != nil {
		return 0
	}
	v, err := binary.ReadVarint(s.r)
	if err != nil {
		s.failed("%w", err)
		return 0
	}
	return v
}

const longestVersion = 64 // bytes of a rules' version

func (s *snapshotBody) terms() terms {
	return terms{
		lateness: s.offset(), maxEntities: int(s.number(math.MaxInt32 << 8)), maxCohorts: int(s.number(math.MaxInt32 << 8)),
		rules: string(s.bytes(int(s.number(longestVersion)))), past: le.Uint64(s.bytes(8)),
	}
}

// switches reads the rules from switch records, and uses them.
func (s *snapshotBody) switches(p *Partition) error {
	live := facet.Switch{Number: s.number(math.MaxUint64), Bundle: s.bytes(int(s.number(rules.MaxBundle)))}
	p.shadowNumber = s.number(math.MaxUint64)
	watched := s.bytes(1)[0] != 0
	var bundle []byte
	if watched {
		bundle = s.bytes(int(s.number(rules.MaxBundle)))
	}
	if s.err != nil {
		return s.err
	}
	if live.Number > 0 {
		if err := p.lane.bring(live.Number, live.Bundle, p); err != nil {
			return err
		}
	}
	if !watched {
		return nil
	}
	p.shadow = new(lane)
	return p.shadow.bring(p.shadowNumber, bundle, p)
}

// bring uses rules from a switch record, as the snapshot holds them.
func (l *lane) bring(number uint64, bundle []byte, p *Partition) error {
	set, err := p.lane.rules.Open(bundle)
	switch {
	case errors.Is(err, rules.ErrBundle):
		return fmt.Errorf("%w: bundle %d: %w", ErrSnapshotDamaged, number, err)
	case err != nil:
		return fmt.Errorf("%w: bundle %d: %w", ErrRules, number, err)
	}
	l.number, l.bundle = number, bundle
	return l.use(set, p.environment())
}

func (s *snapshotBody) source(src *source) {
	switch heard := s.bytes(1)[0]; heard {
	case 0, 1:
		src.heard = heard == 1
	default:
		s.failed("a source with mark %d", heard)
	}
	src.owner, src.next, src.watermark, src.sent = s.number(math.MaxUint64), s.offset(), s.signed(), s.number(math.MaxUint64)
	src.ledger = Totals{Applied: s.offset(), Late: s.offset(), Unadmitted: s.offset(), Duplicate: s.offset()}
}

func (s *snapshotBody) loopback(l *loopback) {
	for _, n := range []*int64{&l.told, &l.heard, &l.unknown, &l.unadmitted, &l.repeated, &l.said, &l.noted} {
		*n = s.offset()
	}
	for i := range l.got {
		l.got[i] = facet.Step{Next: s.offset(), Part: uint32(s.number(math.MaxUint32))}
	}
}

// identity states what a snapshot belongs to. It never changes within a log.
type identity struct {
	semantics, incarnation, partition, hasher, sources, partitions uint64
}

func (p *Partition) identity() identity {
	return identity{semantics, p.incarnation, uint64(p.id), p.hasher.Identity(), uint64(p.cfg.Sources), uint64(len(p.loopback.got))}
}

func (s *snapshotBody) identity() identity {
	return identity{
		semantics: s.number(math.MaxUint64), incarnation: s.number(math.MaxUint64), partition: s.number(math.MaxInt32),
		hasher: le.Uint64(s.bytes(8)), sources: s.number(math.MaxInt32), partitions: s.number(math.MaxInt32),
	}
}

// check refuses an identity other than want.
func (i identity) check(want identity) error {
	switch {
	case i.semantics != want.semantics:
		return fmt.Errorf("%w: it has semantics %d, this program has %d", ErrSnapshotForeign, i.semantics, want.semantics)
	case i.incarnation != want.incarnation:
		return fmt.Errorf("%w: it is of incarnation %d, not %d", ErrSnapshotForeign, i.incarnation, want.incarnation)
	case i.partition != want.partition:
		return fmt.Errorf("%w: it is of partition %d, not %d", ErrSnapshotForeign, i.partition, want.partition)
	case i.hasher != want.hasher:
		return fmt.Errorf("%w: it was written with another secret of the stream; entities would not be found again", ErrSnapshotForeign)
	case i.sources != want.sources:
		return fmt.Errorf("%w: it knows %d raw partitions, the topic has %d; start a new incarnation of the stream",
			ErrSnapshotForeign, i.sources, want.sources)
	case i.partitions != want.partitions:
		return fmt.Errorf("%w: it knows %d facet partitions, the topic has %d; start a new incarnation of the stream",
			ErrSnapshotForeign, i.partitions, want.partitions)
	}
	return nil
}

// RestorePartition restores a partition from a snapshot, under the present settings
// and rules. A removed rule loses its slots and its part of the scores; a new rule
// begins without any. next is the offset of the next record. The error is
// [ErrSnapshotDamaged], [ErrSnapshotNewer], [ErrSnapshotForeign] or [ErrRules],
// unless the settings are wrong.
func RestorePartition(cfg Config, set *rules.Set, hasher facet.Hasher, id int32, incarnation uint64, snapshot []byte) (p *Partition, next int64, err error) {
	next, s, err := openSnapshot(snapshot)
	if err != nil {
		return nil, 0, err
	}
	defer s.close()
	if p, err = NewPartition(cfg, set, hasher, id, incarnation); err != nil {
		return nil, 0, err
	}
	is := s.identity()
	if s.err != nil {
		return nil, 0, s.err
	}
	if err := is.check(p.identity()); err != nil {
		return nil, 0, err
	}
	// With the same terms and the same past, the state follows from the log alone.
	was := s.terms()
	if err := s.switches(p); err != nil {
		return nil, 0, err
	}
	if p.past = was.past; was != p.terms() {
		p.past = was.until(next)
	}
	p.begun, p.watermark, p.latest = s.offset(), s.signed(), s.signed()
	for i := range p.sources {
		s.source(&p.sources[i])
	}
	s.loopback(&p.loopback)
	if s.err != nil {
		return nil, 0, s.err
	}
	if p.table, err = state.Restore(s.r, p.caps(), p.lane.checkSlot); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrSnapshotDamaged, err)
	}
	p.lane.findTimers()
	if p.shadow != nil {
		if p.shadow.table, err = state.Restore(s.r, p.caps(), p.shadow.checkSlot); err != nil {
			return nil, 0, fmt.Errorf("%w: shadow: %w", ErrSnapshotDamaged, err)
		}
		p.shadow.findTimers()
	}
	return p, next, s.complete(p)
}

// complete checks that nothing follows the table, and that every record has a valid
// kind.
func (s *snapshotBody) complete(p *Partition) error {
	if _, err := s.r.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something comes after its end", ErrSnapshotDamaged)
	}
	tables := []*state.Table{p.table}
	if p.shadow != nil {
		tables = append(tables, p.shadow.table)
	}
	for _, t := range tables {
		known := cohortsIn(t)
		for _, k := range facet.Kinds() {
			known += t.Len(uint8(k))
		}
		if known != t.Records() {
			return fmt.Errorf("%w: records of an unknown kind", ErrSnapshotDamaged)
		}
	}
	return nil
}

var errSlot = errors.New("a slot is not of its owner's form")

// checkSlot is a [state.SlotCheck].
func (l *lane) checkSlot(kind uint8, slot uint32, payload []byte) (kept []byte, err error) {
	if kind >= firstCohort {
		return l.checkCohort(kind, slot, payload)
	}
	var ok bool
	switch slot {
	case scoreSlot:
		if ok = len(payload) >= scoreHeader && (len(payload)-scoreHeader)%contributionSize == 0; ok {
			payload = l.withoutGone(payload)
		}
	case nameSlot:
		ok = len(payload) > 0 && int(payload[0]) < len(payload)
	case holdSlot:
		ok = len(payload)%holdSize == 0
	case timerSlot:
		payload, ok = l.fitTimers(facet.Kind(kind), payload)
	default:
		a := l.ruleOf(facet.Kind(kind), slot)
		switch {
		case a == nil:
			return nil, nil
		case slot == a.rule.Slot:
			payload, ok = a.detector.Fit(payload)
		default:
			ok = a.members.Reads(payload)
		}
	}
	if !ok {
		return nil, fmt.Errorf("%w: %d", errSlot, slot)
	}
	return payload, nil
}

// withoutGone removes the contributions of removed rules from a score, in place.
// Otherwise they would count again if the rules came back.
func (l *lane) withoutGone(score []byte) []byte {
	kept := score[:scoreHeader]
	for c := range slices.Chunk(score[scoreHeader:], contributionSize) {
		if l.bySlot[le.Uint32(c)] != nil {
			kept = append(kept, c...)
		}
	}
	return kept
}

// summary holds the values by which two snapshots are compared.
type summary struct {
	next  int64
	is    identity
	terms terms
	body  [32]byte // digest
}

func summarize(snapshot []byte) (m summary, err error) {
	next, s, err := openSnapshot(snapshot)
	if err != nil {
		return m, err
	}
	defer s.close()
	h := sha256.New()
	s.r.Reset(io.TeeReader(s.z, h))
	m = summary{next: next, is: s.identity(), terms: s.terms()}
	if s.err != nil {
		return m, s.err
	}
	if _, err := io.Copy(io.Discard, s.r); err != nil {
		return m, fmt.Errorf("%w: %w", ErrSnapshotDamaged, err)
	}
	m.body = [32]byte(h.Sum(nil))
	return m, nil
}

// comparison is how the states of two snapshots relate.
type comparison int

const (
	sameState comparison = iota
	otherTerms
	otherState
)

// compareSnapshots compares the stored snapshot with our own of the same offset.
// The error is about the stored one.
func compareSnapshots(there, own []byte) (comparison, error) {
	a, err := summarize(there)
	if err != nil {
		return 0, err
	}
	b, err := summarize(own)
	switch {
	case err != nil:
		return 0, fmt.Errorf("own snapshot: %w", err)
	case a.next != b.next:
		return 0, fmt.Errorf("%w: it is named %d and holds the state before %d", ErrSnapshotDamaged, b.next, a.next)
	case a.is != b.is:
		return 0, a.is.check(b.is)
	case a.body == b.body:
		return sameState, nil
	case a.terms != b.terms:
		return otherTerms, nil
	}
	return otherState, nil
}
