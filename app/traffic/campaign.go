package traffic

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
)

// variant describes the style of an attack.
type variant struct {
	slow        bool // over hours instead of minutes
	distributed bool // from many sources instead of one
	careful     bool // looks like the genuine app and a person, as far as possible
}

func variants() (all []variant) {
	for i := range 8 {
		all = append(all, variant{i&1 != 0, i&2 != 0, i&4 != 0})
	}
	return all
}

func (v variant) String() string {
	or := func(is bool, yes, no string) string {
		if is {
			return yes
		}
		return no
	}
	return or(v.slow, "slow", "fast") + "-" + or(v.distributed, "distributed", "single") + "-" + or(v.careful, "careful", "careless")
}

// Variants lists how each kind of campaign is run: slow or fast, from a single source
// or distributed, careless or careful.
func Variants() (all []string) {
	for _, v := range variants() {
		all = append(all, v.String())
	}
	return all
}

// kind is a kind of campaign. Each kind has its own file.
type kind struct {
	name string
	doc  string
	fast time.Duration // approximate duration of the fast variant; 0: twenty minutes, or less
	slow time.Duration // approximate duration of the slow variant
	run  func(*attack)
}

func kinds() []kind {
	return []kind{
		attestationAbuse(), bruteForce(), cadence(), carding(), credentialStuffing(), emulatorFarm(), fakeSignups(), impossibleTravel(),
		lowAndSlow(), multiAccounting(), newDevice(), objectEnumeration(), passwordSpray(), paymentSkip(), promoAbuse(), refreshReuse(),
		replay(), residentialProxies(), scraping(), sequenceAnomaly(), signatureFarm(), signatureMismatch(), stepUpAbuse(),
		takeoverWithdrawal(), tampering(), tokenLifetime(), tokenTheft(), refundLoop(),
	}
}

// Kinds lists the kinds of campaigns.
func Kinds() (all []string) {
	for _, k := range kinds() {
		all = append(all, k.name)
	}
	return all
}

// Describe describes what the attackers of a kind do.
func Describe(name string) string {
	for _, k := range kinds() {
		if k.name == name {
			return k.doc
		}
	}
	return ""
}

// known returns an error for names that are not in the list.
func known(what string, names, all []string) error {
	for _, n := range names {
		if !slices.Contains(all, n) {
			return fmt.Errorf("%s %q is none of %s", what, n, strings.Join(all, ", "))
		}
	}
	return nil
}

// campaign is an attack in progress, with the truth about it.
type campaign struct {
	Campaign
	place  int
	rows   []*Row
	byName map[facet.Entity]*Row
	made   int // number of accounts created
}

// attack provides helpers for the script of a campaign.
type attack struct {
	*actor
	variant
	t      *tenant
	number int // index within its kind and variant
}

// launch plans all campaigns. They start after some hours, or a quarter of the
// world's duration, so that rules can learn from the time before.
func (w *world) launch() {
	chosen := func(list []string, name string) bool { return len(list) == 0 || slices.Contains(list, name) }
	for i, k := range kinds() {
		for j, v := range variants() {
			if !chosen(w.cfg.Kinds, k.name) || !chosen(w.cfg.Variants, v.String()) {
				continue
			}
			for n := range w.cfg.Each {
				w.plan(k, v, n, uint64(1+i)<<32|uint64(j)<<16|uint64(n))
			}
		}
	}
}

func (w *world) plan(k kind, v variant, n int, seed uint64) {
	c := &campaign{place: len(w.campaigns), byName: map[facet.Entity]*Row{}}
	c.Name, c.Kind, c.Variant = k.name+"-"+strconv.Itoa(c.place), k.name, v.String()
	w.campaigns = append(w.campaigns, c)
	r := random(w.cfg.Seed, 7<<48|seed)
	long := w.cfg.Duration.Milliseconds()
	warm := min(long/4, (6 * time.Hour).Milliseconds())
	lasts := max(k.fast, 20*time.Minute).Milliseconds()
	if v.slow {
		lasts = k.slow.Milliseconds()
	}
	at := w.cfg.Start + warm + r.Int64N(max(1, long-warm-lasts))
	t := w.tenants[r.IntN(len(w.tenants))]
	w.begin(at, 9<<48|seed, c, func(a *actor) {
		k.run(&attack{actor: a, variant: v, t: t, number: n})
	})
}

