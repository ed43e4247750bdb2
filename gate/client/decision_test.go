package client

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/rules"
)

func aDecision() *gate.Decision {
	return &gate.Decision{
		ID: "01990000-0000-7000-8000-000000000001", Action: policy.Throttle, Score: 60, ObservedScore: 72, Level: policy.Low,
		Categories: gate.Categories{{Category: "account_takeover", Points: 60}, {Category: "bot", Points: 7}},
		Reasons: []gate.Reason{
			{Rule: "login-brute-force", Reason: "many_failures", Category: "account_takeover", Weight: 60, Phase: rules.Enforce, Entity: "account"},
			{Rule: "known-device", Reason: "known", Category: "bot", Weight: 3, Lowers: true, Phase: rules.Observe, Entity: "device"},
		},
		Switch: "off", Policy: "default", PolicyVersion: "1", Mode: rules.Enforce, Would: policy.Deny,
		Limits:    []gate.Limit{{ID: "login", Quota: 10, Window: 60, Remaining: 0, Reset: 59, Exceeded: true, Phase: rules.Soft}},
		LimitedBy: "login", Degraded: true, DegradedBy: "timeout", LastKnownGood: true, RetryAfter: 59, ExpiresAt: time.UnixMilli(1_790_000_000_123).UTC(),
	}
}

// TestDecisionsOfGatesAreReadWithoutEncodingJSON, with the same result.
func TestDecisionsOfGatesAreReadWithoutEncodingJSON(t *testing.T) {
	for _, d := range []*gate.Decision{aDecision(), {ID: "a", Level: policy.Low, ExpiresAt: time.UnixMilli(0).UTC()}} {
		text := append(d.AppendJSON(nil), '\n')
		var want, got gate.Decision
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		p := plain{rest: string(text)}
		if !p.decision(&got) || p.rest != "\n" || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nis %+v,\nnot %+v; rest %q", text, got, want, p.rest)
		}
	}
}

// FuzzDecision: whatever comes is read as encoding/json reads it.
func FuzzDecision(f *testing.F) {
	whole := string(aDecision().AppendJSON(nil))
	for _, s := range []string{
		whole, whole + "\n", whole + "\n\n", whole + "x", strings.ReplaceAll(whole, `"`, ` "`), whole[:len(whole)/2], "{}", "[]", "null", "",
		`{"score":1,"score":2}`, `{"score":01}`, `{"score":-1}`, `{"score":1e2}`, `{"score":12345678901}`, `{"Score":1}`, `{"more":[1]}`, `{"level":null}`, `{"reasons":null}`, `{"reasons":[]}`,
		`{"reasons":[,]}`, `{"reasons":[{}{}]}`, `{"reasons":[{},]}`, `{"limits":[]}`, `{"categories":{"b":1,"a":2}}`, `{"categories":{"a":1,"a":2}}`, `{"action":"nonesuch"}`, `{"expires_at":"yesterday"}`,
		`{"decision_id":"\u0061"}`, `{"decision_id":"é"}`, `{"decision_id":"` + "\xff" + `"}`, `{"degraded":truex}`, `{"degraded":true,}`, `{,}`, `{"categories":{}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var want, got gate.Decision
		wantErr, err := json.Unmarshal(b, &want), parseDecision(b, &got)
		if (err == nil) != (wantErr == nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\n%+v, %v,\nnot %+v, %v", b, got, err, want, wantErr)
		}
	})
}

func BenchmarkParseDecision(b *testing.B) {
	text := append(aDecision().AppendJSON(nil), '\n')
	for name, read := range map[string]func([]byte, *gate.Decision) error{
		"here": parseDecision, "encoding/json": func(b []byte, d *gate.Decision) error { return json.Unmarshal(b, d) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var d gate.Decision
				if err := read(text, &d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
