package traffic

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/event"
)

func TestTheTruthIsReadAsItWasWritten(t *testing.T) {
	c := small(2)
	c.Duration, c.Rate = 8*time.Hour, 1
	c.Kinds = []string{"credential_stuffing", "replay"}
	truth := history(t, c, func(*event.Event, int) {})
	var b bytes.Buffer
	if err := truth.Write(&b); err != nil {
		t.Fatal(err)
	}
	back, err := ReadTruth(&b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back.Rows, truth.Rows) {
		t.Error("rows differ")
	}
	if len(back.Campaigns) != len(truth.Campaigns) {
		t.Fatalf("%d campaigns, were %d", len(back.Campaigns), len(truth.Campaigns))
	}
	for i, c := range truth.Campaigns {
		if b := back.Campaigns[i]; b.Name != c.Name || b.From != c.From || b.To != c.To || b.Kind != c.Kind {
			t.Errorf("%+v was %+v", b, c)
		}
	}
}

func TestWhatIsWrongWithATruthIsSaid(t *testing.T) {
	const good = `{"campaign":"a","kind":"k","role":"attacker","entity":"ip:192.0.2.1","from":"2026-01-01T00:00:00Z","to":"2026-01-01T00:01:00Z"}`
	for _, c := range []struct{ line, want string }{
		{`{`, "line 2: unexpected end"},
		{strings.Replace(good, "ip:", "address:", 1), `"address" is no kind of entity; write KIND:KEY`},
		{strings.Replace(good, "ip:192.0.2.1", "version:7.14.2", 1), "account, session, token, device, ip, net, asn, ja4, build, route, tenant, country, net16, key, attestation"},
		{strings.Replace(good, "192.0.2.1", "nonsense", 1), "such as 203.0.113.9 or 2001:db8:1:2::/64"},
		{strings.Replace(good, "ip:192.0.2.1", "net:192.0.2.0/20", 1), "no key of kind net"},
		{strings.Replace(good, "ip:192.0.2.1", "build:7.14.2", 1), "app version and device model"},
		{strings.Replace(good, `"attacker"`, `"thief"`, 1), `role "thief" is none of`},
		{strings.Replace(good, `"to":"2026`, `"to":"2025`, 1), "to is not before from"},
		{strings.Replace(good, `"kind":"k"`, `"kind":""`, 1), "kind is empty"},
		{strings.Replace(good, `"a"`, `""`, 1), "belongs to a campaign"},
		{strings.Replace(good, `"k"`, `"other"`, 1), "campaign a is other"},
	} {
		_, err := ReadTruth(strings.NewReader(good + "\n" + c.line))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s\n%v, want %q", c.line, err, c.want)
		}
	}
}

// FuzzReadTruth checks that a truth survives writing and reading.
func FuzzReadTruth(f *testing.F) {
	f.Add(`{"campaign":"a","kind":"k","variant":"fast","role":"attacker","entity":"ip:192.0.2.1","tenant":"shop","from":"2026-01-01T00:00:00Z","to":"2026-01-01T00:01:00Z","events":3}`)
	f.Add(`{"kind":"carrier_nat","role":"innocent","entity":"ip:2001:db8::1","from":"2026-01-01T00:00:00Z","to":"2026-01-02T00:00:00Z"}`)
	f.Add(`{"campaign":"a","kind":"k","role":"victim","entity":"token:jti-7","from":"2026-01-01T00:00:00Z","to":"2026-01-01T00:01:00Z","stays":true}`)
	f.Add(`{"kind":"outage","role":"incident","entity":"tenant:shop","from":"2026-01-01T00:00:00+02:00","to":"2026-01-02T00:00:00Z"}` + "\n\n{")
	f.Fuzz(func(t *testing.T, text string) {
		truth, err := ReadTruth(strings.NewReader(text))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := truth.Write(&b); err != nil {
			return // a year that RFC 3339 cannot express
		}
		again, err := ReadTruth(&b)
		if err != nil || !reflect.DeepEqual(again, truth) {
			t.Fatalf("%q: %+v, then %+v, %v", text, truth, again, err)
		}
	})
}

func TestInnocentsAndIncidentsAreNoCampaigns(t *testing.T) {
	const line = `{"campaign":"c","kind":"k","role":"ROLE","entity":"ip:192.0.2.1","from":"2026-01-01T00:00:00Z","to":"2026-01-01T00:01:00Z"}`
	for role, want := range map[Role]int{Attacker: 1, Victim: 1, Shared: 1, Group: 1, Innocent: 0, Incident: 0} {
		truth, err := ReadTruth(strings.NewReader(strings.Replace(line, "ROLE", string(role), 1)))
		if err != nil {
			t.Fatal(err)
		}
		if len(truth.Campaigns) != want || len(truth.Rows) != 1 {
			t.Errorf("%s: %d campaigns of %d rows, want %d", role, len(truth.Campaigns), len(truth.Rows), want)
		}
	}
}

// TestEntitiesAreReadAsEventsHaveThem, however people spell them.
func TestEntitiesAreReadAsEventsHaveThem(t *testing.T) {
	const line = `{"kind":"k","role":"innocent","entity":"ENTITY","from":"2026-01-01T00:00:00Z","to":"2026-01-01T00:01:00Z"}`
	for entity, want := range map[string]string{
		"ip:2001:DB8:1:2::7": "2001:db8:1:2::/64", "ip:2001:db8:1:2::7/64": "2001:db8:1:2::/64", "ip:2001:db8:1:2::7/128": "2001:db8:1:2::/64",
		"ip:192.0.2.1/32": "192.0.2.1", "ip:::ffff:192.0.2.1": "192.0.2.1", "net:192.0.2.9/24": "192.0.2.0/24", "net:192.0.2.9": "192.0.2.0/24",
		"net16:192.0.2.9/16": "192.0.0.0/16", "asn:AS64500": "64500", "asn:64500": "64500", "country:de": "DE",
	} {
		truth, err := ReadTruth(strings.NewReader(strings.Replace(line, "ENTITY", entity, 1)))
		if err != nil || truth.Rows[0].Entity.Key != want {
			t.Errorf("%s: %v, %+v; want %s", entity, err, truth, want)
		}
	}
}

// TestTheEventsOfACampaignAreThoseOfAKind of entity together: no event has two of one.
func TestTheEventsOfACampaignAreThoseOfAKind(t *testing.T) {
	var text strings.Builder
	for _, row := range []struct {
		role, entity string
		events       int
	}{{"attacker", "ip:192.0.2.1", 75}, {"attacker", "ip:192.0.2.2", 60}, {"attacker", "ip:192.0.2.3", 35}, {"shared", "ip:192.0.2.3", 35}, {"victim", "account:ann", 80}, {"attacker", "token:jti-7", 160}, {"attacker", "token:f-1", 160}, {"group", "asn:64500", 75}} {
		fmt.Fprintf(&text, `{"campaign":"a","kind":"k","role":%q,"entity":%q,"from":"2026-01-01T00:00:00Z","to":"2026-01-01T00:01:00Z","events":%d}`+"\n", row.role, row.entity, row.events)
	}
	truth, err := ReadTruth(strings.NewReader(text.String()))
	if err != nil || truth.Campaigns[0].Events != 170 {
		t.Errorf("%v: %+v, want 170 events", err, truth)
	}
}
