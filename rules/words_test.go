package rules_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/rules"
)

// asking is a file with one rule of a condition.
func asking(when string) string {
	return strings.Replace(small("a"), `auth == "failure"`, when, 1)
}

const someLists = `
lists:
  - name: office
    type: network
    description: where we work
    items:
      - 203.0.113.0/24
      - {value: 198.51.100.7, expires: 2026-06-30, note: until the printer is gone}
  - name: hosting
    type: asn
    items: [64500, AS64501]
`

func request(method, route, ip string, at int64) *event.Event {
	e := new(event.Event)
	e.SetText(event.Method, method)
	e.SetText(event.Route, route)
	e.SetText(event.ClientIP, ip)
	e.SetNum(event.Time, at)
	return e
}

func load(t *testing.T, files map[string]string) *rules.Set {
	t.Helper()
	set, err := loadText(t, files)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestConditionsAskListsOfAnyFile(t *testing.T) {
	const june30 = 1_782_777_600_000
	set := load(t, map[string]string{"a.yaml": asking("client_ip in lists.office"), "lists/z.yaml": someLists})
	for _, c := range []struct {
		ip   string
		at   int64
		want bool
	}{
		{"203.0.113.9", 1, true}, {"203.0.114.9", 1, false}, {"198.51.100.7", june30 - 1, true}, {"198.51.100.7", june30, false},
	} {
		if got := set.Rules[0].When(request("GET", "/", c.ip, c.at)); got != c.want {
			t.Errorf("%s at %d: %v, want %v", c.ip, c.at, got, c.want)
		}
	}
}

func TestWhatAListHoldsIsPartOfTheVersion(t *testing.T) {
	with := func(from, to string) string {
		return load(t, map[string]string{"a.yaml": asking("client_ip in lists.office"), "z.yaml": strings.Replace(someLists, from, to, 1)}).Version
	}
	base := with("", "")
	for what, change := range map[string][2]string{
		"a note":        {"until the printer is gone", "x"},
		"a description": {"where we work", "x"},
		"another list":  {"AS64501", "AS64502"},
		"the form":      {"- 203.0.113.0/24", "- {value: 203.0.113.0/24, note: x}"},
	} {
		if with(change[0], change[1]) != base {
			t.Errorf("%s changes the version", what)
		}
	}
	for what, change := range map[string][2]string{
		"an entry":      {"203.0.113.0/24", "203.0.112.0/24"},
		"an expiry":     {"2026-06-30", "2026-07-01"},
		"fewer entries": {"      - 203.0.113.0/24\n", ""},
	} {
		if with(change[0], change[1]) == base {
			t.Errorf("%s does not change the version", what)
		}
	}
}

func TestRoutesHaveClasses(t *testing.T) {
	of := func(class string, more string) func(e *event.Event) bool {
		return load(t, map[string]string{"a.yaml": asking(`route_class == "` + class + `"`), "routes.yaml": more}).Rules[0].When
	}
	own := `
routes:
  - class: checkin
    routes: ["POST /gates/{id}/in", /boarding]
  - class: none
    routes: [POST /users]
  - class: checkin
    routes: [GET /search]
`
	for _, c := range []struct {
		class, method, route string
		want                 bool
	}{
		{"login", "POST", "/login", true}, {"login", "POST", "/api/v1/login", true}, {"login", "POST", "/v2/auth/login", true}, {"login", "POST", "/api/login", true},
		{"login", "POST", "/v{n}/login", true}, {"login", "GET", "/login", false}, {"login", "POST", "/apiary/login", false}, {"login", "POST", "", false},
		{"search", "POST", "/search", true}, {"search", "GET", "/search", false}, {"checkin", "GET", "/search", true},
		{"checkin", "POST", "/gates/{id}/in", true}, {"checkin", "PUT", "/gates/{id}/in", false}, {"checkin", "PUT", "/api/v3/boarding", true},
		{"signup", "POST", "/users", false}, {"signup", "POST", "/signup", true}, {"login", "POST", "/v", false}, {"login", "POST", "/api/", false},
		{"payment_confirm", "POST", "/api/v3/payments/{paymentId}/confirm", true}, {"payment_confirm", "POST", "/payments/:id/confirm", true},
		{"payment_confirm", "POST", "/payments/<id>/confirm", true}, {"payment_confirm", "POST", "/payments/7/confirm", false},
		{"contact_change", "PATCH", "/api/v3/customers/me/email", true}, {"contact_change", "PATCH", "/v2/members/{memberId}/email", true},
		{"contact_change", "PUT", "/profile/email-address", true}, {"contact_change", "PATCH", "/customers/blocked/email", false},
		{"export", "POST", "/v1/customers/me/privacy/export", true}, {"promotion", "POST", "/api/v3/vouchers/apply", true},
		{"login", "POST", "/customers/" + strings.Repeat("a", 600), false}, {"checkin", "POST", "/gates/{gate}/in", true},
		{"refresh", "POST", "/oauth/token", true}, {"login", "POST", "/oauth/token", false},
	} {
		if got := of(c.class, own)(request(c.method, c.route, "192.0.2.1", 1)); got != c.want {
			t.Errorf("%s %s is %s: %v, want %v", c.method, c.route, c.class, got, c.want)
		}
	}
	if e := request("POST", "/users", "192.0.2.1", 1); !of("signup", someLists)(e) {
		t.Error("the built-in classes do not hold beside files of one's own")
	}
	r := load(t, map[string]string{"a.yaml": asking(`route_class == "login"`)}).Rules[0]
	if e := request("POST", "/api/v1/login", "192.0.2.1", 1); testing.AllocsPerRun(100, func() { r.When(e) }) != 0 {
		t.Error("asking for the class allocates")
	}
	with := load(t, map[string]string{"a.yaml": asking(`route_class == "login"`), "routes.yaml": own})
	if got := with.RouteClass(request("PUT", "/api/v3/boarding", "192.0.2.1", 1)); got != "checkin" {
		t.Errorf("the set gives /boarding the class %q", got)
	}
	if with.Version == load(t, map[string]string{"a.yaml": asking(`route_class == "login"`)}).Version {
		t.Error("classes of routes are not part of the version")
	}
}

// A directory may hold a copy of the built-in classes: one's own come before them.
func TestOwnRoutesComeBeforeACopyOfTheBuiltInOnes(t *testing.T) {
	copied, err := os.ReadFile("default/routes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	own := "routes:\n  - class: enrolment\n    routes: [POST /signup]\n  - class: none\n    routes: [POST /login]\n"
	for _, name := range []string{"a.yaml", "z.yaml"} { // before and after the copy
		set := load(t, map[string]string{"rule.yaml": asking(`route_class == "enrolment"`), "routes.yaml": string(copied), name: own})
		for route, want := range map[string]string{"/signup": "enrolment", "/login": "", "/logout": "logout"} {
			if got := set.RouteClass(request("POST", route, "192.0.2.1", 1)); got != want {
				t.Errorf("with own routes in %s, %s has the class %q, want %q", name, route, got, want)
			}
		}
	}
	for what, files := range map[string]map[string]string{
		"in one file":      {"routes.yaml": string(copied) + strings.TrimPrefix(own, "routes:\n")},
		"in two own files": {"a.yaml": own, "z.yaml": strings.Replace(own, "enrolment", "other", 1)},
		"in two copies":    {"a.yaml": string(copied), "z.yaml": string(copied)},
	} {
		files["rule.yaml"] = asking(`route_class == "login"`)
		if _, err := loadText(t, files); err == nil || !strings.Contains(err.Error(), "POST /signup has a class already") {
			t.Errorf("a route with two classes %s: %.200v", what, err)
		}
	}
}

func TestATokenRequestIsASignInByItsGrant(t *testing.T) {
	class := func(class string) func(e *event.Event) bool {
		return load(t, map[string]string{"a.yaml": asking(`route_class == "` + class + `"`)}).Rules[0].When
	}
	signsIn, refreshes := class("login"), class("refresh")
	for _, c := range []struct {
		route, grant string
		auth         int64 // 0: none
		login        bool
	}{
		{"/api/v3/auth/token", "password", 1, true}, {"/oauth/token", "authorization_code", 0, true}, {"/oauth/token", "refresh_token", 1, false},
		{"/oauth/token", "", 0, false}, {"/oauth/token", "", 1, true}, {"/token/refresh", "", 1, false}, {"/oauth/token", "client_credentials", 1, false},
	} {
		e := request("POST", c.route, "192.0.2.1", 1)
		e.SetText(event.Grant, c.grant)
		if c.auth != 0 {
			e.SetNum(event.Auth, c.auth)
		}
		if signsIn(e) != c.login || refreshes(e) == c.login {
			t.Errorf("%+v is a sign-in: %v, a refresh: %v", c, signsIn(e), refreshes(e))
		}
	}
	e := request("POST", "/api/v3/customers/me/email", "192.0.2.1", 1)
	if testing.AllocsPerRun(100, func() { signsIn(e) }) != 0 {
		t.Error("the usual form of a route allocates")
	}
}

func TestADirectoryWithoutRulesIsRefused(t *testing.T) {
	if _, err := loadText(t, map[string]string{"a.yaml": someLists}); err == nil || !strings.Contains(err.Error(), "holds no rule") {
		t.Errorf("error is %v", err)
	}
}

// What the documentation says beside the worked example is read, too.
func TestTheExamplesInTheDocumentationAreRead(t *testing.T) {
	files, read := map[string]string{}, 0
	for i, block := range testkit.ReadPage(t, "docs/rules.md").Blocks(t, "yaml") {
		switch {
		case strings.HasPrefix(block, "lists:"), strings.HasPrefix(block, "routes:"):
			files[fmt.Sprintf("%d.yaml", i)] = block
			read++
		case strings.HasPrefix(block, "    exceptions:"):
			files["a.yaml"] = asking(`client_ip in lists.office && !(asn in lists.hosting) && route_class == "boarding"`) + block
			read++
		}
	}
	if set := load(t, files); read != 3 || len(set.Rules[0].Exceptions) != 1 {
		t.Errorf("%d examples were read", read)
	}
}

const excepting = `
    exceptions:
      - {when: account == "load-test", owner: payments, reason: they try what breaks, expires: 2027-06-30}
      - {when: client_ip in lists.office, owner: security, reason: penetration tests, expires: 2026-06-30}
    severity: high
    tags: [owasp:api2, "attack:T1110.003", x-team:payments]
`

func TestExceptionsOfARule(t *testing.T) {
	files := map[string]string{"a.yaml": small("a") + excepting, "z.yaml": someLists}
	set := load(t, files)
	r := set.Rules[0]
	if r.Severity != "high" || len(r.Tags) != 3 || r.Tags[1] != "attack:T1110.003" {
		t.Errorf("severity %q, tags %q", r.Severity, r.Tags)
	}
	if x := r.Exceptions[1]; len(r.Exceptions) != 2 || x.Owner != "security" || x.Reason != "penetration tests" {
		t.Errorf("exceptions %+v", r.Exceptions)
	}
	e := signIn()
	e.SetNum(event.Time, rules.TestStart)
	for _, c := range []struct {
		account, ip string
		at          int64
		want        int
	}{
		{"ann", "192.0.2.1", rules.TestStart, -1}, {"load-test", "192.0.2.1", rules.TestStart, 0}, {"ann", "203.0.113.9", rules.TestStart, 1},
		{"ann", "203.0.113.9", 1_782_777_600_000 - 1, 1}, {"ann", "203.0.113.9", 1_782_777_600_000, -1}, {"load-test", "203.0.113.9", 1_782_777_600_000, 0},
	} {
		e.SetText(event.Account, c.account)
		e.SetText(event.ClientIP, c.ip)
		e.SetNum(event.Time, c.at)
		if got := r.Excepts(e); got != c.want || r.Matches(e) != (c.want < 0) {
			t.Errorf("%s of %s at %d: exception %d, want %d", c.account, c.ip, c.at, got, c.want)
		}
	}
	for what, change := range map[string][2]string{
		"an owner": {"owner: payments", "owner: x"}, "a reason": {"penetration tests", "x"}, "a severity": {"high", "low"}, "a tag": {"owasp:api2", "owasp:api10"},
	} {
		if load(t, map[string]string{"a.yaml": strings.Replace(files["a.yaml"], change[0], change[1], 1), "z.yaml": someLists}).Version != set.Version {
			t.Errorf("%s changes the version", what)
		}
	}
	for what, change := range map[string][2]string{"a condition": {"load-test", "load-tests"}, "an expiry": {"2027-06-30", "2027-07-01"}} {
		if load(t, map[string]string{"a.yaml": strings.Replace(files["a.yaml"], change[0], change[1], 1), "z.yaml": someLists}).Version == set.Version {
			t.Errorf("%s does not change the version", what)
		}
	}
	p := set.Projection()
	if fields := p[r.Entity]; len(fields) != 5 {
		t.Errorf("the projection %v lacks what exceptions read", fields)
	}
}

func TestTheBuiltInRulesSayWhatTheyAreInTheWordsOfOthers(t *testing.T) {
	set, err := rules.Default(detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range set.Rules {
		if r.Severity == "" || !strings.Contains(strings.Join(r.Tags, " "), "owasp:") || !strings.Contains(strings.Join(r.Tags, " "), "attack:") {
			t.Errorf("%s: severity %q, tags %q", r.ID, r.Severity, r.Tags)
		}
	}
}
