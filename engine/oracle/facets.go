package oracle

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// Facet is what one entity is told of one raw event.
type Facet struct {
	Entity  facet.Entity
	Source  int32 // raw partition
	Offset  int64 // of the raw event
	Ordinal uint8
	Time    int64  // Unix ms
	Fields  string // those that the entity's rules read, as JSON in the order of their numbers
}

// Facets lists the facets that a raw event must have: one for each kind of entity
// that any rule is about and the event names. An event that Weir itself refused
// has none. e was accepted (it is no repeat, and could be read), and is complete:
// what ingest derives is set.
func Facets(set *rules.Set, source int32, offset int64, e *event.Event) (all []Facet) {
	if e.Has(event.Decision) {
		return nil
	}
	for _, k := range facet.Kinds() {
		read, looked := fieldsRead(set, k)
		key := keyOf(k, e)
		if !looked || key == "" {
			continue
		}
		all = append(all, Facet{
			Entity: facet.Entity{Kind: k, Tenant: strings.Clone(e.Text(event.Tenant)), Key: strings.Clone(key)},
			Source: source, Offset: offset, Time: e.Num(event.Time), Fields: project(e, read),
		})
	}
	return all
}

// fieldsRead says which fields the rules about a kind read; looked is false where
// there are none.
func fieldsRead(set *rules.Set, k facet.Kind) (read map[event.Field]bool, looked bool) {
	read = map[event.Field]bool{event.Time: true}
	for _, r := range set.Rules {
		if r.Entity == k {
			looked = true
			for _, f := range r.Fields {
				read[f] = true
			}
		}
	}
	return read, looked
}

// keyOf names the entity of a kind as docs/redis.md writes it; "" where the event
// has none.
func keyOf(k facet.Kind, e *event.Event) string {
	switch k {
	case facet.Token:
		return cmp.Or(e.Text(event.TokenFamily), e.Text(event.Token))
	case facet.ASN:
		if n := e.Num(event.ASN); n != 0 {
			return strconv.FormatInt(n, 10)
		}
		return ""
	}
	return e.Text(map[facet.Kind]event.Field{
		facet.Account: event.Account, facet.Session: event.Session, facet.Device: event.Device, facet.IP: event.ClientIP,
		facet.Net: event.Net, facet.JA4: event.JA4, facet.Build: event.Build, facet.Route: event.Route, facet.Tenant: event.Tenant,
	}[k])
}

// project writes the fields of e that are read, as text of its own.
func project(e *event.Event, read map[event.Field]bool) string {
	only := *e
	for _, s := range event.Fields() {
		if !read[s.Field] {
			only.Clear(s.Field)
		}
	}
	return string(only.AppendAll(nil))
}

// Recorded gathers the facets that the facet log holds of one raw partition, as
// detect counts them: former owners and what was covered before left out.
type Recorded struct {
	raw    int32 // partition
	hasher facet.Hasher
	parts  []source // what each facet partition knows of it
	facets []Facet
	reader facet.Reader
}

// NewRecorded makes an empty one for a topic of so many facet partitions.
func NewRecorded(raw int32, hasher facet.Hasher, partitions int) *Recorded {
	return &Recorded{raw: raw, hasher: hasher, parts: make([]source, partitions)}
}

// Read takes in the next record of a facet partition. A facet that is in a
// partition which is not its entity's, and a range that does not join, are
// errors.
func (r *Recorded) Read(partition int32, frame []byte) error {
	if facet.IsLoop(frame) {
		return nil // of no raw partition
	}
	if err := r.reader.Reset(frame); err != nil {
		return err
	}
	for {
		sec, ok, err := r.reader.Section()
		if err != nil || !ok {
			return err
		}
		if err := r.section(partition, sec); err != nil {
			return fmt.Errorf("facet partition %d: %w", partition, err)
		}
	}
}

func (r *Recorded) section(partition int32, sec facet.Section) error {
	part, mine := &r.parts[partition], sec.Source == r.raw
	stale := false
	if mine {
		var err error
		if stale, err = part.begin(sec); err != nil {
			return err
		}
	}
	var f facet.Facet
	for {
		ok, err := r.reader.Facet(&f)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if to := facet.Partition(r.hasher.Sum(f.Entity), len(r.parts)); to != partition {
			return fmt.Errorf("the facet of raw offset %d belongs into partition %d", f.Offset, to)
		}
		if mine && !stale && f.Offset >= part.next {
			r.facets = append(r.facets, copyOf(&f))
		}
	}
	if mine && !stale {
		part.end(sec)
	}
	return nil
}

// ToldBy reads what the loop-back frames say that one record has caused.
func ToldBy(loops []engine.Loop) (all []Told, err error) {
	var r facet.LoopReader
	for _, l := range loops {
		if err := r.Reset(l.Frame); err != nil {
			return nil, err
		}
		for {
			t := Told{To: l.To}
			ok, err := r.Finding(&t.Finding)
			if err != nil {
				return nil, err
			}
			if !ok {
				break
			}
			for {
				ok, err := r.Member(&t.Member)
				if err != nil {
					return nil, err
				}
				if !ok {
					break
				}
				all = append(all, t)
			}
		}
	}
	return all, nil
}

func copyOf(f *facet.Facet) Facet {
	return Facet{
		Entity: facet.Entity{Kind: f.Entity.Kind, Tenant: strings.Clone(f.Entity.Tenant), Key: strings.Clone(f.Entity.Key)},
		Source: f.Source, Offset: f.Offset, Ordinal: f.Ordinal, Time: f.Time, Fields: string(f.Fields.AppendAll(nil)),
	}
}

// Compare returns which of the facets that must be recorded are not, and which
// are recorded but must not be, both as multisets. Of partitions that are covered
// up to different offsets, only what is below all of them can be asked for.
func (r *Recorded) Compare(want []Facet) (lost, invented []Facet) {
	have := map[Facet]int{}
	for _, f := range r.facets {
		have[f]++
	}
	for _, f := range want {
		if have[f]--; have[f] < 0 {
			lost = append(lost, f)
		}
	}
	for f, n := range have {
		for range n {
			invented = append(invented, f)
		}
	}
	slices.SortFunc(invented, compareFacets)
	return lost, invented
}

func compareFacets(a, b Facet) int {
	return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Entity.Kind, b.Entity.Kind), cmp.Compare(a.Ordinal, b.Ordinal))
}
