// Package facet defines facets, which are events as one entity sees them, and the
// frames that carry them through Kafka from ingest to detect.
//
// It does no I/O and knows no rules: a [Projection] tells it which fields a facet
// carries.
package facet

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"unsafe"

	"github.com/dchest/siphash"

	"github.com/weirdev/weir/event"
)

// Kind is a kind of entity: the subject of a score.
//
// The numbers are permanent: they are in the facet log, in snapshots and in ids of
// signals. Numbers from 64 on are reserved for records that are not about an entity
// but about what is usual among many.
type Kind uint8

const (
	Account Kind = 1
	Session Kind = 2
	Token   Kind = 3 // the family if it is known, else the token
	Device  Kind = 4
	IP      Kind = 5 // IPv4 address or IPv6 /64
	Net     Kind = 6 // IPv4 /24 or IPv6 /48
	ASN     Kind = 7
	JA4     Kind = 8
	Build   Kind = 9 // app version and device model
	Route   Kind = 10
	Tenant  Kind = 11
	Country Kind = 12
	Net16   Kind = 13 // IPv4 /16 or IPv6 /32
	Key     Kind = 14 // that signs requests

	Attestation Kind = 15 // what attests, by its id

	MaxKind = 32 // bounds arrays indexed by Kind
)

var kindNames = [MaxKind]string{
	Account: "account", Session: "session", Token: "token", Device: "device",
	IP: "ip", Net: "net", ASN: "asn", JA4: "ja4", Build: "build", Route: "route", Tenant: "tenant",
	Country: "country", Net16: "net16", Key: "key", Attestation: "attestation",
}

// String returns the kind's name in rules, keys and tables.
func (k Kind) String() string {
	if !k.Exists() {
		return "unknown"
	}
	return kindNames[k]
}

// Exists reports whether there are entities of the kind.
func (k Kind) Exists() bool { return k < MaxKind && kindNames[k] != "" }

// ParseKind finds a kind by its name.
func ParseKind(name string) (Kind, bool) {
	for k := Kind(1); k < MaxKind; k++ {
		if k.Exists() && kindNames[k] == name {
			return k, true
		}
	}
	return 0, false
}

// Kinds lists every kind, in number order.
func Kinds() []Kind {
	all := make([]Kind, 0, MaxKind)
	for k := Kind(1); k < MaxKind; k++ {
		if k.Exists() {
			all = append(all, k)
		}
	}
	return all
}

// Entity names the subject of a score.
type Entity struct {
	Kind   Kind
	Tenant string // "" if Weir serves one tenant
	Key    string // account id, address, …
}

// Facet is an event as one entity sees it, or a control record about the entity.
type Facet struct {
	Entity  Entity
	Source  int32 // raw partition of the event
	Offset  int64 // raw offset of the event
	Ordinal uint8 // which of the event's entities of this kind
	Time    int64 // event time, Unix milliseconds, fixed by ingest

	// Fields holds only the projected fields. Its texts alias the frame.
	Fields event.Event

	// Control is what operators said; its action is 0 in the facet of an event.
	Control Control
}

// Index orders the facets of one event: permanent number of the kind, then ordinal
// within the kind.
func (f *Facet) Index() uint16 { return uint16(f.Entity.Kind)<<8 | uint16(f.Ordinal) }

// Projection states which entity kinds any rule looks at, and which fields its
// rules need. A kind with a nil list has no facets; a kind that needs no field has
// an empty, non-nil list. Lists are in ascending order.
type Projection [MaxKind][]event.Field

// Union returns the kinds and fields of both.
func (p Projection) Union(other Projection) (all Projection) {
	for k := range p {
		if p[k] == nil && other[k] == nil {
			continue
		}
		all[k] = append(append([]event.Field{}, p[k]...), other[k]...)
		slices.Sort(all[k])
		all[k] = slices.Compact(all[k])
	}
	return all
}

// marks are fields that every facet has in addition to its projection: ingest's
// findings about its time.
var marks = [...]event.Field{event.Skewed, event.Delayed}

