package population_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo/geowriter"
	"github.com/weirdev/weir/internal/greatcircle"
	"github.com/weirdev/weir/internal/population"
)

const start = int64(1763892000000)

func world(seed uint64) *population.Population {
	p := population.New(population.Config{Seed: seed, People: 2000, Rate: 200, Start: start, Run: "t"})
	for i, kind := range population.Kinds() {
		p.Launch(population.Campaign{Kind: kind, Start: start + 20_000 + int64(i), Duration: 30 * time.Second, Addresses: 4, Rate: 10})
	}
	return p
}

// history runs a world for a minute.
func history(t *testing.T, p *population.Population) (encoded []byte, byCampaign map[int]int) {
	t.Helper()
	byCampaign = map[int]int{}
	var d format.Decoder
	last := int64(0)
	for at := start; at <= start+60_000; at += 250 {
		p.Until(at, func(e *event.Event, campaign int) {
			byCampaign[campaign]++
			if e.Num(event.Time) < last || e.Num(event.Time) >= at {
				t.Fatalf("an event of %d after one of %d", e.Num(event.Time), last)
			}
			last = e.Num(event.Time)
			from := len(encoded)
			encoded = append(e.AppendJSON(encoded), '\n')
			if err := d.Decode(encoded[from:], new(event.Event)); err != nil {
				t.Fatalf("%s: %v", encoded[from:], err)
			}
		})
	}
	return encoded, byCampaign
}

func TestTheSameSeedGivesTheSameHistory(t *testing.T) {
	a, _ := history(t, world(1))
	b, _ := history(t, world(1))
	c, _ := history(t, world(2))
	if !bytes.Equal(a, b) || bytes.Equal(a, c) {
		t.Error("histories of equal seeds differ, or those of different seeds do not")
	}
}

// TestNobodyIsAtTwoPlacesAtOnce: what people use is so near that a database leaves
// open where they are. Only attackers come from far away.
func TestNobodyIsAtTwoPlacesAtOnce(t *testing.T) {
	point := func(n geowriter.Network) greatcircle.Point {
		return greatcircle.Point{Latitude: int32(n.Latitude * 1e6), Longitude: int32(n.Longitude * 1e6)}
	}
	all := world(1).Networks()
	all = slices.DeleteFunc(all, func(n geowriter.Network) bool { return n.City == "Sydney" })
	for _, a := range all {
		for _, b := range all {
			beyond := greatcircle.Distance(point(a), point(b)) - 1000*int64(a.RadiusKM+b.RadiusKM)
			if a.Anonymiser == "" && b.Anonymiser == "" && beyond >= 50_000 {
				t.Errorf("%s and %s are %d m apart", a.City, b.City, beyond)
			}
		}
	}
}

func TestTheTruthIsTrue(t *testing.T) {
	p := world(1)
	_, by := history(t, p)
	if n := by[population.Innocent]; n < 11_000 || n > 13_000 {
		t.Errorf("%d innocent events in a minute at 200 a second", n)
	}
	attackers := map[facet.Entity]bool{}
	for i, c := range p.Campaigns() {
		if c.Events != by[i] || c.Events < 250 || c.Events > 350 {
			t.Errorf("%s says %d events, has %d; 300 were ordered", c.Kind, c.Events, by[i])
		}
		for _, a := range c.Attackers {
			attackers[a] = true
		}
	}
	kinds := map[facet.Kind]int{}
	for _, e := range p.Innocents() {
		kinds[e.Kind]++
		if attackers[e] {
			t.Errorf("%v is innocent and an attacker", e)
		}
	}
	for _, k := range []facet.Kind{facet.Account, facet.Device, facet.Token, facet.IP} {
		if kinds[k] < 30 {
			t.Errorf("only %d innocents of kind %v", kinds[k], k)
		}
	}
}

func BenchmarkUntil(b *testing.B) {
	p := population.New(population.Config{Seed: 1, People: 5000, Rate: 1000, Start: start, Run: "b"})
	at := start
	n := 0
	for n < b.N {
		at += 1000
		p.Until(at, func(*event.Event, int) { n++ })
	}
}
