package traffic

import (
	"strconv"
	"time"

	"github.com/weirdev/weir/internal/facet"
)

// eventsOfASession is the average number of requests per visit. TestTheRateIsKept
// checks it.
const eventsOfASession = 24.9

// visit is a person's visit to the app.
type visit struct {
	*actor
	p      *person
	s      *seat
	pushed bool // started by a marketing message
	item   int  // index in the catalogue
	cart   int  // number of things in the cart
	stream bool // the network changes during the visit
}

// run runs a visit from the first request to the last.
func (v *visit) run() {
	p := v.p
	v.choose()
	v.travel()
	v.call(request{method: "GET", path: "/v1/config", route: "/v1/config", status: 200})
	v.wait(v.someTime(600*time.Millisecond, 80*time.Millisecond))
	if !v.enter() {
		return
	}
	v.call(request{method: "GET", path: "/v1/me", route: "/v1/me", status: 200})
	v.think(2 * time.Second)
	if !v.s.synced {
		v.synchronise()
	}
	v.item = v.rng.IntN(p.tenant.catalogue)
	if v.pushed {
		v.item = 4711 % p.tenant.catalogue
		v.look()
	}
	actions := v.between(6, 34)
	if p.heavy {
		actions = v.between(60, 140)
	}
	for range actions {
		if v.s.signature == "invalid" && v.rng.IntN(3) > 0 {
			return // nothing works; perhaps another time
		}
		v.act()
		v.think(9 * time.Second)
	}
	if v.rng.IntN(25) == 0 {
		v.call(request{method: "POST", path: "/v1/logout", route: "/v1/logout", status: 204})
		v.s.signOut()
	}
}

// signOut discards the data of a sign-in.
func (s *seat) signOut() {
	s.signedIn, s.session, s.token, s.refresh, s.spent, s.family = false, "", "", "", "", ""
}

// think waits while a person reads.
func (v *visit) think(d time.Duration) {
	v.wait(v.someTime(d, 350*time.Millisecond))
	if v.stream && v.rng.IntN(12) == 0 {
		v.s.addr = v.p.carrierAddress(v.rng)
	}
	v.s.platform(v.actor)
}

// choose selects a device.
func (v *visit) choose() {
	p := v.p
	if p.replaces > 0 && v.now >= p.replaces {
		p.replaces = 0
		s := p.sit(v.w, v.rng, pick(v.rng, phones()))
		v.prove(&s.client)
		s.signOut()
		s.synced, s.known = false, false
		s.sim = p.seats[0].sim
		p.seats = []*seat{s}
	}
	v.s = p.seats[0]
	if len(p.seats) > 1 && v.rng.IntN(3) == 0 {
		v.s = pick(v.rng, p.seats[1:])
	}
	v.s.platform(v.actor)
	if v.s.verdict == "passed" && v.now-v.s.attested > (12*time.Hour).Milliseconds() {
		v.attest(&v.s.client)
	}
}

// travel sets the network of the device.
func (v *visit) travel() {
	p, r := v.p, v.rng
	hour := time.UnixMilli(v.now).UTC().Add(time.Duration(cities()[p.city].zone) * time.Hour).Hour()
	if p.flies != 0 && v.now >= p.flies && v.fly() {
		return
	}
	switch {
	case p.exit.IsValid() && r.IntN(perHundred) < p.exits:
		v.s.addr = p.exit
	case p.work.IsValid() && hour >= 9 && hour < 17 && r.IntN(4) > 0:
		v.s.addr = p.work
	case p.commutes && (hour == 7 || hour == 8 || hour == 17):
		v.s.addr, v.stream = p.carrierAddress(r), true
		if r.IntN(2) == 0 {
			v.s.addr = p.home // the phone leaves it during the visit
		}
	case r.IntN(3) == 0:
		v.s.addr = p.carrierAddress(r)
	default:
		v.s.addr = p.home
	}
}

// fly moves a person who has flown to the destination. It reports whether the
// device is away from home. Some people use the aeroplane's network.
func (v *visit) fly() bool {
	p := v.p
	from, to := cities()[p.city], cities()[p.goes]
	hours := 2.5 + degrees(from, to)/7 // about 780 km/h, plus the time at airports
	landed := p.flies + int64(hours*3.6e6)
	switch {
	case v.now < landed:
		if v.rng.IntN(2) == 0 {
			v.s.addr = satellite.at(p.city, v.rng.IntN(20))
			return true
		}
		v.until(landed)
		fallthrough
	case v.now < landed+(48*time.Hour).Milliseconds():
		if v.s.addr = mobile.at(p.goes, 4000+v.rng.IntN(4)); v.rng.IntN(2) == 0 {
			v.s.addr = broadband.at(p.goes, 30_000+p.number%30_000)
		}
		return true
	case v.now < landed+(48*time.Hour).Milliseconds()+int64(hours*3.6e6):
		v.until(landed + (48 * time.Hour).Milliseconds() + int64(hours*3.6e6))
	}
	p.flies = 0
	return false
}

