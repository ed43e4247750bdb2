package route

import (
	"strings"
	"testing"
)

// Every class that words can say has its canonical route, and so has every combination
// of classes by method.
func TestAllThatWordsSayHasACanonicalRoute(t *testing.T) {
	s := builtInSayings()
	parameter := s.words.concepts["{}"]
	says := func(means wordSet, foreign, remote bool) (says saying) {
		for i, method := range classMethods {
			m := meaning{means: means, known: !foreign, remote: remote}
			for n, name := range s.names {
				if m.class(s.words, method) == name {
					says[i] = uint8(n)
					break
				}
			}
		}
		return says
	}
	seen, n := map[wordSet]bool{}, 0
	try := func(means wordSet) {
		if seen[means] {
			return
		}
		seen[means] = true
		for _, foreign := range []bool{false, true} {
			for _, remote := range []bool{false, true} {
				it := says(means, foreign, remote)
				if it == (saying{}) {
					continue
				}
				n++
				if remote { // by POST alone
					if near := s.of(s.nearest(it)); near[1] != it[1] {
						t.Errorf("the canonical route for %v says %v, which concepts %b say", it, near, means)
					}
					continue
				}
				if s.routes[it] == "" && (means&parameter == 0 || s.withID[it] == "") {
					t.Errorf("no canonical route says %v, which concepts %b say", it, means)
				}
			}
		}
	}
	for i := range s.words.classes {
		c := &s.words.classes[i]
		may := append(bits(c.all), 0)
		for _, needed := range combinations(c.needs) {
			for _, a := range may {
				for _, b := range may {
					try(needed | a | b)
				}
			}
		}
	}
	if n < 1000 {
		t.Fatalf("only %d combinations say a class", n)
	}
}

// bits returns the concepts of a set, each alone.
func bits(s wordSet) (list []wordSet) {
	for ; s != 0; s &= s - 1 {
		list = append(list, s&-s)
	}
	return list
}

// combinations returns all ways to take one concept of each set.
func combinations(needs []wordSet) []wordSet {
	all := []wordSet{0}
	for _, need := range needs {
		var next []wordSet
		for _, some := range all {
			for _, one := range bits(need) {
				next = append(next, some|one)
			}
		}
		all = next
	}
	return all
}

// A canonical route comes out as itself, so that templates and derived routes agree.
func TestCanonicalRoutesStandForThemselves(t *testing.T) {
	r := testTable(t)
	for _, route := range strings.Fields(canonicalRoutes) {
		path := strings.ReplaceAll(route, "{id}", "4711")
		if got := r.Route("POST", path); got != route {
			t.Errorf("%s has the route %s", path, got)
		}
	}
}

func TestPathsWhoseWordsSayAClass(t *testing.T) {
	r := testTable(t)
	for path, want := range map[string]string{
		"/api/v2/registrations":             "/api/v2/signup",
		"/oauth2/password-reset":            "/password/reset",
		"/api/v1/mfa/sms/check":             "/api/v1/mfa",
		"/mfa/sms":                          "/auth/mfa/sms",
		"/rpc/session.create":               "/login",
		"/rpc/Auth.LoginWithEmail":          "/login",
		"/rpc/auth.google":                  "/login",
		"/rpc/auth.email":                   "/login",
		"/rpc/giftCode.redeem":              "/codes/redeem",
		"/graphql:SendMoney":                "/transfers",
		"/v1/payments/4711:capture":         "/v1/payments/{id}",
		"/v1/bills/{id}/pay":                "/v1/payments/{id}",
		"/coupon/use":                       "/coupons/redeem",
		"/discount/4711/redeem":             "/coupons/{id}/redeem",
		"/rpc/cashout.balance":              "/rpc/{id}",
		"/registrations/frobnicate":         "/~2d/{id}",
		"/chat/v1/sessions":                 "/chat/{id}/…",
		"/admin/v1/registrations":           "/admin/{id}/…",
		strings.Repeat("/registration", 17): "/~0b/{id}/…",
	} {
		if got := r.Route("POST", path); got != want {
			t.Errorf("%s has the route %s, want %s", path, got, want)
		}
	}
}
