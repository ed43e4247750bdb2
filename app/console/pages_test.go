package console

import (
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

const attackerPage = "/entity?kind=ip&key=203.0.113.9"

// text returns what a page says, without its markup.
func text(page string) string {
	page = regexp.MustCompile(`</?(bdi|time|strong|small|code|em|a|span)\b[^>]*>`).ReplaceAllString(page, "") // within a line
	plain := html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " "))
	return strings.Join(strings.Fields(plain), " ")
}

// linkTo returns the first address on a page that begins with a prefix.
func linkTo(t *testing.T, page, prefix string) string {
	t.Helper()
	m := regexp.MustCompile(`href="(` + regexp.QuoteMeta(prefix) + `[^"]*)"`).FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no link to %s", prefix)
	}
	return html.UnescapeString(m[1])
}

func TestPages(t *testing.T) {
	s := newSite(t, database(t))
	s.scored()
	b := s.signedIn(t, analystToken)
	says := func(t *testing.T, path string, want ...string) string {
		t.Helper()
		res, body := b.get(path)
		plain := text(body)
		if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %s", path, res.Status)
		}
		for _, w := range want {
			if !strings.Contains(plain, w) {
				t.Errorf("%s does not say %q", path, w)
			}
		}
		if strings.Contains(body, "does not answer") || strings.Contains(body, "refuses the question") || strings.Contains(body, "took too long") {
			t.Errorf("%s: a store fails: %s", path, s.log)
		}
		if t.Failed() {
			t.Log(plain)
			t.FailNow()
		}
		return body
	}
	t.Run("overview", func(t *testing.T) {
		body := says(t, "/", "Many accounts tried from one address credential-stuffing-ip account_takeover enforce 21 22", "route /v1/login POST 2", "ip 203.0.113.9 45", "credential-stuffing-ip 90 2", "deny 1 1", "Events: 31")
		if to := linkTo(t, body, "/entity?for=24h&amp;key=203.0.113.9"); !strings.Contains(to, "kind=ip") {
			t.Error(to)
		}
	})
	t.Run("another time", func(t *testing.T) {
		body := says(t, "/?from=2026-11-01T00:00&to=2026-11-02T00:00", "No rule fired.", "There is no signal in this time. The newest is of 2026-11-29 17:30:00 UTC")
		says(t, linkTo(t, body, "/?from=2026-11-29"), "credential-stuffing-ip")
	})
	t.Run("an entity", func(t *testing.T) {
		body := says(t, attackerPage, "45 now, gone at 2026-11-29 19:00:00 UTC", "2026-11-29 17:03:10 UTC 90 credential-stuffing-ip enforce Many accounts tried from one address",
			"different values of account: 20, and the rule asks for 20", "within: 10 min", "from 2026-11-29 17:00:00 UTC to 2026-11-29 17:03:10 UTC",
			"If the rule asked for 21 instead of 20, it would not have fired here.", "Members that were told", "account user-7", "d-1 deny 90 /v1/login credential-stuffing-ip",
			"Seen together with Entity Events First Last account user-29 1 2026-11-29 17:04:50 UTC", "The newest 30 in this time.", "POST /v1/login 401 failure account user-29", "None holds.")
		if !strings.Contains(body, `aria-label="Score over time, last 24 hours: highest 90 at 2026-11-29 17:03:10 UTC`) {
			t.Error("the drawing has no words")
		}
		says(t, linkTo(t, body, "/entity?for=24h&amp;key=user-7"), "Told because it belongs to ip 203.0.113.9, for which the rule fired", "0 now")
	})
	t.Run("why", func(t *testing.T) {
		body := says(t, linkTo(t, says(t, attackerPage), "/why?"), "20 events of it in the day before the signal were read; 20 meet the rule's condition.", "It fired with tier 2 of 2", "different values 20 20",
			"Without 1 of the events", "If it asked for different values 21 instead of 20, it would not have fired here", `"account":"user-0"`)
		if strings.Count(body, ">yes") != 20 {
			t.Errorf("%d events count", strings.Count(body, ">yes"))
		}
	})
	t.Run("why, under rules that were edited", func(t *testing.T) {
		e, before := newEditedRules(t), s.console.deps.Rules
		s.console.deps.Rules = e.RuleBook
		defer func() { s.console.deps.Rules = before }()
		e.replace("at: 20, weight: 90", "at: 19, weight: 90")
		says(t, linkTo(t, says(t, attackerPage), "/why?"), "different values 19 19", "If it asked for different values 20 instead of 19")
	})
	t.Run("an exception", func(t *testing.T) {
		to := linkTo(t, says(t, attackerPage), "/except?")
		body := says(t, to+"&with_route=1&reason=our+own+%22scanner%22", "route = /v1/login", "Nothing is changed here")
		m := regexp.MustCompile(`(?s)<pre[^>]*>(.*)</pre>`).FindStringSubmatch(body)
		var got struct {
			Exceptions []struct{ When, Owner, Reason, Expires string }
		}
		if m == nil || yaml.Unmarshal([]byte(html.UnescapeString(m[1])), &got) != nil || len(got.Exceptions) != 1 {
			t.Fatalf("no YAML: %s", body)
		}
		x := got.Exceptions[0]
		if x.When != `client_ip == "203.0.113.9" && route == "/v1/login"` || x.Owner != "ann" || x.Reason != `our own "scanner"` || x.Expires != "2026-12-29" {
			t.Errorf("%+v", x)
		}
		// The text can be pasted as it is.
		const file, before = "credential_stuffing.yaml", "    phase: enforce\n"
		whole, err := os.ReadFile("../../rules/default/" + file)
		if err != nil {
			t.Fatal(err)
		}
		with := strings.Replace(string(whole), before, before+html.UnescapeString(m[1]), 1)
		set, err := rules.Load(fstest.MapFS{file: {Data: []byte(with)}}, detectors.All())
		if err != nil || !slices.ContainsFunc(set.Rules, func(r *rules.Rule) bool { return r.ID == "credential-stuffing-ip" && len(r.Exceptions) == 1 }) {
			t.Errorf("the rules do not take it: %v", err)
		}
	})
	t.Run("an event", func(t *testing.T) {
		says(t, "/event?stream=weir&incarnation=1&partition=0&offset=119", "account user-19", "ip 203.0.113.9", "user_agent curl/8.5.0", "90 credential-stuffing-ip")
		if res, _ := b.get("/event?stream=weir&incarnation=1&partition=0&offset=5"); res.StatusCode != http.StatusNotFound {
			t.Error(res.Status)
		}
	})
	t.Run("an entity of very many signals", func(t *testing.T) {
		body := says(t, "/entity?kind=ip&key="+noisy+"&from=2026-11-22T18:00&to=2026-11-22T18:55")
		if want := fmt.Sprintf("%d at the end; %d signals", 80, mostCurve); !strings.Contains(body, want) {
			from := max(strings.Index(body, "Score over time"), 0)
			t.Errorf("the drawing does not say %q, but %q", want, body[from:min(from+150, len(body))])
		}
	})
	t.Run("a decision", func(t *testing.T) {
		says(t, "/decision?id=d-1", "Decision d-1", "credential-stuffing-ip Many accounts tried from one address (account_takeover, many_accounts_one_address) 90 enforce ip 203.0.113.9", "latency_us 812")
		if res, _ := b.get("/decision?id=nonesuch"); res.StatusCode != http.StatusNotFound {
			t.Error(res.Status)
		}
	})
	t.Run("rules and campaigns", func(t *testing.T) {
		says(t, "/rules", "credential-stuffing-ip Many accounts tried from one address sliding_window ip enforce 21 22 3 75 % 3 right, 1 wrong", "impossible-travel-account")
		says(t, "/rule?id=credential-stuffing-ip", "In shadow: 3 signals.", "75 % of the labelled findings were right: 3 right, 1 wrong.", "ben false positive account user-0 credential-stuffing-ip case 81", "ip 203.0.113.9 45", "sliding_window")
		body := says(t, "/campaigns", "ip 203.0.113.9 20 credential-stuffing-ip")
		says(t, linkTo(t, body, "/entity?for=24h&amp;key=203.0.113.9"), "Members that were told")
		says(t, "/audit", "2026-11-29 17:40:00 UTC ben false positive account user-0 credential-stuffing-ip case 81",
			"carl blocked at gates: deny ip, erased case 82", "carl switched off rule slow-rule case 82", "carl challenge passed: bot device d-81 case 82")
		says(t, "/entity?kind=account&key=user-0", "ben false positive credential-stuffing-ip case 81")
		says(t, "/dead", "syntax 2 2026-11-29 17:50:00 UTC size 1 2026-11-29 17:50:00 UTC", "0/7 2026-11-29 18:00:00 UTC syntax not JSON")
		says(t, "/dead?from=2026-11-01T00:00&to=2026-11-02T00:00", "None in this time.", "0/7 2026-11-29 18:00:00 UTC syntax not JSON")
	})
	t.Run("search", func(t *testing.T) {
		for q, want := range map[string]string{
			"203.0.113.9": "/entity?", "account:user-7": "/entity?for=24h&key=user-7&kind=account", "d-1": "/decision?id=d-1", "r-3": "/event?incarnation=1&offset=103",
			"user-29": "/entity?for=24h&key=user-29&kind=account", "ip:203.0.113.9": "/entity?",
		} {
			res, body := b.get("/search?q=" + url.QueryEscape(q))
			if to := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, want) {
				t.Errorf("%s: %s %q %s", q, res.Status, to, text(body))
			}
		}
		says(t, "/search?q=r-29", "For r-29", "Decisions", "d-1", "Events")
		says(t, "/search?q=nonesuch", "Nothing was found.", "account nonesuch")
		says(t, "/search?q=", "such as account:ann")
	})
	t.Run("hostile clients", func(t *testing.T) { s.hostilePages(t, b) })
	t.Run("actions", func(t *testing.T) { s.actions(t, b) })
}

