package population

import (
	"net/netip"
	"strconv"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// Kinds lists the attacks that can be launched.
func Kinds() []string {
	return []string{"credential_stuffing", "brute_force", "scraping", "enumeration", "signature_mismatch", "impossible_travel", "sequence_anomaly"}
}

// Launched is an attack with its ground truth.
type Launched struct {
	Campaign
	Attackers []facet.Entity // whom the rule against this kind scores
	Events    int            // so far
}

type campaign struct {
	Launched
	next  float64 // Unix ms
	addrs []netip.Addr
	id    string
	at    int
	as    *person // the owner of the account or build that it uses; nil: not chosen yet
}

// Launch adds an attack.
func (p *Population) Launch(c Campaign) {
	n := len(p.campaigns)
	k := &campaign{Launched: Launched{Campaign: c}, next: float64(c.Start), id: c.Kind + "-" + strconv.Itoa(n)}
	if p.cfg.Mark != "" {
		k.id += "-" + p.cfg.Mark
	}
	for i := range max(1, min(c.Addresses, 200)) {
		k.addrs = append(k.addrs, p.cfg.Places.hosting(n*16+i))
	}
	switch c.Kind {
	case "credential_stuffing":
		for _, a := range k.addrs {
			k.Attackers = append(k.Attackers, facet.Entity{Kind: facet.IP, Key: event.ClientKey(a)})
		}
	case "scraping":
		k.Attackers = []facet.Entity{{Kind: facet.Token, Key: k.id}}
	case "signature_mismatch":
		k.Attackers = []facet.Entity{{Kind: facet.Device, Key: k.id}}
	case "impossible_travel":
		// The victim is chosen when the campaign begins: a user of the app at the time.
		for i := range k.addrs {
			k.addrs[i] = p.cfg.Places.far(n*16 + i)
		}
	default:
		k.Attackers = []facet.Entity{{Kind: facet.Account, Key: k.id}}
	}
	p.campaigns = append(p.campaigns, k)
}

// Campaigns lists the attacks.
func (p *Population) Campaigns() []Launched {
	all := make([]Launched, len(p.campaigns))
	for i, c := range p.campaigns {
		all[i] = c.Launched
	}
	return all
}

// Beside returns an innocent entity of the same kind as a campaign's attackers, and
// what the two have in common. ok is false if none has been active yet.
func (p *Population) Beside(campaign int) (e facet.Entity, like string, ok bool) {
	c := p.campaigns[campaign]
	var fits func(who *person) (facet.Entity, bool)
	switch c.Kind {
	case "credential_stuffing":
		like = "an address that " + strconv.Itoa(perCarrier) + " people share"
		fits = func(who *person) (facet.Entity, bool) {
			return facet.Entity{Kind: facet.IP, Key: event.ClientKey(who.away)}, true
		}
	case "impossible_travel":
		like = "an account that is used at home and on the way"
		fits = func(who *person) (facet.Entity, bool) {
			home, away := facet.Entity{Kind: facet.IP, Key: event.ClientKey(who.home)}, facet.Entity{Kind: facet.IP, Key: event.ClientKey(who.away)}
			return facet.Entity{Kind: facet.Account, Key: who.account}, p.seen[home] && p.seen[away] && who != c.as
		}
	case "signature_mismatch":
		like = "a phone of the same model with the same version of the app"
		fits = func(who *person) (facet.Entity, bool) {
			return facet.Entity{Kind: facet.Device, Key: who.device}, who.model == p.usual().model && who.version == p.usual().version
		}
	default:
		like = "an account with the same version of the app"
		fits = func(who *person) (facet.Entity, bool) {
			return facet.Entity{Kind: facet.Account, Key: who.account}, who.version == p.usual().version
		}
	}
	for i := range p.people {
		who := &p.people[i]
		if e, ok := fits(who); ok && p.seen[e] && !p.victims[e] {
			return e, like, true
		}
	}
	return facet.Entity{}, like, false
}

// never is later than any other time.
const never = 1e18

// attack makes one request of a campaign.
func (p *Population) attack(c *campaign) {
	c.Events++
	c.at++
	c.next += 1000 / c.Rate * (0.5 + p.rng.Float64())
	if c.next >= float64(c.Start+c.Duration.Milliseconds()) {
		c.next = never
	}
	e := &p.e
	e.SetText(event.IP, c.addrs[c.at%len(c.addrs)].String())
	e.SetText(event.UserAgent, "okhttp/4.12.0")
	e.SetText(event.JA4, "t13d190900_9dc949149365_97f8aa674fd9")
	e.SetText(event.Signature, "missing")
	e.SetText(event.Attestation, "missing")
	switch c.Kind {
	case "credential_stuffing":
		p.stuff()
	case "brute_force":
		e.SetText(event.Account, c.id)
		p.login(false)
	case "scraping":
		e.SetText(event.Account, c.id)
		e.SetText(event.Token, c.id+"-t")
		e.SetText(event.TokenFamily, c.id)
		p.object(c.at, 200)
	case "enumeration":
		e.SetText(event.Account, c.id)
		status := int64(404)
		if c.at%10 == 0 {
			status = 200
		}
		p.object(c.at, status)
	case "signature_mismatch":
		p.looksLikeApp(c)
		e.SetText(event.Account, c.id)
		e.SetText(event.Device, c.id)
		e.SetText(event.Signature, "invalid")
		e.SetText(event.SignatureReason, "sig_invalid")
		p.object(c.at%5, 401)
	case "impossible_travel":
		p.useOthersAccount(c)
	case "sequence_anomaly":
		p.looksLikeApp(c)
		e.SetText(event.Account, c.id)
		e.SetText(event.Device, c.id)
		e.SetText(event.Token, c.id+"-t")
		e.SetText(event.TokenFamily, c.id)
		e.SetText(event.Signature, "valid")
		p.outOfOrder(c)
	}
}

// looksLikeApp makes a request look like the app's, on a common phone.
func (p *Population) looksLikeApp(c *campaign) {
	c.as = p.usual()
	p.dress(c.as)
}

// usual returns the first of our people with the most common release.
func (p *Population) usual() *person {
	for i := range p.people {
		if p.people[i].version == mostUsed {
			return &p.people[i]
		}
	}
	return &p.people[0]
}

// useOthersAccount reads the orders of somebody who is using the app, with a phished
// token, from far away and on the attacker's device.
func (p *Population) useOthersAccount(c *campaign) {
	if c.as == nil {
		c.as = p.somebodyHere()
		victim := facet.Entity{Kind: facet.Account, Key: c.as.account}
		c.Attackers = []facet.Entity{victim}
		p.victims[victim] = true
	}
	e := &p.e
	e.SetText(event.Account, c.as.account)
	e.SetText(event.Device, c.id)
	e.SetText(event.Token, c.id+"-t")
	e.SetText(event.TokenFamily, c.id)
	order := c.as.account[len("user-"):] + "-" + strconv.Itoa(c.at%5)
	p.request("GET", "/v1/orders/"+order, "/v1/orders/{id}", 200)
	e.SetText(event.ObjectType, "order")
	e.SetText(event.Object, order)
}

// somebodyHere returns a signed-in user of the app, or anybody if there is none.
func (p *Population) somebodyHere() *person {
	for range 100 {
		if len(p.sessions) == 0 {
			break
		}
		if s := p.sessions[p.rng.IntN(len(p.sessions))]; s.greeted {
			return s.p
		}
	}
	return &p.people[p.rng.IntN(len(p.people))]
}

// outOfOrder makes the app's calls in the wrong order: it asks for the user's profile
// after each item, which the app does only once, when it starts.
func (p *Population) outOfOrder(c *campaign) {
	switch c.at % 4 {
	case 0:
		p.request("GET", "/v1/items/"+strconv.Itoa(c.at), "/v1/items/{id}", 200)
	case 2:
		p.request("GET", "/v1/catalogue?page=1", "/v1/catalogue", 200)
	default:
		p.request("GET", "/v1/me", "/v1/me", 200)
	}
}

// stuff tries a leaked password: usually of an unknown account, sometimes of one of
// our people, and one time in a hundred it is the right one.
func (p *Population) stuff() {
	if p.rng.IntN(20) > 0 {
		p.e.SetText(event.Account, "leak-"+strconv.FormatUint(uint64(p.rng.Uint32()), 36))
		p.login(false)
		return
	}
	account := p.people[p.rng.IntN(len(p.people))].account
	p.victims[facet.Entity{Kind: facet.Account, Key: account}] = true
	p.e.SetText(event.Account, account)
	p.login(p.rng.IntN(5) == 0)
}

func (p *Population) login(success bool) {
	status, auth := int64(401), "failure"
	if success {
		status, auth = 200, "success"
	}
	p.request("POST", "/v1/login", "/v1/login", status)
	p.e.SetText(event.Auth, auth)
}

func (p *Population) object(n int, status int64) {
	id := strconv.Itoa(100_000 + n)
	p.request("GET", "/v1/orders/"+id, "/v1/orders/{id}", status)
	p.e.SetText(event.ObjectType, "order")
	p.e.SetText(event.Object, id)
}
