package traffic

import (
	"time"
)

// credentialStuffing: leaked names and passwords are tried, each account once; few are right
func credentialStuffing() kind {
	return kind{name: "credential_stuffing", doc: "leaked names and passwords are tried, each account once; few are right", slow: 5 * time.Hour, run: func(a *attack) {
		sources := a.sources(12)
		for i := range 220 {
			c := sources[i%len(sources)]
			account := name(a.rng, "leak-")
			if a.rng.IntN(8) == 0 {
				account = a.victim().account
			}
			right := a.rng.IntN(60) == 0
			a.try(c, account, right)
			if right {
				a.wait(a.someTime(2*time.Second, 200*time.Millisecond))
				a.grantTokens(c)
				a.send(c, request{method: "GET", path: "/v1/me", route: "/v1/me", status: 200})
				c.token, c.family, c.session = "", "", ""
			}
			if a.careful && a.rng.IntN(5) == 0 { // an own account, so that the address has successes too
				a.wait(time.Second)
				a.try(c, "u"+name(a.rng, "own"), true)
			}
			a.pace(1500*time.Millisecond, 75*time.Second)
		}
	}}
}
