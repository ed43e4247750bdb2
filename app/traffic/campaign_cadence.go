package traffic

import (
	"strconv"
	"time"
)

// cadence: a bot asks at the same interval, hour after hour
func cadence() kind {
	return kind{name: "cadence", doc: "a bot asks at the same interval, hour after hour", fast: 85 * time.Minute, slow: 10 * time.Hour, run: func(a *attack) {
		var bots []*client
		for range a.or(4) {
			c := a.source()
			a.genuine(c)
			c.account = a.account()
			a.signIn(c)
			bots = append(bots, c)
		}
		item := strconv.Itoa(a.rng.IntN(400))
		every, part, n := 25*time.Second, 0.01, 200
		if a.slow {
			every, n = 5*time.Minute, 110
		}
		if a.careful {
			part = 0.06
		}
		for range n {
			for _, c := range bots {
				a.stay(c)
				a.send(c, request{method: "GET", path: "/v1/items/" + item, route: "/v1/items/{id}", status: 200, objectType: "item", object: item})
			}
			a.wait(a.about(every, part))
		}
	}}
}
