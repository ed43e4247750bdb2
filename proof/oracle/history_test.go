package oracle

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// start is the start time of histories, Unix ms.
const start int64 = 1_763_892_000_000

const incarnation, partitions = 7, 4

// raw is an event as completed by ingest.
type raw struct {
	offset int64
	time   int64
	values []value
}

// value is an event's value in one field.
type value struct {
	field event.Field
	text  string
	num   int64
}

func (r *raw) fill(e *event.Event) {
	e.Reset()
	e.SetNum(event.Time, r.time)
	for _, v := range r.values {
		if v.field.Kind().Numeric() {
			e.SetNum(v.field, v.num)
		} else {
			e.SetText(v.field, v.text)
		}
	}
}

// section is a frame's section about one raw partition.
type section struct {
	facet.Section
	before []*raw // sent earlier by its owner
	events []*raw
}

// loop is a loop-back frame.
type loop struct {
	facet.Link
	findings []found
	verdicts []thought // instead of findings
}

// controlSection is a section of control records.
type controlSection struct {
	facet.Section
	before int // sent earlier by its owner
	list   []order
}

// order is a control record.
type order struct {
	facet.Control
	offset, time int64
	of           facet.Entity
}

// found is a finding about a group by a rule of the history; an index one past the
// last rule stands for a removed rule.
type found struct {
	facet.Finding
	rule    int
	members []string // accounts
}

// thought is a verdict on a cohort by a rule of the history, from another partition.
type thought struct {
	facet.Verdict
	rule int
}

// record is one record of the facet log.
type record struct {
	sections []section
	loop     *loop           // instead of sections
	controls *controlSection // instead of sections
	edit     []string        // in place of a record: the rules from here on; "": a removed rule
	by       lane            // the way in which the edit arrives
	number   uint64          // of a switch record
	foreign  bool            // from another incarnation
	damaged  bool
}

// history is a facet log with its rules.
type history struct {
	lateness int64 // ms
	sources  int
	rules    []string // entries of a rule file
	records  []record
	restore  int // the engine is restored from a snapshot before each restore-th record; 0: never
}

func (h *history) config() engine.Config {
	return engine.Config{Lateness: time.Duration(h.lateness) * time.Millisecond, MaxEntities: 1 << 20, MaxCohorts: 1 << 20, Sources: h.sources, Partitions: partitions}
}

func (h *history) set() (*rules.Set, error) { return loadRules(h.rules) }

// kinds returns the detectors, and those for proofs.
func kinds() []rules.Kind { return append(detectors.All(), ProofKinds()...) }

func newOracle(set *rules.Set, h *history) *Oracle {
	return New(set, h.config(), hasher, 3, incarnation)
}

func loadRules(list []string) (*rules.Set, error) {
	file := "rules:\n" + strings.Join(list, "")
	return rules.Load(fstest.MapFS{"history.yaml": {Data: []byte(file)}}, kinds())
}

var hasher = facet.NewHasher([16]byte{1, 2, 3})

// framer encodes records.
type framer struct {
	projection facet.Projection
	writer     *facet.Writer
	foreign    *facet.Writer
	controls   *facet.Writer
	scratch    []byte
	slots      []uint32     // of the rules
	facets     map[*raw]int // number of facets of an event
}

func newFramer(set *rules.Set, projection facet.Projection) *framer {
	f := &framer{projection: projection, scratch: make([]byte, 0, 64), facets: map[*raw]int{}}
	for _, r := range set.Rules {
		f.slots = append(f.slots, r.Slot)
	}
	f.slots = append(f.slots, 1)
	f.writer = facet.NewWriter(1, incarnation, &f.projection)
	f.foreign = facet.NewWriter(1, incarnation+1, &f.projection)
	f.controls = facet.NewControlWriter(incarnation)
	return f
}

// everything returns a projection that also includes all fields that edited rules
// may need.
func everything(p facet.Projection) facet.Projection {
	all := []event.Field{
		event.Account, event.Device, event.Route, event.Status, event.Auth, event.Object, event.ResponseBytes, event.Decision,
		event.Token, event.TokenFamily, event.Build,
		event.ClientIP, event.Country, event.Latitude, event.Longitude, event.GeoRadius, event.ASN, event.Anonymiser,
		event.Signature, event.Attestation, event.ObjectType, event.AppVersion, event.Method,
	}
	slices.Sort(all)
	for k := range p {
		if p[k] != nil {
			p[k] = all
		}
	}
	return p
}

// facetsOf counts the facets of an event.
func (f *framer) facetsOf(r *raw) int {
	n, known := f.facets[r]
	if known {
		return n
	}
	var e event.Event
	r.fill(&e)
	for _, k := range facet.Kinds() {
		if _, ok := facet.EntityOf(k, &e, f.scratch); ok && f.projection[k] != nil {
			n++
		}
	}
	f.facets[r] = n
	return n
}

