// Package population simulates the users of a mobile app, their habits, and
// campaigns against them, with ground truth: for the demonstration, for tests and
// for load.
//
// The same seed gives the same people doing the same things. It imitates traffic,
// and knows nothing about rules or the detection of campaigns.
package population

import (
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// Config configures a population.
type Config struct {
	Seed   uint64
	People int
	Rate   float64 // innocent events a second
	Start  int64   // Unix ms
	Run    string  // prefix of event ids, so that runs do not share them
	Mark   string  // suffix of attackers' ids, for the same reason; empty: none
	Places *Places // nil: reserved addresses
}

// Innocent is the campaign of an event that belongs to none.
const Innocent = -1

// Population is the state of the simulation. One goroutine uses it.
type Population struct {
	cfg       Config
	rng       *rand.Rand
	people    []person
	sessions  []*session // of those who use the app now
	next      float64    // Unix ms of the next innocent event
	events    int64
	campaigns []*campaign

	e       event.Event
	seen    map[facet.Entity]bool
	listed  []facet.Entity
	victims map[facet.Entity]bool // innocent entities that attackers also use
}

// person is a user with devices and networks.
type person struct {
	account string
	device  string
	model   model
	version string // of the app
	home    netip.Addr
	away    netip.Addr // a carrier's or an office's, shared with many
	heavy   bool       // scrolls and scrolls
	here    bool       // uses the app now
}

// session is somebody using the app.
type session struct {
	p        *person
	addr     netip.Addr
	id       string
	family   string
	token    string
	signedIn bool
	opened   bool // the app has fetched its configuration
	greeted  bool // and the user's profile
	left     int  // actions until he puts the phone away
	item     int  // of the catalogue, where he is
}

type model struct{ name, os, version, patch string }

// models are invented mixes of phones of 2026.
func models() []model {
	return []model{
		{"Pixel 9", "android", "16", "2026-10-05"}, {"Pixel 8a", "android", "16", "2026-09-05"}, {"Galaxy S25", "android", "16", "2026-10-01"},
		{"Galaxy A55", "android", "15", "2026-07-01"}, {"Redmi Note 14", "android", "15", "2026-05-01"}, {"Moto G85", "android", "14", "2025-12-01"},
		{"iPhone 17", "ios", "27.0", ""}, {"iPhone 16", "ios", "26.4", ""}, {"iPhone 14", "ios", "26.4", ""}, {"iPhone SE", "ios", "18.7", ""},
	}
}

// mostUsed is the most common version of the app.
const mostUsed = "4.2.0"

// mostListed limits the list of innocents.
const mostListed = 5000

// New creates a population. Nothing has happened yet.
func New(cfg Config) *Population {
	p := &Population{
		rng: rand.New(rand.NewPCG(cfg.Seed, 0x77656972)), next: float64(cfg.Start), seen: map[facet.Entity]bool{}, victims: map[facet.Entity]bool{},
	}
	if cfg.Places == nil {
		cfg.Places = invented()
	}
	p.cfg = cfg
	all := models()
	versions := []string{mostUsed, mostUsed, mostUsed, mostUsed, "4.1.3", "4.0.9"}
	for i := range cfg.People {
		p.people = append(p.people, person{
			account: "user-" + strconv.Itoa(100_000+i),
			device:  "d-" + strconv.FormatUint(p.rng.Uint64(), 36),
			model:   all[p.rng.IntN(len(all))],
			version: versions[p.rng.IntN(len(versions))],
			home:    cfg.Places.home(i),
			away:    cfg.Places.away(i),
			heavy:   p.rng.IntN(50) == 0,
		})
	}
	return p
}

// Until runs the simulation until t (Unix ms) and calls emit for every event, in
// order of time, with its campaign or [Innocent]. The event and its texts are valid
// only inside emit.
func (p *Population) Until(t int64, emit func(e *event.Event, campaign int)) {
	for {
		at, who := p.next, Innocent
		for i, c := range p.campaigns {
			if c.next < at {
				at, who = c.next, i
			}
		}
		if at >= float64(t) {
			return
		}
		p.begin(int64(at))
		if who == Innocent {
			p.next += 1000 / p.cfg.Rate * (0.5 + p.rng.Float64())
			p.live()
		} else {
			p.attack(p.campaigns[who])
		}
		emit(&p.e, who)
	}
}

// begin starts an event.
func (p *Population) begin(at int64) {
	p.events++
	e := &p.e
	e.Reset()
	n := strconv.FormatInt(p.events, 10)
	e.SetText(event.ID, p.cfg.Run+"-"+n)
	e.SetText(event.RequestID, "r-"+n)
	e.SetNum(event.Time, at)
	e.SetText(event.Gateway, "gw-"+strconv.FormatInt(p.events%3, 10))
	e.SetText(event.Host, "api.example.com")
	e.SetText(event.App, "com.example.shop")
	e.SetNum(event.LatencyMicros, 3000+int64(p.rng.ExpFloat64()*20_000))
	e.SetNum(event.ResponseBytes, 200+int64(p.rng.ExpFloat64()*3000))
}

// live lets a current user of the app act, or another one start it.
func (p *Population) live() {
	want := min(int(p.cfg.Rate*10), len(p.people)/2) + 1
	if len(p.sessions) < want {
		if who := &p.people[p.rng.IntN(len(p.people))]; !who.here {
			who.here = true
			p.sessions = append(p.sessions, p.open(who))
		}
	}
	i := p.rng.IntN(len(p.sessions))
	s := p.sessions[i]
	p.act(s)
	if s.left--; s.left <= 0 {
		s.p.here = false
		last := len(p.sessions) - 1
		p.sessions[i] = p.sessions[last]
		p.sessions = p.sessions[:last]
	}
	p.list(s)
}

func (p *Population) open(who *person) *session {
	n := strconv.FormatUint(p.rng.Uint64(), 36)
	s := &session{p: who, addr: who.home, id: "s-" + n, family: "f-" + n, token: "t-" + n + "-0", left: 10 + p.rng.IntN(40), item: p.rng.IntN(20_000)}
	if p.rng.IntN(2) == 0 {
		s.addr = who.away
	}
	if who.heavy {
		s.left = 80 + p.rng.IntN(60)
	}
	// Most apps are still signed in from last time.
	s.signedIn = p.rng.IntN(3) > 0
	return s
}

// act makes one request of a session.
func (p *Population) act(s *session) {
	p.identify(s)
	dice := p.rng.IntN(1000)
	switch {
	case !s.opened:
		s.opened = true
		p.request("GET", "/v1/config", "/v1/config", 200)
	case !s.signedIn:
		p.signIn(s)
	case !s.greeted:
		s.greeted = true
		p.request("GET", "/v1/me", "/v1/me", 200)
	case dice < 20:
		p.refresh(s)
	case dice < 120:
		p.ownOrder(s)
	case dice < 130:
		p.request("POST", "/v1/orders", "/v1/orders", 201)
	case dice < 400:
		p.request("GET", "/v1/catalogue?page="+strconv.Itoa(1+s.item%40), "/v1/catalogue", 200)
	default:
		p.item(s)
	}
	if p.rng.IntN(500) == 0 {
		p.e.SetNum(event.Status, 500)
	}
}

func (p *Population) identify(s *session) {
	e, who := &p.e, s.p
	p.dress(who)
	e.SetText(event.Account, who.account)
	e.SetText(event.Session, s.id)
	e.SetText(event.IP, s.addr.String())
	e.SetText(event.Device, who.device)
	e.SetText(event.Signature, "valid")
	if p.rng.IntN(500) == 0 {
		e.SetText(event.Signature, "invalid")
		e.SetText(event.SignatureReason, "sig_invalid")
	}
	e.SetText(event.Attestation, "passed")
	e.SetText(event.AttestationLevel, "device")
	if s.signedIn {
		e.SetText(event.Token, s.token)
		e.SetText(event.TokenFamily, s.family)
	}
}

// dress makes a request look like the app's on a person's phone.
func (p *Population) dress(who *person) {
	e := &p.e
	e.SetText(event.DeviceModel, who.model.name)
	e.SetText(event.OS, who.model.os)
	e.SetText(event.OSVersion, who.model.version)
	if who.model.patch != "" {
		e.SetText(event.PatchLevel, who.model.patch)
	}
	e.SetText(event.AppVersion, who.version)
	e.SetText(event.UserAgent, "Shop/"+who.version+" ("+who.model.os+" "+who.model.version+"; "+who.model.name+")")
	e.SetText(event.JA4, "t13d1516h2_8daaf6152771_b186095e22b6")
}

func (p *Population) request(method, path, route string, status int64) {
	p.e.SetText(event.Method, method)
	p.e.SetText(event.Path, path)
	p.e.SetText(event.Route, route)
	p.e.SetNum(event.Status, status)
}

// signIn succeeds, except for mistyped passwords that are tried again.
func (p *Population) signIn(s *session) {
	if p.rng.IntN(100) < 4 {
		p.request("POST", "/v1/login", "/v1/login", 401)
		p.e.SetText(event.Auth, "failure")
		return
	}
	p.request("POST", "/v1/login", "/v1/login", 200)
	p.e.SetText(event.Auth, "success")
	p.e.SetText(event.Grant, "password")
	s.signedIn = true
}

func (p *Population) refresh(s *session) {
	p.request("POST", "/v1/token", "/v1/token", 200)
	p.e.SetText(event.Grant, "refresh_token")
	s.token = s.family + "-" + strconv.FormatInt(p.events, 36)
}

func (p *Population) ownOrder(s *session) {
	order := s.p.account[len("user-"):] + "-" + strconv.Itoa(p.rng.IntN(5))
	p.request("GET", "/v1/orders/"+order, "/v1/orders/{id}", 200)
	p.e.SetText(event.ObjectType, "order")
	p.e.SetText(event.Object, order)
	if p.rng.IntN(200) == 0 {
		p.e.SetNum(event.Status, 404)
	}
}

// item views the next item of the catalogue, or the same one again.
func (p *Population) item(s *session) {
	if p.rng.IntN(3) > 0 {
		s.item = (s.item + 1 + p.rng.IntN(5)) % 20_000
	}
	n := strconv.Itoa(s.item)
	p.request("GET", "/v1/items/"+n, "/v1/items/{id}", 200)
	p.e.SetText(event.ObjectType, "item")
	p.e.SetText(event.Object, n)
}

// list records entities that only innocents used.
func (p *Population) list(s *session) {
	for _, ent := range [...]facet.Entity{
		{Kind: facet.Account, Key: s.p.account}, {Kind: facet.Device, Key: s.p.device},
		{Kind: facet.Token, Key: s.family}, {Kind: facet.IP, Key: event.ClientKey(s.addr)},
	} {
		if len(p.listed) < mostListed && !p.seen[ent] {
			p.seen[ent] = true
			p.listed = append(p.listed, ent)
		}
	}
}

// Innocents lists entities that only innocents used so far, at most 5,000.
func (p *Population) Innocents() (all []facet.Entity) {
	for _, e := range p.listed {
		if !p.victims[e] {
			all = append(all, e)
		}
	}
	return all
}

// Skip moves on to t (Unix ms); nothing happens until then.
func (p *Population) Skip(t int64) {
	p.next = max(p.next, float64(t))
	for _, c := range p.campaigns {
		c.next = max(c.next, float64(t))
	}
}

// SetRate changes the rate of innocent events, in events a second.
func (p *Population) SetRate(rate float64) { p.cfg.Rate = rate }

// Events returns the number of events so far.
func (p *Population) Events() int64 { return p.events }

// Campaign is an attack to launch.
type Campaign struct {
	Kind      string // one of Kinds
	Start     int64  // Unix ms
	Duration  time.Duration
	Addresses int     // that the attack comes from, 1 to 200
	Rate      float64 // requests a second, over all addresses
}
