package traffic

import (
	"time"
)

// takeoverWithdrawal: the password is reset, the e-mail address changed, and the money withdrawn
func takeoverWithdrawal() kind {
	return kind{name: "takeover_withdrawal", doc: "the password is reset, the e-mail address changed, and the money withdrawn", slow: 4 * time.Hour, run: func(a *attack) {
		a.each(5, func(a *attack) {
			p := a.victim()
			c := a.source()
			a.disguise(c)
			c.account, c.own.account = p.account, false
			for _, step := range []request{
				{method: "POST", path: "/v1/password/forgot", route: "/v1/password/forgot", status: 202},
				{method: "POST", path: "/v1/password/reset", route: "/v1/password/reset", status: 200},
				{method: "POST", path: "/v1/login", route: "/v1/login", status: 200, auth: "success", grant: "password"},
				{method: "GET", path: "/v1/me", route: "/v1/me", status: 200},
				{method: "PUT", path: "/v1/account/email", route: "/v1/account/email", status: 200},
				{method: "GET", path: "/v1/balance", route: "/v1/balance", status: 200},
				{method: "POST", path: "/v1/withdrawals", route: "/v1/withdrawals", status: 201, attrs: `{"amount":98000,"currency":"EUR"}`},
			} {
				if step.auth != "" {
					a.grantTokens(c)
				}
				a.send(c, step)
				a.pace(7*time.Second, 25*time.Minute)
				if c.token != "" {
					a.stay(c)
				}
			}
		})
	}}
}
