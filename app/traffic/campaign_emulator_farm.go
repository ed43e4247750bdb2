package traffic

import (
	"time"
)

// emulatorFarm: many accounts on emulated or rooted phones in few networks
func emulatorFarm() kind {
	return kind{name: "emulator_farm", doc: "many accounts on emulated or rooted phones in few networks", slow: 5 * time.Hour, run: func(a *attack) {
		city := pick(a.rng, spread())
		for i := range 20 {
			c := a.source()
			p := phone{"sdk_gphone64_x86_64", "android", "13", "2022-11-05"}
			if a.careful {
				p = phone{"iPhone 16", "android", "12", "2021-06-01"} // a model that does not run this system
			}
			a.disguise(c)
			c.dress(a.t, p, "4.2.0")
			c.emulator, c.rooted = !a.careful, true
			c.verdict, c.level, c.sim = "failed", "none", "absent"
			c.account, c.addr = a.account(), broadband.at(city, 41_000+i%2)
			if a.distributed {
				c.addr = broadband.at(city, 41_000+a.rng.IntN(10)*256)
			}
			a.signIn(c)
			for range 3 {
				a.send(c, request{method: "GET", path: "/v1/catalogue?page=1", route: "/v1/catalogue", status: 200})
				a.wait(a.someTime(4*time.Second, time.Second))
			}
			a.send(c, request{method: "POST", path: "/v1/coupons/redeem", route: "/v1/coupons/redeem", status: 200, attrs: `{"coupon":"WELCOME"}`})
			a.pace(10*time.Second, 12*time.Minute)
		}
	}}
}
