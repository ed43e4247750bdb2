package traffic

import (
	"time"
)

// refundLoop: things are bought, given on, and the money asked back
func refundLoop() kind {
	return kind{name: "refund_loop", doc: "what is bought is given on, and the money asked back, again and again", fast: 45 * time.Minute, slow: 8 * time.Hour, run: func(a *attack) {
		var buyers []*client
		for range a.or(4) {
			c := a.source()
			c.account = a.account()
			a.signIn(c)
			buyers = append(buyers, c)
		}
		for i := range 8 * len(buyers) {
			c := buyers[i%len(buyers)]
			a.stay(c)
			card := payment("card-"+c.account, amount(a.actor))
			a.send(c, request{method: "POST", path: "/v1/cart/items", route: "/v1/cart/items", status: 201, objectType: "item", object: "9"})
			a.wait(a.someTime(8*time.Second, 2*time.Second))
			a.send(c, request{method: "POST", path: "/v1/checkout", route: "/v1/checkout", status: 201})
			a.wait(a.someTime(8*time.Second, 2*time.Second))
			a.send(c, request{method: "POST", path: "/v1/payments", route: "/v1/payments", status: 201, attrs: card})
			id := name(a.rng, "p")
			a.send(c, request{method: "POST", path: "/v1/payments/" + id + "/confirm", route: "/v1/payments/{id}/confirm", status: 200, attrs: card})
			a.pace(30*time.Second, 5*time.Minute)
			o := name(a.rng, "o")
			a.send(c, request{method: "POST", path: "/v1/orders/" + o + "/refund", route: "/v1/orders/{id}/refund", status: 201, objectType: "order", object: o})
			a.pace(30*time.Second, 5*time.Minute)
		}
	}}
}
