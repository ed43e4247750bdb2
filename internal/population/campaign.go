package population

import (
	"net/netip"
	"strconv"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// Kinds lists the attacks that can be launched.
func Kinds() []string {
	return []string{"credential_stuffing", "brute_force", "scraping", "enumeration", "forged_signatures"}
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
}

// Launch adds an attack.
func (p *Population) Launch(c Campaign) {
	n := len(p.campaigns)
	k := &campaign{Launched: Launched{Campaign: c}, next: float64(c.Start), id: c.Kind + "-" + strconv.Itoa(n)}
	for i := range max(1, min(c.Addresses, 200)) {
		k.addrs = append(k.addrs, hostingAddress(n*16+i))
	}
	switch c.Kind {
	case "credential_stuffing":
		for _, a := range k.addrs {
			k.Attackers = append(k.Attackers, facet.Entity{Kind: facet.IP, Key: event.ClientKey(a)})
		}
	case "scraping":
		k.Attackers = []facet.Entity{{Kind: facet.Token, Key: k.id}}
	case "forged_signatures":
		k.Attackers = []facet.Entity{{Kind: facet.Device, Key: k.id}}
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
	case "forged_signatures":
		e.SetText(event.Account, c.id)
		e.SetText(event.Device, c.id)
		as := &p.people[0] // whose build it claims
		e.SetText(event.DeviceModel, as.model.name)
		e.SetText(event.OS, as.model.os)
		e.SetText(event.AppVersion, as.version)
		e.SetText(event.Signature, "invalid")
		e.SetText(event.SignatureReason, "sig_invalid")
		p.object(c.at%5, 401)
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
	p.e.SetText(event.Account, p.people[p.rng.IntN(len(p.people))].account)
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
