package traffic

import (
	"time"
)

// residentialProxies: leaked passwords are tried through proxies in homes, each address once or twice; a single source rotates through one /24
func residentialProxies() kind {
	return kind{name: "residential_proxies", doc: "leaked passwords are tried through proxies in homes, each address once or twice; a single source rotates through one /24", slow: 6 * time.Hour, run: func(a *attack) {
		c := a.source()
		home := pick(a.rng, spread())
		net := 30_000 + a.rng.IntN(100)<<8
		for i := range 240 {
			c.own.addr = true
			switch {
			case !a.distributed:
				c.addr = broadband.at(home, net+1+i%250)
			case a.rng.IntN(5) == 0: // a resident uses the address
				p := pick(a.rng, a.t.people)
				c.addr, c.own.addr = p.home, false
			default:
				c.addr = broadband.anywhere(a.rng, pick(a.rng, spread()), 30_000)
			}
			if a.careful {
				a.disguise(c)
			}
			account := name(a.rng, "leak-")
			if a.rng.IntN(4) == 0 {
				account = a.victim().account
			}
			a.try(c, account, a.rng.IntN(80) == 0)
			a.pace(1800*time.Millisecond, 80*time.Second)
		}
	}}
}
