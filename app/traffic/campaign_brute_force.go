package traffic

import (
	"time"
)

// bruteForce: many passwords are tried on one account
func bruteForce() kind {
	return kind{name: "brute_force", doc: "many passwords are tried on one account", slow: 4 * time.Hour, run: func(a *attack) {
		sources := a.sources(15)
		account := a.victim().account
		for i := range 90 {
			a.try(sources[i%len(sources)], account, i == 89 && a.careful)
			a.pace(5*time.Second, 100*time.Second)
		}
	}}
}