// note adds the entities of a request to the truth.
func (c *campaign) note(a *actor, cl *client, r *request) {
	if c.Events++; c.Events == 1 {
		c.From = a.now
	}
	c.To = a.now
	own := func(is bool, otherwise Role) Role {
		if is {
			return Attacker
		}
		return otherwise
	}
	c.row(a, facet.Account, cl, cl.account, own(cl.own.account, Victim))
	c.row(a, facet.Session, cl, cl.session, own(cl.own.token, Victim))
	token := cl.family
	if token == "" {
		token = cl.token
	}
	c.row(a, facet.Token, cl, token, own(cl.own.token, Victim))
	c.row(a, facet.Device, cl, cl.device, own(cl.own.device, Victim))
	c.row(a, facet.Key, cl, cl.key, Shared) // a copied key also belongs to the victim
	c.row(a, facet.IP, cl, event.ClientKey(cl.addr), own(cl.own.addr, Shared))
	c.row(a, facet.Net, cl, event.NetKey(cl.addr), Group)
	c.row(a, facet.Net16, cl, event.Net16Key(cl.addr), Group)
	c.row(a, facet.JA4, cl, cl.ja4, Group)
	c.row(a, facet.Route, cl, r.route, Group)
	c.row(a, facet.Tenant, cl, cl.tenant.name, Group)
	if cl.version != "" && cl.phone.name != "" {
		c.row(a, facet.Build, cl, cl.version+"|"+cl.phone.name, Group)
	}
	var at geo.Place
	NewPlaces().Lookup(cl.addr, &at)
	c.row(a, facet.Country, cl, at.Country, Group)
	if at.ASN != 0 {
		c.row(a, facet.ASN, cl, strconv.FormatUint(uint64(at.ASN), 10), Group)
	}
}

func (c *campaign) row(a *actor, k facet.Kind, cl *client, key string, role Role) {
	if key == "" {
		return
	}
	e := facet.Entity{Kind: k, Tenant: cl.tenant.name, Key: key}
	r := c.byName[e]
	if r == nil {
		r = &Row{Campaign: c.Name, Kind: c.Kind, Variant: c.Variant, Role: role, Entity: e, From: a.now}
		c.byName[e], c.rows = r, append(c.rows, r)
	}
	r.To = a.now
	r.Events++
}

// pace waits between requests, as the variant requires; careless attackers wait at
// regular intervals.
func (a *attack) pace(fast, slow time.Duration) {
	d, part := fast, 0.08
	if a.slow {
		d = slow
	}
	if a.careful {
		part = 0.7
	}
	a.wait(a.about(d, part))
}

// or returns many if the campaign is distributed, otherwise 1.
func (a *attack) or(many int) int {
	if a.distributed {
		return many
	}
	return 1
}

// each runs a script once; in a distributed campaign n times, at about the same
// time.
func (a *attack) each(n int, script func(*attack)) {
	for range a.or(n) - 1 {
		a.w.begin(a.now, a.rng.Uint64(), a.c, func(b *actor) {
			other := *a
			other.actor = b
			b.wait(b.someTime(5*time.Minute, 0))
			script(&other)
		})
	}
	script(a)
}

// tools lists the HTTP clients of careless attackers.
func tools() [][2]string {
	return [][2]string{{"okhttp/4.12.0", ja4OkHTTP}, {"python-requests/2.32.3", ja4Python}, {"Go-http-client/2.0", ja4Go}}
}

// source returns a client of the attacker: a tool in a data centre, or something
// that looks like the app in a home.
func (a *attack) source() *client {
	c := &client{tenant: a.t, own: owned{true, true, true, true}}
	if a.careful {
		a.disguise(c)
		c.addr = broadband.anywhere(a.rng, pick(a.rng, spread()), 30_000)
		return c
	}
	tool := tools()[a.number%len(tools())]
	c.agent, c.ja4 = tool[0], tool[1]
	c.signature, c.verdict = "missing", "missing"
	c.addr = hosting.anywhere(a.rng, 18+a.rng.IntN(3), 100)
	return c
}