func (f *framer) section(w *facet.Writer, s section) []byte {
	w.Sent = 0
	for _, r := range s.before {
		w.Sent += uint64(f.facetsOf(r))
	}
	var e event.Event
	for _, r := range s.events {
		r.fill(&e)
		for _, k := range facet.Kinds() {
			if f.projection[k] == nil {
				continue
			}
			if ent, ok := facet.EntityOf(k, &e, f.scratch); ok {
				w.Add(ent, 0, r.offset, &e)
			}
		}
	}
	return append([]byte(nil), w.Finish(s.Section)...)
}

// frame encodes a record. A writer creates frames of one section; frames with
// several are assembled from these.
func (f *framer) frame(r record) []byte {
	if r.loop != nil {
		return f.loop(r.loop)
	}
	if r.controls != nil {
		return f.control(r.controls)
	}
	w := f.writer
	if r.foreign {
		w = f.foreign
	}
	w.Sent = 0
	const emptySection = 7 // seven numbers below 64
	prefix := len(w.Finish(facet.Section{})) - emptySection - 1
	var frame []byte
	for i, s := range r.sections {
		part := f.section(w, s)
		if i == 0 {
			frame = append(frame, part[:prefix]...)
			frame = binary.AppendUvarint(frame, uint64(len(r.sections)))
		}
		frame = append(frame, part[prefix+1:]...)
	}
	binary.LittleEndian.PutUint32(frame[4:], crc32.Checksum(frame[8:], crc32.MakeTable(crc32.Castagnoli)))
	if r.damaged {
		frame[len(frame)-1] ^= 1
	}
	return frame
}

func (f *framer) control(s *controlSection) []byte {
	w := f.controls
	w.Sent = uint64(s.before)
	for _, c := range s.list {
		w.AddControl(c.of, c.offset, c.time, &c.Control)
	}
	return append([]byte(nil), w.Finish(s.Section)...)
}

func (f *framer) loop(l *loop) []byte {
	var w facet.LoopbackWriter
	for _, found := range l.findings {
		found.Slot = f.slots[found.rule%len(f.slots)]
		w.Begin(&found.Finding)
		for _, m := range found.members {
			w.Member(facet.Account, m)
		}
		w.End()
	}
	frame := w.Finish(l.From, l.Step, incarnation)
	if l.verdicts != nil {
		frame = f.verdicts(l)
	}
	facet.Chain(frame, l.Previous)
	return frame
}

func (f *framer) verdicts(l *loop) []byte {
	var w facet.VerdictWriter
	for _, v := range l.verdicts {
		v.Slot = f.slots[v.rule%len(f.slots)]
		w.Add(&v.Verdict)
	}
	return w.Frame(l.From, l.Step, incarnation)
}

// String shows the history in a form that can be read and followed by hand.
func (h *history) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "lateness %d ms, %d raw partitions, times in ms since the start\nrules:\n%s", h.lateness, h.sources, strings.Join(h.rules, ""))
	if h.restore > 0 {
		fmt.Fprintf(&b, "restored from a snapshot before every record whose number is %d modulo %d\n", h.restore-1, h.restore)
	}
	for i, r := range h.records {
		if r.edit != nil {
			fmt.Fprintf(&b, "the rules from here on, by %s %d:\n%s", [...]string{"a restore", "switch", "switch of the shadow"}[r.by], r.number, strings.Join(r.edit, ""))
			continue
		}
		fmt.Fprintf(&b, "record %d%s%s\n", i, note(r.foreign, " of another incarnation"), note(r.damaged, " damaged"))
		if l := r.loop; l != nil {
			fmt.Fprintf(&b, "  loop-back %+v\n", l.Link)
			for _, v := range l.verdicts {
				fmt.Fprintf(&b, "    rule %d thinks %+v\n", v.rule, v.Verdict)
			}
			for _, f := range l.findings {
				fmt.Fprintf(&b, "    rule %d for %v: %+v\n", f.rule, f.members, f.Finding)
			}
		}
		if s := r.controls; s != nil {
			fmt.Fprintf(&b, "  controls of owner %d [%d, %d)\n", s.Owner, s.From, s.To)
			for _, c := range s.list {
				fmt.Fprintf(&b, "    %d %v %v: rule %q category %q until %s\n", c.offset, c.Action, c.of, c.Rule, c.Category, moment(c.Expires))
			}
		}
		for _, s := range r.sections {
			fmt.Fprintf(&b, "  source %d owner %d [%d, %d) watermark %s\n", s.Source, s.Owner, s.From, s.To, moment(s.Watermark))
			for _, e := range s.events {
				fmt.Fprintf(&b, "    %d at %s:", e.offset, moment(e.time))
				for _, v := range e.values {
					if v.field.Kind().Numeric() {
						fmt.Fprintf(&b, " %s=%d", v.field, v.num)
					} else {
						fmt.Fprintf(&b, " %s=%q", v.field, v.text)
					}
				}
				b.WriteByte('\n')
			}
		}
	}
	return b.String()
}

func note(on bool, text string) string {
	if on {
		return text
	}
	return ""
}

func moment(t int64) string {
	switch t {
	case facet.NoWatermark:
		return "none"
	case math.MaxInt64:
		return "end"
	}
	return fmt.Sprint(t - start)
}
