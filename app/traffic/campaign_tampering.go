package traffic

import (
	"time"
)

// tampering: routes, methods, fields and prices are tried that the app never sends
func tampering() kind {
	return kind{name: "tampering", doc: "routes, methods, fields and prices are tried that the app never sends", slow: 5 * time.Hour, run: func(a *attack) {
		clients := a.sources(6)
		for _, c := range clients {
			c.account = a.account()
			a.signIn(c)
		}
		probes := []request{
			{method: "GET", path: "/.env", route: "/.env", status: 404}, {method: "GET", path: "/v1/admin/users", route: "/v1/admin/users", status: 404},
			{method: "DELETE", path: "/v1/orders/1", route: "/v1/orders/{id}", status: 405}, {method: "GET", path: "/actuator/env", route: "/actuator/env", status: 404},
			{method: "PUT", path: "/v1/config", route: "/v1/config", status: 405}, {method: "GET", path: "/v2/internal/debug", route: "/v2/internal/debug", status: 404},
			{method: "POST", path: "/v1/items/7", route: "/v1/items/{id}", status: 405}, {method: "GET", path: "/swagger.json", route: "/swagger.json", status: 404},
		}
		for i := range 60 {
			c := clients[i%len(clients)]
			a.stay(c)
			r := pick(a.rng, probes)
			if a.careful {
				r = request{method: "POST", path: "/v1/payments", route: "/v1/payments", status: 422, attrs: `{"amount":-1,"currency":"EUR","violation":"schema"}`}
				if a.rng.IntN(3) == 0 {
					r = request{method: "POST", path: "/v1/cart/items", route: "/v1/cart/items", status: 201, objectType: "item", object: "7", attrs: `{"price":1,"is_admin":true}`}
				}
			}
			a.send(c, r)
			a.pace(2500*time.Millisecond, 4*time.Minute)
		}
	}}
}
