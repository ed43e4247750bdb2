// Package incoming makes a question to the gate of what a gateway knows of a
// client's request: its raw headers, and what the gateway adds.
//
// Address, route, networks, place and build are found by ingest's own code, so that
// the gate looks up what ingest counts.
package incoming

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
)

// Request is a client's request as its gateway describes it.
type Request struct {
	ID      string // that the gateway has generated; "" if a client may have chosen it
	Gateway string // name of the gateway or its pool
	Method  string
	Host    string
	URI     string      // path with query, as received
	Peer    string      // the address that the gateway sees; [event.UnixPeer] on a Unix socket
	Header  http.Header // of the client, as the gateway passes it on; names in canonical form

	Claims map[string]string // of the token that the gateway has verified
	Fields map[string]string // that the gateway knows for certain, by name of a field of events
}

// Reader makes questions. Any number of goroutines may use it.
type Reader struct {
	sources  []source
	enricher *ingest.Enricher
	now      func() time.Time
}

// New checks the configuration. places may be [geo.Nowhere]. now is nil for
// time.Now.
func New(cfg Config, enriching ingest.Config, places ingest.Places, now func() time.Time) (*Reader, error) {
	sources, err := cfg.sources()
	if err != nil {
		return nil, err
	}
	enricher, err := ingest.NewEnricher(enriching, places)
	if err != nil {
		return nil, err
	}
	if now == nil {
		now = time.Now
	}
	return &Reader{sources: sources, enricher: enricher, now: now}, nil
}

// Read makes a question. What the client wrote is read leniently, as ingest does;
// what the gateway states and no event can have is left out, and the question says
// that something is missing.
func (r *Reader) Read(in *Request) gate.Request {
	e := new(event.Event)
	req := gate.Request{Event: e, Trace: emit.Trace{Parent: in.Header.Get("Traceparent"), State: strings.Join(in.Header.Values("Tracestate"), ",")}}
	clipped := false
	put := func(f event.Field, v string) {
		if _, refused := format.Put(e, f, v); refused != 0 {
			req.Missing = true
		}
		if e.Has(event.Clipped) {
			e.Clear(event.Clipped)
			clipped, req.Shortened = true, req.Shortened || names(f)
		}
	}
	e.SetNum(event.Time, r.now().UnixMilli())
	put(event.RequestID, cmp.Or(in.ID, in.Header.Get("X-Request-Id")))
	put(event.TraceID, req.Trace.ID())
	put(event.Gateway, in.Gateway)
	put(event.Method, in.Method)
	put(event.Host, in.Host)
	put(event.Path, in.URI)
	put(event.IP, in.Peer)
	put(event.ForwardedFor, strings.Join(in.Header.Values("X-Forwarded-For"), ", "))
	put(event.UserAgent, in.Header.Get("User-Agent"))
	put(event.Referer, in.Header.Get("Referer"))
	for i := range r.sources {
		if s := &r.sources[i]; !e.Has(s.field) {
			put(s.field, s.value(in))
		}
	}
	for name, v := range in.Fields {
		if f, err := format.Givable(name); err == nil {
			put(f, v)
		} else {
			req.Missing = true
		}
	}
	if in.ID != "" {
		put(event.ID, in.ID)
	}
	r.enricher.Fork().Complete(e, 0, 0, nil)
	if in.ID == "" {
		e.Clear(event.ID) // a position, which this has not
	}
	req.Tenant, req.Route = e.Text(event.Tenant), e.Text(event.Route)
	if clipped {
		e.SetNum(event.Clipped, 1)
	}
	for _, k := range facet.Kinds() {
		if ofAll(k) {
			continue
		}
		if entity, ok := facet.EntityOf(k, e, nil); ok {
			req.Entities = append(req.Entities, entity)
		}
	}
	return req
}

// ofAll reports whether everybody shares the entities of a kind. What is found about
// them is for operators, and refuses no single request.
func ofAll(k facet.Kind) bool {
	return k == facet.Tenant || k == facet.Route || k == facet.Country
}

// names reports whether an entity that is looked up has its name from a field.
func names(f event.Field) bool {
	switch f {
	case event.AppVersion, event.DeviceModel: // of a build
		return true
	}
	for _, k := range facet.Kinds() {
		if !ofAll(k) && slices.Contains(facet.Names(k), f) {
			return true
		}
	}
	return false
}
