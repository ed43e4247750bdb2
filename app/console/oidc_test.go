package console

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/gate/switches"
)

// issuer is a provider of OpenID Connect, which signs whatever a test wants.
type issuer struct {
	*httptest.Server
	t        *testing.T
	key      *ecdsa.PrivateKey
	asked    url.Values                       // of the last authorization
	change   func(claims map[string]any)      // before an id token is signed
	sign     func(header, body string) string // nil: ES256
	redeemed int
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &issuer{t: t, key: key}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"},
		})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"keys": []any{map[string]string{"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256", "x": b64(key.X.FillBytes(make([]byte, 32))), "y": b64(key.Y.FillBytes(make([]byte, 32)))}}})
	})
	// What people see of a provider: it asks who they are, and sends them back.
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		p.asked = r.URL.Query()
		back := p.asked.Get("redirect_uri") + "?" + url.Values{"code": {"code-1"}, "state": {p.asked.Get("state")}, "iss": {p.URL}}.Encode()
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<!doctype html><html lang="en"><title>Provider</title><link rel="icon" href="data:,"><a id="ann" href="%s">Go on as ann</a>`, html.EscapeString(back))
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		if id != "weir" || secret != "secret-of-the-client" || r.PostFormValue("code") != "code-1" || b64(sum[:]) != p.asked.Get("code_challenge") || r.PostFormValue("redirect_uri") != p.asked.Get("redirect_uri") {
			http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
			return
		}
		p.redeemed++
		answer(w, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": p.token()})
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// token signs the id token of ann.
func (p *issuer) token() string {
	claims := map[string]any{
		"iss": p.URL, "aud": "weir", "sub": "1", "nonce": p.asked.Get("nonce"), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"preferred_username": "ann", "groups": []string{"staff", "fraud"},
	}
	if p.change != nil {
		p.change(claims)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		p.t.Error(err)
	}
	if p.sign != nil {
		return p.sign(`{"alg":"ES256","kid":"1"}`, string(body))
	}
	text := b64([]byte(`{"alg":"ES256","kid":"1"}`)) + "." + b64(body)
	sum := sha256.Sum256([]byte(text))
	one, two, err := ecdsa.Sign(rand.Reader, p.key, sum[:])
	if err != nil {
		p.t.Error(err)
	}
	signature := append(one.FillBytes(make([]byte, 32)), two.FillBytes(make([]byte, 32))...)
	return text + "." + b64(signature)
}

// oidcSite is a console whose users sign in with a provider.
func oidcSite(t *testing.T, p *issuer) *site {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("secret-of-the-client\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &site{byHand: &byHand{all: map[string]switches.Object{}}, log: &bytes.Buffer{}}
	server := httptest.NewUnstartedServer(nil)
	t.Cleanup(server.Close)
	cfg, deps := Defaults(), Dependencies{Switches: s.byHand, Users: NewRoster(testUsers(t)), Logger: slog.New(slog.NewTextHandler(&synced{b: s.log}, nil)), Now: func() time.Time { return now }}
	cfg.OIDC.Issuer, cfg.OIDC.ClientID, cfg.OIDC.ClientSecretFile, cfg.OIDC.RedirectURL = p.URL, "weir", file, "http://"+server.Listener.Addr().String()+callbackPath
	cfg.OIDC.Readers, cfg.OIDC.Analysts, cfg.OIDC.Admins = []string{"staff"}, []string{"fraud"}, []string{"root"}
	c, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	s.console, s.Server = c, server
	server.Config.Handler = c.Handler()
	server.Start()
	return s
}

// depart begins a sign-in, and returns what the provider is asked.
func (p *issuer) depart(t *testing.T, b *browser, to string) url.Values {
	t.Helper()
	res, _ := b.get("/sign-in/oidc?to=" + url.QueryEscape(to))
	at, err := url.Parse(res.Header.Get("Location"))
	if err != nil || res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(at.String(), p.URL+"/authorize?") {
		t.Fatalf("%d %v, %v", res.StatusCode, at, err)
	}
	p.asked = at.Query()
	return p.asked
}

func (b *browser) callback(answer url.Values) (*http.Response, string) {
	return b.get(callbackPath + "?" + answer.Encode())
}

// TestSigningInWithAProvider goes there and back: with PKCE, state and nonce, and with
// the role of the groups.
func TestSigningInWithAProvider(t *testing.T) {
	p := newIssuer(t)
	s := oidcSite(t, p)
	b := s.browser(t)
	if _, body := b.get("/sign-in?to=/switches"); !strings.Contains(body, `href="/sign-in/oidc?to=%2fswitches"`) {
		t.Errorf("the page offers no provider: %s", body)
	}
	asked := p.depart(t, b, "/switches")
	if asked.Get("response_type") != "code" || asked.Get("code_challenge_method") != "S256" || len(asked.Get("state")) < 40 || len(asked.Get("nonce")) < 40 || asked.Get("scope") != "openid profile email" || asked.Get("client_id") != "weir" {
		t.Errorf("asked %v", asked)
	}
	res, body := b.callback(url.Values{"code": {"code-1"}, "state": {asked.Get("state")}, "iss": {p.URL}})
	if res.StatusCode != http.StatusOK || res.Header.Get("Refresh") != "0; url=/switches" || !strings.Contains(body, `href="/switches"`) {
		t.Fatalf("%d %v\n%s", res.StatusCode, res.Header, body)
	}
	for _, c := range res.Cookies() {
		switch {
		case c.Name == cookieName && (c.SameSite != http.SameSiteStrictMode || !c.HttpOnly || c.MaxAge != int(12*time.Hour/time.Second)), c.Name == oidcCookie && c.MaxAge >= 0:
			t.Errorf("cookie %v", c)
		}
	}
	if res, body := b.get("/audit"); res.StatusCode != 200 || !strings.Contains(body, "ann") {
		t.Errorf("an analyst sees the audit: %d", res.StatusCode)
	}
	if res, _ := b.post("/rule/switch", url.Values{"csrf": {b.csrf()}, "rule": {"r"}, "lasts": {"1h"}, "reason": {"why"}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("an analyst turns off a rule: %d", res.StatusCode)
	}
	if res, _ := b.post("/sign-out", url.Values{"csrf": {b.csrf()}}); res.StatusCode != http.StatusSeeOther {
		t.Errorf("sign out: %d", res.StatusCode)
	}
	if res, _ := b.get("/audit"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("after the sign-out: %d", res.StatusCode)
	}
	if res, _ := b.callback(url.Values{"code": {"code-1"}, "state": {asked.Get("state")}}); res.StatusCode != http.StatusBadRequest || p.redeemed != 1 {
		t.Errorf("the answer is taken twice: %d, %d codes", res.StatusCode, p.redeemed)
	}
	s.signedIn(t, readerToken) // tokens let people in as before
}

// TestAnswersOfAProviderThatAreRefused: nobody is signed in.
func TestAnswersOfAProviderThatAreRefused(t *testing.T) {
	set := func(name string, v any) func(map[string]any) { return func(c map[string]any) { c[name] = v } }
	for name, tc := range map[string]struct {
		change func(map[string]any)
		sign   func(p *issuer) func(header, body string) string
		answer func(url.Values)
		status int
		log    string
	}{
		"another nonce":          {change: set("nonce", "other"), log: "the nonce is that of another sign-in"},
		"no nonce":               {change: func(c map[string]any) { delete(c, "nonce") }, log: "the nonce is that of another sign-in"},
		"another audience":       {change: set("aud", "shop"), log: "audience"},
		"several audiences":      {change: set("aud", []string{"weir", "shop"}), log: "issued to another client"},
		"for another client":     {change: set("azp", "shop"), log: "issued to another client"},
		"expired":                {change: set("exp", now.Add(-time.Second).Unix()), log: "expired"},
		"another issuer":         {change: set("iss", "https://evil.example"), log: "issued by a different provider"},
		"no name":                {change: set("preferred_username", ""), log: "is no name"},
		"a name of a script":     {change: set("preferred_username", "<script>"), log: "is no name"},
		"no role":                {change: set("groups", []string{"sales"}), status: http.StatusForbidden, log: "none of your groups"},
		"groups of another kind": {change: set("groups", map[string]any{"staff": true}), status: http.StatusForbidden, log: "none of your groups"},
		"another state":          {answer: func(q url.Values) { q.Set("state", "other") }, log: "belongs to another sign-in"},
		"no state":               {answer: func(q url.Values) { q.Del("state") }, log: "belongs to another sign-in"},
		"another provider":       {answer: func(q url.Values) { q.Set("iss", "https://evil.example") }, log: "another provider"},
		"an error":               {answer: func(q url.Values) { q.Set("error", "access_denied") }, log: "access_denied"},
		"another code":           {answer: func(q url.Values) { q.Set("code", "code-2") }, log: "redeem the code"},
		"without a signature": {log: "the id token", sign: func(*issuer) func(_, body string) string {
			return func(_, body string) string { return b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(body)) + "." }
		}},
		"signed with the public key": {log: "the id token", sign: func(p *issuer) func(_, body string) string {
			return func(_, body string) string {
				text := b64([]byte(`{"alg":"HS256","kid":"1"}`)) + "." + b64([]byte(body))
				m := hmac.New(sha256.New, p.key.X.Bytes())
				m.Write([]byte(text))
				return text + "." + b64(m.Sum(nil))
			}
		}},
		"a signature of another token": {log: "the id token", sign: func(*issuer) func(header, body string) string {
			return func(header, body string) string {
				return b64([]byte(header)) + "." + b64([]byte(body)) + "." + b64(make([]byte, 64))
			}
		}},
		"no token": {log: "the id token", sign: func(*issuer) func(_, _ string) string { return func(_, _ string) string { return "" } }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newIssuer(t)
			s := oidcSite(t, p)
			b := s.browser(t)
			if p.change = tc.change; tc.sign != nil {
				p.sign = tc.sign(p)
			}
			q := url.Values{"code": {"code-1"}, "state": {p.depart(t, b, "/").Get("state")}}
			if tc.answer != nil {
				tc.answer(q)
			}
			want := tc.status
			if want == 0 {
				want = http.StatusUnauthorized
			}
			if res, body := b.callback(q); res.StatusCode != want || !strings.Contains(s.log.String(), tc.log) || strings.Contains(body, "<script") {
				t.Errorf("%d, log\n%s", res.StatusCode, s.log)
			}
			if res, _ := b.get("/"); res.StatusCode != http.StatusSeeOther {
				t.Errorf("signed in: %d", res.StatusCode)
			}
		})
	}
}

// TestASignInEndsWhereItBegan: an attacker's answer in somebody else's browser, or a
// cookie that was changed or is too old, signs nobody in.
func TestASignInEndsWhereItBegan(t *testing.T) {
	p := newIssuer(t)
	s := oidcSite(t, p)
	attacker, victim := s.browser(t), s.browser(t)
	stolen := url.Values{"code": {"code-1"}, "state": {p.depart(t, attacker, "/").Get("state")}}
	if res, _ := victim.callback(stolen); res.StatusCode != http.StatusBadRequest {
		t.Errorf("without a cookie: %d", res.StatusCode)
	}
	p.depart(t, victim, "/")
	if res, _ := victim.callback(stolen); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("with a cookie of another sign-in: %d", res.StatusCode)
	}
	late := s.console.oidc.pack(journey{State: "s", Nonce: "n", Until: now})
	for _, cookie := range []string{"", "garbage", late[:len(late)-2] + "AA", late} {
		if _, ok := s.console.oidc.unpack(cookie); ok {
			t.Errorf("%.20q is a sign-in under way", cookie)
		}
	}
	if p.redeemed != 0 {
		t.Errorf("%d codes were redeemed", p.redeemed)
	}
}

// TestNoSignInLeadsElsewhere, whatever a link says.
func TestNoSignInLeadsElsewhere(t *testing.T) {
	p := newIssuer(t)
	s := oidcSite(t, p)
	for _, to := range []string{"https://evil.example/", "//evil.example", `/\evil.example`, "javascript:alert(1)", "/a\r\nSet-Cookie: x=y"} {
		b := s.browser(t)
		q := url.Values{"code": {"code-1"}, "state": {p.depart(t, b, to).Get("state")}}
		if res, body := b.callback(q); res.StatusCode != 200 || res.Header.Get("Refresh") != "0; url=/" || strings.Contains(body, "evil") || strings.Contains(body, "alert") {
			t.Errorf("%q: %d %v", to, res.StatusCode, res.Header)
		}
	}
}

func TestAProviderThatIsAwayIsSaid(t *testing.T) {
	p := newIssuer(t)
	s := oidcSite(t, p)
	p.Close()
	if res, body := s.browser(t).get("/sign-in/oidc"); res.StatusCode != http.StatusBadGateway || !strings.Contains(body, "does not answer") || !strings.Contains(body, `name="token"`) {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

func TestRolesOfClaims(t *testing.T) {
	c := OIDC{NameClaim: "email", RoleClaim: "realm_access.roles", Readers: []string{"*"}, Analysts: []string{"fraud"}, Admins: []string{"root"}}
	of := func(more map[string]any) map[string]any {
		all := map[string]any{"email": "ann@example.com"}
		maps.Copy(all, more)
		return all
	}
	for name, tc := range map[string]struct {
		claims map[string]any
		role   Role
	}{
		"nothing":              {of(nil), Reader},
		"nested":               {of(map[string]any{"realm_access": map[string]any{"roles": []any{"fraud", 7}}}), Analyst},
		"the highest":          {of(map[string]any{"realm_access": map[string]any{"roles": []any{"fraud", "root"}}}), Admin},
		"one text":             {of(map[string]any{"realm_access.roles": "root"}), Admin},
		"an empty text":        {of(map[string]any{"realm_access.roles": ""}), Reader},
		"a verified address":   {of(map[string]any{"email_verified": true}), Reader},
		"an address of nobody": {of(map[string]any{"email_verified": false}), 0},
	} {
		u, err := c.user(tc.claims)
		if (err != nil) != (tc.role == 0) || err == nil && (u.Role != tc.role || u.Name != "ann@example.com") {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
	}
}

func TestWhatIsWrongWithAProvider(t *testing.T) {
	good := func() Config {
		c := Defaults()
		c.OIDC.Issuer, c.OIDC.ClientID, c.OIDC.RedirectURL, c.OIDC.Readers = "https://id.example.com/", "weir", "https://weir.example.com"+callbackPath, []string{"staff"}
		return c
	}
	for name, tc := range map[string]struct {
		change func(*OIDC)
		want   string
	}{
		"all is well":           {func(*OIDC) {}, ""},
		"in clear text":         {func(c *OIDC) { c.Issuer = "http://id.example.com" }, "console.oidc.issuer"},
		"an address of another": {func(c *OIDC) { c.RedirectURL = "https://weir.example.com/" }, "console.oidc.redirect_url"},
		"no client":             {func(c *OIDC) { c.ClientID = "" }, "console.oidc.client_id"},
		"nobody":                {func(c *OIDC) { c.Readers = nil }, "nobody would have a role"},
		"everybody is admin":    {func(c *OIDC) { c.Admins = []string{"*"} }, "readers only"},
		"no names":              {func(c *OIDC) { c.NameClaim = "" }, "console.oidc.name_claim"},
	} {
		c := good()
		tc.change(&c.OIDC)
		if err := c.Validate(); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
