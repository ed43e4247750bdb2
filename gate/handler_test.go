package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/gate/listen"
	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/telemetry"
)

func ask(t *testing.T, g *Gate, method, target, contentType, body string) (*http.Response, map[string]any) {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	rec := httptest.NewRecorder()
	g.Handler().ServeHTTP(rec, r)
	res := rec.Result()
	answer := map[string]any{}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatalf("%s %s: %d, not JSON: %v", method, target, res.StatusCode, err)
	}
	if got := res.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("%s %s: Cache-Control %q", method, target, got)
	}
	return res, answer
}

func TestDecideOverHTTP(t *testing.T) {
	g := newGate(t, attack(), nil)
	res, d := ask(t, g, "POST", "/v1/decide", "application/json; charset=utf-8",
		`{"tenant":"shop","route":"/login","entities":{"account":"alice","ip":"203.0.113.9"}}`)
	if res.StatusCode != 200 || d["action"] != "deny" || d["score"] != 90.0 || d["level"] != "critical" || d["mode"] != "enforce" {
		t.Errorf("%d %v", res.StatusCode, d)
	}
	for _, member := range []string{"decision_id", "observed_score", "policy", "policy_version", "categories", "reasons", "degraded", "expires_at", "would"} {
		if _, ok := d[member]; !ok {
			t.Errorf("%s is missing", member)
		}
	}
	first := d["reasons"].([]any)[0].(map[string]any)
	if first["rule"] != "credential-stuffing-ip" || first["reason"] != "many_accounts" || first["weight"] != 90.0 || first["entity"] != "ip" || first["phase"] != "enforce" {
		t.Errorf("reason %v", first)
	}
}

func TestRiskOverHTTP(t *testing.T) {
	g := newGate(t, attack(), nil)
	for _, tc := range []struct {
		name, target string
		id           string
		known        bool
		score        float64
	}{
		{"an attacker", "/v1/risk/ip/203.0.113.9?tenant=shop", "203.0.113.9", true, 90},
		{"written as IPv6", "/v1/risk/ip/::ffff:203.0.113.9?tenant=shop", "203.0.113.9", true, 90},
		{"of another tenant", "/v1/risk/ip/203.0.113.9", "203.0.113.9", false, 0},
		{"an IPv6 client with its slash", "/v1/risk/ip/2001:db8::/64", "2001:db8::/64", false, 0},
		{"an IPv6 client with its slash escaped", "/v1/risk/ip/2001:db8::%2F64", "2001:db8::/64", false, 0},
		{"an endless device is counted by its hash", "/v1/risk/device/" + strings.Repeat("d", 300), strings.Repeat("d", 223) + "~63c29b7d223e3d582a479bc591f260d4", false, 0},
		{"an account with odd characters", "/v1/risk/account/a%2F%2F..%2Fb%20c", "a//../b c", false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res, r := ask(t, g, "GET", tc.target, "", "")
			if res.StatusCode != 200 || r["id"] != tc.id || r["known"] != tc.known || r["score"] != tc.score {
				t.Errorf("%d %v", res.StatusCode, r)
			}
		})
	}
}

