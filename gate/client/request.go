package client

import (
	"maps"
	"slices"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/internal/facet"
)

// Kind is a kind of entity.
type Kind = facet.Kind

// The kinds of entities.
const (
	Account     = facet.Account
	Session     = facet.Session
	Token       = facet.Token
	Device      = facet.Device
	IP          = facet.IP
	Net         = facet.Net
	ASN         = facet.ASN
	JA4         = facet.JA4
	Build       = facet.Build
	Route       = facet.Route
	Tenant      = facet.Tenant
	Country     = facet.Country
	Net16       = facet.Net16
	Key         = facet.Key
	Attestation = facet.Attestation
)

// Entities are the entities of a request, by kind; "" is none. Addresses may be
// written in any form, and bring their networks along.
type Entities map[Kind]string

// Request is a question to the gate.
type Request struct {
	Tenant   string // "" where there is one tenant
	Route    string // the path as a template, such as /users/{id}
	Entities Entities

	// Fields is what else is known of the request. Of tenant, route and entities,
	// times, addresses and decisions it must have none (see [gate.IsAsked]). nil:
	// nothing.
	Fields *event.Event

	// Incomplete says that something is missing, so that the policy's failure
	// applies.
	Incomplete bool
}

// Of returns the question over HTTP that is the same as r.
func Of(r *gate.Request) Request {
	out := Request{Tenant: r.Tenant, Route: r.Route, Entities: make(Entities, len(r.Entities)), Incomplete: r.Missing}
	for _, e := range r.Entities {
		out.Entities[e.Kind] = e.Key
	}
	if r.Event != nil {
		fields := *r.Event
		for f := event.Field(1); f < event.MaxField; f++ {
			if fields.Has(f) && !gate.IsAsked(f) {
				fields.Clear(f)
			}
		}
		out.Fields = &fields
	}
	return out
}

// AppendJSON appends the body of the question.
func (r *Request) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	member := func(name string) {
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), name...), `":`...)
	}
	text := func(name, v string) {
		if v != "" {
			member(name)
			b = event.AppendText(b, v)
		}
	}
	text("tenant", r.Tenant)
	text("route", r.Route)
	if r.Fields != nil {
		member("request")
		b = r.Fields.AppendAll(b)
	}
	member("entities")
	b = r.Entities.appendJSON(b)
	if r.Incomplete {
		member("incomplete")
		b = append(b, "true"...)
	}
	return append(b, '}')
}

// Challenges that a client may have passed.
const (
	Human = "challenge" // a proof of a human
	Owner = "step_up"   // a proof of the account's owner
)

// Passed says that a client passed what a decision asked for.
type Passed struct {
	DecisionID string   // of the decision that asked for it
	Challenge  string   // Human or Owner
	Tenant     string   // "" where there is one tenant
	Gateway    string   // who verified it; may be ""
	Entities   Entities // accounts, sessions, tokens and devices of the client
}

// AppendJSON appends the body that tells the gate.
func (p *Passed) AppendJSON(b []byte) []byte {
	b = event.AppendText(append(b, `{"decision_id":`...), p.DecisionID)
	b = event.AppendText(append(b, `,"challenge":`...), p.Challenge)
	if p.Tenant != "" {
		b = event.AppendText(append(b, `,"tenant":`...), p.Tenant)
	}
	if p.Gateway != "" {
		b = event.AppendText(append(b, `,"gateway":`...), p.Gateway)
	}
	b = append(b, `,"entities":`...)
	return append(p.Entities.appendJSON(b), '}')
}

// appendJSON appends an object.
func (e Entities) appendJSON(b []byte) []byte {
	b = append(b, '{')
	for _, kind := range slices.Sorted(maps.Keys(e)) {
		if e[kind] == "" {
			continue
		}
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), kind.String()...), `":`...)
		b = event.AppendText(b, e[kind])
	}
	return append(b, '}')
}

// Outcome is what became of a request. Zero values are unknown.
type Outcome = emit.Outcome
