package console

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func hashOf(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func TestWhereAConsoleMayListen(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Config)
		want  string // "": it is valid
	}{
		{"as it is", func(*Config) {}, ""},
		{"by name", func(c *Config) { c.Listen = "localhost:9490" }, ""},
		{"everywhere, and everybody", func(c *Config) { c.Listen = ":9490" }, "console.users_file"},
		{"everywhere, in clear text", func(c *Config) { c.Listen, c.UsersFile = "0.0.0.0:9490", "u" }, "console.cert_file"},
		{"everywhere, over TLS", func(c *Config) { c.Listen, c.UsersFile, c.CertFile, c.KeyFile = ":9490", "u", "c", "k" }, ""},
		{"everywhere, behind a proxy", func(c *Config) { c.Listen, c.UsersFile, c.BehindProxy = ":9490", "u", true }, ""},
		{"behind a proxy, and everybody", func(c *Config) { c.Listen, c.BehindProxy = ":9490", true }, "console.users_file"},
		{"a certificate alone", func(c *Config) { c.CertFile = "c" }, "go together"},
		{"no port", func(c *Config) { c.Listen = "127.0.0.1" }, "console.listen"},
		{"for ever", func(c *Config) { c.Session = 365 * 24 * time.Hour }, "console.session"},
	} {
		cfg := Defaults()
		c.spoil(&cfg)
		if err := cfg.Validate(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func usersOf(file string) (Users, error) {
	r, err := WatchUsers(file, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return r.Current(), nil
}

func TestFilesOfUsers(t *testing.T) {
	token, hashed := NewToken()
	for _, c := range []struct{ name, text, want string }{
		{"several", "# who\n\nann analyst " + hashed + " # on call\nben reader another-example-no-secret\n", ""},
		{"nobody", "# nobody\n", "nobody may sign in"},
		{"a role that is none", "ann boss " + hashed, "line 1: \"boss\" is no role"},
		{"a short token", "\nann reader short", "line 2: the token of ann has 5 bytes"},
		{"half a hash", "ann reader sha256:00ff", "64 hexadecimal digits"},
		{"no token", "ann reader", "a name, a role and a token"},
		{"a name twice", "ann reader " + hashed + "\nann reader another-example-no-secret", "line 2: ann and ann"},
		{"a token twice", "ann reader " + hashed + "\nben reader " + token, "line 2: ben and ann"},
		{"a name with markup", "<b> reader " + hashed, "is no name"},
	} {
		file := filepath.Join(t.TempDir(), "users")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		users, err := usersOf(file)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if err != nil {
			continue
		}
		if u, ok := users.find(token); !ok || u.Name != "ann" || u.Role != Analyst {
			t.Errorf("%s: %+v", c.name, u)
		}
		if u, ok := users.find("another-example-no-secret"); !ok || u.Name != "ben" || u.Role != Reader {
			t.Errorf("%s: %+v", c.name, u)
		}
		for _, wrong := range []string{"", hashed, token + "x", strings.TrimPrefix(hashed, hashPrefix)} {
			if u, ok := users.find(wrong); ok {
				t.Errorf("%s: %q is taken for %s's", c.name, wrong, u.Name)
			}
		}
	}
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte("ann reader "+hashed), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o620); err != nil {
		t.Fatal(err)
	}
	if _, err := usersOf(file); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("others may write the file: %v", err)
	}
}

func FuzzParseUsers(f *testing.F) {
	f.Add("ann analyst sha256:00\nben reader another-example-no-secret")
	f.Add("# a\n\tann\tadmin\tan-example-no-secret")
	f.Fuzz(func(t *testing.T, text string) {
		users, err := parseUsers(strings.NewReader(text))
		if (err == nil) != (len(users) > 0) {
			t.Fatalf("%d users, %v", len(users), err)
		}
		for _, u := range users {
			if u.Role < Reader || u.Role > Admin || u.Name == "" {
				t.Fatalf("%+v", u)
			}
		}
	})
}

func TestNobodySeesAnythingWithoutSigningIn(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser(t)
	for _, path := range []string{"/", "/entity?kind=ip&key=203.0.113.9", "/rules", "/dead", "/why", "/nothing", "/switches"} {
		res, body := b.get(path)
		if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), "/sign-in") || strings.Contains(body, "203.0.113.9") && path == "/" {
			t.Errorf("%s: %s %s", path, res.Status, body)
		}
	}
	for _, path := range []string{"/entity/switch", "/switch/clear", "/rule/switch"} {
		if res, _ := b.post(path, url.Values{}); res.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	if res, body := b.get("/healthz"); res.StatusCode != http.StatusOK || body != "ok\n" {
		t.Errorf("health: %s %s", res.Status, body)
	}
	if res, _ := b.get("/static/style.css"); res.StatusCode != http.StatusOK {
		t.Errorf("style: %s", res.Status)
	}
}

