package traffic

import (
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	"github.com/weirdev/weir/event"
)

// phone is a model with the values that it reports.
type phone struct{ name, os, version, patch string }

// phones returns an invented mix; common models occur more than once.
func phones() []phone {
	return []phone{
		{"Pixel 9", "android", "16", "2025-12-05"}, {"Pixel 8a", "android", "16", "2025-11-05"}, {"Galaxy S25", "android", "16", "2025-12-01"},
		{"Galaxy A55", "android", "15", "2025-10-01"}, {"Galaxy A55", "android", "15", "2025-10-01"}, {"Galaxy S23", "android", "15", "2025-11-01"},
		{"Redmi Note 14", "android", "15", "2025-08-01"}, {"Moto G85", "android", "14", "2025-06-01"}, {"Xperia 5", "android", "13", "2023-05-01"},
		{"iPhone 17", "ios", "26.2", ""}, {"iPhone 16", "ios", "26.1", ""}, {"iPhone 16", "ios", "26.2", ""},
		{"iPhone 14", "ios", "26.1", ""}, {"iPhone SE", "ios", "18.7", ""}, {"iPad Air", "ios", "26.1", ""},
	}
}

// Fingerprints of TLS clients: apps, libraries and browsers.
const (
	ja4Android = "t13d1516h2_8daaf6152771_b186095e22b6"
	ja4IOS     = "t13d2014h2_a09f3c656075_14788d8d241b"
	ja4OkHTTP  = "t13d190900_9dc949149365_97f8aa674fd9"
	ja4Python  = "t13i181000_85036bcba153_d41ae481755e"
	ja4Go      = "t13d131000_f57a46bbacb6_e7c285222651"
	ja4Browser = "t13d1517h2_8daaf6152771_b0da82dd1658"
)

// client is the sender of a request: a person's device, or a tool.
type client struct {
	tenant  *tenant
	account string
	addr    netip.Addr
	ja4     string
	agent   string // User-Agent

	device   string
	phone    phone
	app      string
	version  string
	sim      string
	rooted   bool
	emulator bool

	key       string        // id of the signing key
	signature string        // verdict; "" if unknown
	reason    string        // reason for the verdict
	skew      time.Duration // of the device's clock
	verdict   string        // of the attestation
	level     string        // of the attestation
	attested  int64         // Unix ms

	session string
	family  string
	token   string // access token
	refresh string // refresh token
	spent   string // the previous refresh token
	issued  int64  // Unix ms, of the access token
	expires int64  // Unix ms

	own owned
}

// owned says which entities of a client belong to the attacker. The others belong
// to a victim, or are shared.
type owned struct{ account, device, token, addr bool }

// request is a request with its response.
type request struct {
	method, path, route string
	status              int64
	auth, grant         string
	objectType, object  string
	attrs               string
	token               string        // replaces the client's access token
	nonce               string        // replaces a new nonce
	clock               int64         // Unix ms; replaces the client's clock
	latency             time.Duration // of the response; 0: chosen at random
	bytes               int64         // of the response; 0: chosen at random
	lax                 bool          // the API wrongly accepts an expired token
}

// send emits the event of a request, after applying current incidents.
func (a *actor) send(c *client, r request) (status int64) {
	w, e := a.w, &a.w.e
	if c.token != "" && r.grant == "" && a.now >= c.expires && r.status < 400 && !r.lax {
		r.status = 401
	}
	r.fail(a, c)
	w.events++
	e.Reset()
	n := strconv.FormatInt(w.events, 10)
	e.SetText(event.ID, w.cfg.Run+"-"+n)
	e.SetNum(event.Time, a.now)
	e.SetText(event.Gateway, "gw-"+strconv.FormatInt(w.events%3, 10))
	e.SetText(event.RequestID, "r-"+n)
	e.SetText(event.Host, c.tenant.host)
	a.fillRequest(e, &r)
	c.fill(e, a)
	a.fillProof(e, c, &r)
	if a.c != nil {
		a.c.note(a, c, &r)
	}
	if err := w.emit(e, a.campaign()); err != nil && w.err == nil {
		w.err = err
	}
	if a.c == nil && a.rng.IntN(5000) == 0 && w.err == nil { // the gateway sends it again
		w.err = w.emit(e, Clean)
	}
	return r.status
}

func (a *actor) campaign() int {
	if a.c == nil {
		return Clean
	}
	return a.c.place
}

func set(e *event.Event, f event.Field, v string) {
	if v != "" {
		e.SetText(f, v)
	}
}

