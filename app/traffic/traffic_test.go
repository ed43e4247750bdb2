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

// small returns a quiet day with one campaign of every kind and variant.
func small(seed uint64) Config {
	c := Defaults()
	c.Seed, c.Rate, c.Each = seed, 2, 1
	return c
}

// history runs a world, checks the invariants of each event, and passes it on as
// ingest reads it.
func history(t *testing.T, c Config, show func(e *event.Event, campaign int)) *Truth {
	t.Helper()
	var d format.Decoder
	var record []byte
	var e event.Event
	last := c.Start
	truth, err := Run(c, func(written *event.Event, campaign int) error {
		record = written.AppendJSON(record[:0])
		if err := d.Decode(record, &e); err != nil {
			t.Fatalf("%s: %v", record, err)
		}
		at := e.Num(event.Time)
		if at < last || at >= c.Start+c.Duration.Milliseconds() {
			t.Fatalf("an event of %d after one of %d", at, last)
		}
		last = at
		show(&e, campaign)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return truth
}

func TestTheSameSeedGivesTheSameTraffic(t *testing.T) {
	digest := func(seed uint64) (sum uint64, truth string) {
		var h maphash.Hash
		h.SetSeed(fixed)
		c := small(seed)
		c.Duration, c.Rate = 5*time.Hour, 1
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

// TestCampaignsChangeNobodyElse: innocent people behave the same with and without
// campaigns.
func TestCampaignsChangeNobodyElse(t *testing.T) {
	innocent := func(each int) (all []string) {
		c := small(3)
		c.Duration, c.Rate, c.Each = 5*time.Hour, 1, each
		history(t, c, func(e *event.Event, campaign int) {
			if campaign == Clean {
				for _, f := range []event.Field{event.ID, event.RequestID, event.Gateway} { // counted over all events
					e.Clear(f)
				}
				all = append(all, string(e.AppendJSON(nil)))
			}
		})
		return all
	}
	if !slices.Equal(innocent(0), innocent(1)) {
		t.Error("innocent traffic depends on campaigns")
	}
}

func TestADay(t *testing.T) {
	d := &day{clean: map[facet.Entity]bool{}, attacks: map[int][]*event.Event{}, start: small(1).Start}
	truth := history(t, small(1), d.see)
	t.Run("the truth is true", func(t *testing.T) { testTruth(t, truth, d) })
	t.Run("every campaign holds its abuse", func(t *testing.T) { testAbuse(t, truth, d) })
	t.Run("variants differ", func(t *testing.T) { testVariants(t, truth, d) })
	t.Run("nights are quiet", func(t *testing.T) {
		if d.byHour[2]*5 > d.byHour[19] {
			t.Errorf("by the hour: %v", d.byHour)
		}
	})
}

// day holds the data of a day that tests need.
type day struct {
	start   int64
	byHour  [24]int               // innocent events
	clean   map[facet.Entity]bool // entities of innocent people
	attacks map[int][]*event.Event
}

func (d *day) see(e *event.Event, campaign int) {
	if campaign == Clean {
		d.byHour[(e.Num(event.Time)-d.start)/3_600_000]++
		for _, ent := range entities(e) {
			d.clean[own(ent)] = true
		}
		return
	}
	kept := &event.Event{}
	for _, s := range event.Fields() {
		switch {
		case !e.Has(s.Field):
		case s.Kind.Numeric():
			kept.SetNum(s.Field, e.Num(s.Field))
		default:
			kept.SetText(s.Field, strings.Clone(e.Text(s.Field)))
		}
	}
	d.attacks[campaign] = append(d.attacks[campaign], kept)
}

// entities returns the entities of an event that tests check.
func entities(e *event.Event) (all []facet.Entity) {
	for _, k := range []facet.Kind{facet.Account, facet.Session, facet.Token, facet.Device, facet.Key, facet.JA4, facet.Route} {
		if ent, ok := facet.EntityOf(k, e, nil); ok {
			all = append(all, ent)
		}
	}
	addr, _ := event.ParseAddress(e.Text(event.IP))
	return append(all, facet.Entity{Kind: facet.IP, Tenant: e.Text(event.Tenant), Key: event.ClientKey(addr)})
}

func own(e facet.Entity) facet.Entity {
	e.Tenant, e.Key = strings.Clone(e.Tenant), strings.Clone(e.Key)
	return e
}

func TestTheRateIsKept(t *testing.T) {
	c := small(1)
	c.Each, c.Rate, c.Duration = 0, 0.4, 7*24*time.Hour
	n, want := 0., c.Rate*c.Duration.Seconds()
	if _, err := Run(c, func(*event.Event, int) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	if n < 0.93*want || n > 1.07*want {
		t.Errorf("%.0f events in a week at %v a second, which is %.0f", n, c.Rate, want)
	}
}

// testTruth compares the truth with the events.
func testTruth(t *testing.T, truth *Truth, d *day) {
	type key struct {
		campaign string
		entity   facet.Entity
	}
	count := map[key]int{}
	for i, c := range truth.Campaigns {
		for _, e := range d.attacks[i] {
			for _, ent := range entities(e) {
				count[key{c.Name, ent}]++
			}
			if at := e.Num(event.Time); at < c.From || at > c.To {
				t.Errorf("%s has an event outside its time", c.Name)
			}
		}
		if n := len(d.attacks[i]); n != c.Events || n == 0 {
			t.Errorf("%s says %d events, has %d", c.Name, c.Events, n)
		}
	}
	byRole := map[Role]int{}
	for _, r := range truth.Rows {
		byRole[r.Role]++
		if r.Role == Attacker && d.clean[r.Entity] {
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

// testAbuse: every campaign shows its abuse, in every variant.
func testAbuse(t *testing.T, truth *Truth, d *day) {
	abuse, seen := abuses(), map[string]map[string]bool{}
	for i, c := range truth.Campaigns {
		check := abuse[c.Kind]
		if check == nil {
			t.Fatalf("nothing says what %s is", c.Kind)
		}
		if why := check(d.attacks[i]); why != "" {
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

// testVariants: slow campaigns take longer, and distributed ones have more sources.
func testVariants(t *testing.T, truth *Truth, d *day) {
	lasts, sources := map[string]int64{}, map[string]int{}
	for i, c := range truth.Campaigns {
		addresses := map[string]bool{}
		for _, e := range d.attacks[i] {
			addresses[e.Text(event.IP)] = true
		}
		lasts[c.Kind+" "+c.Variant], sources[c.Kind+" "+c.Variant] = c.To-c.From, len(addresses)
	}
	for _, k := range Kinds() {
		for _, rest := range []string{"single-careless", "distributed-careless", "single-careful", "distributed-careful"} {
			if fast, slow := lasts[k+" fast-"+rest], lasts[k+" slow-"+rest]; slow < fast*3/2 {
				t.Errorf("%s %s lasts %d s slow and %d s fast", k, rest, slow/1000, fast/1000)
			}
		}
		if k == "residential_proxies" {
			continue // a single source is a network that uses each address once
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

// TestDatabasesSayWhatPlacesSay compares the networks in database files with
// Lookup.
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
