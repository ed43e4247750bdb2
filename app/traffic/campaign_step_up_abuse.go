package traffic

import (
	"time"
)

// stepUpAbuse: a victim's phone is asked to confirm sign-ins, until somebody gives in
func stepUpAbuse() kind {
	return kind{name: "step_up_abuse", doc: "a victim's phone is asked to confirm sign-ins, until somebody gives in", slow: 4 * time.Hour, run: func(a *attack) {
		a.each(4, func(a *attack) {
			p := a.victim()
			c := a.source()
			c.account, c.own.account = p.account, false
			for range 14 {
				a.send(c, request{method: "POST", path: "/v1/login", route: "/v1/login", status: 401, auth: "challenge", grant: "password"})
				a.wait(a.someTime(700*time.Millisecond, 100*time.Millisecond))
				a.send(c, request{method: "POST", path: "/v1/mfa/challenge", route: "/v1/mfa/challenge", status: 200})
				a.pace(18*time.Second, 10*time.Minute)
				if a.careful && a.rng.IntN(4) == 0 {
					a.send(c, request{method: "POST", path: "/v1/mfa/verify", route: "/v1/mfa/verify", status: 401})
				}
			}
		})
	}}
}
