package traffic

import (
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// tenant is a product with its own API and app.
type tenant struct {
	name, host, app, agent string
	number                 uint64
	share                  int           // of the population, in percent
	lifetime               time.Duration // of access tokens
	catalogue              int           // items
	people                 []*person
	untouched              []*person // people who are not victims of a campaign yet, in random order
}

func tenants() []*tenant {
	return []*tenant{
		{name: "shop", number: 1, host: "api.shop.example", app: "com.example.shop", agent: "Shop", share: 60, lifetime: 30 * time.Minute, catalogue: 20_000},
		{name: "bank", number: 2, host: "api.bank.example", app: "com.example.bank", agent: "Bank", share: 25, lifetime: 10 * time.Minute, catalogue: 400},
		{name: "media", number: 3, host: "api.media.example", app: "com.example.media", agent: "Media", share: 15, lifetime: time.Hour, catalogue: 60_000},
	}
}

// Sizes of groups that share something.
const (
	perHome      = 3  // maximum number of people in a household
	perCarrier   = 60 // people behind one address of a mobile network
	perOffice    = 40 // people behind one address of an office
	perHundred   = 100
	eventsOfADay = 70 // average per person: see TestTheRateIsKept
)

// person is a user with habits.
type person struct {
	account  string
	tenant   *tenant
	city     int
	number   int // index within the city
	home     netip.Addr
	work     netip.Addr // zero: no work, or none with a network
	exit     netip.Addr // of a VPN, a relay or a company's gateway; zero: none
	exits    int        // percentage of sessions through exit
	flies    int64      // Unix ms of the departure by plane; 0: never
	goes     int        // city of arrival
	commutes bool
	heavy    bool // scrolls a lot
	flaky    bool // has a bad connection
	forgets  bool // mistypes passwords more often than others
	seats    []*seat
	replaces int64 // Unix ms of the phone's replacement; 0: never
	busy     bool  // is using the app
	orders   int
}

// seat is a person at a device, with the app's stored data.
type seat struct {
	client
	signedIn bool
	updates  int64 // Unix ms of the app's next update; 0: none
	next     string
	synced   bool
	known    bool // the device has been used to sign in before
	signsUp  bool // the account has not been opened yet
	broken   bool // the broken release was installed on it
}

// carrierAddress returns an exit address of a person's mobile network. It varies
// slightly with the person's location.
func (p *person) carrierAddress(r *rand.Rand) netip.Addr {
	return mobile.at(p.city, p.number/perCarrier*2+r.IntN(2))
}

// settle creates the population and starts it.
func (w *world) settle() {
	r := random(w.cfg.Seed, 1)
	w.tenants = tenants()
	w.releases(r)
	n := max(60, int(w.cfg.Rate*86_400/eventsOfADay))
	where := spread()
	w.inCity = make([]int, len(cities()))
	for i := range n {
		t := w.tenants[0]
		for dice, k := r.IntN(perHundred), 0; k < len(w.tenants); k++ {
			if dice -= w.tenants[k].share; dice < 0 {
				t = w.tenants[k]
				break
			}
		}
		p := w.person(r, t, i, pick(r, where), w.inCity)
		t.people = append(t.people, p)
		w.people = append(w.people, p)
	}
	w.shareTablets(r)
	w.nameCrowds()
	for _, t := range w.tenants {
		t.untouched = append([]*person(nil), t.people...)
		r.Shuffle(len(t.untouched), func(i, j int) { t.untouched[i], t.untouched[j] = t.untouched[j], t.untouched[i] })
		w.begin(w.cfg.Start, 100+t.number, nil, func(a *actor) { a.arrivals(t) })
		w.staff(r, t)
	}
	if w.cfg.Incidents {
		w.happen(random(w.cfg.Seed, 2))
	}
}

// spread lists each city as often as its share of the population requires.
func spread() (where []int) {
	for i, c := range cities() {
		for range c.share {
			where = append(where, i)
		}
	}
	return where
}

func (w *world) person(r *rand.Rand, t *tenant, i, city int, inCity []int) *person {
	p := &person{account: "u" + strconv.Itoa(100_000+i), tenant: t, city: city, number: inCity[city], orders: r.IntN(6)}
	inCity[city]++
	home := p.number / perHome
	if p.home = broadband.at(city, home); home%6 == 5 {
		p.home = homeV6(city, home, p.number%perHome)
	}
	if r.IntN(3) == 0 {
		p.work = office.at(city, p.number/3/perOffice)
	}
	p.commutes, p.heavy, p.flaky, p.forgets = r.IntN(3) == 0, r.IntN(60) == 0, r.IntN(30) == 0, r.IntN(40) == 0
	switch dice := r.IntN(4000); {
	case dice < 120:
		p.exit, p.exits = vpn.at(r.IntN(len(cities())), r.IntN(40)), 60
	case dice < 240:
		p.exit, p.exits = relay.at(r.IntN(len(cities())), r.IntN(40)), 40
	case dice < 241:
		p.exit, p.exits = gateways.at(7, 1), 30
	}
	phone := pick(r, phones())
	p.sit(w, r, phone)
	if r.IntN(9) == 0 {
		p.sit(w, r, pick(r, phones()))
	}
	if day := 24 * time.Hour; r.IntN(max(1, int(300*day/w.cfg.Duration))) == 0 {
		p.replaces = w.within(r)
	}
	if day := 24 * time.Hour; r.IntN(max(1, int(150*day/w.cfg.Duration))) == 0 {
		p.flies = w.within(r)
		for p.goes = city; p.goes == city; {
			p.goes = r.IntN(len(cities()))
		}
	}
	return p
}

// within returns a random time within the world's duration.
func (w *world) within(r *rand.Rand) int64 {
	return w.cfg.Start + r.Int64N(w.cfg.Duration.Milliseconds())
}

// sit gives a person a device on which the app has been used before.
func (p *person) sit(w *world, r *rand.Rand, with phone) *seat {
	s := &seat{signedIn: r.IntN(3) > 0, synced: true, known: true}
	s.account = p.account
	s.dress(p.tenant, with, oldRelease(r))
	s.device, s.rooted = name(r, "d-"), with.os == "android" && r.IntN(80) == 0
	if s.sim = cities()[p.city].operator(r); with.name == "iPad Air" {
		s.sim = "absent"
	}
	if s.skew = time.Duration(r.NormFloat64() * 1.5e9); r.IntN(25) == 0 {
		s.skew = time.Duration(r.NormFloat64() * 4e11) // minutes, as with clocks set by hand
	}
	a := &actor{w: w, rng: r, now: w.cfg.Start - r.Int64N(86_400_000)}
	a.prove(&s.client)
	if r.IntN(60) == 0 { // a phone without the platform's services
		s.verdict, s.level, s.attested = "missing", "none", 0
	}
	if s.signedIn {
		a.grantTokens(&s.client)
	}
	s.updates, s.next = w.update(r)
	p.seats = append(p.seats, s)
	return s
}

// operator returns a mobile network of the country, as MCC-MNC.
func (c city) operator(r *rand.Rand) string {
	mcc := map[string]string{"DE": "262", "FR": "208", "GB": "234", "NL": "204", "ES": "214", "PL": "260", "US": "310", "BR": "724", "JP": "440", "SG": "525", "NG": "621", "IN": "404", "AU": "505", "RO": "226", "VN": "452"}[c.country]
	return mcc + "-0" + strconv.Itoa(1+r.IntN(3))
}

// shareTablets makes some households of a tenant share a tablet.
func (w *world) shareTablets(r *rand.Rand) {
	for _, t := range w.tenants {
		homes := map[netip.Addr]*seat{}
		for _, p := range t.people {
			first, known := homes[p.home]
			switch {
			case !known && r.IntN(12) == 0:
				homes[p.home] = p.sit(w, r, phone{"iPad Air", "ios", "26.1", ""})
			case !known:
				homes[p.home] = nil
			case first != nil:
				s := *first
				s.account = p.account
				s.signOut()
				p.seats = append(p.seats, &s)
				w.odd("shared_tablet", t, facet.Device, s.device)
			}
		}
	}
}

// nameCrowds records the addresses that many people share.
func (w *world) nameCrowds() {
	for city, n := range w.inCity {
		for _, t := range w.tenants {
			for i := 0; i < n; i += perCarrier {
				for k := range 2 {
					w.odd("carrier_nat", t, facet.IP, mobile.at(city, i/perCarrier*2+k).String())
				}
			}
			for i := 0; i*3*perOffice < n; i++ {
				w.odd("office", t, facet.IP, office.at(city, i).String())
			}
		}
	}
	for _, p := range w.people {
		if p.exit.IsValid() {
			w.odd("vpn_user", p.tenant, facet.Account, p.account)
		}
		if p.flies > 0 {
			w.odd("flight", p.tenant, facet.Account, p.account)
		}
		if p.replaces > 0 {
			w.odd("replaced_phone", p.tenant, facet.Account, p.account)
		}
		if p.heavy {
			w.odd("heavy_user", p.tenant, facet.Account, p.account)
		}
		if p.forgets {
			w.odd("forgetful", p.tenant, facet.Account, p.account)
		}
		if p.flaky {
			w.odd("flaky_client", p.tenant, facet.Account, p.account)
		}
	}
}

// odd records an innocent entity that may look odd.
func (w *world) odd(why string, t *tenant, k facet.Kind, key string) {
	w.bystander = append(w.bystander, Row{
		Kind: why, Role: Innocent, Entity: facet.Entity{Kind: k, Tenant: t.name, Key: key}, From: w.cfg.Start, To: w.end,
	})
}

// busyness returns how much the app is used at a given time, where 1 is the mean
// over a week. Use is lowest at night, highest in the evening, and higher at the
// weekend.
func busyness(t int64, zone int) float64 {
	hours := [24]float64{
		.25, .14, .08, .06, .07, .15, .45, .85, 1.05, 1, .95, 1.05, 1.25, 1.15, 1, 1, 1.1, 1.35, 1.6, 1.85, 2, 1.8, 1.2, .6,
	}
	days := [7]float64{1.12, .95, .94, .95, .97, 1, 1.07} // from Sunday
	at := time.UnixMilli(t).UTC().Add(time.Duration(zone) * time.Hour)
	h, part := at.Hour(), float64(at.Minute())/60
	return (hours[h]*(1-part) + hours[(h+1)%24]*part) * days[at.Weekday()]
}

const mostBusyness = 2.3

// arrivals makes people of a tenant start using the app.
func (a *actor) arrivals(t *tenant) {
	perDay := a.w.cfg.Rate * 86_400 * float64(t.share) / 100 / eventsOfASession
	for n := uint64(0); ; {
		a.wait(time.Duration(a.rng.ExpFloat64() * float64(24*time.Hour) / (perDay * mostBusyness)))
		p := pick(a.rng, t.people)
		if a.rng.IntN(newcomers) == 0 {
			p = a.newcomer(t)
		}
		want := busyness(a.now, cities()[p.city].zone)
		push := a.w.incidentAt(marketingPush, t, a.now)
		if push != nil {
			want = mostBusyness
		}
		if p.busy || a.rng.Float64()*mostBusyness >= want {
			continue
		}
		p.busy, n = true, n+1
		a.w.begin(a.now, t.number<<40+n, nil, func(b *actor) {
			v := &visit{actor: b, p: p, pushed: push != nil}
			v.run()
			p.busy = false
		})
	}
}

// newcomers is the number of visits per first visit.
const newcomers = 150

// newcomer returns a person who has just installed the app.
func (a *actor) newcomer(t *tenant) *person {
	w := a.w
	p := w.person(a.rng, t, len(w.people), pick(a.rng, spread()), w.inCity)
	s := p.seats[0]
	p.seats, p.orders, p.replaces, p.flies = p.seats[:1], 0, 0, 0
	s.signOut()
	s.known, s.signsUp = false, true
	t.people, w.people = append(t.people, p), append(w.people, p)
	return p
}

// staff makes support staff work in an office during office hours.
func (w *world) staff(r *rand.Rand, t *tenant) {
	n := 1 + len(t.people)/3000
	for i := range n {
		c := client{tenant: t, account: "agent-" + t.name + "-" + strconv.Itoa(i), addr: office.at(0, 900+int(t.number)), ja4: ja4Browser,
			agent: "Mozilla/5.0 (X11; Linux x86_64) Desk/3", app: t.app + ".desk", version: "3.1", device: name(r, "desk-")}
		w.odd("support_staff", t, facet.Account, c.account)
		w.odd("support_staff", t, facet.IP, event.ClientKey(c.addr))
		w.odd("support_staff", t, facet.Device, c.device)
		w.begin(w.cfg.Start+r.Int64N(3_600_000), t.number<<32+uint64(i), nil, func(a *actor) { a.shift(&c) })
	}
}

// shift is the daily work of a support agent.
func (a *actor) shift(c *client) {
	c.skew = time.Duration(a.rng.NormFloat64() * 1e9)
	for {
		hour := time.UnixMilli(a.now).UTC().Hour()
		if hour < 7 || hour >= 16 {
			c.token = ""
			a.wait(a.about(20*time.Minute, 0.5))
			continue
		}
		if c.token == "" || a.now >= c.expires {
			a.grantTokens(c)
			a.send(c, request{method: "POST", path: "/v1/login", route: "/v1/login", status: 200, auth: "success", grant: "password"})
			c.expires = a.now + (8 * time.Hour).Milliseconds()
		}
		p := pick(a.rng, c.tenant.people)
		a.wait(a.someTime(4*time.Minute, 20*time.Second)) // a call arrives
		a.send(c, request{method: "GET", path: "/v1/desk/accounts?q=" + p.account, route: "/v1/desk/accounts", status: 200})
		a.wait(a.someTime(5*time.Second, time.Second))
		a.send(c, request{method: "GET", path: "/v1/accounts/" + p.account, route: "/v1/accounts/{id}", status: 200, objectType: "account", object: p.account})
		for range a.rng.IntN(4) {
			a.wait(a.someTime(15*time.Second, 2*time.Second))
			o := p.order(a.rng.IntN(max(1, p.orders)))
			a.send(c, request{method: "GET", path: "/v1/orders/" + o, route: "/v1/orders/{id}", status: 200, objectType: "order", object: o})
		}
	}
}

// order returns the id of a person's n-th order.
func (p *person) order(n int) string { return p.account[1:] + "-" + strconv.Itoa(n) }
