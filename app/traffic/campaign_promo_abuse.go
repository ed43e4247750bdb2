package traffic

import (
	"strconv"
	"time"
)

// promoAbuse: codes of coupons and gift cards are guessed
func promoAbuse() kind {
	return kind{name: "promo_abuse", doc: "codes of coupons and gift cards are guessed", slow: 5 * time.Hour, run: func(a *attack) {
		clients := a.sources(6)
		for _, c := range clients {
			c.account = a.account()
			a.signIn(c)
		}
		first := a.rng.IntN(50_000)
		for i := range 80 {
			c := clients[i%len(clients)]
			a.stay(c)
			code, status := "GIFT-"+strconv.Itoa(first+i), int64(404)
			if a.careful {
				code = "GIFT-" + strconv.Itoa(a.rng.IntN(1_000_000))
			}
			if a.rng.IntN(25) == 0 {
				status = 200
			}
			a.send(c, request{method: "POST", path: "/v1/coupons/redeem", route: "/v1/coupons/redeem", status: status, attrs: `{"coupon":"` + code + `"}`})
			a.pace(3*time.Second, 3*time.Minute)
		}
	}}
}
