package traffic

import (
	"time"
)

// multiAccounting: one person has many accounts on few devices, each for the gift that a new account gets
func multiAccounting() kind {
	return kind{name: "multi_accounting", doc: "one person has many accounts on few devices, each for the gift that a new account gets", slow: 6 * time.Hour, run: func(a *attack) {
		var devices []*client
		for range a.or(3) {
			c := a.source()
			a.genuine(c)
			c.addr = broadband.anywhere(a.rng, pick(a.rng, spread()), 30_000)
			devices = append(devices, c)
		}
		for i := range 16 {
			c := devices[i%len(devices)]
			home := c.addr
			if c.account = a.account(); a.careful && a.rng.IntN(2) == 0 {
				c.addr = mobile.at(0, 9000+a.rng.IntN(4))
			}
			a.signIn(c)
			a.send(c, request{method: "POST", path: "/v1/coupons/redeem", route: "/v1/coupons/redeem", status: 200, attrs: `{"coupon":"WELCOME"}`})
			a.pace(15*time.Second, 20*time.Minute)
			a.send(c, request{method: "POST", path: "/v1/logout", route: "/v1/logout", status: 204})
			c.token, c.family, c.session, c.addr = "", "", "", home
			a.wait(a.someTime(9*time.Second, 2*time.Second))
		}
	}}
}