// degrees returns the approximate distance between cities in degrees.
func degrees(a, b city) float64 {
	x, y := (a.longitude-b.longitude)*0.7, a.latitude-b.latitude
	if x < 0 {
		x = -x
	}
	if y < 0 {
		y = -y
	}
	return x + y
}

// call sends a request as a genuine app does: with a valid token, and again if
// there was no response.
func (v *visit) call(r request) (status int64) {
	if s := v.s; s.token != "" && v.now >= s.expires && r.grant == "" {
		if v.rng.IntN(20) == 0 { // the app notices it from the response
			late := r
			late.status = 401
			v.send(&s.client, late)
			v.wait(v.someTime(300*time.Millisecond, 60*time.Millisecond))
		}
		v.refreshToken()
	}
	odds := 4000
	if v.p.flaky {
		odds = 60
	}
	if v.rng.IntN(odds) > 0 {
		return v.send(&v.s.client, r)
	}
	lost := r
	lost.status, lost.auth = 499, ""
	if v.rng.IntN(8) == 0 { // the library repeats the same bytes, including the nonce
		lost.nonce, lost.clock = name(v.rng, "n-"), v.clock(&v.s.client)
		r.nonce, r.clock = lost.nonce, lost.clock
	}
	v.send(&v.s.client, lost)
	v.wait(v.someTime(2*time.Second, 300*time.Millisecond))
	return v.send(&v.s.client, r)
}

// enter obtains a valid token, and reports whether it succeeded.
func (v *visit) enter() bool {
	s := v.s
	if s.signsUp {
		return v.signUp()
	}
	if !s.signedIn {
		return v.signIn()
	}
	return true
}

// signUp opens an account.
func (v *visit) signUp() bool {
	s := v.s
	s.signsUp = false
	v.wait(v.someTime(70*time.Second, 20*time.Second))
	v.call(request{method: "POST", path: "/v1/signup", route: "/v1/signup", status: 201, attrs: email(v.p.account, pick(v.rng, mailboxes()))})
	v.wait(v.someTime(40*time.Second, 10*time.Second))
	v.call(request{method: "POST", path: "/v1/signup/verify", route: "/v1/signup/verify", status: 200})
	v.grantTokens(&s.client)
	s.signedIn, s.known = true, true
	v.call(request{method: "POST", path: "/v1/login", route: "/v1/login", status: 200, auth: "success", grant: "password"})
	v.wait(v.someTime(2*time.Second, 500*time.Millisecond))
	return true
}

// mailboxes lists common e-mail domains.
func mailboxes() []string {
	return []string{"gmail.com", "gmail.com", "gmx.de", "web.de", "outlook.com", "icloud.com", "yahoo.com", "t-online.de"}
}

// email returns the gateway's fields about an e-mail address: its hash and its
// domain.
func email(who, domain string) string {
	return `{"email":"` + who + `@` + domain + `","email_domain":"` + domain + `"}`
}

// signIn succeeds, except for mistyped and forgotten passwords.
func (v *visit) signIn() bool {
	odds := 25
	if v.p.forgets {
		odds = 2
	}
	for tries := 0; v.rng.IntN(odds) == 0; tries++ {
		status := v.call(request{method: "POST", path: "/v1/login", route: "/v1/login", status: 401, auth: "failure", grant: "password"})
		v.wait(v.someTime(14*time.Second, 3*time.Second))
		if status >= 500 && tries > 2 {
			return false
		}
		if tries >= 3 {
			v.resetPassword()
			break
		}
	}
	if !v.s.known || v.rng.IntN(60) == 0 {
		v.stepUp()
	}
	v.grantTokens(&v.s.client)
	if v.call(request{method: "POST", path: "/v1/login", route: "/v1/login", status: 200, auth: "success", grant: "password"}) != 200 {
		v.s.signOut()
		return false
	}
	v.s.signedIn, v.s.known = true, true
	v.wait(v.someTime(900*time.Millisecond, 200*time.Millisecond))
	return true
}

