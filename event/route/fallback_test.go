package route

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/weirdev/weir/proof/testkit"
)

func TestFallbackIsReadableForOrdinaryAPIs(t *testing.T) {
	r := testTable(t)
	for path, want := range map[string]string{
		"/":                                      "/",
		"":                                       noRoute,
		"*":                                      noRoute,
		"shop.example:443":                       noRoute,
		"\x16\x03\x01":                           noRoute,
		"http://shop.example":                    "/",
		"/api":                                   "/api",
		"/api/v1":                                "/api/v1",
		"/v1/login":                              "/v1/login",
		"/api/v2/users/4711":                     "/api/v2/users/{id}",
		"/api/v17/users/me":                      "/api/v{n}/users/me",
		"/v1beta1/users":                         "/v{n}/users",
		"/users/4711/orders":                     "/users/{id}/orders",
		"/users/4711/orders/12":                  "/users/{id}/orders/{id}",
		"/users/a/orders/b/c/d":                  "/users/{id}/orders/{id}/…",
		"/users/search":                          "/users/search",
		"/auth/login":                            "/auth/login",
		"/Auth/Login":                            "/auth/login",
		"/auth/token/refresh":                    "/auth/token/refresh",
		"/auth/token/5f3a":                       "/auth/token/{id}",
		"/auth/mfa/verify":                       "/auth/mfa/verify",
		"/auth/mfa/verify/5f3a":                  "/mfa/{id}",
		"/auth/mfa/frob/5f3a":                    "/auth/mfa/{id}/…",
		"/api/v1/users/me/email":                 "/api/v1/users/me/email",
		"/users/4711/email":                      "/users/{id}/email",
		"/payments/cards":                        "/payments/cards",
		"/payments/4711":                         "/payments/{id}",
		"/beneficiaries":                         "/beneficiaries",
		"/auth/verify-email":                     "/auth/verify-email",
		"/users/4711":                            "/users/{id}",
		"/users/4711/4712/4713":                  "/users/{id}/…",
		"/robots.txt":                            "/robots.txt",
		"/.well-known/jwks.json":                 "/.well-known/{id}",
		"/api/v2/identity/sessions/otp":          "/api/v2/identity/sessions/otp",
		"/api/v2/identity/4711":                  "/api/v2/identity/{id}",
		"/api/v2/riders":                         "/api/v2/riders",
		"/api/v2/riders/4711/trips":              "/api/v2/riders/{id}/…",
		"/api/v2/riders/me/contact/email/verify": "/api/v2/riders/me/contact/email/verify",
		"/en-GB/api/v2/wallet/topups":            "/{locale}/api/v2/wallet/topups",
		"/de/v1/login":                           "/{locale}/v1/login",
		"/de/login":                              "/~2c/{id}",
		"/pt_br/login":                           "/{locale}/login",
		"/me/v1":                                 "/me/{id}",
		"/driver/v1/payouts":                     "/{app}/v1/payouts",
		"/driver/bank-account":                   "/driver/bank-account",
		"/mobile/api/v9/auth/login":              "/{app}/api/v{n}/auth/login",
		"/frob/api/v9/auth/login":                "/login",
		"/frob/api/v9/auth/frob":                 "/~d1/{id}/…",
		"/rpc/WalletService.SendMoney":           "/rpc/sendmoney",
		"/rpc/WalletService.Frobnicate":          "/rpc/{id}",
		"/shop.v1.WalletService/CashOut":         "/rpc/cashout",
		"/twirp/shop.v1.Auth/Login":              "/rpc/login",
		"/graphql/SignIn":                        "/rpc/signin",
		"/users/SignIn":                          "/login",
		"/users/LogIn/Frob":                      "/users/login/{id}",
		"/.env/login":                            "/.env/{id}",
		// Identifiers in the first place.
		"/4711":                                 "/{id}",
		"/6e1f0d5c-9b3e-4f0e-8a6b-3d4c5b6a7f80": "/{id}",
		"/deadbeef":                             "/{id}",
		"/dead-beef":                            "/{id}",
		"/2026-11-23":                           "/{id}",
		"/ann@example.com":                      "/{id}",
		"/QWxhZGRpbjpvcGVuIHNlc2FtZQ":           "/{id}",
		"/aGVsbG8gd29ybGQ=":                     "/{id}",
		"/a":                                    "/{id}",
		"/" + strings.Repeat("a", 25):           "/{id}",
		"/%D0%BF%D1%80%D0%B8":                   "/{id}",
		"/%ff":                                  "/{id}",
		"/{id}":                                 "/{id}",
		"/~2f":                                  "/{id}",
		"/…":                                    "/{id}",
		"/" + strings.Repeat("x", 5000):         "/{id}",
		// Names that nobody has heard of: one of 256. These must never change.
		"/frobnicators":             "/~bc",
		"/frobnicators/4711":        "/~bc/{id}",
		"/frobnicators/users/login": "/~bc/{id}/…",
	} {
		t.Run(path, func(t *testing.T) {
			if got := r.Route("GET", path); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// everyFallback writes down every route that the fallback can make, from the
// vocabulary and the rule rather than from the code that follows it.
func everyFallback() map[string]bool {
	const hex = "0123456789abcdef"
	heads := map[string][]string{"{id}": nil}
	for _, a := range hex {
		for _, b := range hex {
			heads["~"+string(a)+string(b)] = nil
		}
	}
	for text, w := range vocabulary() {
		heads[text] = nil
		for f := range w.followers {
			heads[text] = append(heads[text], "/"+f, "/{id}/"+f)
		}
	}
	all := map[string]bool{noRoute: true, "/": true}
	for _, front := range []string{"", "/{locale}", "/{app}"} {
		for _, behind := range strings.Split(",/v1,/v2,/v3,/v{n},/api,/api/v1,/api/v2,/api/v3,/api/v{n}", ",") {
			if front == "/{app}" && behind == "" {
				continue
			}
			prefix := front + behind
			for name := range procedures() {
				all[prefix+"/rpc/"+name] = true
			}
			all[prefix] = true
			for _, route := range usualRoutes() {
				all[prefix+route] = true
			}
			for _, route := range strings.Fields(canonicalRoutes) {
				all[prefix+route] = true
			}
			for head, followers := range heads {
				for _, f := range append([]string{""}, followers...) {
					for _, tail := range []string{"", "/{id}", "/{id}/…"} {
						all[prefix+"/"+head+f+tail] = true
					}
				}
			}
		}
	}
	delete(all, "") // no prefix and nothing after it is /
	return all
}

func TestFallbackRoutesAreBounded(t *testing.T) {
	n := len(everyFallback())
	t.Logf("%d routes can be made", n)
	if n > MaxFallbacks {
		t.Errorf("the vocabulary allows %d routes, more than %d", n, MaxFallbacks)
	}
}

// TestUsualRoutesHideNoFollower: an {id} at the end of a usual route would take the
// place of the words that may follow the head.
func TestUsualRoutesHideNoFollower(t *testing.T) {
	r := testTable(t)
	for _, route := range usualRoutes() {
		if got := r.Route("", strings.ReplaceAll(route, "{id}", "4711")); got != route {
			t.Errorf("the usual route %s comes out as %s", route, got)
		}
		head, rest, _ := strings.Cut(route[1:], "/")
		if rest == "{id}" && vocabulary()[head] != nil {
			t.Errorf("%s hides what follows %s", route, head)
		}
	}
}

func TestVocabularyCanBeFound(t *testing.T) {
	r := testTable(t)
	for head, w := range vocabulary() {
		if got := r.Route("", "/"+head); got != "/"+head {
			t.Errorf("/%s has the route %s", head, got)
		}
		for f := range w.followers {
			if got := r.Route("", "/"+head+"/x/"+f); got != "/"+head+"/{id}/"+f {
				t.Errorf("/%s/x/%s has the route %s", head, f, got)
			}
		}
	}
}

// randomPath makes paths as an attacker would who knows the vocabulary: words of
// it, words of his own, identifiers, dots, escapes and garbage, in any number.
func randomPath(rng *rand.Rand, words []string) string {
	var b bytes.Buffer
	for range rng.IntN(12) {
		b.WriteByte('/')
		switch rng.IntN(8) {
		case 0, 1, 2:
			b.WriteString(words[rng.IntN(len(words))])
		case 3:
			for range 1 + rng.IntN(12) {
				b.WriteByte(byte('a' + rng.IntN(26)))
			}
		case 4:
			for range rng.IntN(60) {
				b.WriteByte(byte(rng.IntN(256)))
			}
		case 5:
			b.WriteString([]string{"api", "v1", "v2", "v9", "..", ".", "", "%2e%2e", "{id}", "…", "~0f", "v1;x", "v{n}"}[rng.IntN(13)])
		case 6:
			b.WriteString(strings.Repeat("7", rng.IntN(70)))
		case 7:
			b.WriteString("%" + string("0123456789abcdefgX"[rng.IntN(18)]) + string("0123456789abcdefgX"[rng.IntN(18)]) + "tail")
		}
	}
	return b.String()
}

func TestAMillionRandomPathsStayWithinTheBound(t *testing.T) {
	paths := 1_000_000
	if testkit.Raced {
		paths = 50_000
	}
	allowed, words := everyFallback(), []string{}
	for head, w := range vocabulary() {
		words = append(words, head)
		for f := range w.followers {
			words = append(words, f)
		}
	}
	r, rng, seen := testTable(t), rand.New(rand.NewPCG(1, 2)), map[string]bool{}
	for range paths {
		path := randomPath(rng, words)
		route := r.Route("GET", path)
		if !allowed[route] {
			t.Fatalf("%q has the route %q, which is none of those that can be made", path, route)
		}
		seen[route] = true
	}
	t.Logf("%d paths, %d routes", paths, len(seen))
	if len(seen) < 1000 {
		t.Errorf("only %d routes were reached: the test does not test", len(seen))
	}
}

func TestRoutesAreTheSameForAllWhoAsk(t *testing.T) {
	shared, rng := testTable(t), rand.New(rand.NewPCG(3, 4))
	paths, want := make([]string, 5000), make([]string, 5000)
	for i := range paths {
		paths[i] = randomPath(rng, []string{"users", "orders", "login", "search"})
		want[i] = testTable(t).Route("GET", paths[i]) // a table that has seen nothing
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i, p := range paths {
				if got := shared.Route("GET", p); got != want[i] {
					t.Errorf("%q: got %s, want %s", p, got, want[i])
				}
			}
		})
	}
	wg.Wait()
}

func FuzzRoute(f *testing.F) {
	for _, s := range []string{"/", "", "*", "/v1/users/4711/orders?x=1", "/%2e%2e/a", "/a;b/../c", "http://h/x", "/..;/", "//", "/%", "/%4", "/…"} {
		f.Add("GET", s)
	}
	r, allowed := testTable(f, shopTemplates...), everyFallback()
	for _, t := range shopTemplates {
		allowed[t[strings.IndexByte(t, '/'):]] = true
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		route := r.Route(method, path)
		if !allowed[route] {
			t.Errorf("%q has the route %q", path, route)
		}
		if again := r.Route(method, path+"?x#y"); again != route && !strings.ContainsAny(path, "?#") {
			t.Errorf("%q has the route %q, with a query %q", path, route, again)
		}
	})
}
