package traffic

import (
	"time"
)

// replay: requests that were captured are sent again, with their nonce and their time
func replay() kind {
	return kind{name: "replay", doc: "requests that were captured are sent again, with their nonce and their time", slow: 5 * time.Hour, run: func(a *attack) {
		a.each(5, func(a *attack) {
			c := a.source()
			a.genuine(c)
			c.account = a.account()
			a.signIn(c)
			for range 5 {
				a.stay(c)
				r := request{method: "POST", path: "/v1/coupons/redeem", route: "/v1/coupons/redeem", status: 200, attrs: `{"coupon":"SPRING7"}`}
				r.nonce, r.clock = name(a.rng, "n-"), a.clock(c)
				times := 6
				if a.careful {
					times = 2
				}
				for range times {
					a.send(c, r)
					a.pace(8*time.Second, 11*time.Minute)
				}
			}
		})
	}}
}
