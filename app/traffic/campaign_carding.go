package traffic

import (
	"time"
)

// carding: stolen cards are tried with small payments
func carding() kind {
	return kind{name: "carding", doc: "stolen cards are tried with small payments", slow: 5 * time.Hour, run: func(a *attack) {
		var buyers []*client
		for range a.or(8) {
			c := a.source()
			c.account = a.account()
			a.signIn(c)
			buyers = append(buyers, c)
		}
		for i := range 60 {
			c := buyers[i%len(buyers)]
			a.stay(c)
			cents, status := 100, int64(402)
			if a.rng.IntN(9) == 0 {
				status = 201
			}
			if a.careful {
				cents = amount(a.actor)
				a.send(c, request{method: "POST", path: "/v1/cart/items", route: "/v1/cart/items", status: 201, objectType: "item", object: "9"})
				a.wait(a.someTime(8*time.Second, 2*time.Second))
				a.send(c, request{method: "POST", path: "/v1/checkout", route: "/v1/checkout", status: 201})
				a.wait(a.someTime(8*time.Second, 2*time.Second))
			}
			a.send(c, request{method: "POST", path: "/v1/payments", route: "/v1/payments", status: status, attrs: payment(name(a.rng, "card-"), cents)})
			a.pace(6*time.Second, 4*time.Minute)
		}
	}}
}
