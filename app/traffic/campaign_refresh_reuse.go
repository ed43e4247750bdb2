package traffic

import (
	"time"
)

// refreshReuse: a refresh token that was stolen is presented after its owner has used it
func refreshReuse() kind {
	return kind{name: "refresh_reuse", doc: "a refresh token that was stolen is presented after its owner has used it", slow: 4 * time.Hour, run: func(a *attack) {
		a.each(4, func(a *attack) {
			p := a.victimNow(func(s *seat) bool { return s.spent != "" })
			c := p.seats[0].client
			c.own = owned{addr: true, device: true}
			if a.slow {
				a.wait(a.about(70*time.Minute, 0.5))
			}
			if c.addr = broadband.anywhere(a.rng, p.city, 30_000); !a.careful {
				c.addr = hosting.anywhere(a.rng, 18+a.rng.IntN(3), 100)
				c.agent, c.ja4, c.device = "okhttp/4.12.0", ja4OkHTTP, name(a.rng, "d-")
				c.signature, c.verdict, c.level = "missing", "missing", "none"
			} else {
				c.own.device, c.signature = false, "missing"
			}
			spent := c.spent
			for range 3 {
				a.send(&c, request{method: "POST", path: "/v1/token/refresh", route: "/v1/token/refresh", status: 400, grant: "refresh_token", token: spent})
				a.pace(20*time.Second, 20*time.Minute)
			}
			for range 5 {
				a.send(&c, request{method: "GET", path: "/v1/me", route: "/v1/me", status: 200})
				a.pace(6*time.Second, 4*time.Minute)
			}
		})
	}}
}
