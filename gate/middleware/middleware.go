// Package middleware puts a gate in front of handlers of net/http.
//
//	c, err := client.New(client.Config{Address: "unix:/run/weir/gate.sock"})
//	…
//	m, err := middleware.New(middleware.Config{
//		Decider:  middleware.Remote(c),
//		Reporter: c, // only if the gate writes events (gate.events)
//		Identify: []string{"account=header:x-account-id", "token=bearer"},
//	})
//	…
//	go m.Run(ctx)
//	mux.Handle("GET /users/{id}", m.Wrap(users))
//
// A handler that is wrapped within a [http.ServeMux] has its pattern as the route.
// One around the mux has the routes of Config.Ingest.
package middleware

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/answer"
	"github.com/weirdev/weir/gate/client"
	"github.com/weirdev/weir/gate/incoming"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/geo"
)

// Decider decides on requests. Calls may overlap, and must end within a time that a
// client can wait.
type Decider interface {
	Decide(ctx context.Context, req *gate.Request) (gate.Decision, error)
}

// Remote asks a gate over HTTP.
func Remote(c *client.Client) Decider { return remote{c} }

type remote struct{ *client.Client }

func (r remote) Decide(ctx context.Context, req *gate.Request) (gate.Decision, error) {
	return r.Client.Decide(ctx, client.Of(req))
}

// Local asks a gate in this process, such as a [*gate.Gate].
func Local(g interface {
	Decide(ctx context.Context, req gate.Request) gate.Decision
},
) Decider {
	return local{g.Decide}
}

type local struct {
	decide func(ctx context.Context, req gate.Request) gate.Decision
}

func (l local) Decide(ctx context.Context, req *gate.Request) (gate.Decision, error) {
	return l.decide(ctx, *req), nil
}

// Reporter is told what became of requests, such as a [*client.Client].
type Reporter interface {
	Outcome(ctx context.Context, o client.Outcome) error
}

// Config is what a Middleware uses.
type Config struct {
	Decider  Decider
	Reporter Reporter // nil: nobody is told of outcomes

	// Closed refuses requests with 503 while there is no decision. Otherwise they
	// are served.
	Closed bool

	Identify []string       // which field of a request is where, as the setting gate.identify; nil: only bearer tokens
	Ingest   *ingest.Config // trusted proxies and routes; nil: no proxies, and routes that are derived
	StepUp   *answer.Config // nil: the defaults
	Gateway  string         // name of this service

	// Fields returns what the service knows for certain, by name of a field of
	// events, such as the account of a session that it has verified. nil: nothing.
	Fields func(*http.Request) map[string]string

	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: not registered
}

// Middleware asks a gate about requests.
type Middleware struct {
	cfg      Config
	log      *slog.Logger
	reader   *incoming.Reader
	renderer *answer.Renderer
	outcomes *reports

	decisions [policy.Deny + 1]prometheus.Counter
	missing   prometheus.Counter
}

// New checks cfg and starts nothing.
func New(cfg Config) (*Middleware, error) {
	if cfg.Decider == nil {
		return nil, errors.New("weir: middleware without a decider")
	}
	m := &Middleware{cfg: cfg, log: cfg.Logger}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	identify, enriching, stepUp := incoming.Defaults(), ingest.Defaults(), answer.Defaults()
	if cfg.Identify != nil {
		identify.Identify = cfg.Identify
	}
	if cfg.Ingest != nil {
		enriching = *cfg.Ingest
	}
	if cfg.StepUp != nil {
		stepUp = *cfg.StepUp
	}
	var err error
	if m.reader, err = incoming.New(identify, enriching, geo.Nowhere{}, nil); err != nil {
		return nil, err
	}
	if m.renderer, err = answer.New(stepUp); err != nil {
		return nil, err
	}
	f := promauto.With(cfg.Registerer)
	actions := f.NewCounterVec(prometheus.CounterOpts{Name: "weir_middleware_decisions_total", Help: "Decisions, by action."}, []string{"action"})
	for _, a := range policy.Actions() {
		m.decisions[a] = actions.WithLabelValues(a.String())
	}
	m.missing = f.NewCounter(prometheus.CounterOpts{Name: "weir_middleware_undecided_total", Help: "Requests without a decision, which were served or refused by the configuration."})
	m.outcomes = newReports(cfg.Reporter, m.log, f)
	return m, nil
}

// Run tells the gate of outcomes until ctx ends, and then of those that wait, for at
// most a second.
func (m *Middleware) Run(ctx context.Context) { m.outcomes.run(ctx) }

// key is the key of decisions in contexts.
type key struct{}

