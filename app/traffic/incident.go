package traffic

import (
	"math/rand/v2"
	"time"

	"github.com/weirdev/weir/internal/facet"
)

// Kinds of incidents: events that affect everybody at once and are not abuse.
const (
	brokenRelease     = "broken_release"
	paymentOutage     = "payment_outage"
	loginOutage       = "login_outage"
	attestationOutage = "attestation_outage"
	marketingPush     = "marketing_push"
)

// incident is an incident with its scope and time.
type incident struct {
	kind     string
	tenant   *tenant // nil: all
	from, to int64   // Unix ms
	model    string  // of a broken release: the affected model
}

// Versions of the apps. The versions in releaseOf are rolled out while the world
// runs. The first of them is broken on one model.
const (
	brokenVersion = "4.3.0"
	fixedVersion  = "4.3.1"
	brokenModel   = "Galaxy A55"
)

func oldRelease(r *rand.Rand) string {
	return pick(r, []string{"4.2.0", "4.2.0", "4.2.0", "4.2.0", "4.1.3", "4.1.3", "4.0.9"})
}

// releases sets the release times of new versions: the first after a quarter of the
// world's duration, and the fix after half of it, or a day after the first if that
// is sooner.
func (w *world) releases(*rand.Rand) {
	if !w.cfg.Incidents {
		return
	}
	out := w.cfg.Start + w.cfg.Duration.Milliseconds()/4
	fix := min(w.cfg.Start+w.cfg.Duration.Milliseconds()/2, out+(24*time.Hour).Milliseconds())
	w.incidents = append(w.incidents, &incident{kind: brokenRelease, from: out, to: fix, model: brokenModel})
}

// update returns when a device gets which version. Most devices get one within
// days.
func (w *world) update(r *rand.Rand) (at int64, version string) {
	if len(w.incidents) == 0 || r.IntN(10) < 3 {
		return 0, ""
	}
	b := w.incidents[0]
	at = b.from + int64(r.ExpFloat64()*float64(max(b.to-b.from, (36*time.Hour).Milliseconds())))
	if version = brokenVersion; at >= b.to {
		version = fixedVersion
	}
	return at, version
}

// happen plans the other incidents.
func (w *world) happen(r *rand.Rand) {
	long := w.cfg.Duration.Milliseconds()
	plan := func(kind string, t *tenant, at float64, lasts time.Duration) {
		from := w.cfg.Start + int64(float64(long)*(at+0.06*r.Float64()))
		w.incidents = append(w.incidents, &incident{kind: kind, tenant: t, from: from, to: from + min(lasts.Milliseconds(), long/20)})
	}
	plan(paymentOutage, w.tenants[0], 0.55, 40*time.Minute)
	plan(attestationOutage, nil, 0.70, time.Hour)
	plan(marketingPush, w.tenants[0], 0.80, 20*time.Minute)
	plan(loginOutage, w.tenants[1], 0.40, 15*time.Minute)
}

// incidentAt returns a tenant's incident of a kind at a given time.
func (w *world) incidentAt(kind string, t *tenant, at int64) *incident {
	for _, i := range w.incidents {
		if i.kind == kind && (i.tenant == nil || i.tenant == t) && at >= i.from && at < i.to {
			return i
		}
	}
	return nil
}

// fail applies the current incidents to a request.
func (r *request) fail(a *actor, c *client) {
	w := a.w
	if r.status >= 200 && r.status < 300 && (r.route == "/v1/payments" || r.route == "/v1/payments/{id}/confirm") &&
		w.incidentAt(paymentOutage, c.tenant, a.now) != nil {
		r.status, r.latency = 503, 8*time.Second
	}
	if r.auth != "" && w.incidentAt(loginOutage, c.tenant, a.now) != nil && a.rng.IntN(10) < 9 {
		r.status, r.auth, r.latency = 503, "failure", 5*time.Second
	}
	if r.status == 200 && r.method == "GET" && a.rng.IntN(700) == 0 {
		r.status = 500
	}
}

// platform applies incidents of the platform and of the release to a person's app.
func (s *seat) platform(a *actor) {
	w := a.w
	if s.updates != 0 && a.now >= s.updates {
		s.dress(s.tenant, s.phone, s.next)
		if s.updates = 0; s.next == brokenVersion { // the fix follows when it is released
			b := w.incidents[0]
			s.updates, s.next = b.to+int64(a.rng.ExpFloat64()*6*3.6e6), fixedVersion
		}
	}
	if s.signature != "missing" {
		if s.signature, s.reason = "valid", ""; s.version == brokenVersion && s.phone.name == brokenModel {
			s.signature, s.reason = "invalid", "sig_invalid"
			if !s.broken {
				s.broken = true
				w.odd(brokenRelease, s.tenant, facet.Device, s.device)
			}
		}
	}
	if s.level == "none" && s.verdict == "missing" {
		return
	}
	if w.incidentAt(attestationOutage, s.tenant, a.now) != nil && s.phone.os == "android" {
		s.verdict, s.level = "error", "none"
	} else if s.verdict == "error" {
		a.attest(&s.client)
	}
}

// incidentRows returns the truth about incidents: the entities about which
// operators may be told.
func (w *world) incidentRows() (rows []Row) {
	for _, i := range w.incidents {
		for _, t := range w.tenants {
			if i.tenant != nil && i.tenant != t {
				continue
			}
			add := func(k facet.Kind, key string) {
				rows = append(rows, Row{Kind: i.kind, Role: Incident, Entity: facet.Entity{Kind: k, Tenant: t.name, Key: key}, From: i.from, To: i.to})
			}
			add(facet.Tenant, t.name)
			switch i.kind {
			case brokenRelease:
				add(facet.Build, brokenVersion+"|"+i.model)
				rows[len(rows)-1].To = w.end // not every device has the fix at once
			case paymentOutage:
				add(facet.Route, "/v1/payments")
				add(facet.Route, "/v1/payments/{id}/confirm")
			case loginOutage:
				add(facet.Route, "/v1/login")
			case marketingPush: // determines what a visit requests
				for _, route := range []string{"/v1/config", "/v1/me", "/v1/catalogue", "/v1/items/{id}", "/v1/search", "/v1/cart/items"} {
					add(facet.Route, route)
				}
			case attestationOutage:
				seen := map[string]bool{}
				for _, p := range t.people {
					for _, s := range p.seats {
						if b := s.version + "|" + s.phone.name; s.phone.os == "android" && !seen[b] {
							seen[b] = true
							add(facet.Build, b)
						}
					}
				}
			}
		}
	}
	return rows
}
