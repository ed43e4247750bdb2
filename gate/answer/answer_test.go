package answer_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/answer"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/rules"
)

func decision(a policy.Action) *gate.Decision {
	return &gate.Decision{
		ID: "0e0b4b04-4c6f-4f39-9d59-0b2a5f6ad7f1", Action: a, Score: 77, RetryAfter: 10,
		Reasons: []gate.Reason{{Rule: "secret-rule", Reason: "secret_reason", Category: "fraud"}}, Policy: "secret-policy",
	}
}

func TestWhatClientsAndUpstreamsAreTold(t *testing.T) {
	r, err := answer.New(answer.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		action  policy.Action
		status  int
		header  string
		value   string
		problem string
	}{
		{policy.Allow, 200, "", "", ""},
		{policy.Tag, 200, "", "", ""},
		{policy.Throttle, 429, "Retry-After", "10", "#abnormal-usage-detected"},
		{policy.Challenge, 403, "", "", ":challenge"},
		{policy.StepUp, 401, "Www-Authenticate", `Bearer error="insufficient_user_authentication", error_description="A different authentication level is required", max_age="300"`, ":step-up"},
		{policy.Deny, 403, "", "", ":denied"},
	} {
		t.Run(tc.action.String(), func(t *testing.T) {
			a := r.Render(decision(tc.action))
			if a.Status != tc.status || a.Served != (tc.status == 200) || a.Served != (a.Body == nil) {
				t.Fatalf("%+v", a)
			}
			if got := a.Upstream; got.Get("x-weir-action") != tc.action.String() || got.Get("x-weir-score") != "77" || got.Get("x-weir-decision-id") != decision(0).ID {
				t.Errorf("upstream: %v", got)
			}
			if a.Served {
				if len(a.Client) > 0 {
					t.Errorf("client: %v", a.Client)
				}
				return
			}
			var p struct {
				Type, Title, Instance string
				Status                int
			}
			if err := json.Unmarshal(a.Body, &p); err != nil || p.Status != tc.status || !strings.HasSuffix(p.Type, tc.problem) || p.Title == "" || p.Instance != "urn:uuid:"+decision(0).ID {
				t.Errorf("%s, %v", a.Body, err)
			}
			if tc.header != "" && a.Client.Get(tc.header) != tc.value {
				t.Errorf("%v", a.Client)
			}
			if a.Client.Get("Content-Type") != "application/problem+json" || a.Client.Get("Cache-Control") != "no-store" {
				t.Errorf("%v", a.Client)
			}
			for _, told := range []string{string(a.Body), all(a.Client)} {
				if strings.Contains(told, "secret") || strings.Contains(told, "77") || strings.Contains(told, "fraud") {
					t.Errorf("the client is told %s", told)
				}
			}
		})
	}
}

func all(h http.Header) string {
	var b strings.Builder
	_ = h.Write(&b)
	return b.String()
}

// TestAThrottledClientWaits: a Retry-After of 0 would be none.
func TestAThrottledClientWaits(t *testing.T) {
	r, err := answer.New(answer.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	d := decision(policy.Throttle)
	d.RetryAfter = 0
	if got := r.Render(d).Client.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After: %s", got)
	}
}

func TestStepUpSettings(t *testing.T) {
	r, err := answer.New(answer.Config{ACR: "urn:example:mfa urn:example:otp"})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Render(decision(policy.StepUp)).Client.Get("WWW-Authenticate"); !strings.HasSuffix(got, `, acr_values="urn:example:mfa urn:example:otp"`) {
		t.Error(got)
	}
	for _, wrong := range []answer.Config{{ACR: "a\"b"}, {ACR: "a\r\nb"}, {MaxAge: -time.Second}, {MaxAge: 48 * time.Hour}} {
		if _, err := answer.New(wrong); err == nil || !strings.Contains(err.Error(), "gate.step_up.") {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}

// TestLimitsThatMayRefuse are told to clients, and those that observe are not.
func TestLimitsThatMayRefuse(t *testing.T) {
	r, err := answer.New(answer.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	d := decision(policy.Throttle)
	d.Limits = []gate.Limit{
		{ID: "login", Quota: 5, Window: 60, Remaining: 0, Reset: 42, Exceeded: true, Phase: rules.Enforce},
		{ID: "trial", Quota: 9, Window: 60, Phase: rules.Observe},
		{ID: "all", Quota: 100, Window: 3600, Remaining: 7, Reset: 1, Phase: rules.Soft},
	}
	d.LimitedBy = "login"
	a := r.Render(d)
	if got := a.Client.Get("RateLimit-Policy"); got != `"login";q=5;w=60, "all";q=100;w=3600` {
		t.Error(got)
	}
	if got := a.Client.Get("RateLimit"); got != `"login";r=0;t=42, "all";r=7;t=1` {
		t.Error(got)
	}
	if !strings.Contains(string(a.Body), `#quota-exceeded`) || !strings.Contains(string(a.Body), `"violated-policies":["login"]`) {
		t.Errorf("%s", a.Body)
	}
	d.Action, d.LimitedBy = policy.Allow, ""
	if a := r.Render(d); a.Client.Get("RateLimit") == "" || !a.Served {
		t.Errorf("%+v", a)
	}
}