func TestSigningInAndOut(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser(t)
	if res, body := b.post("/sign-in", url.Values{"token": {"wrong"}}); res.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "Nobody has this token") {
		t.Errorf("wrong: %s %s", res.Status, body)
	}
	res, _ := b.post("/sign-in", url.Values{"token": {" " + analystToken + "\n"}, "to": {"/rules?for=1h"}})
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/rules?for=1h" {
		t.Fatalf("%s %s", res.Status, res.Header.Get("Location"))
	}
	c := res.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.MaxAge != 12*3600 || c.Path != "/" {
		t.Errorf("cookie %+v", c)
	}
	if res, body := b.get("/switches"); res.StatusCode != http.StatusOK || !strings.Contains(body, "<bdi>ann</bdi>, analyst") {
		t.Errorf("%s %s", res.Status, body)
	}
	if _, _ = b.post("/sign-out", url.Values{"csrf": {"another"}}); s.console.sessions.of(c.Value) == nil {
		t.Error("a form of another site signs out")
	}
	csrf := b.csrf()
	if res, _ := b.post("/sign-out", url.Values{"csrf": {csrf}}); res.StatusCode != http.StatusSeeOther || s.console.sessions.of(c.Value) != nil {
		t.Errorf("sign out: %s; the session stays", res.Status)
	}
	for _, want := range []string{"a sign-in failed", "signed in", "signed out", "user=ann"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	if strings.Contains(s.log.String(), analystToken) {
		t.Error("the log holds a token")
	}
}

// TestWhyASignalIsNotExplained: one that is not stored is something else than a store
// that does not answer.
func TestWhyASignalIsNotExplained(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser(t)
	b.post("/sign-in", url.Values{"token": {analystToken}})
	for path, want := range map[string]string{
		"/why": "404 The signal is not known Nothing is stored there; it may have aged out (clickhouse.retention).",
		"/why?stream=weir&incarnation=1&partition=0&offset=1&index=0&rule=r": "502 ClickHouse does not answer it is not configured. The setting clickhouse.addrs names it.",
	} {
		res, body := b.get(path)
		if got := fmt.Sprint(res.StatusCode, " ", text(body)); !strings.Contains(got, want[4:]) || got[:3] != want[:3] {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestWherePeopleGoAfterSigningIn(t *testing.T) {
	for to, want := range map[string]string{
		"/entity?kind=ip&key=1": "/entity?kind=ip&key=1", "": "/", "https://evil.example/": "/", "//evil.example": "/", `/\evil.example`: "/", "javascript:alert(1)": "/", "/a\nb": "/",
	} {
		if got := localPath(to); got != want {
			t.Errorf("%q: %q, want %q", to, got, want)
		}
	}
}

func TestWhoeverGuessesHasToWait(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser(t)
	for range mostFailures {
		if res, _ := b.post("/sign-in", url.Values{"token": {"wrong"}}); res.StatusCode != http.StatusUnauthorized {
			t.Fatal(res.Status)
		}
	}
	res, _ := b.post("/sign-in", url.Values{"token": {analystToken}})
	if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
		t.Errorf("%s", res.Status)
	}
}

func TestFailuresAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessions(time.Hour, time.Now)
		a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
		for range mostFailures {
			s.failed(a)
		}
		if s.mayTry(b) || !s.mayTry(netip.MustParseAddr("2001:db8:0:1::1")) {
			t.Error("IPv6 addresses count by their /64")
		}
		time.Sleep(failuresKept + time.Second)
		if !s.mayTry(a) {
			t.Error("failures are never forgotten")
		}
		for i := range 3 * mostAddresses {
			s.failed(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		}
		if len(s.failures) > mostAddresses {
			t.Errorf("%d addresses are kept", len(s.failures))
		}
	})
}

func TestSessionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessions(time.Hour, time.Now)
		first := s.begin(User{Name: "ann"})
		if one := s.of(first); one == nil || one.user.Name != "ann" || s.of("another") != nil {
			t.Error("not the session of the cookie")
		}
		time.Sleep(time.Minute)
		for range mostSessions {
			s.begin(User{Name: "ben"})
		}
		if s.of(first) != nil || len(s.byHash) != mostSessions {
			t.Errorf("%d sessions are kept", len(s.byHash))
		}
		last := s.begin(User{Name: "ann"})
		time.Sleep(time.Hour)
		if s.of(last) != nil {
			t.Error("a session has no end")
		}
		s.begin(User{})
		if len(s.byHash) != 1 {
			t.Errorf("%d sessions that are over are kept", len(s.byHash)-1)
		}
	})
}

