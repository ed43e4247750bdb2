package oracle

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// start is when histories begin, Unix ms.
const start int64 = 1_763_892_000_000

const incarnation, partitions = 7, 4

// raw is an event as ingest completed it.
type raw struct {
	offset int64
	time   int64
	values []value
}

// value is what an event has in one field.
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

// section is what one frame says of one raw partition.
type section struct {
	facet.Section
	events []*raw
}

// record is one record of the facet log.
type record struct {
	sections []section
	foreign  bool // of another incarnation
	damaged  bool
}

// history is a facet log with the rules that read it.
type history struct {
	lateness int64 // ms
	sources  int
	rules    []string // entries of a rule file
	records  []record
	restore  int // the engine is restored from a snapshot before each restore-th record; 0: never
}

func (h *history) config() engine.Config {
	return engine.Config{Lateness: time.Duration(h.lateness) * time.Millisecond, MaxEntities: 1 << 20, Sources: h.sources, Partitions: partitions}
}

func (h *history) set() (*rules.Set, error) {
	file := "rules:\n" + strings.Join(h.rules, "")
	return rules.Load(fstest.MapFS{"history.yaml": {Data: []byte(file)}})
}

var hasher = facet.NewHasher([16]byte{1, 2, 3})

// framer encodes records.
type framer struct {
	projection facet.Projection
	writer     *facet.Writer
	foreign    *facet.Writer
	scratch    []byte
}

func newFramer(set *rules.Set) *framer {
	f := &framer{projection: set.Projection(), scratch: make([]byte, 0, 64)}
	f.writer = facet.NewWriter(1, incarnation, &f.projection)
	f.foreign = facet.NewWriter(1, incarnation+1, &f.projection)
	return f
}

func (f *framer) section(w *facet.Writer, s section) []byte {
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

// frame encodes a record. A writer makes frames of one section; those of several
// are put together from them.
func (f *framer) frame(r record) []byte {
	w := f.writer
	if r.foreign {
		w = f.foreign
	}
	const emptySection = 6 // six numbers below 64
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

// String shows the history so that it can be read, and followed by hand.
func (h *history) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "lateness %d ms, %d raw partitions, times in ms since the start\nrules:\n%s", h.lateness, h.sources, strings.Join(h.rules, ""))
	if h.restore > 0 {
		fmt.Fprintf(&b, "restored from a snapshot before every record whose number is %d modulo %d\n", h.restore-1, h.restore)
	}
	for i, r := range h.records {
		fmt.Fprintf(&b, "record %d%s%s\n", i, note(r.foreign, " of another incarnation"), note(r.damaged, " damaged"))
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
