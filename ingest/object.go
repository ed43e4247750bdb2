package ingest

import (
	"strings"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/route"
)

// object derives the object of an event that names none, from its path and route, and the
// object's type unless the event has one. The id of the client itself is no object: from
// an address that many people share, each asks for an id of their own. A sign-in is about
// an account.
func (n *Enricher) object(e *event.Event) {
	if e.Has(event.Object) || e.Has(event.Auth) || !e.Has(event.Path) {
		return
	}
	raw, kind := route.Object(e.Text(event.Route), e.Text(event.Path))
	if raw == "" {
		return
	}
	id, _, _ := event.Keep(event.Object, n.segment(raw))
	if id == "" {
		return
	}
	for _, own := range [...]event.Field{event.Account, event.Device, event.Session, event.Token} {
		if strings.EqualFold(e.Text(own), id) {
			return
		}
	}
	e.SetText(event.Object, id)
	if kind != "" && !e.Has(event.ObjectType) {
		kind, _, _ = event.Keep(event.ObjectType, kind)
		setText(e, event.ObjectType, kind)
	}
}

// segment returns a segment of a path with the escapes decoded that need not be there, so
// that one id has one spelling.
func (n *Enricher) segment(raw string) string {
	if strings.IndexByte(raw, '%') < 0 {
		return raw
	}
	return n.keep(func(b []byte) []byte {
		for len(raw) > 0 {
			c, size := event.PathByte(raw)
			b, raw = append(b, c), raw[size:]
		}
		return b
	})
}
