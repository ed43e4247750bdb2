package app

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/app/console"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/proof/testkit"
)

// TestAFalsePositiveFromTheConsoleLowersTheScore: in a browser, an analyst finds an
// address that tries accounts, reads why, marks a false positive, sees the score fall,
// and gets an exception to copy. Kafka, Redis, ClickHouse and the worker are there.
func TestAFalsePositiveFromTheConsoleLowersTheScore(t *testing.T) {
	_, cfg := servers(t)
	c := kafkaOf(t, cfg)
	defer c.Close()
	w := start(t, cfg)
	var records []kafka.Outgoing
	first := time.Now().Add(-time.Minute)
	for i := range 25 {
		records = append(records, kafka.Outgoing{Value: fmt.Appendf(nil,
			`{"id":"e-%d","time":"%s","method":"POST","path":"/v1/login","route":"/v1/login","status":401,"ip":"203.0.113.9","account":"user-%d","auth":"failure","user_agent":"curl/8.5.0"}`,
			i, first.Add(time.Duration(i)*time.Second).UTC().Format(time.RFC3339Nano), i)})
	}
	if err := c.Produce(t.Context(), cfg.Stream.Topic("events"), []kafka.Produce{{Records: records}}); err != nil {
		t.Fatal(err)
	}
	tables(t, cfg, "SELECT toUInt64(max(weight)) FROM v_signals WHERE rule = 'credential-stuffing-ip' AND entity = '203.0.113.9'", 90)
	users, token := console.Single("ann")
	page, err := NewConsole(cfg, console.NewRoster(users), true, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(page.Handler())
	b := testkit.OpenTab(t, server.URL)
	b.Open("/")
	b.Type("#token", token)
	b.Click(".signin button")
	b.Says("Many accounts tried from one address")
	b.Picture("real-overview")
	b.Click(`section[aria-labelledby="whom"] a.entity[href*="203.0.113.9"]`)
	b.Says("ip 203.0.113.9", "different values of account: 20, and the rule asks for 20", "Nobody has said anything about it.")
	const marked = `form[action^="/say"]:has(input[name="rule"][value="credential-stuffing-ip"])`
	points := scoreOf(b.Text())
	b.Tick(`details.mark:has(input[value="credential-stuffing-ip"]) summary`)
	b.Tick(marked + ` input[value="false_positive"]`)
	b.Type(marked+` input[name="reason"]`, "our own scanner")
	b.Picture("real-marking")
	b.Click(marked + " button")
	b.Says("Marked as a false positive: credential-stuffing-ip about ip 203.0.113.9")
	tick, late := time.NewTicker(100*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for strings.Contains(b.Text(), "Nobody has said anything") || scoreOf(b.Text()) == points {
		select {
		case <-tick.C:
			b.Open("/entity?kind=ip&key=203.0.113.9")
		case <-late:
			t.Fatalf("the score does not fall from %s: %s", points, b.Text())
		}
	}
	b.Says("false positive credential-stuffing-ip our own scanner")
	b.Picture("real-marked")
	b.Click(`a[href^="/except?"][href*="rule=credential-stuffing-ip"]`)
	b.Type(`input[name="reason"]`, "our own scanner")
	b.Click(".act button")
	b.Says(`when: client_ip == "203.0.113.9"`)
	for _, wrong := range b.Wrong() {
		t.Error(wrong)
	}
	server.Close()
	if err := page.Close(); err != nil {
		t.Error(err)
	}
	w.stop()
	if err := w.end(t, cfg.Stop.Timeout); err != nil {
		t.Error(err)
	}
}

// scoreOf returns the score that an entity's page shows.
func scoreOf(page string) string {
	before, _, ok := strings.Cut(page, " now, gone at")
	if !ok {
		return "none"
	}
	return before[strings.LastIndexByte(before, ' ')+1:]
}

// TestTheConsoleShowsPushedRules, which it follows while it runs, in place of its own.
func TestTheConsoleShowsPushedRules(t *testing.T) {
	cfg, c := newStream(t, broker(t))
	makeTopics(t, c, cfg, TopicDefaults())
	cfg.Admin.Listen = "127.0.0.1:0"
	users, _ := console.Single("ann")
	page, err := NewConsole(cfg, console.NewRoster(users), true, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- page.Run(ctx, l) }()
	_, set := rulesIn(t, oldApps)
	bundle, err := set.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	var records []kafka.Outgoing
	for _, r := range []string{
		fmt.Sprintf(`"step":"proposed","id":"a","lane":"live","rules":%q,"who":"bob","bundle":%q`, set.Version, base64.StdEncoding.EncodeToString(bundle)), `"step":"decided","number":1`, `"step":"done","number":1`,
	} {
		records = append(records, kafka.Outgoing{Value: []byte(`{"v":1,"incarnation":1,` + r + "}")})
	}
	if page.rules.Current().Rule("old-app-device") != nil {
		t.Fatal("it shows them before they are pushed")
	}
	if err := c.Produce(t.Context(), cfg.Stream.Topic("rules"), []kafka.Produce{{Records: records}}); err != nil {
		t.Fatal(err)
	}
	late := time.After(20 * time.Second)
	for tick := time.Tick(20 * time.Millisecond); page.rules.Current().Version != set.Version; {
		select {
		case <-tick:
		case <-late:
			t.Fatal("it does not show what was pushed")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