// hostilePages looks at every page with what hostile clients wrote.
func (s *site) hostilePages(t *testing.T, b *browser) {
	q := url.QueryEscape(hostile)
	for _, path := range []string{
		"/", "/entity?kind=account&key=" + q, "/entity?kind=device&key=" + q, "/entity?kind=ip&key=198.51.100.7", "/rules", "/rule?id=" + q, "/campaigns", "/dead", "/switches", "/audit",
		"/event?stream=weir&incarnation=1&partition=0&offset=900", "/decision?id=" + q, "/search?q=" + q, "/search?q=r-hostile", "/nothing" + url.PathEscape(hostile), "/?for=" + q,
		"/why?stream=weir&incarnation=1&partition=2&offset=5&index=0&rule=" + q, "/except?stream=weir&incarnation=1&partition=2&offset=5&index=0&rule=" + q + "&with_user_agent=1&reason=" + q,
		"/sign-in?to=" + q, "/entity?kind=" + q + "&key=" + q,
	} {
		_, body := b.get(path)
		for _, bad := range []string{"<script", "<img", "\u202e", "\u2066", "\x1b", "\x00", "\x07", `"'>`} {
			if strings.Contains(body, bad) {
				t.Errorf("%s: %q reaches the page", path, bad)
			}
		}
		if strings.Contains(text(body), "cannot be drawn") {
			t.Errorf("%s: %s", path, s.log)
		}
	}
	_, body := b.get("/event?stream=weir&incarnation=1&partition=0&offset=900")
	if !strings.Contains(text(body), `<script>alert(1)</script>"'><img src=x onerror=alert(2)>&\u202egnp.exe\u2066\x1b[31m`) {
		t.Errorf("what was written cannot be read: %s", text(body))
	}
}

