package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/app/dead"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/sandbox"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
	"github.com/weirdev/weir/sink/clickhouse"
)

// now is the time at which the tests look at their site.
var now = time.Date(2026, 11, 29, 18, 0, 0, 0, time.UTC)

// What tests sign in with.
const (
	readerToken  = "an example for rob, no secret"
	analystToken = "an example for ann, no secret"
	adminToken   = "an example for eve, no secret"
)

func testUsers(t *testing.T) Users {
	t.Helper()
	all := Users{}
	for _, u := range []struct {
		name, token string
		role        Role
	}{{"rob", readerToken, Reader}, {"ann", analystToken, Analyst}, {"eve", adminToken, Admin}} {
		one, token := Single(u.name)
		_ = token
		one[0].Role, one[0].hash = u.role, hashOf(u.token)
		all = append(all, one...)
	}
	return all
}

// stored stands for Redis.
type stored struct {
	codec  *score.Codec
	values map[string]score.Value
	away   error
}

func (s *stored) Codec() *score.Codec { return s.codec }

func (s *stored) Fetch(_ context.Context, keys []string) (values []score.Value, bad []bool, err error) {
	for _, k := range keys {
		values = append(values, s.values[k])
	}
	return values, make([]bool, len(keys)), s.away
}

// byHand stands for what operators said.
type byHand struct {
	mu   sync.Mutex
	all  map[string]switches.Object
	away error
}

func (b *byHand) List(context.Context) (list []switches.Object, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(b.all)) {
		if o := b.all[id]; o.Holds(now.UnixMilli()) {
			list = append(list, o)
		}
	}
	return list, b.away
}

func (b *byHand) Put(_ context.Context, o switches.Object) (switches.Added, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away != nil {
		return switches.Added{}, b.away
	}
	b.all[o.ID()] = o
	return switches.Added{Object: o}, nil
}

// saying keeps the control records that were written.
type saying struct {
	all  []Control
	away error
}

func (s *saying) Write(_ context.Context, c Control) (string, error) {
	if s.away != nil {
		return "", s.away
	}
	s.all = append(s.all, c)
	return fmt.Sprintf("c-%d", len(s.all)), nil
}

type deadLetters []dead.Letter

func (d deadLetters) Last(context.Context, int) ([]dead.Letter, error) { return d, nil }

// site is a console with its stores.
type site struct {
	*httptest.Server
	console *Server
	scores  *stored
	byHand  *byHand
	spoken  *saying
	log     *bytes.Buffer
}

