package ingest

import (
	"fmt"
	"net/netip"
	"strconv"
	"unsafe"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/route"
	"github.com/weirdev/weir/internal/geo"
)

// Places looks up the location of an address. Missing data is an empty place.
type Places interface {
	Lookup(addr netip.Addr, p *geo.Place)
}

// Enricher completes a decoded event with derived fields: id, client address and
// networks, route, object, location, build. One goroutine uses it. Its texts are valid
// until the next call.
type Enricher struct {
	routes  *route.Table
	proxies *event.Proxies
	places  Places

	verified bool // the user name in a log is the account

	place   geo.Place
	scratch []byte
}

// NewEnricher creates an enricher from the configuration and places.
func NewEnricher(cfg Config, places Places) (*Enricher, error) {
	routes, err := route.New(cfg.Routes)
	if err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	proxies, err := event.NewProxies(cfg.TrustedProxies, cfg.ConnectingIPFrom)
	if err != nil {
		return nil, err
	}
	return &Enricher{routes: routes, proxies: proxies, places: places, verified: cfg.RemoteUser == Verified, scratch: make([]byte, 0, 1024)}, nil
}

// Fork returns another enricher with the same data, for another goroutine.
func (n *Enricher) Fork() *Enricher {
	fork := *n
	fork.place, fork.scratch = geo.Place{}, make([]byte, 0, 256)
	return &fork
}

// Complete derives the fields that e lacks. key is the Kafka key of the record. It
// is the id of a log line without an id of its own; without a key, the position is.
func (n *Enricher) Complete(e *event.Event, partition int32, offset int64, key []byte) {
	n.scratch = n.scratch[:0]
	if !e.Has(event.ID) {
		e.SetText(event.ID, n.id(partition, offset, key))
	}
	if !e.Has(event.Route) && e.Has(event.Path) {
		e.SetText(event.Route, n.routes.Route(e.Text(event.Method), e.Text(event.Path)))
	}
	n.build(e)
	n.account(e)
	n.object(e)
	n.address(e)
}

// account uses the user name of an access log as the account if the server verifies
// it. It marks accounts that nobody verified: those of sign-ins that did not
// succeed, and in a log those of requests answered with 401.
func (n *Enricher) account(e *event.Event) {
	if n.verified && e.Has(event.RemoteUser) && !e.Has(event.Account) {
		e.SetText(event.Account, e.Text(event.RemoteUser))
		if e.Num(event.Status) == 401 {
			e.SetNum(event.Tried, 1)
		}
	}
	if auth := e.Text(event.Auth); auth != "" && auth != "success" && e.Has(event.Account) {
		e.SetNum(event.Tried, 1)
	}
}

func (n *Enricher) id(partition int32, offset int64, key []byte) string {
	const longest = 128
	if len(key) > 0 && len(key) <= longest && printable(key) {
		return n.keep(func(b []byte) []byte { return append(b, key...) })
	}
	return n.keep(func(b []byte) []byte {
		b = strconv.AppendInt(b, int64(partition), 10)
		return strconv.AppendInt(append(b, '-'), offset, 10)
	})
}

// printable reports whether a record's key can serve as an id: visible ASCII.
func printable(key []byte) bool {
	for _, c := range key {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

func (n *Enricher) build(e *event.Event) {
	version, model := e.Text(event.AppVersion), e.Text(event.DeviceModel)
	if version == "" || model == "" {
		return
	}
	e.SetText(event.Build, n.keep(func(b []byte) []byte {
		return append(append(append(b, version...), '|'), model...)
	}))
}

func (n *Enricher) address(e *event.Event) {
	addr := n.proxies.Client(event.Claims{
		Peer: e.Text(event.IP), ForwardedFor: e.Text(event.ForwardedFor), ConnectingIP: e.Text(event.ConnectingIP),
	})
	if !addr.IsValid() {
		return
	}
	e.SetText(event.ClientIP, n.keep(func(b []byte) []byte { return event.AppendClientKey(b, addr) }))
	e.SetText(event.Net, n.keep(func(b []byte) []byte { return event.AppendNetKey(b, addr) }))

	p := &n.place
	n.places.Lookup(addr, p)
	setText(e, event.Country, p.Country)
	setText(e, event.City, p.City)
	setText(e, event.ASOrg, p.ASOrg)
	setText(e, event.Anonymiser, p.Anonymiser)
	if p.ASN != 0 {
		e.SetNum(event.ASN, int64(p.ASN))
	}
	if p.LatitudeMicro != 0 || p.LongitudeMicro != 0 {
		e.SetNum(event.Latitude, int64(p.LatitudeMicro))
		e.SetNum(event.Longitude, int64(p.LongitudeMicro))
		e.SetNum(event.GeoRadius, int64(p.RadiusKM))
	}
}

func setText(e *event.Event, f event.Field, v string) {
	if v != "" {
		e.SetText(f, v)
	}
}

// keep appends to the scratch and returns the appended bytes as text. When the
// scratch grows, earlier texts keep the old array alive.
func (n *Enricher) keep(appendTo func([]byte) []byte) string {
	start := len(n.scratch)
	n.scratch = appendTo(n.scratch)
	if len(n.scratch) == start {
		return ""
	}
	return unsafe.String(&n.scratch[start], len(n.scratch)-start)
}
