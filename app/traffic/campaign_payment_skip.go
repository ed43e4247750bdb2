package traffic

import (
	"time"
)

// paymentSkip: payments without a cart, and confirmations without a payment
func paymentSkip() kind {
	return kind{name: "payment_skip", doc: "payments without a cart, and confirmations without a payment", slow: 5 * time.Hour, run: func(a *attack) {
		a.each(6, func(a *attack) {
			c := a.source()
			a.genuine(c)
			c.account = a.account()
			a.signIn(c)
			for i := range 8 {
				a.stay(c)
				if a.careful {
					a.send(c, request{method: "GET", path: "/v1/items/17", route: "/v1/items/{id}", status: 200, objectType: "item", object: "17"})
					a.wait(a.someTime(5*time.Second, time.Second))
				}
				if i%2 == 0 {
					a.send(c, request{method: "POST", path: "/v1/payments", route: "/v1/payments", status: 201, attrs: payment("card-"+c.account, 100)})
				} else {
					id := name(a.rng, "p")
					a.send(c, request{method: "POST", path: "/v1/payments/" + id + "/confirm", route: "/v1/payments/{id}/confirm", status: 200, attrs: payment("card-"+c.account, 100)})
					a.wait(4 * time.Second)
					a.send(c, request{method: "POST", path: "/v1/payments/" + id + "x/confirm", route: "/v1/payments/{id}/confirm", status: 200, attrs: payment("card-"+c.account, 100)})
				}
				a.pace(9*time.Second, 30*time.Minute)
			}
		})
	}}
}