// sources returns one client; in a distributed campaign n. Those of careless
// attackers are in one data centre.
func (a *attack) sources(n int) (all []*client) {
	for i := range a.or(n) {
		c := a.source()
		if first := c; !a.careful && i > 0 {
			first = all[0]
			b := first.addr.As4()
			c.addr = hosting.at(int(b[1]), int(b[2])<<8+int(b[3])+i*29)
		}
		all = append(all, c)
	}
	return all
}

// disguise makes a client look like the genuine app on its own phone. It has its
// own keys, on a platform without attestation.
func (a *attack) disguise(c *client) {
	c.dress(a.t, pick(a.rng, phones()), oldRelease(a.rng))
	c.device, c.key, c.signature = name(a.rng, "d-"), name(a.rng, "k-"), "valid"
	c.verdict, c.level = "missing", "none"
	c.skew = time.Duration(a.rng.NormFloat64() * 1e9)
}

// genuine turns a client into the real app on a real phone of the attacker.
func (a *attack) genuine(c *client) {
	a.disguise(c)
	a.prove(c)
}

// account returns a new name for an account of the attacker.
func (a *attack) account() string {
	a.c.made++
	return "u" + strconv.Itoa(5_000_000+a.c.place*1000+a.c.made)
}

// signIn opens a session for a client's account.
func (a *attack) signIn(c *client) {
	a.send(c, request{method: "GET", path: "/v1/config", route: "/v1/config", status: 200})
	a.wait(a.someTime(900*time.Millisecond, 150*time.Millisecond))
	a.grantTokens(c)
	a.send(c, request{method: "POST", path: "/v1/login", route: "/v1/login", status: 200, auth: "success", grant: "password"})
	a.wait(a.someTime(900*time.Millisecond, 150*time.Millisecond))
	a.send(c, request{method: "GET", path: "/v1/me", route: "/v1/me", status: 200})
	a.wait(a.someTime(2*time.Second, 300*time.Millisecond))
}

// stay refreshes a client's token if it has expired.
func (a *attack) stay(c *client) {
	if c.token != "" && a.now >= c.expires {
		a.send(c, request{method: "POST", path: "/v1/token/refresh", route: "/v1/token/refresh", status: 200, grant: "refresh_token", token: c.refresh})
		a.rotate(c)
	}
}

// try signs in with a guessed password; right says whether it is correct.
func (a *attack) try(c *client, account string, right bool) {
	c.account, c.own.account = account, false
	r := request{method: "POST", path: "/v1/login", route: "/v1/login", status: 401, auth: "failure", grant: "password"}
	if right {
		r.status, r.auth = 200, "success"
	}
	a.send(c, r)
}

// victim returns a person whom no other campaign uses.
func (a *attack) victim() *person {
	t := a.t
	if len(t.untouched) == 0 {
		return pick(a.rng, t.people)
	}
	p := t.untouched[len(t.untouched)-1]
	t.untouched = t.untouched[:len(t.untouched)-1]
	return p
}

// victimNow returns a person who is signed in and is using the app, if possible one
// whom no other campaign uses. If there is nobody, it waits.
func (a *attack) victimNow(with ...func(*seat) bool) *person {
	fits := func(p *person) bool {
		s := p.seats[0]
		if !p.busy || !s.signedIn || !s.addr.IsValid() || s.family == "" || p.exit.IsValid() {
			return false
		}
		for _, f := range with {
			if !f(s) {
				return false
			}
		}
		return true
	}
	for {
		if i := slices.IndexFunc(a.t.untouched, fits); i >= 0 {
			p := a.t.untouched[i]
			a.t.untouched = slices.Delete(a.t.untouched, i, i+1)
			return p
		}
		if i := slices.IndexFunc(a.t.people, fits); i >= 0 && len(a.t.untouched) < len(a.t.people)/8 {
			return a.t.people[i]
		}
		a.wait(30 * time.Second)
	}
}

// far returns a city on another continent; for careful attackers, possibly a nearer
// one that is still too far for a person to be in both at once.
func (a *attack) far(from int) int {
	var all []int
	for i, c := range cities() {
		if d := degrees(cities()[from], c); d > 45 || a.careful && d > 14 {
			all = append(all, i)
		}
	}
	return pick(a.rng, all)
}
