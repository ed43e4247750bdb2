package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// Handler serves:
//
//	POST /v1/decide             the decision on a request
//	POST /v1/outcome            what became of a request that was decided on
//	POST /v1/passed             a challenge that was passed
//	GET  /v1/risk/{kind}/{id}   the known risk of an entity (?tenant=)
//	GET  /healthz               whether the process runs
//	GET  /readyz                whether the score store answers; 200 in any case
func (g *Gate) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/decide", g.only(http.MethodPost, g.serveDecide))
	mux.Handle("/v1/outcome", g.only(http.MethodPost, g.serveOutcome))
	mux.Handle("/v1/passed", g.only(http.MethodPost, g.servePassed))
	mux.Handle("/v1/risk/{kind}/{id...}", g.only(http.MethodGet, g.serveRisk))
	mux.Handle("/healthz", g.only(http.MethodGet, func(w http.ResponseWriter, _ *http.Request) {
		send(w, http.StatusOK, map[string]string{"status": "ok"})
	}))
	mux.Handle("/readyz", g.only(http.MethodGet, g.serveReady))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		g.refuse(w, http.StatusNotFound, "not-found", "There is nothing here", "")
	})
	return mux
}

func (g *Gate) only(method string, serve http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == method || method == http.MethodGet && r.Method == http.MethodHead {
			serve(w, r)
			return
		}
		w.Header().Set("Allow", method)
		g.refuse(w, http.StatusMethodNotAllowed, "method-not-allowed", "The method is not allowed", "")
	})
}

func (g *Gate) serveDecide(w http.ResponseWriter, r *http.Request) {
	body, ok := g.readJSON(w, r)
	if !ok {
		return
	}
	t := traceOf(r)
	status, media, answer := g.AnswerDecide(r.Context(), body, t.Parent, t.State, make([]byte, 0, decisionRoom))
	write(w, status, media, answer)
}

// AnswerDecide answers the body of POST /v1/decide, which it keeps. It appends the body
// of the answer to into, and returns it with its status and media type. The trace
// context is that of the question's headers.
func (g *Gate) AnswerDecide(ctx context.Context, body []byte, traceparent, tracestate string, into []byte) (status int, media string, answer []byte) {
	asked := g.rooms.Get().(*room)
	defer g.rooms.Put(asked)
	asked.event.Reset()
	req, err := parseInto(&asked.event, asked.entities[:], body)
	if err != nil {
		p := g.problem(http.StatusBadRequest, "malformed-request", "The request was not understood", err.Error())
		return p.Status, problemMedia, append(into, encode(p)...)
	}
	req.Trace = emit.Trace{Parent: traceparent, State: tracestate}
	d := g.Decide(ctx, req)
	return http.StatusOK, jsonMedia, append(d.AppendJSON(into), '\n')
}

// room is memory for one question at a time, which nobody keeps.
type room struct {
	event    event.Event
	entities [facet.MaxKind]facet.Entity
}

// readJSON reads the body of a request. If it cannot be JSON of a gateway, the
// answer is written, and ok is false.
func (g *Gate) readJSON(w http.ResponseWriter, r *http.Request) (body []byte, ok bool) {
	if t := r.Header.Get("Content-Type"); t != "" && !isJSON(t) {
		g.refuse(w, http.StatusUnsupportedMediaType, "unsupported-media-type", "The body must be application/json",
			fmt.Sprintf("the Content-Type is %.64q; send \"Content-Type: application/json\" (curl -H 'Content-Type: application/json'), or none", t))
		return nil, false
	}
	body, err := readAll(w, r)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		g.refuse(w, http.StatusRequestEntityTooLarge, "body-too-large", "The body is too large", "at most 1 MiB")
	case err != nil:
		g.refuse(w, http.StatusBadRequest, "body-cut-short", "The body ended too soon", "")
	default:
		return body, true
	}
	return nil, false
}

// readAll reads a body, at once where its length is known.
func readAll(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength <= 0 || r.ContentLength > firstRead {
		return io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBodyBytes))
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, body)
	return body, err
}

