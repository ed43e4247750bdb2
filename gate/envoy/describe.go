package envoy

import (
	"net/http"
	"net/textproto"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate/incoming"
)

// fieldPrefix marks the context_extensions that are fields of events. Others are
// passed over.
const fieldPrefix = "weir."

// describe makes a client's request of Envoy's question. whole is false if
// something in it was not understood, ok if it is about no request of HTTP.
func describe(check *auth.CheckRequest) (in incoming.Request, whole, ok bool) {
	attrs := check.GetAttributes()
	h := attrs.GetRequest().GetHttp()
	if h == nil {
		return in, false, false
	}
	in = incoming.Request{
		ID: h.GetId(), Method: h.GetMethod(), Host: h.GetHost(), URI: h.GetPath(), Header: headersOf(h), Fields: map[string]string{},
	}
	in.Peer = peer(attrs.GetSource().GetAddress())
	// The id above is that of Envoy's stream. Its logs have this one.
	if ids := in.Header["X-Request-Id"]; len(ids) == 1 {
		in.Fields[event.RequestID.String()] = ids[0]
	}
	for name, v := range attrs.GetContextExtensions() {
		if field, found := strings.CutPrefix(name, fieldPrefix); found {
			in.Fields[field] = v
		}
	}
	in.Claims, whole = claims(attrs.GetMetadataContext().GetFilterMetadata()[jwtFilter])
	return in, whole && in.Peer != "", true
}

// peer returns the address that Envoy sees. It is the connection's: Envoy's own walk
// through X-Forwarded-For is not in it. "" if there is none.
func peer(a *core.Address) string {
	switch {
	case a.GetSocketAddress() != nil:
		return a.GetSocketAddress().GetAddress()
	case a.GetPipe() != nil, a.GetEnvoyInternalAddress() != nil: // within the machine
		return event.UnixPeer
	}
	return ""
}

// headersOf reads the client's headers, from header_map if Envoy encodes them raw:
// only there are repeated ones apart.
func headersOf(h *auth.AttributeContext_HttpRequest) http.Header {
	raw := h.GetHeaderMap().GetHeaders()
	all := make(http.Header, max(len(raw), len(h.GetHeaders())))
	add := func(name, value string) {
		if name == "" || name[0] == ':' { // a pseudo-header
			return
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		all[name] = append(all[name], value)
	}
	if len(raw) > 0 {
		for _, one := range raw {
			if v := one.GetRawValue(); len(v) > 0 {
				add(one.GetKey(), string(v))
			} else {
				add(one.GetKey(), one.GetValue())
			}
		}
		return all
	}
	for name, v := range h.GetHeaders() {
		add(name, v)
	}
	return all
}
