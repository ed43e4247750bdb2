package console

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/weirdev/weir/internal/secret"
)

// OIDC says how people sign in with a provider of OpenID Connect.
type OIDC struct {
	Issuer           string   `yaml:"issuer" doc:"provider of OpenID Connect that people sign in with, as a URL; empty: none"`
	ClientID         string   `yaml:"client_id" doc:"the console's name at the provider"`
	ClientSecretFile string   `yaml:"client_secret_file" doc:"file with the console's secret at the provider; empty: it has none"`
	RedirectURL      string   `yaml:"redirect_url" doc:"address of the console as the provider knows it: https://HOST/sign-in/oidc/callback"`
	Scopes           []string `yaml:"scopes" doc:"what the provider is asked for, beside openid"`
	NameClaim        string   `yaml:"name_claim" doc:"claim with the name under which people act"`
	RoleClaim        string   `yaml:"role_claim" doc:"claim with the groups or roles of a person; members of objects follow after a dot"`
	Readers          []string `yaml:"readers" doc:"groups whose members have the role reader; *: everybody whom the provider signs in"`
	Analysts         []string `yaml:"analysts" doc:"groups whose members have the role analyst"`
	Admins           []string `yaml:"admins" doc:"groups whose members have the role admin"`
}

// callbackPath is where the provider sends people back to.
const callbackPath = "/sign-in/oidc/callback"

func (c OIDC) on() bool { return c.Issuer != "" }

func (c OIDC) validate() error {
	if !c.on() {
		return nil
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("console.oidc."+format, args...)) }
	if _, err := webAddress(c.Issuer); err != nil {
		bad("issuer: %w", err)
	}
	if u, err := webAddress(c.RedirectURL); err != nil {
		bad("redirect_url: %w", err)
	} else if u.Path != callbackPath || u.RawQuery != "" {
		bad("redirect_url: %q does not end with %s", c.RedirectURL, callbackPath)
	}
	if c.ClientID == "" {
		bad("client_id: the provider knows the console by a name")
	}
	if c.NameClaim == "" {
		bad("name_claim: people need a name for the audit")
	}
	if len(c.Readers)+len(c.Analysts)+len(c.Admins) == 0 {
		bad("readers, analysts, admins: nobody would have a role")
	}
	if slices.Contains(c.Analysts, "*") || slices.Contains(c.Admins, "*") {
		bad("analysts, admins: * is possible for readers only")
	}
	return errors.Join(errs...)
}

// webAddress reads a URL of https, or of http on this machine.
func webAddress(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return nil, fmt.Errorf("%q is no address of https", text)
	}
	return u, nil
}

const (
	oidcCookie   = "weir_console_oidc"
	oidcTime     = 10 * time.Second // for the provider to answer
	oidcPatience = 10 * time.Minute // for a person to sign in there
)

// asymmetric lists the algorithms of signatures that are believed: none at all and
// shared secrets are not among them, whatever the provider says of itself.
var asymmetric = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}

// relying is the console as a client of a provider.
type relying struct {
	cfg    OIDC
	secret string
	seal   cipher.AEAD // of cookies; the key is new with each start
	now    func() time.Time
	client *http.Client

	mu       sync.Mutex
	provider *oidc.Provider // nil: it was not reached yet
}