// resetPassword requests a message, and follows its link.
func (v *visit) resetPassword() {
	v.call(request{method: "POST", path: "/v1/password/forgot", route: "/v1/password/forgot", status: 202})
	v.wait(v.someTime(80*time.Second, 20*time.Second))
	v.call(request{method: "POST", path: "/v1/password/reset", route: "/v1/password/reset", status: 200})
	v.wait(v.someTime(9*time.Second, 3*time.Second))
}

// stepUp gives a second factor, mostly at the first attempt.
func (v *visit) stepUp() {
	v.call(request{method: "POST", path: "/v1/login", route: "/v1/login", status: 401, auth: "challenge", grant: "password"})
	for {
		v.wait(v.someTime(300*time.Millisecond, 100*time.Millisecond))
		v.call(request{method: "POST", path: "/v1/mfa/challenge", route: "/v1/mfa/challenge", status: 200})
		v.wait(v.someTime(15*time.Second, 4*time.Second))
		if v.rng.IntN(12) > 0 {
			break
		}
		v.call(request{method: "POST", path: "/v1/mfa/verify", route: "/v1/mfa/verify", status: 401})
	}
	v.call(request{method: "POST", path: "/v1/mfa/verify", route: "/v1/mfa/verify", status: 200})
}

// refreshToken exchanges the refresh token. Some apps do it twice at once, from two
// threads.
func (v *visit) refreshToken() {
	c := &v.s.client
	presented := c.refresh
	ask := request{method: "POST", path: "/v1/token/refresh", route: "/v1/token/refresh", status: 200, grant: "refresh_token", token: presented}
	v.call(ask)
	if v.rng.IntN(25) == 0 {
		v.wait(v.someTime(900*time.Millisecond, 30*time.Millisecond))
		v.call(ask)
	}
	v.rotate(c)
	v.wait(v.someTime(400*time.Millisecond, 100*time.Millisecond))
}

// synchronise fetches the data that a new phone lacks.
func (v *visit) synchronise() {
	v.s.synced = true
	n := v.between(40, 260)
	v.w.odd("first_synchronisation", v.p.tenant, facet.Token, v.s.family)
	for i := range n {
		id := v.p.account[1:] + "-m" + strconv.Itoa(i)
		v.call(request{method: "GET", path: "/v1/library/" + id, route: "/v1/library/{id}", status: 200, objectType: "entry", object: id})
		v.wait(v.someTime(700*time.Millisecond, 40*time.Millisecond))
	}
}

// act performs a typical action.
func (v *visit) act() {
	switch dice := v.rng.IntN(1000); {
	case dice < 60:
		v.ownOrder()
	case dice < 230:
		v.call(request{method: "GET", path: "/v1/catalogue?page=" + strconv.Itoa(1+v.rng.IntN(8)), route: "/v1/catalogue", status: 200})
	case dice < 330:
		v.call(request{method: "GET", path: "/v1/search?q=w" + strconv.Itoa(v.rng.IntN(900)), route: "/v1/search", status: 200})
	case dice < 385:
		v.cart++
		v.call(request{method: "POST", path: "/v1/cart/items", route: "/v1/cart/items", status: 201, objectType: "item", object: strconv.Itoa(v.item)})
	case dice < 410:
		v.buy()
	case dice < 440:
		v.call(request{method: "GET", path: "/v1/me", route: "/v1/me", status: 200})
	case dice < 460:
		v.call(request{method: "GET", path: "/v1/orders", route: "/v1/orders", status: 200})
	case dice < 462:
		v.changeProfile()
	case dice < 463:
		v.call(request{method: "GET", path: "/v1/account/export", route: "/v1/account/export", status: 200, bytes: 400_000})
	case dice < 470:
		v.redeem()
	case dice < 474 && v.p.tenant.name == "bank":
		v.withdraw()
	default:
		v.look()
	}
}

// look opens the next item of the catalogue, or the same one again.
func (v *visit) look() {
	if v.rng.IntN(3) > 0 {
		v.item = (v.item + 1 + v.rng.IntN(40)) % v.p.tenant.catalogue
	}
	n, status := strconv.Itoa(v.item), int64(200)
	if v.rng.IntN(300) == 0 {
		status = 404 // sold out and removed
	}
	v.call(request{method: "GET", path: "/v1/items/" + n, route: "/v1/items/{id}", status: status, objectType: "item", object: n})
}

