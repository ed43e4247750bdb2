package evaluate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode/utf8"

	"github.com/weirdev/weir/app/traffic"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// handRules fire at the third failure of an address and of an account. The rule for
// addresses also reports the accounts that were tried.
const handRules = `rules:
  - id: address
    title: address
    entity: ip
    when: auth == "failure"
    sliding_window: {window: 10m, cooldown: 10m, tiers: [{at: 3, weight: 90}]}
    members: {entity: account, weight: 20}
    signal: {category: account_takeover, reason: many, half_life: 30m}
    phase: enforce
  - id: account
    title: account
    entity: account
    when: auth == "failure"
    sliding_window: {window: 10m, cooldown: 10m, tiers: [{at: 3, weight: 45}]}
    signal: {category: account_takeover, reason: many, half_life: 30m}
    phase: soft
`

func handSet(t *testing.T, text string) *rules.Set {
	t.Helper()
	set, err := rules.Load(fstest.MapFS{"hand.yaml": {Data: []byte(text)}}, detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// hand emits traffic written by hand, and returns the truth about it:
//
//   - Campaign one, fast: 192.0.2.1 tries u1, u2 and u3 within 20 s. The rule for
//     addresses finds it at the third event, 20 s after the first, and reports the accounts.
//   - Campaign two, slow: 192.0.2.2 tries u4 three times, from 1 m on, every 2 minutes.
//     The third event, after 240 s, makes both rules fire.
//   - Campaign three, slow: one failure of u5 from 192.0.2.3. It is missed.
//   - An innocent user mistypes three times, at an address of his own. Both rules accuse him.
//   - In addition, 20 innocent requests, and a record that is not an event.
func hand(emit func([]byte) error) (*traffic.Truth, error) {
	var lines []struct {
		at   int
		text string
	}
	add := func(at int, ip, account, auth string) {
		id := len(lines)
		lines = append(lines, struct {
			at   int
			text string
		}{at, fmt.Sprintf(`{"id":"%d","time":%q,"ip":%q,"account":%q,"auth":%q,"status":401}`,
			id, start.Add(time.Duration(at)*time.Second).Format(time.RFC3339), ip, account, auth)})
	}
	for i := range 3 {
		add(10*i, "192.0.2.1", fmt.Sprintf("u%d", 1+i), "failure")
		add(60+120*i, "192.0.2.2", "u4", "failure")
		add(400+10*i, "192.0.2.9", "ann", "failure")
	}
	add(500, "192.0.2.3", "u5", "failure")
	for i := range 20 {
		add(600+i, "192.0.2.10", "bob", "success")
	}
	slices.SortStableFunc(lines, func(a, b struct {
		at   int
		text string
	}) int {
		return a.at - b.at
	})
	for _, l := range lines {
		if err := emit([]byte(l.text)); err != nil {
			return nil, err
		}
	}
	if err := emit([]byte("no event")); err != nil {
		return nil, err
	}
	row := func(campaign, variant string, role traffic.Role, k facet.Kind, key string, from, to, n int) traffic.Row {
		return traffic.Row{
			Campaign: campaign, Kind: "guessing", Variant: variant, Role: role, Entity: facet.Entity{Kind: k, Key: key},
			From: start.Add(time.Duration(from) * time.Second).UnixMilli(), To: start.Add(time.Duration(to) * time.Second).UnixMilli(), Events: n,
		}
	}
	truth := &traffic.Truth{Rows: []traffic.Row{
		row("one", "fast", traffic.Attacker, facet.IP, "192.0.2.1", 0, 20, 3), row("one", "fast", traffic.Victim, facet.Account, "u1", 0, 0, 1),
		row("one", "fast", traffic.Victim, facet.Account, "u2", 10, 10, 1), row("one", "fast", traffic.Victim, facet.Account, "u3", 20, 20, 1),
		row("two", "slow", traffic.Shared, facet.IP, "192.0.2.2", 60, 300, 3), row("two", "slow", traffic.Victim, facet.Account, "u4", 60, 300, 3),
		row("three", "slow", traffic.Attacker, facet.IP, "192.0.2.3", 500, 500, 1), row("three", "slow", traffic.Victim, facet.Account, "u5", 500, 500, 1),
		{Kind: "forgetful", Role: traffic.Innocent, Entity: facet.Entity{Kind: facet.Account, Key: "ann"}, From: start.UnixMilli(), To: start.Add(time.Hour).UnixMilli()},
	}}
	var b bytes.Buffer
	if err := truth.Write(&b); err != nil {
		return nil, err
	}
	return traffic.ReadTruth(&b) // the truth about the campaigns
}

func measured(t *testing.T, texts ...string) *Report {
	t.Helper()
	o := Defaults()
	o.Source, o.Grace = hand, time.Minute
	return measuredWith(t, o, texts...)
}

func measuredWith(t *testing.T, o Options, texts ...string) *Report {
	t.Helper()
	var told int64
	o.Progress = func(events int64, latest time.Time) {
		if told = events; latest.Before(start) {
			t.Errorf("it says that it is at %v", latest)
		}
	}
	for i, text := range texts {
		o.Candidates = append(o.Candidates, Candidate{fmt.Sprintf("set%d", i), handSet(t, text)})
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if told != r.Events {
		t.Errorf("it said %d events of %d", told, r.Events)
	}
	return r
}

// TestByHand checks every figure against values that were calculated by hand.
func TestByHand(t *testing.T) {
	r := measured(t, handRules)
	if r.Events != 30 || r.Clean != 23 || r.Unread != 1 || r.Campaigns != 3 {
		t.Errorf("%d events, %d clean, %d unread, %d campaigns", r.Events, r.Clean, r.Unread, r.Campaigns)
	}
	x := &r.Results[0]
	// Campaign one: the address and its three accounts. Campaign two: the address,
	// and its account as a member and by its own rule. Ann: the same three.
	if x.Signals != 10 || x.False != 3 {
		t.Errorf("%d signals, %d false; 10 and 3 were expected", x.Signals, x.False)
	}
	want := Measure{
		Campaigns: 3, Caught: 2, Named: 1, VictimOnly: 0, Acted: 2, ActedOn: 1, Strong: 1,
		Recall: 2. / 3, Precision: pointer(7. / 10), FirstSignal: pointer(20.), FirstAction: pointer(20.),
	}
	same(t, "all", x.Measure, want)
	if len(x.Kinds) != 1 || x.Kinds[0].Kind != "guessing" || len(x.Kinds[0].Variants) != 2 {
		t.Fatalf("kinds %+v", x.Kinds)
	}
	same(t, "guessing", x.Kinds[0].Measure, want)
	same(t, "fast", x.Kinds[0].Variants[0].Measure, Measure{
		// Only the rule for addresses found it: with 4 signals about it, and 2
		// false ones.
		Campaigns: 1, Caught: 1, Named: 1, Acted: 1, ActedOn: 1, Strong: 1, Recall: 1, Precision: pointer(4. / 6), FirstSignal: pointer(20.), FirstAction: pointer(20.),
	})
	same(t, "slow", x.Kinds[0].Variants[1].Measure, Measure{
		// Both rules found one campaign, with 3 signals; together they have 3 false
		// ones.
		Campaigns: 2, Caught: 1, Acted: 1, Recall: 0.5, Precision: pointer(0.5), FirstSignal: pointer(240.), FirstAction: pointer(240.),
	})
	if near := math.Abs(x.FalsePerM - 3e6/23); near > 1e-6 {
		t.Errorf("%v false signals per million", x.FalsePerM)
	}
	// A rule in phase enforce acts on the address, and one in phase soft on the
	// account.
	if x.Wrong != 2 || x.WrongEnforced != 1 || math.Abs(x.WrongPerM-2e6/23) > 1e-6 {
		t.Errorf("%d innocent entities acted on, %d enforced, %v per million", x.Wrong, x.WrongEnforced, x.WrongPerM)
	}
	var acted []string
	for _, w := range x.Innocents {
		acted = append(acted, fmt.Sprint(w.Entity, " ", w.Why, " ", w.Time.Sub(start), " ", w.Enforced, " ", w.Rules))
	}
	if want := []string{"account:ann forgetful 7m0s false [account address]", "ip:192.0.2.9  7m0s true [address]"}; !slices.Equal(acted, want) {
		t.Errorf("innocents acted on %q, want %q", acted, want)
	}
	byRule := map[string]Rule{}
	for _, rule := range x.Rules {
		byRule[rule.Rule] = rule
	}
	if got := byRule["address"]; got.Signals != 8 || got.Attackers != 1 || got.Victims != 4 || got.Others != 1 || got.False != 2 || got.Found != 2 || got.First+byRule["account"].First != 2 {
		t.Errorf("rule of addresses: %+v", got)
	}
	if got := byRule["address"].Matching; got != 10 {
		t.Errorf("%d events match the rule of addresses, want 10", got)
	}
	if got := byRule["account"]; got.Signals != 2 || got.Victims != 1 || got.False != 1 || *got.Precision != 0.5 || got.Found != 1 {
		t.Errorf("rule of accounts: %+v", got)
	}
	if len(x.Missed) != 1 || x.Missed[0].Campaign != "three" {
		t.Errorf("missed: %+v", x.Missed)
	}
	causes := fmt.Sprint(x.Causes)
	if want := "[{account account forgetful 1 1 ann} {address account forgetful 1 1 ann} {address ip  1 1 192.0.2.9}]"; causes != want {
		t.Errorf("causes %s, want %s", causes, want)
	}
	if x.NanosAnEvent <= 0 || x.Entities == 0 || x.BytesAnEntity <= 0 {
		t.Errorf("cost: %v ns, %d entities of %v bytes", x.NanosAnEvent, x.Entities, x.BytesAnEntity)
	}
}

func pointer(v float64) *float64 { return &v }

func same(t *testing.T, what string, got, want Measure) {
	t.Helper()
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if !bytes.Equal(a, b) {
		t.Errorf("%s:\n got %s\nwant %s", what, a, b)
	}
}

// TestATruthMayLeaveEventsOut: its campaigns still count, and are found.
func TestATruthMayLeaveEventsOut(t *testing.T) {
	with := measured(t, handRules)
	o := Defaults()
	o.Grace, o.Candidates = time.Minute, []Candidate{{"set0", handSet(t, handRules)}}
	o.Source = func(emit func([]byte) error) (*traffic.Truth, error) {
		truth, err := hand(emit)
		if err != nil {
			return nil, err
		}
		for i := range truth.Rows {
			truth.Rows[i].Events = 0
		}
		var b bytes.Buffer
		if err := truth.Write(&b); err != nil {
			return nil, err
		}
		if strings.Contains(b.String(), `"events"`) {
			t.Error("the truth has events")
		}
		return traffic.ReadTruth(&b)
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Campaigns != 3 || r.Clean != r.Events {
		t.Errorf("%d campaigns, %d of %d events clean", r.Campaigns, r.Clean, r.Events)
	}
	same(t, "without events", r.Results[0].Measure, with.Results[0].Measure)
	if got, want := r.Results[0].Missed, with.Results[0].Missed; len(got) != len(want) || got[0].Campaign != want[0].Campaign {
		t.Errorf("missed %v, want %v", got, want)
	}
}

// TestATruthWithNamesThatNoEventHas is not passed over in silence.
func TestATruthWithNamesThatNoEventHas(t *testing.T) {
	o := Defaults()
	o.Grace = time.Minute
	o.Given, _ = hand(func([]byte) error { return nil })
	o.Source = func(emit func([]byte) error) (*traffic.Truth, error) {
		_, err := hand(emit)
		return o.Given, err
	}
	if r := measuredWith(t, o, handRules); r.Unseen != nil {
		t.Errorf("every entity is in an event: %+v", r.Unseen)
	}
	row := func(tenant, key, campaign string) traffic.Row {
		return traffic.Row{Campaign: campaign, Kind: "guessing", Role: traffic.Attacker, Entity: facet.Entity{Kind: facet.Account, Tenant: tenant, Key: key}, From: 1, To: 2}
	}
	o.Given.Campaigns = append(o.Given.Campaigns, traffic.Campaign{Name: "four", Kind: "guessing", From: 1, To: 2})
	for i := range 6 {
		o.Given.Rows = append(o.Given.Rows, row("", fmt.Sprintf("nobody%d", i), "four"), row("", fmt.Sprintf("nobody%d", i), "four"))
	}
	o.Given.Rows = append([]traffic.Row{row("shop", "u5", "three")}, o.Given.Rows...)
	r := measuredWith(t, o, handRules)
	if u := r.Unseen; u == nil || u.Entities != 7 || u.Campaigns != 1 || u.Names[0] != "four" || u.First[0].Other == nil || *u.First[0].Other != "" || u.First[1].Entity != "account:nobody0" || u.First[1].Other != nil {
		t.Fatalf("%+v", u)
	}
	var b bytes.Buffer
	if err := r.Write(&b, Table{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"no event has 7 entities of the truth\n  account:u5 (tenant shop; events have it without a tenant)\n  account:nobody0\n", "  account:nobody3\n  and 2 more\n",
		"no event has any entity of 1 campaign, counted as missed: four\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, b.String())
		}
	}
}

// TestATokenIsItsFamily where events name one.
func TestATokenIsItsFamily(t *testing.T) {
	row := func(key string) traffic.Row {
		return traffic.Row{Kind: "k", Role: traffic.Innocent, Entity: facet.Entity{Kind: facet.Token, Key: key}}
	}
	truth := &traffic.Truth{Rows: []traffic.Row{row("jti-7"), row("f-1"), row("jti-8")}}
	l := newLookout(truth)
	var e event.Event
	e.SetText(event.Token, "jti-7")
	e.SetText(event.TokenFamily, "f-1")
	l.see(&e)
	if u := l.unseen(truth); u.Entities != 2 || !u.First[0].Family || u.First[1].Entity != "token:jti-8" || u.First[1].Family {
		t.Errorf("%+v", u)
	}
}

// TestTheGraceEnds: a signal about a campaign's entity long after it is false.
func TestRoutesWithoutAClassAreSaid(t *testing.T) {
	o := Defaults()
	o.Grace = time.Minute
	o.Given, _ = hand(func([]byte) error { return nil })
	unknown := 0
	o.Source = func(emit func([]byte) error) (*traffic.Truth, error) {
		for i := range 20 {
			route := "/login"
			if i < unknown {
				route = "/frobnicate"
			}
			for _, method := range []string{"GET", "POST"} { // reading says nothing
				record := fmt.Sprintf(`{"id":"%s%d","time":%d,"method":%q,"route":%q}`, method, i, start.UnixMilli(), method, route)
				if err := emit([]byte(record)); err != nil {
					return nil, err
				}
			}
		}
		return o.Given, nil
	}
	for _, c := range []struct {
		unknown int
		want    string
	}{
		{2, ""},
		{3, "15 % of writing requests (POST, PUT, PATCH, DELETE) are on routes without a class; weir rules routes shows them\n"},
	} {
		unknown = c.unknown
		r := measuredWith(t, o, handRules)
		if one := r.Results[0]; one.Writes != 20 || one.Unclassed != int64(unknown) {
			t.Errorf("%d of %d writing requests without a class, want %d", one.Unclassed, one.Writes, unknown)
		}
		var b bytes.Buffer
		if err := r.Write(&b, Table{}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(b.String(), "without a class"); got != (c.want != "") || !strings.Contains(b.String(), c.want) {
			t.Errorf("with %d, the table is\n%s", unknown, b.String())
		}
	}
	var b bytes.Buffer
	r := measuredWith(t, o, handRules, strings.Replace(handRules, "at: 3", "at: 4", 1))
	if err := r.Write(&b, Table{}); err != nil || strings.Count(b.String(), "without a class with ") != 2 {
		t.Errorf("of two sets, the table is\n%s", b.String())
	}
}

func TestTheGraceEnds(t *testing.T) {
	truth := &traffic.Truth{
		Campaigns: []traffic.Campaign{{Name: "one", Kind: "guessing", From: 0, To: 1000, Events: 1}},
		Rows:      []traffic.Row{{Campaign: "one", Kind: "guessing", Role: traffic.Attacker, Entity: facet.Entity{Kind: facet.IP, Key: "a"}, From: 0, To: 1000}},
	}
	for _, c := range []struct {
		at   int64
		want traffic.Role
	}{{-1, ""}, {0, traffic.Attacker}, {1000, traffic.Attacker}, {61_000, traffic.Attacker}, {61_001, ""}} {
		j := newJudge(truth, 60_000)
		if got := j.signal(&signal{entity: facet.Entity{Kind: facet.IP, Key: "a"}, time: c.at}); got != c.want {
			t.Errorf("at %d: %q, want %q", c.at, got, c.want)
		}
	}
}

// TestWhatStaysBad has no end.
func TestWhatStaysBad(t *testing.T) {
	token := facet.Entity{Kind: facet.Token, Key: "a"}
	truth := &traffic.Truth{
		Campaigns: []traffic.Campaign{{Name: "one", Kind: "theft", From: 10, To: 1000, Events: 1}},
		Rows:      []traffic.Row{{Campaign: "one", Kind: "theft", Role: traffic.Victim, Entity: token, From: 10, To: 1000, Stays: true}},
	}
	for at, want := range map[int64]traffic.Role{9: "", 10: traffic.Victim, 90_000_000_000: traffic.Victim} {
		j := newJudge(truth, 60_000)
		if got := j.signal(&signal{entity: token, time: at}); got != want {
			t.Errorf("at %d: %q, want %q", at, got, want)
		}
		if wrong := j.act(token, act{time: at, action: policy.StepUp}); wrong != (want == "") {
			t.Errorf("at %d an action is wrong: %v", at, wrong)
		}
	}
}

// TestAnEventInACampaignIsRight: an owner who comes back a day later shows where the
// thief was. That is no error, but the owner is not to be acted on.
func TestAnEventInACampaignIsRight(t *testing.T) {
	ann := facet.Entity{Kind: facet.Account, Key: "ann"}
	truth := &traffic.Truth{Rows: []traffic.Row{{Campaign: "one", Kind: "k", Role: traffic.Victim, Entity: ann, From: 1000, To: 2000}}, Campaigns: []traffic.Campaign{{Name: "one", Kind: "k", Events: 1}}}
	named := func(at int64, group facet.Entity) []int64 {
		return ownEvents(&score.Signal{Entity: ann, Group: group, Evidence: []facet.Evidence{facet.Number("speed_kmh", 1500), facet.EventAt("from_event", 0, 7, at)}})
	}
	for _, c := range []struct {
		events []int64
		want   traffic.Role
	}{
		{named(999, facet.Entity{}), ""}, {named(1000, facet.Entity{}), traffic.Victim}, {named(2000, facet.Entity{}), traffic.Victim}, {named(2001, facet.Entity{}), ""},
		{named(1500, facet.Entity{Kind: facet.Net, Key: "192.0.2.0/24"}), ""}, {nil, ""},
	} {
		j := newJudge(truth, 60_000)
		if got := j.signal(&signal{rule: "r", entity: ann, time: 90_000_000, events: c.events}); got != c.want || (j.found[0].first != 0) != (got != "") {
			t.Errorf("%v: %q, want %q", c.events, got, c.want)
		}
		if !j.act(ann, act{time: 90_000_000, action: policy.StepUp}) {
			t.Errorf("%v: an action on the owner is right", c.events)
		}
	}
}

// TestAGroupIsNotFound: a signal about a network alone does not find a campaign.
func TestAGroupIsNotFound(t *testing.T) {
	net := facet.Entity{Kind: facet.Net, Key: "192.0.2.0/24"}
	j := newJudge(&traffic.Truth{
		Campaigns: []traffic.Campaign{{Name: "one", Events: 1}},
		Rows:      []traffic.Row{{Campaign: "one", Role: traffic.Group, Entity: net, To: 1000}},
	}, 0)
	if role := j.signal(&signal{rule: "r", entity: net, time: 5}); role != traffic.Group || j.found[0].first != 0 || !j.found[0].roles[traffic.Group] {
		t.Errorf("role %q, found %+v", role, j.found[0])
	}
	j.signal(&signal{rule: "s", entity: net, time: 6})
	j.signal(&signal{rule: "s", entity: net, time: 7})
	if got, want := fmt.Sprint(j.found[0].namedGroups()), "[{net:192.0.2.0/24 s 2} {net:192.0.2.0/24 r 1}]"; got != want {
		t.Errorf("groups %s, want %s", got, want)
	}
	r := Report{Results: []Result{{Missed: []Miss{{Campaign: "one", Groups: j.found[0].namedGroups()}, {Campaign: "two"}}}}}
	var b bytes.Buffer
	if err := r.Write(&b, Table{Misses: true}); err != nil || !strings.Contains(b.String(), "only net:192.0.2.0/24 by s, and 1 more\n") || strings.Count(b.String(), "only net") != 1 {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// TestAnIncidentWithACampaignInIt: a route that fails is one that somebody abuses, too.
func TestAnIncidentWithACampaignInIt(t *testing.T) {
	route := facet.Entity{Kind: facet.Route, Key: "/payments"}
	j := newJudge(&traffic.Truth{
		Campaigns: []traffic.Campaign{{Name: "one", Events: 1}},
		Rows: []traffic.Row{
			{Campaign: "one", Kind: "carding", Role: traffic.Group, Entity: route, To: 1000},
			{Kind: "payment_outage", Role: traffic.Incident, Entity: route, From: 10, To: 20},
		},
	}, 0)
	for at, want := range map[int64]string{5: "", 15: "payment_outage", 25: ""} {
		got := ""
		j.incidents(&signal{rule: "r", entity: route, time: at}, func(kind string) { got += kind })
		if got != want {
			t.Errorf("at %d: %q, want %q", at, got, want)
		}
	}
}

func TestBars(t *testing.T) {
	r := measured(t, handRules)
	for _, c := range []struct {
		bars Bars
		want int
	}{
		{Bars{False: -1, Wrong: -1}, 0},
		{Bars{Recall: 0.66, Precision: 0.7, False: 140_000, Wrong: 1}, 0},
		{Bars{Recall: 0.67, False: -1, Wrong: -1}, 1},
		{Bars{Precision: 0.71, False: -1, Wrong: -1}, 1},
		{Bars{False: 100, Wrong: -1}, 1},
		{Bars{False: -1, Wrong: 0}, 1},
		{Bars{Recall: 1, Precision: 1, False: 0, Wrong: 0}, 4},
	} {
		if short := r.Short(c.bars); len(short) != c.want {
			t.Errorf("%+v: %q", c.bars, short)
		}
	}
}

// TestTwoSetsStandBelowEachOther: differences are shown with an arrow.
func TestTwoSetsStandBelowEachOther(t *testing.T) {
	r := measured(t, handRules, strings.Replace(handRules, "phase: enforce", "phase: observe", 1))
	if a, b := r.Results[0], r.Results[1]; a.Signals != b.Signals || b.Acted != 1 || b.WrongEnforced != 0 || b.Strong != 0 {
		t.Errorf("%+v", b)
	}
	var b bytes.Buffer
	if err := r.Write(&b, Table{Variants: true, Misses: true, Innocents: true}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"→                           set1\n", "→                           1, 0 on the attacker", "\n→                                             1      0                              4.0m\n", "the same figures as in set0: 1 rule\n", "missed by set1", "innocents acted on by set1", "forgetful  account", "  slow", "three"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, b.String())
		}
	}
}

// TestTheTableFitsATerminal of 120 columns, with names as long as those of the built-in
// rules, and two sets. Rules that no event matched are named apart.
func TestTheTableFitsATerminal(t *testing.T) {
	const id = "credential-campaign-accounts-slow-ja4" // the longest
	measure := func(n int) Measure {
		return Measure{Campaigns: 24, Caught: n, Named: n, VictimOnly: n, Acted: n, Strong: n, Recall: 1, Precision: pointer(float64(n) / 100), FirstSignal: pointer(600.), FirstAction: pointer(float64(n))}
	}
	result := func(name string, n int) Result {
		r := Result{Name: name, Measure: measure(n), Kinds: []Kind{{Kind: "residential_proxies", Measure: measure(n), Variants: []Variant{{"fast-distributed-careless", measure(n)}}}}}
		r.Rules = []Rule{{Rule: id, Phase: "enforce", Matching: 9, Signals: 1000 * n, Attackers: 100 * n, Victims: n, Found: n, Precision: pointer(1.)}, {Rule: "quiet", Phase: "soft", Matching: 1}}
		for i := range 20 {
			r.Rules = append(r.Rules, Rule{Rule: fmt.Sprint(id, i), Phase: "observe"})
		}
		return r
	}
	r := Report{Results: []Result{result("default", 20), result("./rules-of-mine", 24)}}
	r.Results[1].Rules = append(r.Results[1].Rules[1:], Rule{Rule: "new", Phase: "soft", Matching: 3}, Rule{Rule: "new-one", Phase: "soft"})
	r.Results[1].Rules[0].Signals = 7
	var b bytes.Buffer
	if err := r.Write(&b, Table{Variants: true}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(line) - 1; n > 120 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, want := range []string{
		"no event matched 20 rules, of which this traffic says nothing: " + id + "0,", "no event matched 1 rule, of which this traffic says nothing: new-one\n",
		"only in default: " + id + "\n", "the same figures as in default: 20 rules\n", " soft  7 (+7) ",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), id+"3  ") {
		t.Error("a rule that no event matched has a row")
	}
}

// TestNamesDoNothingToATerminal: clients choose them.
func TestNamesDoNothingToATerminal(t *testing.T) {
	const name = "ann\u009b31m\u202e"
	r := Report{Results: []Result{{
		Causes:    []Cause{{Rule: "address", Entity: "account", Example: name}},
		Innocents: []Wrong{{Entity: name}}, Wrong: 1, Missed: []Miss{{Groups: []Named{{Entity: name}}}},
	}}}
	var b bytes.Buffer
	if err := r.Write(&b, Table{Misses: true, Innocents: true}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), `ann\u009b31m\u202e`); n != 3 || strings.ContainsAny(b.String(), "\u009b\u202e") {
		t.Errorf("%d names of 3 are escaped: %q", n, b.String())
	}
}

// TestThePageNeedsNoNetwork, and that it has the same content as the table.
func TestThePageNeedsNoNetwork(t *testing.T) {
	var b bytes.Buffer
	if err := measured(t, handRules).WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, bad := range []string{"http://", "https://", "src=", "href=", "<script", "@import", "url("} {
		if strings.Contains(page, bad) {
			t.Errorf("the page holds %s", bad)
		}
	}
	for _, want := range []string{"<svg", "guessing", "66.7 %", "forgetful", "192.0.2.9"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %s", want)
		}
	}
}

func TestJSONHoldsTheReport(t *testing.T) {
	var b bytes.Buffer
	r := measured(t, handRules)
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || back.V != 1 || back.Results[0].Recall != r.Results[0].Recall {
		t.Errorf("%v: %+v", err, back)
	}
}

func TestNothingToMeasure(t *testing.T) {
	o := Defaults()
	if _, err := Run(t.Context(), o); err == nil {
		t.Error("no rules and no events were measured")
	}
	o.Candidates = []Candidate{{"a", handSet(t, handRules)}}
	o.Source = func(emit func([]byte) error) (*traffic.Truth, error) {
		return &traffic.Truth{}, emit([]byte("no event"))
	}
	if _, err := Run(t.Context(), o); !errors.Is(err, ErrNoEvents) {
		t.Errorf("records that are no events: %v", err)
	}
	broken := errors.New("broken")
	o.Source = func(func([]byte) error) (*traffic.Truth, error) { return nil, broken }
	if _, err := Run(t.Context(), o); !errors.Is(err, broken) {
		t.Errorf("a source that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o.Source = Generated(traffic.Defaults())
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("a run that was cancelled: %v", err)
	}
}

// TestInventedTrafficIsJudged: the built-in rules find fast stuffing from one
// address, and accuse hardly anybody.
func TestInventedTrafficIsJudged(t *testing.T) {
	c := traffic.Defaults()
	c.Rate, c.Duration, c.Kinds, c.Each = 2, 8*time.Hour, []string{"credential_stuffing"}, 1
	if testkit.Raced {
		c.Rate = 0.3 // as many goroutines for fewer people
	}
	set, err := rules.Default(detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	o := Defaults()
	o.Candidates, o.Source, o.Places = []Candidate{{"default", set}}, Generated(c), traffic.NewPlaces()
	a, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range a.Results[0].Kinds[0].Variants {
		if v.Variant == "fast-single-careless" && (v.Named != 1 || v.ActedOn != 1 || *v.FirstSignal > 120) {
			t.Errorf("%+v", v)
		}
	}
	o.Partitions = 1
	b, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	// Comparisons with cohorts depend on the entities of a partition.
	for i, r := range a.Results[0].Rules {
		other := b.Results[0].Rules[i]
		if set.Rule(r.Rule).Spec.Keeps().Cohort.Bytes == 0 && (r.Rule != other.Rule || r.Signals != other.Signals) {
			t.Errorf("with 8 partitions %s has %d signals; with one %s has %d", r.Rule, r.Signals, other.Rule, other.Signals)
		}
	}
	if a.Results[0].Caught != b.Results[0].Caught {
		t.Errorf("with 8 partitions %d are caught; with one %d", a.Results[0].Caught, b.Results[0].Caught)
	}
}
