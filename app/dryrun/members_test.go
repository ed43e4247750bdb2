package dryrun

import (
	"testing"
	"testing/fstest"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/rules"
)

const campaignScenarios = `scenarios:
  - name: somebody mistypes and gets in, before a list is tried with the same browser
    rules: [credential-campaign-sources-ja4]
    events:
      - {at: 0s, set: {ip: 192.0.2.1, ja4: web, account: ann, auth: failure, status: 401}}
      - {at: 7s, set: {ip: 192.0.2.1, ja4: web, account: ann, auth: success, status: 200}}
      - {at: 5m, every: 10s, repeat: 20, set: {ip: "203.0.{n}.9", ja4: web, account: "user-{n}", auth: failure, status: 401}}
      - {at: 9m, every: 10s, repeat: 20, set: {ip: "203.0.{n}.9", ja4: web, account: "more-{n}", auth: failure, status: 401}}
    expect:
      - {entity: "ja4:web", signals: [{rule: credential-campaign-sources-ja4, weight: 25}]}
      - {entity: "ip:203.0.{n}.9", repeat: 20, signals: [{rule: credential-campaign-sources-ja4, weight: 60, group: "ja4:web"}]}
      - {entity: "ip:192.0.2.1", signals: []}
  - name: a list from one address finds a password, and goes on
    rules: [credential-campaign-sources-ja4]
    events:
      - {at: 0s, every: 10s, repeat: 30, set: {ip: 203.0.113.9, ja4: tool, account: "user-{n}", auth: failure, status: 401}}
      - {at: 301s, set: {ip: 203.0.113.9, ja4: tool, account: ann, auth: success, status: 200}}
      - {at: 302s, every: 10s, repeat: 20, set: {ip: 203.0.113.9, ja4: tool, account: "more-{n}", auth: failure, status: 401}}
    expect:
      - {entity: "ja4:tool", signals: [{rule: credential-campaign-sources-ja4, weight: 25}]}
      - {entity: "ip:203.0.113.9", signals: [{rule: credential-campaign-sources-ja4, weight: 60, group: "ja4:tool"}]}
  - name: one password is guessed in the morning, and again in the evening
    rules: [login-failures-sources-account]
    events:
      - {at: 0s, every: 20s, repeat: 15, set: {ip: "203.0.{n}.9", account: ann, auth: failure, status: 401}}
      - {at: 9h, every: 20s, repeat: 3, set: {ip: "198.51.100.{n}", account: ann, auth: failure, status: 401}}
    expect:
      - {entity: "account:ann", signals: [{rule: login-failures-sources-account, weight: 20, times: 2}]}
      - {entity: "ip:203.0.{n}.9", repeat: 12, signals: [{rule: login-failures-sources-account, weight: 60, times: 1, group: "account:ann"}]}
      - {entity: "ip:198.51.100.1", signals: [{rule: login-failures-sources-account, weight: 60, times: 1, group: "account:ann"}]}
`

// A campaign that copies a browser's fingerprint shares its group with people, of whom
// some mistype. Addresses of the morning are not told in the evening.
func TestMembersAreThoseWhoTakePartNow(t *testing.T) {
	set, err := rules.Default(detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	cases, err := rules.LoadTests(fstest.MapFS{"s.yaml": {Data: []byte(campaignScenarios)}}, set)
	if err != nil {
		t.Fatal(err)
	}
	results, err := RunTests(set, cases)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		for _, p := range r.Problems {
			t.Errorf("%s: %s", r.Test.Name, p)
		}
	}
}
