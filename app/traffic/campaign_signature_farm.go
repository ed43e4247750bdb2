package traffic

import (
	"time"
)

// signatureFarm: one key, or keys that nobody issued, on many devices of one model with many accounts
func signatureFarm() kind {
	return kind{name: "signature_farm", doc: "one key, or keys that nobody issued, on many devices of one model with many accounts", slow: 5 * time.Hour, run: func(a *attack) {
		p := pick(a.rng, phones())
		key := name(a.rng, "k-")
		city := pick(a.rng, spread())
		for i := range 18 {
			c := a.source()
			a.genuine(c)
			c.dress(a.t, p, "4.2.0")
			c.account, c.addr = a.account(), broadband.at(city, 40_000+i/9)
			if a.distributed {
				c.addr = broadband.anywhere(a.rng, pick(a.rng, spread()), 30_000)
			}
			status := int64(200)
			if c.key = key; !a.careful {
				c.signature, c.reason, status = "unknown", "unknown_key", 401
			}
			a.signIn(c)
			for range 4 {
				a.send(c, request{method: "GET", path: "/v1/catalogue?page=1", route: "/v1/catalogue", status: status})
				a.pace(3*time.Second, 4*time.Minute)
			}
		}
	}}
}
