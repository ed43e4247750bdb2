package traffic

import (
	"time"
)

// tokenLifetime: tokens are used after they have expired, or live longer than any that the server issues
func tokenLifetime() kind {
	return kind{name: "token_lifetime", doc: "tokens are used after they have expired, or live longer than any that the server issues", slow: 4 * time.Hour, run: func(a *attack) {
		a.each(5, func(a *attack) {
			c := a.source()
			a.genuine(c)
			c.account = a.account()
			a.grantTokens(c)
			if c.issued, c.expires = a.now-(9*24*time.Hour).Milliseconds(), a.now-(8*24*time.Hour).Milliseconds(); a.careful {
				c.expires = a.now + (300 * 24 * time.Hour).Milliseconds()
			}
			for i := range 16 {
				a.send(c, request{method: "GET", path: "/v1/orders", route: "/v1/orders", status: 200, lax: i%2 == 0})
				a.pace(5*time.Second, 12*time.Minute)
			}
		})
	}}
}
