package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/app/controls"
	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/score"
	"github.com/weirdev/weir/sink/clickhouse"
	"github.com/weirdev/weir/sink/redis"
)

const failuresRule = `rules:
  - id: failures
    title: failures of an account
    description: failures of an account
    entity: account
    when: auth == "failure"
    sliding_window: {window: 1h, cooldown: 1ms, tiers: [{at: 3, weight: 80}]}
    signal: {category: account_takeover, reason: failures, half_life: 24h}
    phase: soft
    severity: high
    references: [https://example.org/]
    false_positives: [none]
    tests:
      - {name: none, events: [{at: 0s, set: {account: a, auth: success}}], expect: []}
`

// saying is a stream with a worker, and what is known of it.
type saying struct {
	t      *testing.T
	cfg    Config
	kafka  *kafka.Client
	reader *redis.Reader
	sent   int
}

// fail lets accounts fail to sign in.
func (s *saying) fail(accounts ...string) {
	s.t.Helper()
	var records []kafka.Outgoing
	for _, a := range accounts {
		s.sent++
		id := fmt.Sprintf("e-%d", s.sent)
		b, err := json.Marshal(map[string]any{"id": id, "time": time.Now().UnixMilli(), "account": a, "ip": "203.0.113.9", "auth": "failure", "method": "POST", "path": "/login", "status": 401})
		if err != nil {
			s.t.Fatal(err)
		}
		records = append(records, kafka.Outgoing{Key: []byte(id), Value: b})
	}
	if err := s.kafka.Produce(s.t.Context(), s.cfg.Stream.Topic("events"), []kafka.Produce{{Records: records}}); err != nil {
		s.t.Fatal(err)
	}
}

// weight waits until the score of an account has one contribution of a weight; 0: no
// contribution.
func (s *saying) weight(account string, want uint8) {
	s.t.Helper()
	key := s.reader.Codec().Key(facet.Entity{Kind: facet.Account, Key: account})
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		values, _, err := s.reader.Fetch(ctx, []string{key})
		if err != nil {
			s.t.Fatal(err)
		}
		var has []score.Contribution
		if len(values) > 0 {
			has = values[0].Contributions
		}
		if want == 0 && len(has) == 0 || len(has) == 1 && has[0].Weight == want {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("the score of %s is %+v, want weight %d", account, has, want)
		}
	}
}

func (s *saying) say(c controls.Control) {
	s.t.Helper()
	c.Who, c.Reason = "ann", "a test"
	if _, err := controls.New(s.kafka, s.cfg.Stream.Topic("controls")).Write(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
}

// heard waits until ingest has committed so many control records: what is sent then
// follows them in the facet log.
func (s *saying) heard(n int64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := s.kafka.Committed(ctx, s.cfg.Stream.Group("controls"), s.cfg.Stream.Topic("controls"))
		if err != nil {
			s.t.Fatal(err)
		}
		if got[0].Offset >= n {
			return
		}
		<-tick.C
	}
}

