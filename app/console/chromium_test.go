package console

import (
	"strings"
	"testing"

	"github.com/weirdev/weir/proof/testkit"
)

// TestAnAnalystsWay finds an attacker from the overview, reads why, acts, and sees
// the result, as people do: with a browser.
func TestAnAnalystsWay(t *testing.T) {
	s := newSite(t, database(t))
	s.scored()
	b := testkit.OpenTab(t, s.URL)
	b.Open("/")
	b.Says("Sign in")
	b.Picture("sign-in")
	b.Type("#token", analystToken)
	b.Click(".signin button")
	b.Says("What is abused", "By whom", "What was done about it", "Many accounts tried from one address")
	b.Picture("overview")
	b.Click(`main a.entity[href*="203.0.113.9"]`)
	b.Says("ip 203.0.113.9", "45 now", "different values of account: 20, and the rule asks for 20", "None holds.")
	b.Picture("entity")
	b.Click(`a[href^="/why?"]`)
	b.Says("Why credential-stuffing-ip fired", "It fired with tier 2 of 2", "If it asked for different values 21 instead of 20")
	b.Picture("why")
	b.Open(attackerPage)
	b.Click(`a[href^="/except?"]`)
	b.Tick(`input[name="with_route"]`)
	b.Type(`input[name="reason"]`, "our own scanner")
	b.Click(".act button")
	b.Says(`client_ip == "203.0.113.9" && route == "/v1/login"`, "reason: our own scanner", "owner: ann")
	b.Picture("except")
	b.Open(attackerPage)
	b.Choose(`select[name="action"]`, "step_up")
	b.Type(`form[action^="/entity/switch"] input[name="reason"]`, "incident 4711")
	b.Click(`form[action^="/entity/switch"] button`)
	b.Says("Blocked: requests of ip 203.0.113.9 get step_up", "incident 4711")
	b.Picture("blocked")
	b.Type(`.line input[name="reason"]`, "it is over")
	b.Click(".line button")
	b.Says("Ended: entity:ip:/203.0.113.9", "None holds.")
	b.Type("#q", "d-1")
	b.Click(".search button")
	b.Says("Decision d-1", "deny")
	everybody(t, b)
	for _, w := range b.Wrong() {
		t.Error(w)
	}
	// What watches the pages would see it.
	b.Do(`document.body.insertAdjacentHTML("beforeend", "<img src='http://127.0.0.1:9/x'><p style='color:red'>")`)
	b.Open("/switches")
	if wrong := strings.Join(b.Wrong(), "\n"); !strings.Contains(wrong, "img-src") && !strings.Contains(wrong, "policy") {
		t.Errorf("a violation was not seen: %q", wrong)
	}
}

// TestSigningInWithAProviderInABrowser goes to the provider and back, as people do. Only a
// browser tells whether the cookies survive the way, and the policy of the pages allows it.
func TestSigningInWithAProviderInABrowser(t *testing.T) {
	p := newIssuer(t)
	s := oidcSite(t, p)
	b := testkit.OpenTab(t, s.URL)
	b.Open("/switches")
	b.Says("Sign in")
	b.Picture("sign-in-provider")
	b.Click(`a[href^="/sign-in/oidc"]`)
	b.Says("Go on as ann")
	b.Click("#ann")
	b.Becomes("ann, analyst") // the page that the provider leads to leads on
	b.Says("Switches")
	b.Click(`form[action="/sign-out"] button`)
	b.Says("Sign in")
	b.Open("/switches")
	b.Says("Sign in")
	if strings.Contains(b.Text(), "ann, analyst") || p.redeemed != 1 {
		t.Errorf("after the sign-out, with %d codes redeemed: %s", p.redeemed, b.Text())
	}
	for _, w := range b.Wrong() {
		if w := strings.TrimPrefix(w, "a request to somebody else: "); !strings.HasPrefix(w, p.URL+"/authorize?") {
			t.Error(w)
		}
	}
}

// everybody looks at pages as people with a keyboard, a screen reader, or tired eyes
// do, and as hostile clients want them to be.
func everybody(t *testing.T, b *testkit.Tab) {
	t.Helper()
	for _, path := range []string{"/", attackerPage, "/rules", "/campaigns", "/switches", "/dead", "/decision?id=d-1", "/event?stream=weir&incarnation=1&partition=0&offset=900", "/search?q=r-29"} {
		b.Open(path)
		for _, scheme := range []string{"light", "dark"} {
			b.Scheme(scheme)
			b.Contrast(path + " " + scheme)
		}
		b.Picture("dark-" + strings.Trim(strings.ReplaceAll(strings.SplitN(path, "?", 2)[0], "/", "-"), "-"))
		b.Named(path)
		if focused := b.FirstStop(); focused != "Skip to the content" {
			t.Errorf("%s: the first stop of the keyboard is %q", path, focused)
		}
	}
}
