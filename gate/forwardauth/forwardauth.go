// Package forwardauth answers gateways that ask by a copy of the client's request:
// nginx's auth_request, Traefik's ForwardAuth, Caddy's forward_auth, Envoy's
// ext_authz over HTTP.
package forwardauth

import (
	"context"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/answer"
	"github.com/weirdev/weir/gate/incoming"
)

// Prefix is the path below which profiles are served.
const Prefix = "/v1/forward-auth/"

// StatusHeader tells nginx the status that its subrequest cannot have.
const StatusHeader = "X-Weir-Status"

// Decider decides on requests.
type Decider interface {
	Decide(ctx context.Context, req gate.Request) gate.Decision
}

// profile is how a gateway describes the client's request, and which answers it
// understands.
type profile struct {
	describe func(r *http.Request, rest string) incoming.Request
	only403  bool // 401 and 403 are the only refusals that it understands
	log      bool // refusals have the decision's header, too, which its log can name
}

// profiles are those of the gateways, by name.
func profiles() map[string]profile {
	return map[string]profile{
		"nginx":   {describe: original, only403: true, log: true},
		"traefik": {describe: forwarded},
		"caddy":   {describe: forwarded, log: true},
		"generic": {describe: forwarded, log: true},
		"envoy":   {describe: appended},
	}
}

// Names lists the profiles.
func Names() []string { return []string{"caddy", "envoy", "generic", "nginx", "traefik"} }

// Handler serves Prefix + the name of a profile.
func Handler(decider Decider, reader *incoming.Reader, renderer *answer.Renderer) http.Handler {
	all := profiles()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), Prefix), "/")
		p, ok := all[name]
		if !ok {
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusServiceUnavailable) // 404 would be taken for a refusal
			_, _ = w.Write([]byte(`{"type":"urn:weir:problem:unknown-profile","title":"There is no such profile","status":503,"detail":"profiles are ` + strings.Join(Names(), ", ") + `"}` + "\n"))
			return
		}
		in := p.describe(r, "/"+rest)
		d := decider.Decide(r.Context(), reader.Read(&in))
		a := renderer.Render(&d)
		write(w, p, &a)
	})
}

func write(w http.ResponseWriter, p profile, a *answer.Answer) {
	h := w.Header()
	maps.Copy(h, a.Client)
	if a.Served {
		maps.Copy(h, a.Upstream)
	}
	h.Set("Cache-Control", "no-store")
	if p.log {
		h.Set(answer.DecisionHeader, a.Upstream.Get(answer.DecisionHeader))
	}
	status := a.Status
	if p.only403 {
		h.Set(StatusHeader, strconv.Itoa(status))
		if !a.Served && status != http.StatusUnauthorized {
			status = http.StatusForbidden
		}
	}
	w.WriteHeader(status)
	_, _ = w.Write(a.Body) // the gateway may be gone
}

// original reads the headers that an nginx is configured to send. It sets them
// itself, so a client's own are overwritten.
func original(r *http.Request, _ string) incoming.Request {
	in := describe(r, "X-Original-Method", "X-Original-Uri", "X-Original-Host")
	in.Peer = take(in.Header, "X-Real-Ip")
	return in
}

// forwarded reads the headers of Traefik and Caddy. Each appends the address that it
// sees to X-Forwarded-For.
func forwarded(r *http.Request, _ string) incoming.Request {
	in := describe(r, "X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Host")
	in.Peer = lastHop(in.Header)
	return in
}

// appended reads a request of Envoy, which has the client's method, its host, and
// its path behind the endpoint's own.
func appended(r *http.Request, rest string) incoming.Request {
	in := incoming.Request{Method: r.Method, Host: r.Host, URI: rest, Header: r.Header.Clone()}
	if r.URL.RawQuery != "" {
		in.URI += "?" + r.URL.RawQuery
	}
	in.Peer = lastHop(in.Header)
	return in
}

func describe(r *http.Request, method, uri, host string) incoming.Request {
	in := incoming.Request{Header: r.Header.Clone()}
	in.Method, in.URI, in.Host = take(in.Header, method), take(in.Header, uri), take(in.Header, host)
	return in
}

// take removes a header, and returns its value if there is one alone.
func take(h http.Header, name string) string {
	values := h[name]
	delete(h, name)
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

// lastHop removes the last address from X-Forwarded-For, and returns it: what the
// gateway saw itself. Everything before it is somebody's word.
func lastHop(h http.Header) string {
	all := strings.Join(h.Values("X-Forwarded-For"), ",")
	h.Del("X-Forwarded-For")
	comma := strings.LastIndexByte(all, ',')
	if comma > 0 {
		h.Set("X-Forwarded-For", all[:comma])
	}
	return strings.Trim(all[comma+1:], " \t")
}
