package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/dryrun"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/geo/geowriter"
	"github.com/weirdev/weir/internal/population"
	"github.com/weirdev/weir/proof/testkit"
)

// TestTheRulesFindEveryAttack runs the demonstration's events without servers.
func TestTheRulesFindEveryAttack(t *testing.T) {
	if testkit.Raced {
		t.Skip("it shares nothing between goroutines")
	}
	set, err := app.LoadRules("")
	if err != nil {
		t.Fatal(err)
	}
	seeds := uint64(4)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		begin := time.UnixMilli(1_795_900_000_000 + int64(seed)*13_000) // anywhere in a minute
		people := population.New(population.Config{Seed: seed, People: Defaults().People, Rate: historyRate, Start: begin.Add(-historyLength).UnixMilli(), Run: "t"})
		config, err := geowriter.Write(t.TempDir(), people.Networks())
		if err != nil {
			t.Fatal(err)
		}
		places, err := geo.Open(config, slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		o := dryrun.Defaults(set)
		o.Places, o.Partitions, o.Detect.Lateness = places.Current(), app.TopicDefaults().FacetPartitions, lateness
		run, err := dryrun.New(o)
		if err != nil {
			t.Fatal(err)
		}
		w := &watch{d: &demo{out: io.Discard}, people: people, rules: set}
		until := func(end time.Time) {
			people.Until(end.UnixMilli(), func(e *event.Event, _ int) {
				if _, _, _, err := run.Record(e.AppendJSON(nil)); err != nil {
					t.Fatal(err)
				}
			})
		}
		w.launch(begin, func(a attack) bool { return a.starts < 0 })
		until(begin)
		people.SetRate(Defaults().Rate)
		w.launch(begin, func(a attack) bool { return a.starts >= 0 })
		until(begin.Add(30 * time.Second))
		if err := run.Pass(begin.Add(40 * time.Second).UnixMilli()); err != nil {
			t.Fatal(err)
		}
		attackers := map[string]bool{}
		for i, c := range w.campaigns {
			found := 0
			for _, e := range people.Campaigns()[i].Attackers {
				attackers[e.Kind.String()+e.Key] = true
				for _, s := range run.Signals {
					if s.Entity == e && s.Weight >= 60 && slices.ContainsFunc(set.Rules, detects(s.Rule, c.detector, e.Kind)) {
						found++
					}
				}
			}
			if found == 0 {
				t.Errorf("seed %d: no rule of %s finds %s", seed, c.detector, c.title)
			}
			if e, _, ok := people.Beside(i); !ok || attackers[e.Kind.String()+e.Key] {
				t.Errorf("seed %d: beside %s is %v", seed, c.title, e)
			}
		}
		innocent := map[string]bool{}
		for _, e := range people.Innocents() {
			innocent[e.Kind.String()+e.Key] = true
		}
		for _, s := range run.Signals {
			if innocent[s.Entity.Kind.String()+s.Entity.Key] {
				t.Errorf("seed %d: %s says %s of an innocent", seed, s.Rule, fmt.Sprint(s.Entity))
			}
		}
	}
}

// TestPeopleLiveWhereDatabasesSay draws addresses from databases in which half of the
// networks are in Lyon and half in Lima.
func TestPeopleLiveWhereDatabasesSay(t *testing.T) {
	set, err := app.LoadRules("")
	if err != nil {
		t.Fatal(err)
	}
	world := func(hosting string) []geowriter.Network {
		var all []geowriter.Network
		for i := range 256 {
			n := geowriter.Network{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(i)}), 8), Country: "FR", City: "Lyon", Latitude: 45.76, Longitude: 4.83, RadiusKM: 20, ASN: 64500 + uint32(i)}
			switch {
			case i%2 == 1:
				n.Country, n.City, n.Latitude, n.Longitude, n.ASN = "PE", "Lima", -12.05, -77.04, 64496
			case i%16 == 0:
				n.Anonymiser = hosting
			}
			all = append(all, n)
		}
		return all
	}
	open := func(networks []geowriter.Network) *geo.Generation {
		config, err := geowriter.Write(t.TempDir(), networks)
		if err != nil {
			t.Fatal(err)
		}
		db, err := geo.Open(config, slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		return db.Current()
	}
	known := open(world("hosting"))
	places, around, err := drawPlaces(known, set, 1)
	if err != nil {
		t.Fatal(err)
	}
	if around != "Lyon, FR" || len(places.Homes) < 10 || len(places.Carriers) == 0 || len(places.Offices) == 0 {
		t.Errorf("around %s: %+v", around, places)
	}
	for city, list := range map[string][]netip.Prefix{"Lyon": slices.Concat(places.Homes, places.Carriers, places.Offices), "Lima": places.Far} {
		for _, p := range list {
			var at geo.Place
			known.Lookup(p.Addr().Next(), &at)
			if at.City != city || at.Anonymiser != "" || !p.Addr().IsGlobalUnicast() || p.Addr().IsPrivate() {
				t.Errorf("%v, of %+v, is where %s should be", p, at, city)
			}
		}
	}
	var at geo.Place
	if known.Lookup(places.Hosting[0].Addr().Next(), &at); at.Anonymiser != "hosting" {
		t.Errorf("attackers are at %+v", at)
	}
	if _, _, err := drawPlaces(open(world("")), set, 1); !errors.Is(err, errAtlas) {
		t.Errorf("without data centres: %v", err)
	}
	if _, _, err := drawPlaces(open(nil), set, 1); !errors.Is(err, errAtlas) {
		t.Errorf("of an empty world: %v", err)
	}
}

