package traffic

import (
	"time"
)

// tokenTheft: a token is used by somebody else while its owner uses it
func tokenTheft() kind {
	return kind{name: "token_theft", doc: "a token is used by somebody else while its owner uses it", slow: 3 * time.Hour, run: func(a *attack) {
		a.each(4, func(a *attack) {
			p := a.victimNow()
			c := p.seats[0].client
			c.own = owned{addr: true, device: true}
			if c.addr = broadband.anywhere(a.rng, p.city, 30_000); !a.careful {
				c.addr = hosting.anywhere(a.rng, 18+a.rng.IntN(3), 100)
				c.agent, c.ja4, c.signature, c.verdict, c.level = "python-requests/2.32.3", ja4Python, "missing", "missing", "none"
				c.device = name(a.rng, "d-")
			} else { // the attacker also claims the owner's device, but does not have its key
				c.own.device, c.signature, c.reason, c.ja4 = false, "missing", "", ja4Go
			}
			for range 18 {
				a.send(&c, request{method: "GET", path: "/v1/orders", route: "/v1/orders", status: 200})
				a.pace(5*time.Second, 5*time.Minute)
			}
		})
	}}
}