// Clients control most of a question. Nothing in it may prevent the answer.
func TestOddEntitiesDoNotVoidTheAnswerForTheOthers(t *testing.T) {
	for name, entity := range map[string]string{
		"a device of 257 bytes":            `"device":"` + strings.Repeat("d", 257) + `"`,
		"a device of 64 KiB":               `"device":"` + strings.Repeat(`\u0000`, 64<<10) + `"`,
		"an account with a NUL":            `"account":"a\u0000b"`,
		"a character that stands for none": `"device":"\ufffd"`,
		"half a surrogate pair":            `"account":"\ud800"`,
		"bytes that are not UTF-8":         "\"device\":\"\xff\"",
		"raw control characters":           "\"device\":\"\x00\n\"",
		"a network that is no one":         `"net":"unknown"`,
		"a number that is not one":         `"asn":"unknown"`,
		"a build that is no pair":          `"build":"?"`,
		"another tenant":                   `"tenant":"elsewhere"`,
		"a route that is too long":         `"route":"` + strings.Repeat("/", 600) + `"`,
		"a session of many letters":        `"session":"` + strings.Repeat("é", 300) + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, attack(), nil)
			res, d := ask(t, g, "POST", "/v1/decide", "", `{"tenant":"shop","entities":{"ip":"203.0.113.9",`+entity+`}}`)
			if res.StatusCode != 200 || d["action"] != "deny" || d["degraded"] != true || d["degraded_by"] != "partial" {
				t.Errorf("%d %v", res.StatusCode, d)
			}
			if got := testutil.ToFloat64(g.metrics.degraded); got != 1 {
				t.Errorf("%v decisions counted as degraded", got)
			}
		})
	}
}

// An entity that is left out is unknown. A shortened one is known, so that a long
// name does not hold up a request.
func TestAMissingEntityIsUnknownAndAShortenedOneIsNot(t *testing.T) {
	g := newGateWith(t, attack(), onlyFailure("failure: open", "/login", "failure: closed, failure_action: step_up"), nil)
	for entity, want := range map[string]string{
		`"ip":"unknown"`: "step_up",
		`"device":"` + strings.Repeat("d", 257) + `"`: "allow",
		`"device":"d"`: "allow",
	} {
		_, d := ask(t, g, "POST", "/v1/decide", "", `{"tenant":"shop","route":"/login","entities":{"account":"nobody",`+entity+`}}`)
		if d["action"] != want || d["degraded"] != (entity != `"device":"d"`) {
			t.Errorf("%.30s: %v, want %s", entity, d, want)
		}
	}
}

func TestProblems(t *testing.T) {
	huge := `{"tenant":"` + strings.Repeat("x", MaxBodyBytes) + `"}`
	for _, tc := range []struct {
		name, method, target, contentType, body string
		status                                  int
		code                                    string
	}{
		{"not JSON", "POST", "/v1/decide", "", "hello", 400, "malformed-request"},
		{"too large", "POST", "/v1/decide", "application/json", huge, 413, "body-too-large"},
		{"a form", "POST", "/v1/decide", "application/x-www-form-urlencoded", "a=b", 415, "unsupported-media-type"},
		{"what curl sends by itself", "POST", "/v1/decide", "application/x-www-form-urlencoded", `{"entities":{"ip":"203.0.113.9"}}`, 415, "unsupported-media-type"},
		{"something that only begins like JSON", "POST", "/v1/decide", "application/jsonp", "{}", 415, "unsupported-media-type"},
		{"another method", "GET", "/v1/decide", "", "", 405, "method-not-allowed"},
		{"a post to risk", "POST", "/v1/risk/ip/203.0.113.9", "", "", 405, "method-not-allowed"},
		{"an unknown kind", "GET", "/v1/risk/planet/mars", "", "", 404, "unknown-kind"},
		{"no id", "GET", "/v1/risk/ip/", "", "", 400, "malformed-request"},
		{"no address", "GET", "/v1/risk/ip/localhost", "", "", 400, "malformed-request"},
		{"no tenant that an event can have", "GET", "/v1/risk/account/a?tenant=%00", "", "", 400, "malformed-request"},
		{"nothing there", "GET", "/v2/decide", "", "", 404, "not-found"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newGate(t, attack(), nil)
			res, p := ask(t, g, tc.method, tc.target, tc.contentType, tc.body)
			if res.StatusCode != tc.status || p["type"] != problemSpace+tc.code || p["status"] != float64(tc.status) || p["title"] == "" {
				t.Errorf("%d %v", res.StatusCode, p)
			}
			if got := res.Header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("content type %q", got)
			}
			if got := testutil.ToFloat64(g.metrics.refused.WithLabelValues(tc.code)); got != 1 {
				t.Errorf("%v counted", got)
			}
		})
	}
}