func TestEveryAnswerForbidsScriptsAndFrames(t *testing.T) {
	s := newSite(t, nil)
	b := s.signedIn(t, readerToken)
	for _, path := range []string{"/", "/sign-in", "/nothing", "/static/style.css", "/healthz"} {
		res, body := b.get(path)
		policy := res.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: %q lacks %s", path, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") {
			t.Errorf("%s: %q", path, policy)
		}
		if res.Header.Get("X-Frame-Options") != "DENY" || res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get("Referrer-Policy") == "" {
			t.Errorf("%s: %v", path, res.Header)
		}
		if strings.Contains(body, "<script") || strings.Contains(body, " style=") {
			t.Errorf("%s has a script or a style in it", path)
		}
	}
}

func TestRequestsOfOtherSitesChangeNothing(t *testing.T) {
	s := newSite(t, nil)
	b := s.signedIn(t, adminToken)
	form := url.Values{"csrf": {b.csrf()}, "kind": {"ip"}, "key": {attacker}, "action": {"deny"}, "lasts": {"1h"}, "reason": {"a test"}}
	send := func(form url.Values, name, value string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/entity/switch", strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if name != "" {
			r.Header.Set(name, value)
		}
		res, _ := b.do(r)
		return res.StatusCode
	}
	without := url.Values{}
	for k, v := range form {
		if k != "csrf" {
			without[k] = v
		}
	}
	for name, status := range map[string]int{
		"another site":   send(form, "Sec-Fetch-Site", "cross-site"),
		"another origin": send(form, "Origin", "https://evil.example"),
		"no token":       send(without, "", ""),
	} {
		if status != http.StatusForbidden || len(s.byHand.all) != 0 {
			t.Errorf("%s: %d, %v", name, status, s.byHand.all)
		}
	}
	if status := send(form, "Sec-Fetch-Site", "same-origin"); status != http.StatusSeeOther || len(s.byHand.all) != 1 {
		t.Errorf("our own: %d, %v", status, s.byHand.all)
	}
	if r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/entity/switch?"+form.Encode(), nil); err == nil {
		if res, _ := b.do(r); res.StatusCode == http.StatusSeeOther {
			t.Error("a link changes something")
		}
	}
}

func TestRolesMayWhatTheirsIs(t *testing.T) {
	s := newSite(t, nil)
	for _, c := range []struct {
		path          string
		form          url.Values // nil: a page
		reader, admin int
		analyst       int
	}{
		{"/rules", nil, 200, 200, 200},
		{"/switches", nil, 200, 200, 200},
		{"/dead", nil, 403, 200, 200},
		{"/entity/switch", url.Values{"kind": {"ip"}, "key": {attacker}, "action": {"deny"}, "lasts": {"1h"}, "reason": {"a test"}}, 403, 303, 303},
		{"/switch/clear", url.Values{"scope": {"entity"}, "kind": {"ip"}, "name": {attacker}, "reason": {"a test"}}, 403, 303, 303},
		{"/entity/switch", url.Values{"kind": {"tenant"}, "key": {"shop"}, "tenant": {"shop"}, "action": {"allow"}, "lasts": {"1h"}, "reason": {"a test"}}, 403, 303, 403},
		{"/entity/switch", url.Values{"kind": {"country"}, "key": {"DE"}, "action": {"deny"}, "lasts": {"1h"}, "reason": {"a test"}}, 403, 303, 403},
		{"/switch/clear", url.Values{"scope": {"entity"}, "kind": {"asn"}, "name": {"64500"}, "reason": {"a test"}}, 403, 303, 403},
		{"/switch/clear", url.Values{"scope": {"global"}, "reason": {"a test"}}, 403, 303, 403},
		{"/audit", nil, 403, 200, 200},
		{"/say", url.Values{"kind": {"ip"}, "key": {attacker}, "rule": {"r"}, "action": {"true_positive"}, "reason": {"a test"}}, 403, 303, 303},
		{"/rule/switch", url.Values{"rule": {"r"}, "lasts": {"1h"}, "reason": {"a test"}}, 403, 303, 403},
	} {
		for token, want := range map[string]int{readerToken: c.reader, analystToken: c.analyst, adminToken: c.admin} {
			b := s.signedIn(t, token)
			res := (*http.Response)(nil)
			if c.form == nil {
				res, _ = b.get(c.path)
			} else {
				form := url.Values{"csrf": {b.csrf()}}
				for k, v := range c.form {
					form[k] = v
				}
				res, _ = b.post(c.path, form)
			}
			if res.StatusCode != want {
				t.Errorf("%s %s for %q: %d, want %d", c.path, c.form.Get("scope"), token, res.StatusCode, want)
			}
		}
	}
}
