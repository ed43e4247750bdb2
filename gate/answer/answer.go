// Package answer renders a decision as HTTP, the same through every front end.
//
// The client learns what it may do next, and an id for support. Rules, reasons and
// scores are for the upstream and the operators.
package answer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/rules"
)

// Headers for the upstream. A client's own are removed, by every front end.
const (
	ActionHeader   = "X-Weir-Action"
	ScoreHeader    = "X-Weir-Score"
	DecisionHeader = "X-Weir-Decision-Id"
)

// Upstream lists the headers for the upstream.
func Upstream() []string { return []string{ActionHeader, ScoreHeader, DecisionHeader} }

// Config configures what clients are told.
type Config struct {
	ACR    string        `yaml:"acr_values" doc:"authentication context that step-up asks for (RFC 9470), several in order of preference, separated by blanks; empty: whatever is stronger"`
	MaxAge time.Duration `yaml:"max_age" doc:"age up to which a sign-in satisfies step-up"`
}

// Defaults returns values that suit most installations.
func Defaults() Config { return Config{MaxAge: 5 * time.Minute} }

// Validate reports all errors in c.
func (c Config) Validate() error {
	var errs []error
	if c.MaxAge < 0 || c.MaxAge > 24*time.Hour {
		errs = append(errs, fmt.Errorf("gate.step_up.max_age: %v is outside 0s … 24h", c.MaxAge))
	}
	if strings.ContainsFunc(c.ACR, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		errs = append(errs, fmt.Errorf("gate.step_up.acr_values: %q has a character that no header can carry", c.ACR))
	}
	return errors.Join(errs...)
}

// Answer is a decision as HTTP.
type Answer struct {
	Served   bool        // the request goes on to the upstream
	Status   int         // for the client, if it is not served; otherwise 200
	Client   http.Header // for the client
	Body     []byte      // for the client, if it is not served
	Upstream http.Header // for the upstream, if it is served
}

// Renderer renders decisions. Any number of goroutines may use it.
type Renderer struct{ stepUp string }

// New checks cfg.
func New(cfg Config) (*Renderer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	text := `Bearer error="insufficient_user_authentication", error_description="A different authentication level is required"`
	if cfg.ACR != "" {
		text += `, acr_values="` + cfg.ACR + `"`
	}
	if cfg.MaxAge > 0 {
		text += `, max_age="` + strconv.Itoa(int(cfg.MaxAge/time.Second)) + `"`
	}
	return &Renderer{text}, nil
}

// problem is a problem of RFC 9457.
type problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail,omitempty"`
	Instance string `json:"instance,omitempty"`

	Violated []string `json:"violated-policies,omitempty"`
}

// Render renders a decision.
func (r *Renderer) Render(d *gate.Decision) Answer {
	a := Answer{Served: d.Action <= policy.Tag, Status: http.StatusOK, Client: http.Header{}, Upstream: http.Header{
		ActionHeader: {d.Action.String()}, ScoreHeader: {strconv.Itoa(d.Score)}, DecisionHeader: {d.ID},
	}}
	limits(a.Client, d)
	if a.Served {
		return a
	}
	var p problem
	switch d.Action {
	case policy.Throttle:
		// Both types are registered by draft-ietf-httpapi-ratelimit-headers.
		p = problem{Type: "https://iana.org/assignments/http-problem-types#abnormal-usage-detected", Title: "Too many requests", Status: http.StatusTooManyRequests, Detail: "Try again later."}
		if d.LimitedBy != "" {
			p.Type, p.Violated = "https://iana.org/assignments/http-problem-types#quota-exceeded", []string{d.LimitedBy}
		}
		a.Client.Set("Retry-After", strconv.Itoa(max(1, d.RetryAfter)))
	case policy.StepUp:
		p = problem{Type: "urn:weir:problem:step-up", Title: "Stronger authentication is needed", Status: http.StatusUnauthorized, Detail: "Sign in again, and try once more."}
		a.Client.Set("WWW-Authenticate", r.stepUp)
	case policy.Challenge:
		p = problem{Type: "urn:weir:problem:challenge", Title: "Proof of a human is needed", Status: http.StatusForbidden, Detail: "Pass the challenge, and try once more."}
	default:
		p = problem{Type: "urn:weir:problem:denied", Title: "The request was refused", Status: http.StatusForbidden}
	}
	p.Instance = "urn:uuid:" + d.ID
	a.Status = p.Status
	a.Client.Set("Content-Type", "application/problem+json")
	a.Client.Set("Cache-Control", "no-store")
	a.Body = encode(p)
	return a
}

// limits sets the headers of draft-ietf-httpapi-ratelimit-headers, for the limits
// that may refuse. Their ids need no escapes.
func limits(h http.Header, d *gate.Decision) {
	var quotas, left []string
	for _, l := range d.Limits {
		if l.Phase == rules.Observe {
			continue
		}
		quotas = append(quotas, fmt.Sprintf("%q;q=%d;w=%d", l.ID, l.Quota, l.Window))
		left = append(left, fmt.Sprintf("%q;r=%d;t=%d", l.ID, l.Remaining, l.Reset))
	}
	if len(quotas) > 0 {
		h.Set("RateLimit-Policy", strings.Join(quotas, ", "))
		h.Set("RateLimit", strings.Join(left, ", "))
	}
}

func encode(p problem) []byte {
	b, err := json.Marshal(p)
	if err != nil { // a programming error: all of it is text of ours
		return []byte("{}\n")
	}
	return append(b, '\n')
}