// firstRead is the longest body for which memory is taken before it has come.
const firstRead = 16 << 10

// isJSON reports whether a media type is JSON, whatever its parameters. Forms are
// refused even if they contain JSON, because a browser sends them from any page
// without a preflight request.
func isJSON(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(media), "application/json")
}

// EntityRisk is the known risk of one entity.
type EntityRisk struct {
	Kind          string       `json:"kind"`
	ID            string       `json:"id"` // in the form that ingest counts
	Tenant        string       `json:"tenant,omitempty"`
	Known         bool         `json:"known"` // false: nothing is held against it
	Score         int          `json:"score"`
	ObservedScore int          `json:"observed_score"`
	Level         policy.Level `json:"level"`
	Categories    Categories   `json:"categories"`
	Reasons       []Reason     `json:"reasons"`
	ExpiresAt     *time.Time   `json:"expires_at,omitempty"` // when all of it has expired
	Degraded      bool         `json:"degraded,omitempty"`   // the stored value is damaged and does not count
	DegradedBy    string       `json:"degraded_by,omitempty"`
}

func (g *Gate) serveRisk(w http.ResponseWriter, r *http.Request) {
	kind, ok := facet.ParseKind(r.PathValue("kind"))
	if !ok {
		g.refuse(w, http.StatusNotFound, "unknown-kind", "There is no such kind of entity", "")
		return
	}
	tenant, id := r.URL.Query().Get("tenant"), r.PathValue("id")
	err := checkTenant(tenant)
	entity, _, ok := Resolve(kind, tenant, id)
	if !ok {
		err = errors.Join(err, fmt.Errorf("%s: %.64q is no such entity", kind, id))
	}
	if err != nil {
		g.refuse(w, http.StatusBadRequest, "malformed-request", "The entity was not understood", err.Error())
		return
	}
	known := g.risk.Look(r.Context(), []facet.Entity{entity}, time.Now(), g.policies.Current().Last().Budget, false)
	if known.Trouble != "" && known.Trouble != lookup.Partial {
		w.Header().Set("Retry-After", "1")
		g.refuse(w, http.StatusServiceUnavailable, "lookup-failed", "The risk could not be looked up", known.Trouble)
		return
	}
	answer := g.riskOf(entity, known.Value(0))
	answer.Degraded, answer.DegradedBy = known.Trouble != "", known.Trouble
	send(w, http.StatusOK, answer)
}

// riskOf describes a score; v is nil if there is none.
func (g *Gate) riskOf(e facet.Entity, v *score.Value) EntityRisk {
	now := g.nowOr(time.Now()).UnixMilli()
	var r policy.Risk
	var found []lookup.Found
	if v != nil {
		r.Add(v.Contributions, now)
		found = []lookup.Found{{Value: v}}
	}
	answer := EntityRisk{
		Kind: e.Kind.String(), ID: e.Key, Tenant: e.Tenant, Known: v != nil,
		Score: r.Acting.Total.Points(), ObservedScore: r.All.Total.Points(), Categories: categoriesOf(&r.Acting),
		Reasons: reasonsOf([]facet.Entity{e}, found, now, score.MaxContributions),
	}
	answer.Level = g.policies.Current().Last().Score.Level(answer.Score)
	if answer.Known {
		t := time.UnixMilli(v.Expires).UTC()
		answer.ExpiresAt = &t
	}
	return answer
}

// readyTimeout limits the check of the store: probes commonly wait for a second.
const readyTimeout = 200 * time.Millisecond

// serveReady reports "degraded" while the store is down, but stays at 200: if every
// gate were taken out of service then, gateways would get no answer at all.
func (g *Gate) serveReady(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	status := "ready"
	if err := g.Ready(ctx); err != nil {
		status = "degraded"
	}
	send(w, http.StatusOK, map[string]string{"status": status, "mode": g.phase.String(), "policy_version": g.policies.Current().Version})
}