// actions blocks and releases the attacker.
func (s *site) actions(t *testing.T, b *browser) {
	act := func(path string, form url.Values) string {
		t.Helper()
		form.Set("csrf", b.csrf())
		res, body := b.post(path, form)
		if res.StatusCode != http.StatusSeeOther {
			t.Fatalf("%s %s", res.Status, body)
		}
		_, body = b.get(res.Header.Get("Location"))
		return text(body)
	}
	entity := func(action, reason string) url.Values {
		return url.Values{"kind": {"ip"}, "key": {attacker}, "action": {action}, "lasts": {"24h"}, "reason": {reason}}
	}
	if said := act("/entity/switch?for=1h", entity("deny", " incident 4711 ")); !strings.Contains(said, "Blocked: requests of ip 203.0.113.9 get deny Gates go by it within a second. It ends at 2026-11-30 18:00:00 UTC.") || !strings.Contains(said, "deny ann incident 4711") {
		t.Error(said)
	}
	o := s.byHand.all["entity:ip:/203.0.113.9"]
	if o.Owner != "ann" || o.Reason != "incident 4711" || o.Action != "deny" || o.Expires-o.Set != (24*time.Hour).Milliseconds() {
		t.Errorf("%+v", o)
	}
	if said := act("/entity/switch", entity("allow", "support, case 81")); !strings.Contains(said, "Released: requests of ip 203.0.113.9 are served") {
		t.Error(said)
	}
	for name, form := range map[string]url.Values{"no reason": entity("deny", "  "), "no such action": entity("explode", "a"), "no such time": {"kind": {"ip"}, "key": {attacker}, "action": {"deny"}, "lasts": {"99999h"}, "reason": {"a"}}} {
		if said := act("/entity/switch", form); !strings.Contains(said, "Nothing was changed") || s.byHand.all["entity:ip:/203.0.113.9"].Action != "allow" {
			t.Errorf("%s: %s", name, said)
		}
	}
	if said := act("/switch/clear", url.Values{"scope": {"entity"}, "kind": {"ip"}, "name": {attacker}, "to": {attackerPage}, "reason": {"it is over"}}); !strings.Contains(said, "Ended: entity:ip:/203.0.113.9") || !strings.Contains(said, "None holds.") {
		t.Error(said)
	}
	s.byHand.away = errors.New("redis: connection refused")
	if said := act("/entity/switch", entity("deny", "a")); !strings.Contains(said, "Nothing was changed redis: connection refused") {
		t.Error(said)
	}
	s.byHand.away = nil
	label := func(action, reason string) url.Values {
		return url.Values{"kind": {"ip"}, "key": {attacker}, "rule": {"credential-stuffing-ip"}, "action": {action}, "lasts": {"720h"}, "reason": {reason}}
	}
	if said := act("/say", label("false_positive", "our own scanner")); !strings.Contains(said, "Marked as a false positive: credential-stuffing-ip about ip 203.0.113.9") || !strings.Contains(said, "Until 2026-12-29 18:00:00 UTC the rule finds nothing about it.") {
		t.Error(said)
	}
	if said := act("/say", label("true_positive", "it was one")); !strings.Contains(said, "Marked as a true positive") {
		t.Error(said)
	}
	if said := act("/say", label("release", "a mistake")); !strings.Contains(said, "The score is cleared: ip 203.0.113.9") {
		t.Error(said)
	}
	e := facet.Entity{Kind: facet.IP, Key: attacker}
	if want := []Control{
		{"false_positive", e, "credential-stuffing-ip", "ann", "our own scanner", 720 * time.Hour},
		{"true_positive", e, "credential-stuffing-ip", "ann", "it was one", 0}, {"release", e, "", "ann", "a mistake", 0},
	}; !slices.Equal(s.spoken.all, want) {
		t.Errorf("%+v", s.spoken.all)
	}
	for name, form := range map[string]url.Values{"no reason": label("false_positive", " "), "no such action": label("erase", "a")} {
		if said := act("/say", form); !strings.Contains(said, "Nothing was changed") || len(s.spoken.all) != 3 {
			t.Errorf("%s: %s", name, said)
		}
	}
	s.spoken.away = errors.New("kafka: no broker answers")
	if said := act("/say", label("release", "a")); !strings.Contains(said, "Nothing was changed kafka: no broker answers") {
		t.Error(said)
	}
	for _, want := range []string{`msg="console: a switch, block or release was set" user=ann role=analyst id=entity:ip:/203.0.113.9 action=deny cleared=false reason="incident 4711"`, "action=allow", "cleared=true"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log does not say %s", want)
		}
	}
}