// labelsMembers labels the members of a group: two whom a rule told because of it, and
// nobody else's members.
func (s *saying) labelsMembers() {
	t, cfg := s.t, s.cfg
	s.fail("carol", "carol", "carol", "dave", "dave", "dave", "erin", "erin", "erin")
	for _, account := range []string{"carol", "dave", "erin"} {
		s.weight(account, 80)
	}
	conn, err := clickhouse.Open(cfg.ClickHouse)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i, row := range []string{
		"now64(3), '', 'failures', 'account', 'carol', 'ip', '198.51.100.7', 80, 0", "now64(3), '', 'failures', 'account', 'carol', 'ip', '198.51.100.7', 80, 0",
		"now64(3), '', 'failures', 'account', 'dave', 'ip', '198.51.100.7', 80, 0", "now64(3), '', 'other', 'account', 'dave', 'ip', '198.51.100.7', 80, 0",
		"now64(3), 'shop', 'failures', 'account', 'erin', 'ip', '198.51.100.7', 80, 0", "now64(3), '', 'failures', 'account', 'erin', 'ip', '198.51.100.8', 80, 0",
		"now64(3) - toIntervalHour(2), '', 'failures', 'account', 'erin', 'ip', '198.51.100.7', 80, 0", "now64(3), '', 'failures', 'account', 'erin', 'ip', '198.51.100.7', 80, 1",
		"now64(3), '', 'failures', 'account', 'erin', 'ip', '198.51.100.7', 0, 0",
	} {
		if err := conn.Exec(t.Context(), fmt.Sprintf(`INSERT INTO weir.signals (stream, incarnation, facet_offset, received, time, tenant, rule, entity_kind, entity, group_kind, group_key, weight, lowers)
			SELECT 'weir', 1, %d, now64(3), %s`, 1<<40+i, row)); err != nil {
			t.Fatal(err)
		}
	}
	said := controls.Control{Action: facet.FalsePositive.String(), Kind: "ip", Key: "198.51.100.7", Who: "ann", Reason: "a school"}
	all, err := LabelsOfMembers(t.Context(), cfg.ClickHouse, said, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range all {
		got = append(got, c.Kind+":"+c.Key+" "+c.Rule+" "+c.Action+" "+c.Who+" "+c.Reason)
	}
	if want := "account:carol failures false_positive ann a school, account:dave failures false_positive ann a school, account:dave other false_positive ann a school"; strings.Join(got, ", ") != want {
		t.Errorf("labels: %q", got)
	}
	said.Rule = "failures"
	if all, err = LabelsOfMembers(t.Context(), cfg.ClickHouse, said, time.Hour); err != nil || len(all) != 2 {
		t.Fatalf("%d labels for one rule: %v", len(all), err)
	}
	written, err := controls.New(s.kafka, cfg.Stream.Topic("controls")).WriteAll(t.Context(), all)
	if err != nil || len(written) != 2 || written[0].ID == "" || written[0].ID == written[1].ID {
		t.Fatalf("%+v, %v", written, err)
	}
	s.weight("carol", 0)
	s.weight("dave", 0)
	s.weight("erin", 80)
	tables(t, cfg, `SELECT countIf(reason = 'a school'), uniqExactIf(entity, reason = 'a school') FROM v_labels`, 2, 2)
	said.Key = "198.51.100.9"
	if _, err := LabelsOfMembers(t.Context(), cfg.ClickHouse, said, time.Hour); !errors.Is(err, ErrNoMembers) {
		t.Errorf("a group without members: %v", err)
	}
}

// TestWhatPeopleSayGoesThroughTheLog runs a worker with the embedded servers. A label,
// a release, a passed challenge and an erasure change the score, the tables and the
// state, and nobody else's.
func TestWhatPeopleSayGoesThroughTheLog(t *testing.T) {
	_, cfg := servers(t)
	cfg.Rules = t.TempDir()
	if err := os.WriteFile(filepath.Join(cfg.Rules, "rules.yaml"), []byte(failuresRule), 0o600); err != nil {
		t.Fatal(err)
	}
	w := start(t, cfg)
	c := kafkaOf(t, cfg)
	defer c.Close()
	key, err := cfg.Stream.RiskKey()
	if err != nil {
		t.Fatal(err)
	}
	reader, err := redis.NewReader(cfg.redis(), redis.Dependencies{Secret: key, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	s := &saying{t: t, cfg: cfg, kafka: c, reader: reader}
	const alice, bob = "alice", `bob "b" o'neill`
	about := func(action facet.Action, account string) controls.Control {
		return controls.Control{Action: action.String(), Kind: "account", Key: account}
	}
	of := func(account string) facet.Entity { return facet.Entity{Kind: facet.Account, Key: account} }

	s.fail(alice, alice, alice, bob, bob, bob)
	s.weight(alice, 80)
	s.weight(bob, 80)
	label := about(facet.FalsePositive, alice)
	label.ID, label.Rule = "c-label", "failures"
	s.say(label)
	s.say(label) // an answer was lost
	s.weight(alice, 0)
	s.fail(alice)
	tables(t, cfg, `SELECT countIf(weight = 80 AND NOT JSONHas(evidence, 'false_positive')), countIf(weight = 0 AND JSONExtractInt(evidence, 'false_positive') = 0 AND JSONHas(evidence, 'false_positive')) FROM v_signals WHERE entity = 'alice'`, 1, 1)
	s.weight(alice, 0)
	s.say(about(facet.TruePositive, alice))
	s.heard(3)
	s.fail(alice)
	s.weight(alice, 80)
	cfg.Gate.Emit.Controls = emit.On
	g := startGate(t, cfg)
	for range 2 { // an answer was lost
		g.post(t, "/v1/passed", `{"decision_id":"d-1","challenge":"challenge","entities":{"account":"alice"}}`) // proves no ownership
		g.post(t, "/v1/passed", `{"decision_id":"d-1","challenge":"step_up","entities":{"account":"alice"}}`)
	}
	block := switches.Object{Scope: switches.Entity, Kind: "account", Name: alice, Action: "deny", Owner: "ann", Reason: "case 7", Set: 1, Expires: time.Hour.Milliseconds() + 1}
	added, err := PutSwitch(t.Context(), cfg, slog.New(slog.DiscardHandler), block, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := AuditSwitch(t.Context(), controls.New(c, cfg.Stream.Topic("controls")), added.Object, control.FromConsole); err != nil {
		t.Fatal(err)
	}
	atGate := httptest.NewRequest("POST", "/v1/switches", strings.NewReader(`{"scope":"global","owner":"ben","reason":"case 8","set":1,"expires":60001}`))
	atGate.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	if g.switches.Handler().ServeHTTP(answer, atGate); answer.Code != 200 || strings.Contains(answer.Body.String(), "warning") {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	g.stop()
	s.weight(alice, 40)
	s.say(about(facet.Release, bob))
	s.weight(bob, 0)
	s.fail(bob)
	s.weight(bob, 80)
	if err := c.Produce(t.Context(), cfg.Stream.Topic("controls"), []kafka.Produce{{Records: []kafka.Outgoing{{Value: []byte("garbage")}}}}); err != nil {
		t.Fatal(err)
	}
	tables(t, cfg, `SELECT count(), countIf(label = 'false_positive' AND rule = 'failures' AND who = 'ann' AND expires > time) FROM v_labels`, 2, 1)
	tables(t, cfg, `SELECT count(), uniqExact(id) FROM v_audit`, 8, 8)
	tables(t, cfg, `SELECT countIf(action = 'gate_block' AND entity = 'alice' AND gate_action = 'deny' AND origin = 'console' AND expires = time + INTERVAL 1 HOUR),
		countIf(action = 'gate_off' AND entity_kind = 'global' AND who = 'ben' AND reason = 'case 8' AND origin = 'gate' AND entity_digest = '') FROM v_audit`, 1, 1)
	s.weight(alice, 40) // what was told twice counted once

	e, stop, err := ErasureOf(cfg, c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	left := func(account string) string {
		t.Helper()
		all, err := e.Verify(ctx, of(account))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(all, "\n")
	}
	before := left(alice)
	for _, want := range []string{"table events: 5", "table signals: 3", "table labels: 2", "table audit: 6", "redis: a score of 1", "state: the audit has no erasure"} {
		if !strings.Contains(before, want) {
			t.Errorf("before the erasure, %q is not among\n%s", want, before)
		}
	}
	bobs := left(bob)
	request := about(facet.Erase, alice)
	request.Who, request.Reason = "ann", "she asked for it"
	if _, _, err := e.Erase(ctx, request, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if after := left(alice); after != "" {
		t.Errorf("left of alice:\n%s", after)
	}
	counted := regexp.MustCompile(`entity_minutes: \d+ rows`) // former counts of a minute may be gone
	if after := left(bob); counted.ReplaceAllString(after, "") != counted.ReplaceAllString(bobs, "") || !counted.MatchString(after) || !strings.Contains(after, "redis: a score") {
		t.Errorf("left of bob:\n%s\nwant\n%s", after, bobs)
	}
	tables(t, cfg, `SELECT countIf(action = 'gate_block' AND entity = '' AND who = 'ann') FROM v_audit`, 1)
	tables(t, cfg, `SELECT countIf(action = 'erase' AND entity = '' AND who = 'ann'), countIf(entity = 'alice') FROM audit`, 1, 0)
	s.fail(alice, alice) // as if for the first time: two failures are not three
	s.fail(bob)
	tables(t, cfg, `SELECT countIf(entity = 'alice'), toUInt64(max(weight)) FROM v_signals`, 0, 80)
	s.labelsMembers()
	w.stop()
	if err := w.end(t, cfg.Stop.Timeout); err != nil {
		t.Fatal(err)
	}
	tables(t, cfg, `SELECT count() FROM v_signals WHERE entity = 'alice'`, 0)
}
