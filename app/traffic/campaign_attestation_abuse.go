package traffic

import (
	"time"
)

// attestationAbuse: money is moved where the platform's attestation failed, is stale, or was made for another device
func attestationAbuse() kind {
	return kind{name: "attestation_abuse", doc: "money is moved where the platform's attestation failed, is stale, or was made for another device", slow: 5 * time.Hour, run: func(a *attack) {
		made := a.now - (40 * 24 * time.Hour).Milliseconds()
		a.each(6, func(a *attack) {
			c := a.source()
			a.genuine(c)
			c.account = a.account()
			a.signIn(c)
			for range 12 {
				a.stay(c)
				if c.verdict, c.level, c.attested = "failed", "none", 0; a.careful {
					c.verdict, c.level, c.attested = "passed", "basic", made
				}
				a.send(c, request{method: "GET", path: "/v1/cart", route: "/v1/cart", status: 200})
				a.wait(a.someTime(6*time.Second, time.Second))
				a.send(c, request{method: "POST", path: "/v1/withdrawals", route: "/v1/withdrawals", status: 201, attrs: `{"amount":20000,"currency":"EUR"}`})
				a.pace(8*time.Second, 24*time.Minute)
			}
		})
	}}
}
