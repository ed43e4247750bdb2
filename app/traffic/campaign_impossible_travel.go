package traffic

import (
	"time"
)

// impossibleTravel: an account is used from far away while its owner uses it
func impossibleTravel() kind {
	return kind{name: "impossible_travel", doc: "an account is used from far away while its owner uses it", slow: 3 * time.Hour, run: func(a *attack) {
		a.each(4, func(a *attack) {
			p := a.victimNow()
			c := &client{tenant: a.t, account: p.account, own: owned{addr: true, device: true, token: true}}
			a.disguise(c)
			if a.careful { // same appearance as the owner's phone
				c.dress(a.t, p.seats[0].phone, p.seats[0].version)
			}
			c.addr = broadband.anywhere(a.rng, a.far(p.city), 30_000)
			a.signIn(c)
			for range 12 {
				o := p.order(a.rng.IntN(max(1, p.orders)))
				a.send(c, request{method: "GET", path: "/v1/orders/" + o, route: "/v1/orders/{id}", status: 200, objectType: "order", object: o})
				a.pace(6*time.Second, 9*time.Minute)
				a.stay(c)
			}
		})
	}}
}
