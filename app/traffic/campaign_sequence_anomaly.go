package traffic

import (
	"time"
)

// sequenceAnomaly: a bot calls operations in an order in which the app never calls them
func sequenceAnomaly() kind {
	return kind{name: "sequence_anomaly", doc: "a bot calls operations in an order in which the app never calls them", slow: 5 * time.Hour, run: func(a *attack) {
		calls := []request{
			{method: "GET", path: "/v1/balance", route: "/v1/balance", status: 200}, {method: "POST", path: "/v1/logout", route: "/v1/logout", status: 204},
			{method: "POST", path: "/v1/checkout", route: "/v1/checkout", status: 201}, {method: "GET", path: "/v1/account/export", route: "/v1/account/export", status: 200},
			{method: "POST", path: "/v1/signup/verify", route: "/v1/signup/verify", status: 200}, {method: "POST", path: "/v1/mfa/challenge", route: "/v1/mfa/challenge", status: 200},
			{method: "GET", path: "/v1/config", route: "/v1/config", status: 200}, {method: "POST", path: "/v1/password/change", route: "/v1/password/change", status: 200},
			{method: "GET", path: "/v1/cart", route: "/v1/cart", status: 200}, {method: "PUT", path: "/v1/account/email", route: "/v1/account/email", status: 200},
		}
		a.each(5, func(a *attack) {
			c := a.source()
			a.genuine(c)
			c.account = a.account()
			a.signIn(c)
			for i := range 40 {
				a.stay(c)
				if a.careful && i%2 == 0 { // every other step is one that the app takes
					a.send(c, request{method: "GET", path: "/v1/me", route: "/v1/me", status: 200})
				} else {
					a.send(c, pick(a.rng, calls))
				}
				a.pace(1500*time.Millisecond, 90*time.Second)
			}
		})
	}}
}
