package traffic

import (
	"bytes"
	"hash/maphash"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
)

// small is a quiet day with one campaign of every kind and variant.
func small(seed uint64) Config {
	c := Defaults()
	c.Seed, c.Rate, c.Each = seed, 3, 1
	return c
}

// seen is an event of a run.
type seen struct {
	event    event.Event
	campaign int
}

// history runs a world, and checks of each event what must hold of all.
func history(t *testing.T, c Config) (*Truth, []seen) {
	t.Helper()
	var all []seen
	var d format.Decoder
	last := c.Start
	truth, err := Run(c, func(e *event.Event, campaign int) error {
		record := e.AppendJSON(nil)
		s := seen{campaign: campaign}
		if err := d.Decode(record, &s.event); err != nil {
			t.Fatalf("%s: %v", record, err)
		}
		at := s.event.Num(event.Time)
		if at < last || at >= c.Start+c.Duration.Milliseconds() {
			t.Fatalf("an event of %d after one of %d", at, last)
		}
		last = at
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return truth, all
}

func TestTheSameSeedGivesTheSameTraffic(t *testing.T) {
	digest := func(seed uint64) (sum uint64, truth string) {
		var h maphash.Hash
		h.SetSeed(fixed)
		c := small(seed)
		c.Duration = 6 * time.Hour
		got, err := Run(c, func(e *event.Event, _ int) error {
			_, _ = h.Write(e.AppendJSON(nil))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := got.Write(&b); err != nil {
			t.Fatal(err)
		}
		return h.Sum64(), b.String()
	}
	a, aTruth := digest(1)
	b, bTruth := digest(1)
	c, _ := digest(2)
	if a != b || aTruth != bTruth {
		t.Error("the same seed gave different traffic")
	}
	if a == c {
		t.Error("different seeds gave the same traffic")
	}
}

var fixed = maphash.MakeSeed()

// TestCampaignsChangeNobodyElse: innocent people do the same with campaigns and
// without.
func TestCampaignsChangeNobodyElse(t *testing.T) {
	innocent := func(each int) (all []string) {
		c := small(3)
		c.Duration, c.Each = 6*time.Hour, each
		_, events := history(t, c)
		for i := range events {
			if events[i].campaign == Clean {
				e := events[i].event
				for _, f := range []event.Field{event.ID, event.RequestID, event.Gateway} { // are counted over all
					e.Clear(f)
				}
				all = append(all, string(e.AppendJSON(nil)))
			}
		}
		return all
	}
	if !slices.Equal(innocent(0), innocent(1)) {
		t.Error("innocent traffic depends on campaigns")
	}
}

func TestADay(t *testing.T) {
	truth, all := history(t, small(1))
	t.Run("the truth is true", func(t *testing.T) { testTruth(t, truth, all) })
	t.Run("every campaign holds its abuse", func(t *testing.T) { testAbuse(t, truth, all) })
	t.Run("variants differ", func(t *testing.T) { testVariants(t, truth, all) })
	t.Run("nights are quiet", func(t *testing.T) { testNights(t, all) })
}

func TestTheRateIsKept(t *testing.T) {
	c := small(1)
	c.Each, c.Rate, c.Duration = 0, 0.6, 7*24*time.Hour
	_, all := history(t, c)
	want := c.Rate * c.Duration.Seconds()
	if n := float64(len(all)); n < 0.93*want || n > 1.07*want {
		t.Errorf("%.0f events in a week at %v a second, which is %.0f", n, c.Rate, want)
	}
}

func testNights(t *testing.T, all []seen) {
	var byHour [24]int
	for i := range all {
		if all[i].campaign == Clean {
			byHour[time.UnixMilli(all[i].event.Num(event.Time)).UTC().Hour()]++
		}
	}
	if byHour[2]*5 > byHour[19] {
		t.Errorf("by the hour: %v", byHour)
	}
}

// testTruth holds the truth against the events themselves.
func testTruth(t *testing.T, truth *Truth, all []seen) {
	type key struct {
		campaign string
		entity   facet.Entity
	}
	count := map[key]int{}
	events := make([]int, len(truth.Campaigns))
	clean := map[facet.Entity]bool{}
	for i := range all {
		e := &all[i].event
		for _, k := range []facet.Kind{facet.Account, facet.Session, facet.Token, facet.Device, facet.JA4, facet.Route, facet.IP} {
			ent, ok := facet.EntityOf(k, e, nil)
			if k == facet.IP {
				addr, _ := event.ParseAddress(e.Text(event.IP))
				ent.Key, ok = event.ClientKey(addr), true
			}
			if !ok {
				continue
			}
			if all[i].campaign == Clean {
				clean[ent] = true
			} else {
				count[key{truth.Campaigns[all[i].campaign].Name, ent}]++
			}
		}
		if c := all[i].campaign; c != Clean {
			if events[c]++; truth.Campaigns[c].From > e.Num(event.Time) || truth.Campaigns[c].To < e.Num(event.Time) {
				t.Errorf("%s has an event outside its time", truth.Campaigns[c].Name)
			}
		}
	}
	for i, c := range truth.Campaigns {
		if c.Events != events[i] {
			t.Errorf("%s says %d events, has %d", c.Name, c.Events, events[i])
		}
	}
	byRole := map[Role]int{}
	for _, r := range truth.Rows {
		byRole[r.Role]++
		if r.Role == Attacker && clean[r.Entity] {
			t.Errorf("%s: %v is the attacker's own, and an innocent uses it", r.Campaign, r.Entity)
		}
		k := key{r.Campaign, r.Entity}
		if n, checked := count[k]; checked && n != r.Events {
			t.Errorf("%s: %v is said to be in %d events, and is in %d", r.Campaign, r.Entity, r.Events, n)
		}
		delete(count, k)
	}
	for k := range count {
		t.Errorf("%s: the truth does not know %v", k.campaign, k.entity)
	}
	for _, r := range roles() {
		if byRole[r] == 0 {
			t.Errorf("there is nobody in the role %s", r)
		}
	}
}

// testAbuse: every campaign holds its abuse, in every variant.
func testAbuse(t *testing.T, truth *Truth, all []seen) {
	events := make([][]*event.Event, len(truth.Campaigns))
	for i := range all {
		if c := all[i].campaign; c != Clean {
			events[c] = append(events[c], &all[i].event)
		}
	}
	abuse := abuses()
	seen := map[string]map[string]bool{}
	for i, c := range truth.Campaigns {
		check := abuse[c.Kind]
		if check == nil {
			t.Fatalf("nothing says what %s is", c.Kind)
		}
		if why := check(events[i]); why != "" {
			t.Errorf("%s %s: %s", c.Name, c.Variant, why)
		}
		if seen[c.Kind] == nil {
			seen[c.Kind] = map[string]bool{}
		}
		seen[c.Kind][c.Variant] = true
	}
	for _, k := range Kinds() {
		if len(seen[k]) != len(Variants()) {
			t.Errorf("%s has %d variants", k, len(seen[k]))
		}
	}
}

// testVariants: slow ones take longer, distributed ones have more sources.
func testVariants(t *testing.T, truth *Truth, all []seen) {
	addresses := make([]map[string]bool, len(truth.Campaigns))
	for i := range all {
		if c := all[i].campaign; c != Clean {
			if addresses[c] == nil {
				addresses[c] = map[string]bool{}
			}
			addresses[c][all[i].event.Text(event.IP)] = true
		}
	}
	lasts, sources := map[string]int64{}, map[string]int{}
	for i, c := range truth.Campaigns {
		lasts[c.Kind+" "+c.Variant], sources[c.Kind+" "+c.Variant] = c.To-c.From, len(addresses[i])
	}
	for _, k := range Kinds() {
		for _, rest := range []string{"single-careless", "distributed-careless", "single-careful", "distributed-careful"} {
			if fast, slow := lasts[k+" fast-"+rest], lasts[k+" slow-"+rest]; slow < fast*3/2 {
				t.Errorf("%s %s lasts %d s slow and %d s fast", k, rest, slow/1000, fast/1000)
			}
		}
		if k == "residential_proxies" {
			continue // a single source is a network of which each address is used once
		}
		if one, many := sources[k+" fast-single-careless"], sources[k+" fast-distributed-careless"]; many < one || many < 2 && !strings.Contains(k, "enumeration") {
			t.Errorf("%s has %d addresses from a single source and %d distributed", k, one, many)
		}
	}
}

func TestWhatIsNotThereIsRefused(t *testing.T) {
	for _, change := range []func(*Config){
		func(c *Config) { c.Kinds = []string{"nonsense"} },
		func(c *Config) { c.Variants = []string{"loud"} },
		func(c *Config) { c.Rate = 0 },
		func(c *Config) { c.Duration = 0 },
		func(c *Config) { c.Each = -1 },
	} {
		c := small(1)
		if change(&c); c.Validate() == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

// TestDatabasesSayWhatPlacesSay compares the networks that are written to files with
// what is looked up.
func TestDatabasesSayWhatPlacesSay(t *testing.T) {
	p := NewPlaces()
	for _, n := range p.Networks() {
		var at geo.Place
		p.Lookup(n.Prefix.Addr().Next(), &at)
		if at.Country != n.Country || at.ASN != n.ASN || at.Anonymiser != n.Anonymiser || at.City != n.City {
			t.Errorf("%v: %+v and %+v", n.Prefix, at, n)
		}
	}
}
