package demo

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/weirdev/weir/app/dryrun"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/greatcircle"
	"github.com/weirdev/weir/internal/population"
	"github.com/weirdev/weir/rules"
)

// atlas chooses networks for invented people from databases of the real world. It draws
// networks at random, and keeps those with the properties that the demonstration needs.
type atlas struct {
	places ingest.Places
	rules  *rules.Set
	rng    *rand.Rand
	cells  map[[2]int32][]site
	hosts  []site
	best   []site // of the area with the most autonomous systems
}

// site is a network of 256 addresses in one location.
type site struct {
	network netip.Prefix
	geo.Place
}

func (s site) point() greatcircle.Point {
	return greatcircle.Point{Latitude: s.LatitudeMicro, Longitude: s.LongitudeMicro}
}

const (
	mostDrawn   = 150_000
	mostSites   = 40        // where people are
	farEnough   = 5_000_000 // m
	perCarriers = 4         // networks of mobile operators, and as many of offices
)

var errAtlas = errors.New("the databases do not suffice")

// drawPlaces chooses networks for people and attackers, and returns the city near which
// people live. The error is errAtlas if the databases do not suffice.
func drawPlaces(places ingest.Places, set *rules.Set, seed uint64) (*population.Places, string, error) {
	a := &atlas{places: places, rules: set, rng: rand.New(rand.NewPCG(seed, 0x61746c6173)), cells: map[[2]int32][]site{}}
	for range mostDrawn {
		a.draw()
	}
	a.choose()
	if len(a.best) < 3*perCarriers {
		return nil, "", fmt.Errorf("%w: too few addresses have a location and an autonomous system", errAtlas)
	}
	if len(a.hosts) == 0 {
		return nil, "", fmt.Errorf("%w: no address belongs to a data centre", errAtlas)
	}
	far, err := a.far()
	if err != nil {
		return nil, "", err
	}
	near, err := a.near(far)
	if err != nil {
		return nil, "", err
	}
	networks := func(list []site) (all []netip.Prefix) {
		for _, s := range list {
			all = append(all, s.network)
		}
		return all
	}
	p := &population.Places{
		Carriers: networks(near[:perCarriers]), Offices: networks(near[perCarriers : 2*perCarriers]), Homes: networks(near[2*perCarriers:]),
		Hosting: networks(a.hosts[:1]), Far: []netip.Prefix{far.network},
	}
	return p, fmt.Sprintf("%s, %s", near[0].City, near[0].Country), nil
}

// draw looks at one random network.
func (a *atlas) draw() {
	v := a.rng.Uint32()
	first := netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), 0})
	if !first.IsGlobalUnicast() || first.IsPrivate() || first.As4()[0] >= 224 {
		return
	}
	s := site{network: netip.PrefixFrom(first, 24)}
	var other geo.Place
	a.places.Lookup(first.Next(), &s.Place)
	b := first.As4()
	b[3] = 254
	a.places.Lookup(netip.AddrFrom4(b), &other)
	switch {
	case other != s.Place || s.ASN == 0 || s.Country == "" || s.City == "" || s.LatitudeMicro == 0 || s.RadiusKM > 100:
	case s.Anonymiser == "hosting":
		a.hosts = append(a.hosts, s)
	case s.Anonymiser == "":
		cell := [2]int32{s.LatitudeMicro / 500_000, s.LongitudeMicro / 500_000} // half a degree: 50 km
		a.cells[cell] = append(a.cells[cell], s)
	}
}

// choose picks the area with the most autonomous systems. That is a city, and not the
// data centre of one company.
func (a *atlas) choose() {
	most := 0
	for cell, sites := range a.cells {
		owners := map[uint32]bool{}
		for _, s := range sites {
			owners[s.ASN] = true
		}
		better := len(owners) > most || len(owners) == most && (len(a.best) == 0 || slices.Compare(cell[:], a.bestCell()) < 0)
		if better {
			most, a.best = len(owners), sites
		}
	}
}

func (a *atlas) bestCell() []int32 {
	return []int32{a.best[0].LatitudeMicro / 500_000, a.best[0].LongitudeMicro / 500_000}
}

// far returns a network that is too far away, according to the rules.
func (a *atlas) far() (site, error) {
	var all []site
	for _, sites := range a.cells {
		for _, s := range sites {
			if greatcircle.Distance(s.point(), a.best[0].point()) >= farEnough {
				all = append(all, s)
			}
		}
	}
	slices.SortFunc(all, func(x, y site) int { return x.network.Compare(y.network) })
	const tries = 20
	for range min(tries, len(all)) {
		s := all[a.rng.IntN(len(all))]
		for _, home := range a.best[:3] {
			if found, err := a.travels(home, s); err != nil || found {
				return s, err
			}
		}
	}
	return site{}, fmt.Errorf("%w: no rule considers any journey impossible", errAtlas)
}

// near returns networks between which people may change instantly, and from which a
// journey to the far one is impossible.
func (a *atlas) near(far site) (all []site, err error) {
	for _, s := range a.best {
		found, err := a.travels(s, far)
		if err != nil {
			return nil, err
		}
		if found && len(all) > 0 {
			if found, err = a.travels(all[0], s); err != nil {
				return nil, err
			}
			found = !found
		}
		if found {
			all = append(all, s)
		}
		if len(all) == mostSites {
			break
		}
	}
	if len(all) < 3*perCarriers {
		return nil, fmt.Errorf("%w: too few networks are near each other", errAtlas)
	}
	return all, nil
}

// travels reports whether a rule stops an account that is in two networks within
// seconds.
func (a *atlas) travels(from, to site) (bool, error) {
	o := dryrun.Defaults(a.rules)
	o.Places = a.places
	run, err := dryrun.New(o)
	if err != nil {
		return false, err
	}
	const start = 1_800_000_000_000 // any time
	for i, s := range []site{from, to} {
		var e event.Event
		e.SetText(event.ID, strconv.Itoa(i))
		e.SetNum(event.Time, start+int64(i)*(5*time.Second).Milliseconds())
		e.SetText(event.Account, "traveller")
		e.SetText(event.IP, s.network.Addr().Next().String())
		e.SetText(event.Method, "GET")
		e.SetText(event.Path, "/v1/me")
		e.SetNum(event.Status, 200)
		if _, _, _, err := run.Record(e.AppendJSON(nil)); err != nil {
			return false, err
		}
	}
	return slices.ContainsFunc(a.rules.Rules, func(r *rules.Rule) bool {
		for _, s := range run.Signals {
			if s.Rule == r.ID && r.Detector == "impossible_travel" && s.Weight >= stopWeight {
				return true
			}
		}
		return false
	}), nil
}