// From returns the decision on a request, by the context of its handler. ok is false
// if it is served without one.
func From(ctx context.Context) (d gate.Decision, ok bool) {
	if p, ok := ctx.Value(key{}).(*gate.Decision); ok {
		return *p, true
	}
	return d, false
}

// Wrap puts the gate in front of a handler. The handler gets the headers
// x-weir-action, x-weir-score and x-weir-decision-id, and nothing that a client
// named x-weir-.
func (m *Middleware) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		r = r.WithContext(r.Context()) // a request belongs to its server: headers change in a copy
		r.Header = stripped(r.Header)
		d, err := m.decide(r)
		if err != nil {
			m.missing.Inc()
			m.log.Debug("there is no decision on a request", "error", err)
			if m.cfg.Closed {
				unavailable(w)
				return
			}
			next.ServeHTTP(w, r)
			return
		}
		m.decisions[d.Action].Inc()
		rec := &recorder{ResponseWriter: w}
		whole := false
		defer func() { m.report(&d, rec, start, whole) }()
		if a := m.renderer.Render(&d); a.Served {
			maps.Copy(r.Header, a.Upstream)
			next.ServeHTTP(rec, r.WithContext(context.WithValue(r.Context(), key{}, &d)))
		} else {
			maps.Copy(rec.Header(), a.Client)
			rec.WriteHeader(a.Status)
			_, _ = rec.Write(a.Body) // the client may be gone
		}
		whole = true
	})
}

func (m *Middleware) decide(r *http.Request) (gate.Decision, error) {
	in := incoming.Request{Gateway: m.cfg.Gateway, Method: r.Method, Host: r.Host, URI: r.URL.RequestURI(), Peer: peerOf(r.RemoteAddr), Header: r.Header}
	if m.cfg.Fields != nil {
		in.Fields = maps.Clone(m.cfg.Fields(r))
	}
	if route := routeOf(r.Pattern); route != "" {
		if in.Fields == nil {
			in.Fields = map[string]string{}
		}
		if _, said := in.Fields[event.Route.String()]; !said {
			in.Fields[event.Route.String()] = route
		}
	}
	req := m.reader.Read(&in)
	return m.cfg.Decider.Decide(r.Context(), &req)
}

// report tells of a request's outcome. whole is false if its handler panicked.
func (m *Middleware) report(d *gate.Decision, rec *recorder, start time.Time, whole bool) {
	o := client.Outcome{DecisionID: d.ID, Status: int64(rec.status), ResponseBytes: rec.bytes, LatencyMicros: time.Since(start).Microseconds()}
	if o.Status == 0 && whole && !rec.taken {
		o.Status = http.StatusOK // net/http writes it
	}
	m.outcomes.add(o)
}

// stripped copies headers, without those that only a gate may set.
func stripped(h http.Header) http.Header {
	h = h.Clone()
	maps.DeleteFunc(h, func(name string, _ []string) bool { return ours(name) })
	if h == nil {
		h = http.Header{}
	}
	// Connection names headers that a proxy removes, such as a handler that is an
	// httputil.ReverseProxy. Ours must not be among them.
	for i, list := range h["Connection"] {
		names := slices.DeleteFunc(strings.Split(list, ","), func(name string) bool { return ours(strings.Trim(name, " \t")) })
		h["Connection"][i] = strings.Join(names, ",")
	}
	return h
}

func ours(name string) bool {
	return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

const prefix = "X-Weir-"

// peerOf returns the address of a peer as events have it.
func peerOf(remote string) string {
	if remote == "" || remote == "@" || strings.HasPrefix(remote, "/") {
		return event.UnixPeer
	}
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return remote
}

// routeOf returns the route of a pattern of [http.ServeMux]: its path, without the
// marks that are not part of a template. A pattern for a whole subtree names none.
func routeOf(pattern string) string {
	if _, after, ok := strings.Cut(pattern, " "); ok {
		pattern = strings.TrimLeft(after, " \t")
	}
	slash := strings.IndexByte(pattern, '/')
	if slash < 0 {
		return ""
	}
	path, exact := strings.CutSuffix(pattern[slash:], "{$}")
	switch {
	case exact && path != "/":
		return strings.TrimSuffix(path, "/")
	case !exact && strings.HasSuffix(path, "/"), strings.HasSuffix(path, "...}"):
		return ""
	}
	return path
}

// unavailable refuses a request that there is no decision on.
func unavailable(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(`{"type":"urn:weir:problem:undecided","title":"The service is not available","status":503,"detail":"Try again later."}` + "\n"))
}
