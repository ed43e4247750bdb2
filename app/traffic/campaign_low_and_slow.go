package traffic

import (
	"time"
)

// lowAndSlow: one account is tried again and again, so seldom that no lock-out notices
func lowAndSlow() kind {
	return kind{name: "low_and_slow", doc: "one account is tried again and again, so seldom that no lock-out notices", fast: 105 * time.Minute, slow: 6 * time.Hour, run: func(a *attack) {
		sources := a.sources(6)
		account := a.victim().account
		for i := range 26 {
			a.try(sources[i%len(sources)], account, false)
			d, part := 4*time.Minute, 0.03
			if a.slow {
				d = 13 * time.Minute
			}
			if a.careful {
				part = 0.15
			}
			a.wait(a.about(d, part))
		}
	}}
}
