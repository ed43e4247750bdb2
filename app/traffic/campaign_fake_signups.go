package traffic

import (
	"strconv"
	"time"
)

// fakeSignups: accounts are opened by a script, and used at once
func fakeSignups() kind {
	return kind{name: "fake_signups", doc: "accounts are opened by a script, and used at once", slow: 5 * time.Hour, run: func(a *attack) {
		sources := a.sources(10)
		for i := range 60 {
			c := sources[i%len(sources)]
			if c.account = a.account(); !a.careful {
				c.device = "d-script-" + strconv.Itoa(a.c.place)
			}
			domain, who := "mailinator.com", "bot"+strconv.Itoa(i)
			if a.careful {
				domain, who = pick(a.rng, mailboxes()), "j.doe+"+name(a.rng, "")
			}
			a.send(c, request{method: "POST", path: "/v1/signup", route: "/v1/signup", status: 201, attrs: email(who, domain)})
			a.wait(a.someTime(1500*time.Millisecond, 300*time.Millisecond))
			a.send(c, request{method: "POST", path: "/v1/signup/verify", route: "/v1/signup/verify", status: 200})
			a.wait(a.someTime(1200*time.Millisecond, 300*time.Millisecond))
			a.grantTokens(c)
			a.send(c, request{method: "POST", path: "/v1/coupons/redeem", route: "/v1/coupons/redeem", status: 200, attrs: `{"coupon":"WELCOME"}`})
			c.token, c.family, c.session = "", "", ""
			a.pace(6*time.Second, 280*time.Second)
		}
	}}
}