// newSite starts a console without ClickHouse. Its clock stands still.
func newSite(t *testing.T, conn driver.Conn) *site {
	t.Helper()
	set, err := rules.Default(detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	s := &site{
		scores: &stored{codec: score.NewCodec([]byte("a secret for tests only"), "weir:risk"), values: map[string]score.Value{}},
		byHand: &byHand{all: map[string]switches.Object{}}, spoken: &saying{}, log: &bytes.Buffer{},
	}
	deps := Dependencies{
		Scores: s.scores, Switches: s.byHand, Controls: s.spoken, Rules: NewRuleBook(set), Users: NewRoster(testUsers(t)), Logger: slog.New(slog.NewTextHandler(&synced{b: s.log}, nil)),
		Letters: deadLetters{{Position: dead.Position{Offset: 7}, Reason: "syntax", Detail: "not JSON", Topic: "weir.events", Received: now, Bytes: 20, Value: []byte(hostile)}},
		Explain: Explain{Ingest: ingest.Defaults(), Detect: engine.Defaults()}, Now: func() time.Time { return now },
	}
	if conn != nil {
		deps.ClickHouse = conn
	}
	c, err := New(Defaults(), deps)
	if err != nil {
		t.Fatal(err)
	}
	s.console, s.Server = c, httptest.NewServer(c.Handler())
	t.Cleanup(s.Close)
	return s
}

// synced makes a buffer safe for several goroutines.
type synced struct {
	mu sync.Mutex
	b  *bytes.Buffer
}

func (s *synced) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// hostile is what a client may write. None of it may reach a page as it is.
const hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&\u202egnp.exe\u2066\x1b[31m\x00\x07"

// attacker is an address that tries thirty accounts.
const attacker = "203.0.113.9"

// noisy is an address of very many signals.
const noisy = "198.51.100.250"

// database is a ClickHouse with an attack in it.
func database(t *testing.T) driver.Conn {
	t.Helper()
	testkit.ChDB(t)
	log := slog.New(slog.DiscardHandler)
	s, err := sandbox.New(sandbox.Config{Dir: t.TempDir(), ClickHouseAddr: "127.0.0.1:0"}, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	c := clickhouse.Defaults()
	c.Addrs, c.Retention = []string{s.Addresses().ClickHouse}, 0
	if err := clickhouse.Migrate(t.Context(), c, log); err != nil {
		t.Fatal(err)
	}
	writer, err := clickhouse.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, writer)
	// Workers count events by minutes as they insert them, and a migration counts those
	// that were there before.
	for _, sql := range []string{"TRUNCATE TABLE weir.schema_version", "INSERT INTO weir.schema_version SELECT 8"} {
		if err := writer.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := clickhouse.Migrate(t.Context(), c, log); err != nil {
		t.Fatal(err)
	}
	reader, err := clickhouse.OpenToRead(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(reader.Close(), writer.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return reader
}

// fill writes an attack, and what hostile clients wrote.
func fill(t *testing.T, conn driver.Conn) {
	t.Helper()
	at := func(before time.Duration) string {
		return fmt.Sprintf("fromUnixTimestamp64Milli(toInt64(%d), 'UTC')", now.Add(-before).UnixMilli())
	}
	const evidence = `{"distinct":%d,"threshold":%d,"matching":%d,"share_percent":100,"window_ms":600000,"first_ms":%d,"last_ms":%d}`
	first := now.Add(-time.Hour)
	signal := func(offset, distinct, weight, tier int, more string) string {
		when := first.Add(time.Duration(distinct-1) * 10 * time.Second)
		return fmt.Sprintf(`INSERT INTO weir.signals (stream, incarnation, facet_offset, received, time, rule, rules_version, entity_kind, entity, category, reason, phase, tier, weight, half_life_s, src_offset, evidence%s)
			SELECT 'weir', 1, %d, now64(3), fromUnixTimestamp64Milli(toInt64(%d), 'UTC'), 'credential-stuffing-ip', 'v', 'ip', '%s', 'account_takeover', 'many_accounts_one_address', 'enforce', %d, %d, 1800, %d, '%s'`,
			more, offset, when.UnixMilli(), attacker, tier, weight, 99+distinct, fmt.Sprintf(evidence, distinct, distinct, distinct, first.UnixMilli(), when.UnixMilli()))
	}
	for _, sql := range []string{
		fmt.Sprintf(`INSERT INTO weir.events (stream, incarnation, src_offset, received, time, id, request_id, client_ip, net, ip, account, method, path, route, status, auth, user_agent, country, device)
			SELECT 'weir', 1, 100 + number, now64(3), fromUnixTimestamp64Milli(toInt64(%d + 10000 * number), 'UTC'), 'e-' || toString(number), 'r-' || toString(number), '%s', '203.0.113.0/24', '%s', 'user-' || toString(number), 'POST', '/v1/login', '/v1/login', 401, 'failure', 'curl/8.5.0', 'DE', ''
			FROM numbers(30)`, first.UnixMilli(), attacker, attacker),
		signal(1, 10, 45, 0, ""), signal(2, 20, 90, 1, ""),
		fmt.Sprintf(`INSERT INTO weir.signals (stream, incarnation, facet_partition, facet_offset, received, time, rule, entity_kind, entity, group_kind, group_key, category, reason, phase, weight, half_life_s, src_offset, evidence)
			SELECT 'weir', 1, 1, number, now64(3), %s, 'credential-stuffing-ip', 'account', 'user-' || toString(number), 'ip', '%s', 'account_takeover', 'many_accounts_one_address', 'enforce', 20, 1800, 119, '{}' FROM numbers(20)`, at(56*time.Minute), attacker),
		// A week ago, an address of which there were more signals than a drawing has.
		fmt.Sprintf(`INSERT INTO weir.signals (stream, incarnation, facet_partition, facet_offset, received, time, rule, entity_kind, entity, category, reason, phase, weight, half_life_s, src_offset, evidence)
			SELECT 'weir', 1, 2, number, now64(3), %s + toIntervalMillisecond(600 * number), 'credential-stuffing-ip', 'ip', '%s', 'account_takeover', 'many_accounts_one_address', 'enforce', if(number = %d, 90, 10), 1800, 119, '{}' FROM numbers(%d)`,
			at(7*24*time.Hour), noisy, mostCurve, mostCurve+1),
		fmt.Sprintf(`INSERT INTO weir.decisions (stream, incarnation, src_offset, received, id, time, route, request_id, entities, action, would, phase, score, rules, reasons, policy, latency_us)
			SELECT 'weir', 1, 7, now64(3), 'd-1', %s, '/v1/login', 'r-29', map('ip', '%s', 'account', 'user-29'), 'deny', 'deny', 'enforce', 90, ['credential-stuffing-ip'], '%s', 'default', 812`, at(55*time.Minute), attacker,
			`[{"rule":"credential-stuffing-ip","reason":"many_accounts_one_address","category":"account_takeover","weight":90,"phase":"enforce","entity":"ip"}]`),
		`INSERT INTO weir.labels (stream, incarnation, src_offset, received, id, time, entity_kind, entity, rule, who, reason, label)
			SELECT 'weir', 1, number, now64(3), 'c-' || toString(number), ` + at(20*time.Minute) + `, 'account', 'user-' || toString(number), 'credential-stuffing-ip', 'ben', 'case 81', ['false_positive', 'true_positive', 'true_positive', 'true_positive'][number + 1] FROM numbers(4)`,
		`INSERT INTO weir.audit (stream, incarnation, src_offset, received, id, time, entity_kind, entity, rule, who, reason, action)
			SELECT 'weir', 1, 0, now64(3), 'c-0', ` + at(20*time.Minute) + `, 'account', 'user-0', 'credential-stuffing-ip', 'ben', 'case 81', 'false_positive'`,
		`INSERT INTO weir.audit (stream, incarnation, src_offset, received, id, time, entity_kind, entity, who, reason, action, gate_action, category, origin)
			SELECT 'weir', 1, 10 + number, now64(3), 's-' || toString(number), ` + at(15*time.Minute) + `, ['ip', 'rule', 'device'][number + 1], ['', 'slow-rule', 'd-81'][number + 1], 'carl', 'case 82',
				['gate_block', 'gate_off', 'challenge_passed'][number + 1], ['deny', '', ''][number + 1], ['', '', 'bot'][number + 1], ['console', 'command', 'gate'][number + 1] FROM numbers(3)`,
		`INSERT INTO weir.dead_letters (stream, incarnation, source, src_offset, received, time, reason)
			SELECT 'weir', 1, 'events', number, ` + at(10*time.Minute) + `, now64(3), ['syntax', 'syntax', 'size'][number + 1] FROM numbers(3)`,
		fmt.Sprintf(`INSERT INTO weir.shadow_signals (stream, incarnation, facet_offset, received, time, rule, entity_kind, entity, weight)
			SELECT 'weir', 1, number, now64(3), %s, 'credential-stuffing-ip', 'ip', '198.51.100.' || toString(number), 45 FROM numbers(3)`, at(time.Hour)),
	} {
		if err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%v\n%s", err, sql)
		}
	}
	for _, sql := range []string{
		`INSERT INTO weir.events (stream, incarnation, src_offset, received, time, id, request_id, client_ip, account, device, method, path, route, status, user_agent, decision)
			SELECT 'weir', 1, 900, now64(3), ` + at(30*time.Minute) + `, ?, 'r-hostile', '198.51.100.7', ?, ?, 'GET', ?, ?, 200, ?, ?`,
		`INSERT INTO weir.signals (stream, incarnation, facet_partition, facet_offset, received, time, rule, entity_kind, entity, group_kind, group_key, category, reason, phase, weight, half_life_s, src_offset, evidence)
			SELECT 'weir', 1, 2, 5, now64(3), ` + at(30*time.Minute) + `, ?, 'account', ?, 'device', ?, 'bot', ?, 'soft', 50, 3600, 900, ?`,
		`INSERT INTO weir.decisions (stream, incarnation, src_offset, received, id, time, route, request_id, entities, action, would, phase, reasons, policy)
			SELECT 'weir', 1, 8, now64(3), ?, ` + at(30*time.Minute) + `, ?, ?, map('account', ?), 'allow', 'step_up', 'observe', '[]', ?`,
		`INSERT INTO weir.audit (stream, incarnation, src_offset, received, id, time, entity_kind, entity, who, reason, action, gate_action, origin)
			SELECT 'weir', 1, 20, now64(3), 's-hostile', ` + at(14*time.Minute) + `, 'route', ?, ?, ?, ?, ?, ?`,
	} {
		args := make([]any, strings.Count(sql, "?"))
		for i := range args {
			args[i] = hostile
		}
		if strings.Contains(sql, "weir.signals") {
			args[len(args)-1] = `{"named":` + string(mustJSON(hostile)) + `}`
		}
		if err := conn.Exec(t.Context(), sql, args...); err != nil {
			t.Fatalf("%v\n%s", err, sql)
		}
	}
}

// scored gives the attacker its score.
func (s *site) scored() {
	e := facet.Entity{Kind: facet.IP, Key: attacker}
	s.scores.values[s.scores.codec.Key(e)] = score.Value{Expires: now.Add(time.Hour).UnixMilli(), Contributions: []score.Contribution{{
		Rule: "credential-stuffing-ip", Category: "account_takeover", Reason: "many_accounts_one_address", Phase: rules.Enforce, Weight: 90, HalfLife: 1800,
		Time: now.Add(-30 * time.Minute).UnixMilli(),
	}}}
}

// browser is a client that keeps cookies, and does not follow redirects.
type browser struct {
	t *testing.T
	*http.Client
	base string
}

func (s *site) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, s.URL}
}

// signedIn is a browser of somebody.
func (s *site) signedIn(t *testing.T, token string) *browser {
	t.Helper()
	b := s.browser(t)
	if res, _ := b.post("/sign-in", url.Values{"token": {token}}); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("sign in: %s", res.Status)
	}
	return b
}

func (b *browser) do(r *http.Request) (*http.Response, string) {
	b.t.Helper()
	res, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil {
		b.t.Fatal(err)
	}
	return res, body.String()
}

func (b *browser) get(path string) (*http.Response, string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.base+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(r)
}

func (b *browser) post(path string, form url.Values) (*http.Response, string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// csrf returns the token of the forms of the session.
func (b *browser) csrf() string {
	b.t.Helper()
	_, body := b.get("/switches")
	m := csrfField.FindStringSubmatch(body)
	if m == nil {
		b.t.Fatalf("no form: %s", body)
	}
	return m[1]
}
