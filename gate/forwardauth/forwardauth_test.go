package forwardauth_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/answer"
	"github.com/weirdev/weir/gate/forwardauth"
	"github.com/weirdev/weir/gate/incoming"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/geo"
)

// decider takes one action, and remembers what it was asked.
type decider struct {
	action policy.Action
	asked  gate.Request
}

func (d *decider) Decide(_ context.Context, req gate.Request) gate.Decision {
	d.asked = req
	return gate.Decision{ID: "0e0b4b04-4c6f-4f39-9d59-0b2a5f6ad7f1", Action: d.action, Score: 50, RetryAfter: 7}
}

func handler(t testing.TB, d *decider) http.Handler {
	t.Helper()
	reader, err := incoming.New(incoming.Config{Identify: []string{"account=header:x-account"}}, ingest.Defaults(), geo.Nowhere{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	renderer, err := answer.New(answer.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	return forwardauth.Handler(d, reader, renderer)
}

func ask(t testing.TB, d *decider, target string, header map[string]string) *http.Response {
	t.Helper()
	r := httptest.NewRequest("GET", target, nil)
	for k, v := range header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	handler(t, d).ServeHTTP(w, r)
	return w.Result()
}

func TestWhatEachGatewaySends(t *testing.T) {
	forwarded := map[string]string{"X-Forwarded-Method": "POST", "X-Forwarded-Uri": "/pay?x=1", "X-Forwarded-Host": "api.example", "X-Forwarded-For": "198.51.100.7, 203.0.113.9", "X-Account": "a"}
	for _, tc := range []struct {
		target string
		header map[string]string
		method string
	}{
		{"/v1/forward-auth/nginx", map[string]string{"X-Original-Method": "POST", "X-Original-Uri": "/pay?x=1", "X-Original-Host": "api.example", "X-Real-Ip": "203.0.113.9", "X-Forwarded-For": "198.51.100.7", "X-Account": "a"}, "POST"},
		{"/v1/forward-auth/traefik", forwarded, "POST"},
		{"/v1/forward-auth/caddy", forwarded, "POST"},
		{"/v1/forward-auth/generic", forwarded, "POST"},
		{"http://api.example/v1/forward-auth/envoy/pay?x=1", map[string]string{"X-Forwarded-For": "198.51.100.7, 203.0.113.9", "X-Account": "a"}, "GET"},
	} {
		t.Run(tc.target, func(t *testing.T) {
			d := &decider{}
			if res := ask(t, d, tc.target, tc.header); res.StatusCode != 200 {
				t.Fatal(res.Status)
			}
			e := d.asked.Event
			for f, want := range map[event.Field]string{
				event.Method: tc.method, event.Path: "/pay?x=1", event.Host: "api.example", event.ClientIP: "203.0.113.9", event.ForwardedFor: "198.51.100.7", event.Account: "a",
			} {
				if e.Text(f) != want {
					t.Errorf("%s is %q, want %q", f, e.Text(f), want)
				}
			}
		})
	}
}

func TestWhatEachGatewayUnderstands(t *testing.T) {
	statuses := map[string]map[policy.Action]int{
		"nginx":   {policy.Allow: 200, policy.Tag: 200, policy.Throttle: 403, policy.Challenge: 403, policy.StepUp: 401, policy.Deny: 403},
		"traefik": {policy.Allow: 200, policy.Tag: 200, policy.Throttle: 429, policy.Challenge: 403, policy.StepUp: 401, policy.Deny: 403},
	}
	for _, same := range []string{"caddy", "generic", "envoy"} {
		statuses[same] = statuses["traefik"]
	}
	if got := slices.Sorted(maps.Keys(statuses)); !slices.Equal(got, forwardauth.Names()) {
		t.Errorf("profiles are %q, and %q are tested", forwardauth.Names(), got)
	}
	for name, byAction := range statuses {
		for action, want := range byAction {
			res := ask(t, &decider{action: action}, "/v1/forward-auth/"+name, nil)
			h := res.Header
			if res.StatusCode != want || h.Get("Cache-Control") != "no-store" {
				t.Errorf("%s, %s: %s, %v", name, action, res.Status, h)
			}
			if served := action <= policy.Tag; served != (h.Get("X-Weir-Action") == action.String()) || served != (h.Get("X-Weir-Score") == "50") {
				t.Errorf("%s, %s: %v", name, action, h)
			}
			if action == policy.Throttle && h.Get("Retry-After") != "7" || action == policy.StepUp && !strings.HasPrefix(h.Get("Www-Authenticate"), "Bearer ") {
				t.Errorf("%s, %s: %v", name, action, h)
			}
			logs := slices.Contains([]string{"nginx", "caddy", "generic"}, name)
			if id := h.Get("X-Weir-Decision-Id"); (id != "") != (action <= policy.Tag || logs) {
				t.Errorf("%s, %s: %v", name, action, h)
			}
			if truth := map[bool]string{true: "429", false: h.Get("X-Weir-Status")}[action == policy.Throttle]; name == "nginx" && h.Get("X-Weir-Status") != truth {
				t.Errorf("%s, %s: %v", name, action, h)
			}
		}
	}
}

// TestAnUnknownProfileIsAnError: 404 would be taken for a refusal.
func TestAnUnknownProfileIsAnError(t *testing.T) {
	if res := ask(t, &decider{}, "/v1/forward-auth/ngnix", nil); res.StatusCode != 503 {
		t.Error(res.Status)
	}
}

// TestGatewaysThatSayTooMuch: of two values nobody knows which is the gateway's.
func TestGatewaysThatSayTooMuch(t *testing.T) {
	d := &decider{}
	r := httptest.NewRequest("GET", "/v1/forward-auth/nginx", nil)
	r.Header["X-Real-Ip"] = []string{"203.0.113.9", "198.51.100.7"}
	handler(t, d).ServeHTTP(httptest.NewRecorder(), r)
	if ip := d.asked.Event.Text(event.ClientIP); ip != "" {
		t.Error(ip)
	}
}

// FuzzForwardAuth checks that a gateway gets an answer, whatever it sends.
func FuzzForwardAuth(f *testing.F) {
	f.Add("nginx", "POST", "/a?b", "203.0.113.9", "x, y", "a")
	f.Add("envoy/a%2f..", "\x00", "//", "unix:", ",", "")
	f.Fuzz(func(t *testing.T, profile, method, uri, peer, chain, account string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path = forwardauth.Prefix + profile
		r.URL.RawPath = ""
		for name, v := range map[string]string{"X-Original-Method": method, "X-Original-Uri": uri, "X-Real-Ip": peer, "X-Forwarded-For": chain, "X-Forwarded-Uri": uri, "X-Account": account} {
			r.Header[name] = []string{v}
		}
		w := httptest.NewRecorder()
		handler(t, &decider{action: policy.Deny}).ServeHTTP(w, r)
		if w.Code != 403 && w.Code != 503 {
			t.Fatal(w.Code)
		}
	})
}