// TestWhereAStoreIsAway shows the rest, and says what to do.
func TestWhereAStoreIsAway(t *testing.T) {
	s := newSite(t, nil)
	s.scored()
	b := s.signedIn(t, analystToken)
	_, body := b.get(attackerPage)
	if said := text(body); !strings.Contains(said, "ClickHouse does not answer. The setting clickhouse.addrs names it") || !strings.Contains(said, "45 now") || !strings.Contains(said, "None holds.") {
		t.Errorf("without ClickHouse: %s", said)
	}
	s.scores.away, s.byHand.away = errors.New("redis: connection refused\x1b[2J"), errors.New("redis: connection refused")
	_, body = b.get(attackerPage)
	if said := text(body); !strings.Contains(said, "Redis does not answer. Scores and switches are unknown until it does.") || strings.Contains(body, "\x1b") || strings.Contains(said, "45 now") {
		t.Errorf("without Redis: %s", said)
	}
	for _, path := range []string{"/", "/campaigns", "/rules", "/rule?id=credential-stuffing-ip", "/switches", "/search?q=a", "/event?stream=weir&incarnation=1&partition=0&offset=1", "/decision?id=a"} {
		if res, body := b.get(path); res.StatusCode != http.StatusOK || !strings.Contains(body, "does not answer") {
			t.Errorf("%s: %s %s", path, res.Status, text(body))
		}
	}
}