func newRelying(cfg OIDC, now func() time.Time) (*relying, error) {
	r := &relying{cfg: cfg, now: now, client: &http.Client{Timeout: oidcTime}}
	if cfg.ClientSecretFile != "" {
		var err error
		if r.secret, err = secret.Read("console.oidc.client_secret", "", cfg.ClientSecretFile); err != nil {
			return nil, err
		}
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	if r.seal, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	return r, nil
}

// context is one for calls of the provider, which outlast a request: keys are fetched
// with it later.
func (r *relying) context(ctx context.Context) context.Context {
	return oidc.ClientContext(context.WithoutCancel(ctx), r.client)
}

// reach finds out about the provider, once.
func (r *relying) reach(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.provider == nil {
		p, err := oidc.NewProvider(r.context(ctx), r.cfg.Issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("ask the provider %s: %w", r.cfg.Issuer, err)
		}
		r.provider = p
	}
	scopes := append([]string{oidc.ScopeOpenID}, r.cfg.Scopes...)
	return r.provider, &oauth2.Config{ClientID: r.cfg.ClientID, ClientSecret: r.secret, Endpoint: r.provider.Endpoint(), RedirectURL: r.cfg.RedirectURL, Scopes: scopes}, nil
}

// journey is a sign-in under way. It is kept, sealed, in a cookie of the browser that
// began it, so that nobody can end it in another one.
type journey struct {
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"`
	To       string    `json:"to"`
	Until    time.Time `json:"until"`
}

func (r *relying) pack(j journey) string {
	text, _ := json.Marshal(j) // cannot fail for texts
	return base64.RawURLEncoding.EncodeToString(r.seal.Seal(nil, nil, text, nil))
}

func (r *relying) unpack(cookie string) (j journey, ok bool) {
	sealed, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil {
		return j, false
	}
	text, err := r.seal.Open(nil, nil, sealed, nil)
	if err != nil || json.Unmarshal(text, &j) != nil {
		return j, false
	}
	return j, r.now().Before(j.Until)
}

// begin returns where the person signs in, and the cookie.
func (r *relying) begin(ctx context.Context, to string) (address, cookie string, err error) {
	_, client, err := r.reach(ctx)
	if err != nil {
		return "", "", err
	}
	j := journey{State: randomText(), Nonce: randomText(), Verifier: oauth2.GenerateVerifier(), To: to, Until: r.now().Add(oidcPatience)}
	return client.AuthCodeURL(j.State, oidc.Nonce(j.Nonce), oauth2.S256ChallengeOption(j.Verifier)), r.pack(j), nil
}

// errNoRole means that the provider knows the person, and the console has no role for
// it.
var errNoRole = errors.New("none of your groups has a role here (console.oidc.readers, analysts, admins)")

// finish reads the provider's answer, and returns who signed in.
func (r *relying) finish(ctx context.Context, j journey, answer url.Values) (User, error) {
	switch {
	case subtle.ConstantTimeCompare([]byte(answer.Get("state")), []byte(j.State)) != 1:
		return User{}, errors.New("the answer belongs to another sign-in")
	case answer.Has("iss") && answer.Get("iss") != r.cfg.Issuer:
		return User{}, errors.New("the answer comes from another provider")
	case answer.Get("error") != "":
		return User{}, fmt.Errorf("the provider refuses: %.100q", answer.Get("error"))
	}
	provider, client, err := r.reach(ctx)
	if err != nil {
		return User{}, err
	}
	token, err := client.Exchange(r.context(ctx), answer.Get("code"), oauth2.VerifierOption(j.Verifier))
	if err != nil {
		return User{}, fmt.Errorf("redeem the code: %w", err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: r.cfg.ClientID, SupportedSigningAlgs: asymmetric, Now: r.now}).Verify(r.context(ctx), raw)
	if err != nil {
		return User{}, fmt.Errorf("the id token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(j.Nonce)) != 1 {
		return User{}, errors.New("the id token: the nonce is that of another sign-in")
	}
	claims := map[string]any{}
	if err := id.Claims(&claims); err != nil {
		return User{}, fmt.Errorf("the id token: %w", err)
	}
	if by, given := claims["azp"]; given && by != r.cfg.ClientID || !given && len(id.Audience) > 1 {
		return User{}, errors.New("the id token was issued to another client")
	}
	return r.cfg.user(claims)
}

// user makes a user of claims.
func (c OIDC) user(claims map[string]any) (u User, err error) {
	u.Name, _ = claims[c.NameClaim].(string)
	if !userName.MatchString(u.Name) {
		return u, fmt.Errorf("the claim %s, %.80q, is no name: letters, digits and . _ @ + - are allowed (console.oidc.name_claim)", c.NameClaim, u.Name)
	}
	if verified, given := claims["email_verified"]; c.NameClaim == "email" && given && verified != true {
		return u, errors.New("the provider has not verified the address")
	}
	groups := textsAt(claims, c.RoleClaim)
	among := func(list []string) bool {
		return slices.ContainsFunc(list, func(g string) bool { return g != "" && slices.Contains(groups, g) })
	}
	switch {
	case among(c.Admins):
		u.Role = Admin
	case among(c.Analysts):
		u.Role = Analyst
	case among(c.Readers), slices.Contains(c.Readers, "*"):
		u.Role = Reader
	default:
		return u, errNoRole
	}
	return u, nil
}

// textsAt returns the texts of a claim, which is one, or a list. A name with dots that
// is no claim itself is a path through objects.
func textsAt(claims map[string]any, name string) (all []string) {
	v, ok := claims[name]
	if first, rest, dotted := strings.Cut(name, "."); !ok && dotted {
		inner, _ := claims[first].(map[string]any)
		return textsAt(inner, rest)
	}
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, one := range v {
			if s, ok := one.(string); ok {
				all = append(all, s)
			}
		}
	}
	return all
}

// setJourney keeps a sign-in in the browser; "" ends it. The provider's answer comes
// from another site, so the cookie cannot be strict, as that of a session is.
func (s *Server) setJourney(w http.ResponseWriter, r *http.Request, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{Name: oidcCookie, Value: value, Path: "/sign-in/oidc", MaxAge: seconds, HttpOnly: true, Secure: s.isSecure(r), SameSite: http.SameSiteLaxMode})
}

