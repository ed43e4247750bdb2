package traffic

import (
	"time"
)

// newDevice: an account is used with a new device from a new country, straight for what is worth it
func newDevice() kind {
	return kind{name: "new_device", doc: "an account is used with a new device from a new country, straight for what is worth it", slow: 3 * time.Hour, run: func(a *attack) {
		a.each(5, func(a *attack) {
			p := a.victim()
			c := &client{tenant: a.t, account: p.account, own: owned{addr: true, device: true, token: true}}
			a.disguise(c)
			if c.addr = hosting.anywhere(a.rng, a.far(p.city), 100); a.careful {
				c.addr = broadband.anywhere(a.rng, a.far(p.city), 30_000)
			}
			a.signIn(c)
			for _, step := range []request{
				{method: "PUT", path: "/v1/account/email", route: "/v1/account/email", status: 200},
				{method: "GET", path: "/v1/account/export", route: "/v1/account/export", status: 200, bytes: 400_000},
				{method: "POST", path: "/v1/withdrawals", route: "/v1/withdrawals", status: 201, attrs: `{"amount":64000,"currency":"EUR"}`},
			} {
				a.send(c, step)
				a.pace(12*time.Second, 25*time.Minute)
				a.stay(c)
			}
		})
	}}
}