func TestOtherMethodsAreToldWhichIsAllowed(t *testing.T) {
	g := newGate(t, attack(), nil)
	for _, tc := range []struct {
		method, target string
		status         int
		allow          string
	}{
		{"GET", "/v1/decide", 405, "POST"}, {"HEAD", "/v1/decide", 405, "POST"}, {"POST", "/v1/risk/ip/203.0.113.9", 405, "GET"},
		{"DELETE", "/healthz", 405, "GET"}, {"HEAD", "/healthz", 200, ""}, {"HEAD", "/readyz", 200, ""},
	} {
		rec := httptest.NewRecorder()
		g.Handler().ServeHTTP(rec, httptest.NewRequest(tc.method, tc.target, nil))
		if got := rec.Header().Get("Allow"); rec.Code != tc.status || got != tc.allow {
			t.Errorf("%s %s: %d, Allow %q", tc.method, tc.target, rec.Code, got)
		}
	}
}

func TestJSONIsTakenHoweverItIsNamed(t *testing.T) {
	g := newGate(t, attack(), nil)
	for _, contentType := range []string{
		"", "application/json", "application/json;charset=utf-8", "Application/JSON ; charset=\"UTF-8\"", "application/json; charset=utf-8; charset=utf-8", "application/json;",
	} {
		res, d := ask(t, g, "POST", "/v1/decide", contentType, `{"tenant":"shop","entities":{"ip":"203.0.113.9"}}`)
		if res.StatusCode != 200 || d["action"] != "deny" {
			t.Errorf("%q: %d %v", contentType, res.StatusCode, d)
		}
	}
}

// TestARefusedMediaTypeSaysWhatToSend checks the message for people who try curl.
func TestARefusedMediaTypeSaysWhatToSend(t *testing.T) {
	_, p := ask(t, newGate(t, attack(), nil), "POST", "/v1/decide", "application/x-www-form-urlencoded", `{}`)
	detail, _ := p["detail"].(string)
	for _, want := range []string{"application/x-www-form-urlencoded", "-H 'Content-Type: application/json'"} {
		if !strings.Contains(detail, want) {
			t.Errorf("%q does not say %s", detail, want)
		}
	}
}

// TestAStoredValueThatIsNoScoreIsAnAnswer checks that a damaged value counts as no
// risk, and that the answer says so.
func TestAStoredValueThatIsNoScoreIsAnAnswer(t *testing.T) {
	m := &memory{partial: errors.New("forged")}
	g := newGateWith(t, m, onlyFailure("failure: open", "/login", "failure: closed, failure_action: step_up"), nil)
	res, r := ask(t, g, "GET", "/v1/risk/ip/203.0.113.9", "", "")
	if res.StatusCode != 200 || r["known"] != false || r["degraded"] != true || r["degraded_by"] != "partial" {
		t.Errorf("risk: %d %v", res.StatusCode, r)
	}
	for route, want := range map[string]string{"/feed": "allow", "/login": "step_up"} {
		_, d := ask(t, g, "POST", "/v1/decide", "", `{"route":"`+route+`","entities":{"ip":"203.0.113.9"}}`)
		if d["action"] != want || d["degraded_by"] != "partial" {
			t.Errorf("%s: %v", route, d)
		}
	}
	m.partial = nil
	if _, r := ask(t, g, "GET", "/v1/risk/ip/203.0.113.9", "", ""); r["degraded"] != nil {
		t.Errorf("a good one: %v", r)
	}
}