// leave sends somebody to the provider.
func (s *Server) leave(w http.ResponseWriter, r *http.Request) {
	to := localPath(r.URL.Query().Get("to"))
	address, cookie, err := s.oidc.begin(r.Context(), to)
	if err != nil {
		s.log.Error("console: the provider of sign-ins is away", "error", err)
		s.render(w, http.StatusBadGateway, "sign-in", s.signInView(to, "The provider of sign-ins does not answer. Try again, or sign in with a token."))
		return
	}
	s.setJourney(w, r, cookie, int(oidcPatience/time.Second))
	http.Redirect(w, r, address, http.StatusSeeOther)
}

// comeBack signs somebody in whom the provider sends back.
func (s *Server) comeBack(w http.ResponseWriter, r *http.Request) {
	from := peer(r)
	refuse := func(status int, outcome, problem string) {
		s.metrics.signIns.WithLabelValues(outcome).Inc()
		s.render(w, status, "sign-in", s.signInView("/", problem))
	}
	if !s.sessions.mayTry(from) {
		w.Header().Set("Retry-After", "60")
		refuse(http.StatusTooManyRequests, outcomeRefused, "There were too many failed attempts from your address. Wait a minute.")
		return
	}
	var j journey
	ok := false
	if c, err := r.Cookie(oidcCookie); err == nil {
		j, ok = s.oidc.unpack(c.Value)
	}
	s.setJourney(w, r, "", -1) // good for one answer
	if !ok {
		refuse(http.StatusBadRequest, outcomeFailed, "This sign-in was not begun here, or it took too long. Begin once more.")
		return
	}
	u, err := s.oidc.finish(r.Context(), j, r.URL.Query())
	if err != nil {
		s.sessions.failed(from)
		s.log.Warn("console: a sign-in failed", "from", from.String(), "user", u.Name, "error", err)
		status, problem := http.StatusUnauthorized, "The sign-in failed; the console's log says why. Begin once more."
		if errors.Is(err, errNoRole) {
			status, problem = http.StatusForbidden, "You may not sign in here: "+err.Error()+"."
		}
		refuse(status, outcomeFailed, problem)
		return
	}
	s.metrics.signIns.WithLabelValues(outcomeDone).Inc()
	s.log.Info("console: signed in", "user", u.Name, "role", u.Role.String(), "from", from.String(), "provider", s.cfg.OIDC.Issuer)
	s.setCookie(w, r, s.sessions.begin(u), int(s.cfg.Session/time.Second))
	// A redirect would belong to the provider's, and browsers send no strict cookie
	// with it. A page of our own begins anew.
	to := localPath(j.To)
	w.Header().Set("Refresh", "0; url="+to)
	s.render(w, http.StatusOK, "signed-in", &view{Title: "Signed in", Page: signInView{To: to}})
}
