package traffic

import (
	"time"
)

// passwordSpray: a few common passwords are tried on many accounts that exist
func passwordSpray() kind {
	return kind{name: "password_spray", doc: "a few common passwords are tried on many accounts that exist", slow: 6 * time.Hour, run: func(a *attack) {
		sources := a.sources(10)
		var accounts []string
		for range 45 {
			accounts = append(accounts, a.victim().account)
		}
		i := 0
		for range 3 {
			for _, account := range accounts {
				a.try(sources[i%len(sources)], account, a.rng.IntN(150) == 0)
				i++
				a.pace(4*time.Second, 140*time.Second)
			}
		}
	}}
}
