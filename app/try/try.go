// Package try shows how records are read: the event of each, or why it is not read,
// and what Weir finds in it. It uses ingest's own code and the compiled rules,
// needs no server, and stores nothing.
//
// It does not show results that depend on other records: whether an event's time is
// accepted, whether it is a repeat, and whether a rule fires. It shows which rules
// would count an event, because their conditions hold.
package try

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
)

// Trier reads records one by one.
type Trier struct {
	reader *ingest.Reader
	rules  *rules.Set
	event  event.Event
	n      int64
}

// New returns a trier for a configuration of ingest, places and rules.
func New(cfg ingest.Config, places ingest.Places, set *rules.Set) (*Trier, error) {
	reader, err := ingest.NewReader(cfg, places)
	if err != nil {
		return nil, err
	}
	return &Trier{reader: reader, rules: set}, nil
}

// Result is the outcome for one record.
type Result struct {
	Line     int    // from 1
	Record   string // as given
	Refusal  *Refusal
	Event    []Value // fields that the gateway sent, in the order of fields
	Derived  []Value // fields that ingest added
	Peer     string  // address of the connection's peer
	Client   string  // address that counts as the client's
	Route    string
	Clipped  bool // a client value was shortened, escaped or dropped
	Refused  bool // refused by Weir itself: the event feeds no rule
	Entities []Entity
	Matches  []Match
}

// Refusal says why a record is not an event.
type Refusal struct {
	Reason   string
	Field    string // field at fault; may be empty
	Position int    // byte offset in the record
	Explain  string // the rest of "the record …"
	Filtered bool   // not covered by the format: counted, but not a dead letter
}

// Value is a field of an event.
type Value struct {
	Field event.Spec
	Text  string
	Num   int64
}

// Entity is an entity of an event.
type Entity struct {
	Kind, Key string
	Looked    bool // a rule uses the kind; other entities have no facets
}

// Match is a rule whose condition an event meets, with the event's entity.
type Match struct{ Rule, Phase, Kind, Entity string }

// Try reads one record.
func (t *Trier) Try(record []byte) Result {
	t.n++
	r := Result{Line: int(t.n), Record: string(record)}
	e := &t.event
	e.Reset()
	_, err := t.reader.Read(0, &kafka.Record{Offset: t.n - 1, Value: record}, e)
	if err != nil {
		return Refused(r.Line, record, err)
	}
	for _, spec := range event.Fields() {
		v, ok := ValueOf(e, spec)
		if !ok {
			continue
		}
		if spec.Derived {
			r.Derived = append(r.Derived, v)
		} else {
			r.Event = append(r.Event, v)
		}
	}
	r.Peer, r.Client, r.Route = e.Text(event.IP), e.Text(event.ClientIP), e.Text(event.Route)
	r.Clipped = e.Num(event.Clipped) != 0
	r.Refused = e.Refused()
	t.match(e, &r)
	return r
}

// Refused returns the result for a record that ingest does not read.
func Refused(line int, record []byte, err error) Result {
	return Result{Line: line, Record: string(record), Refusal: explain(err)}
}

// ValueOf returns the value of a field in an event; ok is false if it has none.
func ValueOf(e *event.Event, spec event.Spec) (v Value, ok bool) {
	v.Field = spec
	if spec.Kind.Numeric() {
		v.Num = e.Num(spec.Field)
	} else {
		v.Text = e.Text(spec.Field)
	}
	return v, e.Has(spec.Field)
}

func explain(err error) *Refusal {
	var refusal *event.Refusal
	if !errors.As(err, &refusal) {
		return &Refusal{Reason: "other", Explain: err.Error()}
	}
	r := &Refusal{Reason: refusal.Reason.String(), Position: refusal.Pos, Explain: refusal.Reason.Explain(), Filtered: refusal.Reason == event.Filtered}
	if refusal.Field != event.None {
		r.Field = refusal.Field.String()
	}
	return r
}

// match finds the entities of an event, and the rules that would count it for them.
func (t *Trier) match(e *event.Event, r *Result) {
	for _, k := range facet.Kinds() {
		entity, ok := facet.EntityOf(k, e, nil)
		if !ok {
			continue
		}
		looked := slices.ContainsFunc(t.rules.Rules, func(rule *rules.Rule) bool { return rule.Entity == k })
		r.Entities = append(r.Entities, Entity{Kind: k.String(), Key: entity.Key, Looked: looked})
		if r.Refused {
			continue
		}
		for _, rule := range t.rules.Rules {
			if rule.Entity == k && rule.Matches(e) {
				r.Matches = append(r.Matches, Match{Rule: rule.ID, Phase: rule.Phase.String(), Kind: k.String(), Entity: entity.Key})
			}
		}
	}
}

// Summary counts the outcomes of records. It contains nothing from the records
// themselves.
type Summary struct {
	Lines     int            `json:"lines"`
	Read      int            `json:"read"`
	Filtered  int            `json:"filtered"` // skipped: not covered by the format
	Dead      map[string]int `json:"dead"`     // by reason
	Clipped   int            `json:"clipped"`
	NoAddress int            `json:"no_address"` // of the events
	NoPath    int            `json:"no_path"`
	NoAccount int            `json:"no_account"`
	Matched   map[string]int `json:"matched"` // by rule
}

// Add counts one result.
func (s *Summary) Add(r *Result) {
	s.Lines++
	switch {
	case r.Refusal != nil && r.Refusal.Filtered:
		s.Filtered++
		return
	case r.Refusal != nil:
		s.Dead = count(s.Dead, r.Refusal.Reason)
		return
	}
	s.Read++
	has := func(name string) bool {
		return slices.ContainsFunc(r.Event, func(v Value) bool { return v.Field.Name == name })
	}
	s.NoAddress += one(r.Client == "")
	s.NoPath += one(!has(event.Path.String()))
	s.NoAccount += one(!has(event.Account.String()))
	s.Clipped += one(r.Clipped)
	for _, m := range r.Matches {
		s.Matched = count(s.Matched, m.Rule)
	}
}

func count(m map[string]int, key string) map[string]int {
	if m == nil {
		m = map[string]int{}
	}
	m[key]++
	return m
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// throughProxies explains why the client's address differs from the peer's.
func (r *Result) throughProxies() string {
	peer, err := netip.ParseAddr(r.Peer)
	switch {
	case r.Client == "":
		return "none: the event has no address"
	case err == nil && string(event.AppendClientKey(nil, event.Canonical(peer))) == r.Client:
		return r.Client + " (the socket's peer)"
	}
	return fmt.Sprintf("%s (the socket's peer is %s, which is trusted to say so)", r.Client, r.Peer)
}
