package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/app/push"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

const (
	refusedRule = `
  - id: refusals-ip
    title: Refused requests of an address
    entity: ip
    when: status == 403
    sliding_window: {window: 10m, count: status == 403, cooldown: 10m, tiers: [{at: 3, weight: 30}, {at: 5, weight: 60}]}
    signal: {category: bot, reason: refusals, half_life: 20m}
    phase: observe
`
	oldApps = `
  - id: old-app-device
    title: A device with an old app
    entity: device
    when: app_version == "1.0"
    sliding_window: {window: 10m, count: status > 0, tiers: [{at: 1, weight: 50}]}
    signal: {category: bot, reason: old_app, half_life: 20m}
    phase: observe
`
)

func rulesIn(t *testing.T, text string) (dir string, set *rules.Set) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte("rules:"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := LoadRules(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, set
}

// pushing pushes rules into a stream, and sends events to it.
type pushing struct {
	c   *kafka.Client
	cfg Config
	ids int
}

func (p *pushing) push(t *testing.T, r push.Request) *push.Push {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	started := time.Now()
	r.Who = "ann"
	is, err := NewPusher(p.cfg.Stream, p.c, func(text string) { t.Log(time.Since(started).Round(time.Millisecond), text) }).Push(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("push %d took %v", is.Number, time.Since(started).Round(time.Millisecond))
	return is
}

// send sends a refused request of an address and an old app.
func (p *pushing) send(t *testing.T) {
	t.Helper()
	p.ids++
	id := fmt.Sprintf("pushed-%d", p.ids)
	event := fmt.Sprintf(`{"id":%q,"time":%d,"ip":"203.0.113.7","method":"GET","route":"/a","status":403,"device":"d-%d","app_version":"1.0"}`, id, time.Now().UnixMilli(), p.ids)
	if err := p.c.Produce(t.Context(), p.cfg.Stream.Topic("events"), []kafka.Produce{{Records: []kafka.Outgoing{{Key: []byte(id), Value: []byte(event)}}}}); err != nil {
		t.Fatal(err)
	}
}

// signals returns "rule weight version" of all signals, once there are as many.
func (p *pushing) signals(t *testing.T, n int64) (all []string) {
	t.Helper()
	for tick := time.Tick(20 * time.Millisecond); signalsOf(t, p.c, p.cfg) < n; {
		<-tick
	}
	var b kafka.Batch
	for next := int64(0); next < n; next = b.Next {
		if err := p.c.Fetch(t.Context(), p.cfg.Stream.Topic("signals"), 0, next, &b); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Records {
			var s score.Signal
			if err := json.Unmarshal(r.Value, &s); err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprintf("%s %d %s", s.Rule, s.Weight, s.RulesVersion))
		}
	}
	return all
}

// followsPushes: a running worker follows rules that need fields and entities which it
// did not project, and keeps the counts of the others, there and back. It has a row of
// each push, and after a restart the log wins over its setting.
func followsPushes(t *testing.T, c *kafka.Client, cfg Config) {
	cfg.Stream.Name, cfg.Stages = "pushed", []string{"ingest", "detect"}
	cfg.Ingest.CommitInterval, cfg.Detect.CommitInterval, cfg.ClickHouse.FlushAge = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	if err := Migrate(t.Context(), cfg, TopicDefaults(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	dir, before := rulesIn(t, refusedRule)
	_, after := rulesIn(t, refusedRule+oldApps)
	cfg.Rules = dir
	p := &pushing{c: c, cfg: cfg}
	w := start(t, cfg)
	p.send(t)
	p.send(t)
	for tick := time.Tick(20 * time.Millisecond); ends(t, c, cfg) < 2; {
		<-tick
	}
	w.committed(t, c, 2)

	first := p.push(t, push.Request{Rules: after, Source: "./rules", Reason: "case 81"})
	p.send(t) // the third refusal, and the first old app that is seen
	want := []string{"refusals-ip 30 " + after.Version, "old-app-device 50 " + after.Version}
	if got := p.signals(t, 2); !sameSet(got, want) {
		t.Errorf("after the push: %v, want %v", got, want)
	}
	if again := p.push(t, push.Request{Rules: after}); again.Number != first.Number {
		t.Errorf("pushed again, it is push %d", again.Number)
	}
	p.push(t, push.Request{Rules: before})
	p.send(t)
	p.send(t) // the fifth
	want = append(want, "refusals-ip 60 "+before.Version)
	if got := p.signals(t, 3); !sameSet(got, want) {
		t.Errorf("after the way back: %v, want %v", got, want)
	}
	shadow := p.push(t, push.Request{Rules: after, Lane: facet.Shadow})
	w.stop()
	if err := w.end(t, cfg.Stop.Timeout); err != nil {
		t.Error(err)
	}
	const pushes = "SELECT countIf(kind = 'rules'), countIf(kind = 'shadow_rules'), countIf(who = 'ann' AND source = 'push 1 of ./rules: case 81' AND count = 2 AND position(text, 'old-app-device') > 0) FROM v_rule_versions WHERE stream = 'pushed' AND program = 'weir rules push'"
	tables(t, cfg, pushes, 2, 1, 1)

	var said bytes.Buffer
	cfg.Rules, _ = rulesIn(t, oldApps)
	w = startWith(t, cfg, slog.New(slog.NewTextHandler(&said, nil)))
	p.push(t, push.Request{Lane: facet.Shadow}) // which it must follow
	w.stop()
	if err := w.end(t, cfg.Stop.Timeout); err != nil {
		t.Error(err)
	}
	if text := said.String(); !strings.Contains(text, "and not those of the setting rules") || !strings.Contains(text, "rules="+before.Version+" who=ann") {
		t.Errorf("it does not say which rules are in force:\n%s", text)
	}
	tables(t, cfg, fmt.Sprintf("SELECT countIf(version = '%s' AND program = 'weir-worker') FROM v_rule_versions WHERE stream = 'pushed'", before.Version), 2)
	tables(t, cfg, "SELECT countIf(version = 'none') FROM v_rule_versions WHERE stream = 'pushed'", 1)
	if h, err := NewPusher(cfg.Stream, c, nil).History(t.Context()); err != nil || h.State(h.Find(shadow.Number)) != "replaced" || h.State(h.Find(first.Number)) != "replaced" {
		t.Errorf("the history is %+v, %v", h, err)
	}
}

func sameSet(a, b []string) bool {
	count := map[string]int{}
	for _, s := range a {
		count[s]++
	}
	for _, s := range b {
		count[s]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return len(a) == len(b)
}