func (v *visit) ownOrder() {
	if v.p.orders == 0 {
		v.call(request{method: "GET", path: "/v1/orders", route: "/v1/orders", status: 200})
		return
	}
	o := v.p.order(v.rng.IntN(v.p.orders))
	status := int64(200)
	if v.rng.IntN(250) == 0 {
		status = 404
	}
	v.call(request{method: "GET", path: "/v1/orders/" + o, route: "/v1/orders/{id}", status: status, objectType: "order", object: o})
	if v.p.orders%backEach == backEach-1 && status == 200 && v.cart == 0 {
		v.think(15 * time.Second)
		v.call(request{method: "POST", path: "/v1/orders/" + o + "/refund", route: "/v1/orders/{id}/refund", status: 201, objectType: "order", object: o})
		v.p.orders++ // so that the next look does not do it again
	}
}

// backEach is how many orders people make for each that they give back.
const backEach = 12

// buy checks out the contents of the cart.
func (v *visit) buy() {
	if v.cart == 0 {
		v.cart = 1
		v.call(request{method: "POST", path: "/v1/cart/items", route: "/v1/cart/items", status: 201, objectType: "item", object: strconv.Itoa(v.item)})
		v.think(8 * time.Second)
	}
	v.call(request{method: "GET", path: "/v1/cart", route: "/v1/cart", status: 200})
	v.think(10 * time.Second)
	v.call(request{method: "POST", path: "/v1/checkout", route: "/v1/checkout", status: 201})
	v.think(20 * time.Second)
	card := "card-" + v.p.account
	pay := request{method: "POST", path: "/v1/payments", route: "/v1/payments", status: 201, attrs: payment(card, amount(v.actor))}
	for tries := 0; tries < 3; tries++ {
		if v.rng.IntN(25) == 0 {
			pay.status = 402
		} else {
			pay.status = 201
		}
		if status := v.call(pay); status < 300 {
			break
		} else if tries == 2 {
			return
		}
		v.think(25 * time.Second)
	}
	v.think(6 * time.Second)
	id := name(v.rng, "p")
	v.call(request{method: "POST", path: "/v1/payments/" + id + "/confirm", route: "/v1/payments/{id}/confirm", status: 200, attrs: payment(card, amount(v.actor))})
	v.cart = 0
	v.p.orders++
	v.think(5 * time.Second)
	v.ownOrder()
}

// amount returns the price of a purchase, in cents.
func amount(a *actor) int { return 500 + int(a.rng.ExpFloat64()*4000) }

// payment returns the gateway's fields about a payment: a hash of the card, and the
// amount.
func payment(card string, cents int) string {
	return `{"amount":` + strconv.Itoa(cents) + `,"currency":"EUR","card":"` + card + `"}`
}

// changeProfile changes the e-mail address or the password, which few people do.
func (v *visit) changeProfile() {
	if v.rng.IntN(2) == 0 {
		v.call(request{method: "PUT", path: "/v1/account/email", route: "/v1/account/email", status: 200})
		return
	}
	v.call(request{method: "POST", path: "/v1/password/change", route: "/v1/password/change", status: 200})
}

// redeem tries a code from a leaflet, which is sometimes mistyped.
func (v *visit) redeem() {
	for range 3 {
		code, status := "SPRING"+strconv.Itoa(v.rng.IntN(40)), int64(200)
		if v.rng.IntN(4) == 0 {
			status = 404
		}
		v.call(request{method: "POST", path: "/v1/coupons/redeem", route: "/v1/coupons/redeem", status: status, attrs: `{"coupon":"` + code + `"}`})
		if status == 200 {
			return
		}
		v.think(15 * time.Second)
	}
}

func (v *visit) withdraw() {
	v.call(request{method: "GET", path: "/v1/balance", route: "/v1/balance", status: 200})
	v.think(12 * time.Second)
	v.stepUpOnly()
	v.call(request{method: "POST", path: "/v1/withdrawals", route: "/v1/withdrawals", status: 201, attrs: `{"amount":` + strconv.Itoa(amount(v.actor)) + `,"currency":"EUR"}`})
}

// stepUpOnly gives a second factor for one request.
func (v *visit) stepUpOnly() {
	v.call(request{method: "POST", path: "/v1/mfa/challenge", route: "/v1/mfa/challenge", status: 200})
	v.wait(v.someTime(15*time.Second, 4*time.Second))
	v.call(request{method: "POST", path: "/v1/mfa/verify", route: "/v1/mfa/verify", status: 200})
	v.wait(v.someTime(2*time.Second, 300*time.Millisecond))
}