// marked returns p with the marks.
func (p *Projection) marked() (all Projection) {
	for k, fields := range p {
		if fields == nil {
			continue
		}
		all[k] = slices.Clone(fields)
		for _, m := range marks {
			if !slices.Contains(fields, m) {
				all[k] = append(all[k], m)
			}
		}
	}
	return all
}

// Delayed reports whether the event came so late that it kept its time and belongs
// to no window, whatever the watermark says.
func (f *Facet) Delayed() bool { return Delayed(&f.Fields) }

// Delayed reports the same for an event, as ingest marked it.
func Delayed(e *event.Event) bool { return e.Num(event.Delayed) != 0 && e.Num(event.Skewed) == 0 }

// EntityOf returns the entity of kind k in e; ok is false if the event has none.
// scratch is used for keys that must be formatted, and may be returned inside the
// entity's Key: it must live as long as the entity.
func EntityOf(k Kind, e *event.Event, scratch []byte) (ent Entity, ok bool) {
	ent = Entity{Kind: k, Tenant: e.Text(event.Tenant)}
	if !k.Exists() {
		return ent, false
	}
	switch k {
	case Net16:
		b := event.AppendNet16Key(scratch[:0], clientAddress(e.Text(event.ClientIP)))
		ent.Key = unsafe.String(unsafe.SliceData(b), len(b))
		return ent, ent.Key != ""
	case ASN:
		if n := e.Num(event.ASN); n != 0 {
			b := strconv.AppendInt(scratch[:0], n, 10)
			ent.Key = unsafe.String(unsafe.SliceData(b), len(b))
		}
		return ent, ent.Key != ""
	case Token:
		if ent.Key = e.Text(event.TokenFamily); ent.Key != "" {
			return ent, true
		}
	}
	ent.Key = e.Text(nameOf[k])
	return ent, ent.Key != ""
}

// Names lists the fields from which [EntityOf] reads the key of an entity of kind
// k, in ascending order.
func Names(k Kind) []event.Field {
	if !k.Exists() {
		return nil
	}
	switch k {
	case Token:
		return []event.Field{event.Token, event.TokenFamily}
	}
	return []event.Field{nameOf[k]}
}

// Hasher turns entities into 64-bit numbers with a secret key (SipHash-2-4), so
// that nobody outside can choose keys that collide or share a partition. The key
// belongs to the incarnation of the stream: under another one, entities would
// change partition.
type Hasher struct{ k0, k1 uint64 }

// NewHasher creates a hasher from the 16 bytes of secret.
func NewHasher(secret [16]byte) Hasher {
	le := func(b []byte) uint64 {
		var v uint64
		for i := 7; i >= 0; i-- {
			v = v<<8 | uint64(b[i])
		}
		return v
	}
	return Hasher{le(secret[:8]), le(secret[8:])}
}

// Identity distinguishes hashers with different secrets, and reveals nothing about
// the secret.
func (h Hasher) Identity() uint64 {
	b := binary.LittleEndian.AppendUint64([]byte("weir hasher identity"), h.k0)
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64(b, h.k1))
	return binary.LittleEndian.Uint64(sum[:])
}

// Sum returns the number of an entity.
func (h Hasher) Sum(e Entity) uint64 {
	var buf [128]byte
	b := append(buf[:0], byte(e.Kind), byte(len(e.Tenant)))
	b = append(b, e.Tenant...)
	b = append(b, e.Key...)
	return siphash.Hash(h.k0, h.k1, b)
}

// Text returns the number of a text, for counting distinct values.
func (h Hasher) Text(s string) uint64 {
	return siphash.Hash(h.k0, h.k1, unsafe.Slice(unsafe.StringData(s), len(s)))
}

// Partition maps an entity's number to one of n facet partitions. It uses the
// high bits, which leaves the low ones evenly spread for a table inside the
// partition.
func Partition(sum uint64, n int) int32 { return int32((sum >> 32) * uint64(n) >> 32) }