// TestAHandlerThatPanicsIsLoggedAsEverythingElse checks that no raw line appears
// amid JSON.
func TestAHandlerThatPanicsIsLoggedAsEverythingElse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer // read after the server has ended
	deps := dependencies(t, attack(), "")
	deps.Risk = bomb{}
	deps.Logger = slog.New(slog.NewJSONHandler(&out, nil))
	g, err := New(Defaults(), deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- listen.ServeHTTP(ctx, l, &http.Server{Handler: g.Handler(), ErrorLog: telemetry.ErrorLog(g.log)}, time.Second)
	}()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	if res, err := client.Get("http://" + l.Addr().String() + "/v1/risk/ip/203.0.113.9"); err == nil {
		t.Errorf("an answer: %d", res.StatusCode)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	var line struct{ Level, Msg, Detail string }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Level != "ERROR" || !strings.Contains(line.Detail, "a test wants") {
		t.Errorf("%v: %s", err, out.Bytes())
	}
}

// bomb has a bug.
type bomb struct{}

func (bomb) Look(context.Context, []facet.Entity, time.Time, time.Duration, bool) lookup.Answer {
	panic("as a test wants")
}
func (bomb) Ready(context.Context) error { return nil }

func TestWithoutTheStoreRiskIsAnErrorAndDecisionsAreNot(t *testing.T) {
	m := attack()
	m.fail = errors.New("password secret-of-redis refused")
	g := newGate(t, m, nil)
	res, p := ask(t, g, "GET", "/v1/risk/ip/203.0.113.9", "", "")
	if res.StatusCode != 503 || p["type"] != problemSpace+"lookup-failed" || res.Header.Get("Retry-After") != "1" {
		t.Errorf("%d %v", res.StatusCode, p)
	}
	if strings.Contains(p["detail"].(string), "secret") {
		t.Errorf("the store's own words got out: %v", p)
	}
	res, d := ask(t, g, "POST", "/v1/decide", "", `{"entities":{"ip":"203.0.113.9"}}`)
	if res.StatusCode != 200 || d["degraded"] != true || d["degraded_by"] != "error" || d["action"] != "allow" {
		t.Errorf("%d %v", res.StatusCode, d)
	}
	res, s := ask(t, g, "GET", "/readyz", "", "")
	if res.StatusCode != 200 || s["status"] != "degraded" {
		t.Errorf("%d %v", res.StatusCode, s)
	}
	m.fail = nil
	if _, s := ask(t, g, "GET", "/readyz", "", ""); s["status"] != "ready" {
		t.Errorf("%v", s)
	}
	if _, s := ask(t, g, "GET", "/healthz", "", ""); s["status"] != "ok" {
		t.Errorf("%v", s)
	}
}

func TestServingEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := newGate(t, attack(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- listen.ServeHTTP(ctx, l, &http.Server{Handler: g.Handler(), ErrorLog: telemetry.ErrorLog(g.log)}, time.Second)
	}()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Post("http://"+l.Addr().String()+"/v1/decide", "application/json", strings.NewReader(`{"tenant":"shop","entities":{"ip":"203.0.113.9"}}`))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil || !strings.Contains(string(body), `"action":"deny"`) {
		t.Fatalf("%s, %v", body, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("end: %v", err)
	}
	if _, err := net.DialTimeout("tcp", l.Addr().String(), time.Second); err == nil {
		t.Error("it still listens")
	}
}

func TestMetricsAreRegisteredWithClosedLabels(t *testing.T) {
	r := prometheus.NewRegistry()
	deps := dependencies(t, attack(), "")
	deps.Registerer = r
	g, err := New(Defaults(), deps)
	if err != nil {
		t.Fatal(err)
	}
	ask(t, g, "POST", "/v1/decide", "", `{"entities":{"ip":"203.0.113.9"}}`)
	ask(t, g, "POST", "/v1/decide", "", `hello`)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]int{}
	for _, f := range families {
		series[f.GetName()] = len(f.GetMetric())
	}
	for name, want := range map[string]int{
		"weir_gate_decisions_total": len(policy.Actions()), "weir_gate_decision_seconds": 1, "weir_gate_degraded_total": 1,
		"weir_gate_refused_requests_total": 1,
	} {
		if series[name] != want {
			t.Errorf("%s has %d series, want %d", name, series[name], want)
		}
	}
}