// TestAnAttackInTheHistoryIsLaunchedOnce: on the data of an earlier run it has no
// events, and would count as missed.
func TestAnAttackInTheHistoryIsLaunchedOnce(t *testing.T) {
	for again, want := range map[bool]struct {
		launched int
		said     string
	}{
		false: {1, ""},
		true:  {0, "the history is that of an earlier run, so the attack that begins in it is not launched again: signature mismatch\n"},
	} {
		var out bytes.Buffer
		people := population.New(population.Config{Seed: 1, People: 10, Rate: 1})
		w := &watch{d: &demo{out: &out}, people: people}
		w.launchEarlier(time.Now(), again)
		if len(w.campaigns) != want.launched || len(people.Campaigns()) != want.launched || out.String() != want.said {
			t.Errorf("again %v: %d campaigns, it says %q", again, len(w.campaigns), out.String())
		}
	}
}

func TestCampaignsAreJudged(t *testing.T) {
	stopped := time.Now()
	first := attacks()[0]
	served := answer{Action: "allow"}
	for name, c := range map[string]struct {
		campaign campaign
		want     string
	}{
		"caught":                {campaign{attack: first, start: stopped.Add(-time.Minute), first: stopped}, ""},
		"missed":                {campaign{attack: first, start: stopped.Add(-time.Minute)}, "was not caught within"},
		"no time to be caught":  {campaign{attack: first, start: stopped.Add(-20 * time.Second)}, ""},
		"an innocent is served": {campaign{attack: first, first: stopped, besideAsked: true, besideSays: served}, ""},
		"an innocent is not":    {campaign{attack: first, first: stopped, besideAsked: true, besideSays: answer{Action: "step_up"}}, "is stopped: step_up"},
	} {
		got := missed([]*campaign{&c.campaign}, stopped)
		if (c.want == "") != (len(got) == 0) || len(got) > 0 && !strings.Contains(got[0], c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestAnswersAreOfARulesDetector(t *testing.T) {
	set, err := app.LoadRules("")
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal([]byte(`{"action":"challenge","reasons":[{"rule":"gone"},{"rule":"unusual-order-account"},{"rule":"credential-stuffing-ip"}]}`), &a); err != nil {
		t.Fatal(err)
	}
	for detector, want := range map[string]string{"sliding_window": "credential-stuffing-ip", "sequence_anomaly": "", "impossible_travel": ""} {
		if rule, ok := a.ruleOf(set, detector, facet.IP); rule != want || ok != (want != "") {
			t.Errorf("%s: %s", detector, rule)
		}
	}
	for action, stops := range map[string]bool{"allow": false, "tag": false, "throttle": false, "challenge": true, "step_up": true, "deny": true} {
		if (answer{Action: action}).stops() != stops {
			t.Errorf("%s: %v", action, !stops)
		}
	}
}

func TestEvidenceIsShown(t *testing.T) {
	text := `{"failures":20,"threshold":20,"elapsed_ms":2299,"first_ms":1795952694043,"from":{"latitude_udeg":50940000,"longitude_udeg":6960000,"radius_km":20},` +
		`"from_event":{"partition":0,"offset":1,"time":2},"judged":"others \u001b[31mpass"}`
	got := strings.Join(evidence(json.RawMessage(text), map[string]bool{"failures": true}), "; ")
	if want := `threshold 20; elapsed_ms 2299; from 50.94, 6.96 (give or take 20 km); judged others `; !strings.HasPrefix(got, want) || strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
	for _, text := range []string{"", "{", `{"a"`, "[]", `{"a":[1]}`} {
		if got := evidence(json.RawMessage(text), nil); len(got) > 0 {
			t.Errorf("%s: %q", text, got)
		}
	}
	for _, line := range lines80(strings.Split(strings.Repeat("some words;", 40), ";")) {
		if len(line) > 80-17 {
			t.Errorf("a line of %d", len(line))
		}
	}
}