func (a *actor) fillRequest(e *event.Event, r *request) {
	e.SetText(event.Method, r.method)
	e.SetText(event.Path, r.path)
	set(e, event.Route, r.route)
	e.SetNum(event.Status, r.status)
	set(e, event.Auth, r.auth)
	set(e, event.Grant, r.grant)
	set(e, event.ObjectType, r.objectType)
	set(e, event.Object, r.object)
	set(e, event.Attrs, r.attrs)
	latency := r.latency.Microseconds()
	if latency == 0 {
		latency = 3000 + int64(a.rng.ExpFloat64()*20_000)
	}
	e.SetNum(event.LatencyMicros, latency)
	if r.method != "GET" {
		e.SetNum(event.RequestBytes, 80+a.rng.Int64N(600))
	}
	size := r.bytes
	if size == 0 {
		size = 200 + int64(a.rng.ExpFloat64()*3000)
	}
	e.SetNum(event.ResponseBytes, size)
}

// fill sets the fields that identify the client.
func (c *client) fill(e *event.Event, a *actor) {
	set(e, event.Tenant, c.tenant.name)
	set(e, event.Account, c.account)
	set(e, event.Session, c.session)
	e.SetText(event.IP, c.addr.String())
	set(e, event.JA4, c.ja4)
	set(e, event.UserAgent, c.agent)
	set(e, event.Device, c.device)
	set(e, event.DeviceModel, c.phone.name)
	set(e, event.OS, c.phone.os)
	set(e, event.OSVersion, c.phone.version)
	set(e, event.PatchLevel, c.phone.patch)
	set(e, event.App, c.app)
	set(e, event.AppVersion, c.version)
	set(e, event.SIM, c.sim)
	if c.rooted {
		e.SetNum(event.Rooted, 1)
	}
	if c.emulator {
		e.SetNum(event.Emulator, 1)
	}
}

// fillProof sets the fields that the gateway has verified.
func (a *actor) fillProof(e *event.Event, c *client, r *request) {
	token := c.token
	if r.token != "" {
		token = r.token
	}
	if token != "" {
		e.SetText(event.Token, token)
		e.SetText(event.TokenFamily, c.family)
		issued, expires := c.issued, c.expires
		if r.grant == "refresh_token" { // the client presents its refresh token
			expires = issued + refreshLifetime.Milliseconds()
		}
		e.SetNum(event.TokenIssued, issued)
		e.SetNum(event.TokenExpires, expires)
	}
	set(e, event.Attestation, c.verdict)
	set(e, event.AttestationLevel, c.level)
	if c.attested != 0 {
		e.SetNum(event.AttestationAge, max(0, (a.now-c.attested)/1000))
	}
	set(e, event.Signature, c.signature)
	if c.signature == "" || c.signature == "missing" {
		return
	}
	set(e, event.SignatureReason, c.reason)
	set(e, event.KeyID, c.key)
	nonce := r.nonce
	if nonce == "" {
		nonce = name(a.rng, "n-")
	}
	e.SetText(event.Nonce, nonce)
	clock := r.clock
	if clock == 0 {
		clock = a.clock(c)
	}
	e.SetNum(event.ClientTime, clock)
}

// clock returns the device's time when it sends the request.
func (a *actor) clock(c *client) int64 {
	return a.now + c.skew.Milliseconds() - int64(20+a.rng.ExpFloat64()*120)
}

// name returns a new identifier.
func name(r *rand.Rand, prefix string) string { return prefix + strconv.FormatUint(r.Uint64(), 36) }

// grantTokens gives the client tokens of a new family.
func (a *actor) grantTokens(c *client) {
	c.session, c.family, c.refresh = name(a.rng, "s-"), name(a.rng, "f-"), ""
	a.rotate(c)
}

// refreshLifetime is the validity period of a refresh token.
const refreshLifetime = 30 * 24 * time.Hour

// rotate gives the client the next tokens of its family.
func (a *actor) rotate(c *client) {
	c.token, c.refresh, c.spent = name(a.rng, "t-"), name(a.rng, "rt-"), c.refresh
	c.issued = a.now
	c.expires = a.now + c.tenant.lifetime.Milliseconds()
}

// dress makes a client look like the genuine app on a phone.
func (c *client) dress(t *tenant, p phone, version string) {
	c.tenant, c.phone, c.app, c.version = t, p, t.app, version
	if c.ja4 = ja4Android; p.os == "ios" {
		c.ja4 = ja4IOS
	}
	c.agent = t.agent + "/" + version + " (" + p.os + " " + p.version + "; " + p.name + ")"
}

// prove gives a client a key and an attestation, like those of the genuine app.
func (a *actor) prove(c *client) {
	c.key, c.signature, c.reason = name(a.rng, "k-"), "valid", ""
	a.attest(c)
}

// attest renews the platform's attestation of the app.
func (a *actor) attest(c *client) {
	c.verdict, c.level, c.attested = "passed", "device", a.now
	if c.phone.os == "ios" || c.phone.patch > "2025-10" {
		c.level = "strong"
	}
	if c.rooted {
		c.level = "basic"
	}
}
