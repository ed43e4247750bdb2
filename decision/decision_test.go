package decision

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func sample() Record {
	return Record{
		Version: Version, ID: "0e0b4b04-4c6f-4f39-9d59-0b2a5f6ad7f1", Time: 1763892000123, Gateway: "gw-3", Tenant: "shop", Route: "/login",
		RequestID: "r-1", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", Entities: map[string]string{"account": "alice", "ip": "203.0.113.9"},
		Action: "deny", Would: "deny", Phase: "enforce", Level: "critical", Score: 90, ObservedScore: 93,
		Reasons: []Reason{{Rule: "credential-stuffing-ip", Reason: "many_accounts", Category: "account_takeover", Weight: 90, Phase: "enforce", Entity: "ip"}},
		Limits:  []string{"login-per-ip"}, LimitedBy: "login-per-ip", Policy: "default", PolicyVersion: "17cf1b920af02b92", LatencyMicros: 812,
	}
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	b, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(b)
	if err != nil || !reflect.DeepEqual(got, sample()) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := Parse([]byte(strings.Replace(string(b), `{"v":1`, `{"v":1,"added_later":[1]`, 1))); err != nil || got.ID != sample().ID {
		t.Errorf("with an unknown member: %v", err)
	}
}

// TestALongNameMayBeSwitched: the name of a switch is longer than what it is about.
func TestALongNameMayBeSwitched(t *testing.T) {
	r := sample()
	for _, r.Switch = range []string{
		"route:/" + strings.Repeat("r", maxText-1), "entity:account:" + strings.Repeat("%41", maxText) + "/" + strings.Repeat("k", maxText),
	} {
		b, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(b); err != nil || got.Switch != r.Switch {
			t.Errorf("%d bytes: %v", len(r.Switch), err)
		}
	}
}

func TestWhatIsNoDecision(t *testing.T) {
	for want, change := range map[string]func(*Record){
		"no id":                     func(r *Record) { r.ID = "" },
		"is outside 1970 … 2100":    func(r *Record) { r.Time = maxTime + 1 },
		"no actions":                func(r *Record) { r.Action = "explode" },
		"scores 101, 93":            func(r *Record) { r.Score = 101 },
		"latency -1":                func(r *Record) { r.LatencyMicros = -1 },
		"a text of 513 bytes":       func(r *Record) { r.Entities["device"] = strings.Repeat("d", maxText+1) },
		"a switch of 2113 bytes":    func(r *Record) { r.Switch = strings.Repeat("s", maxName+1) },
		"weight -1":                 func(r *Record) { r.Reasons[0].Weight = -1 },
		"more than 64 entities":     func(r *Record) { r.Limits = make([]string, maxList+1) },
		"bytes are more than a dec": func(r *Record) { r.Route = strings.Repeat("r", MaxBytes) },
	} {
		r := sample()
		change(&r)
		b, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for _, text := range []string{"", "null", "{}", "garbage", `{"v":2}`, `{"v":1,"id":7}`, `[{}]`} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q is a decision", text)
		}
	}
}

// FuzzParse: the bytes are a stranger's. What is accepted is within the limits, and
// is the same when it is written and read again.
func FuzzParse(f *testing.F) {
	b, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		string(b), `{"v":1,"id":"a","action":"allow","would":"tag"}`, `{"v":1,"id":"a","id":"b","action":"allow","ACTION":"deny","would":"tag"}`,
		`{"v":1,"id":"\ud800","action":"deny","would":"deny","entities":{"ip":"\u0000"}}`, `{"v":1e0}`, `{"v":1,"time":1e400}`, "null", "[",
		strings.Repeat("[", 20_000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Fatalf("an error that cannot be printed: %q", err)
			}
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(again)
		if len(again) <= MaxBytes && (err != nil || fmt.Sprint(got) != fmt.Sprint(r)) {
			t.Fatalf("%+v is read again as %+v, %v", r, got, err)
		}
	})
}
