package dashboards_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/push"
	"github.com/weirdev/weir/app/stack"
	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/geo/geowriter"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/population"
	"github.com/weirdev/weir/proof/dashboards"
	"github.com/weirdev/weir/proof/servers"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
	"github.com/weirdev/weir/sink/clickhouse"
)

// world is a short run of Weir: its people and their attackers, a worker and a gate in
// this process, and a Prometheus that scrapes both.
type world struct {
	t       *testing.T
	stack   *stack.Stack
	people  *population.Population
	sent    int
	asked   int // decisions
	began   time.Time
	gate    string // base URL
	admin   string // the same of its admin listener
	runner  *dashboards.Runner
	conn    driver.Conn // which may write
	discard *slog.Logger
}

const (
	scrapes = time.Second
	past    = 25 * time.Minute // how far back the traffic begins
)

// newWorld runs Weir until everything that was sent is in the tables and in Prometheus.
func newWorld(t *testing.T) *world {
	testkit.ChDB(t)
	if testkit.Raced {
		t.Skip("it tests queries; app's own tests run the programs under the race detector")
	}
	w := &world{t: t, began: time.Now(), discard: slog.New(slog.DiscardHandler)}
	w.people = population.New(population.Config{Seed: 3, People: 400, Rate: 8, Start: w.began.Add(-past).UnixMilli(), Run: "d"})
	places, err := geowriter.Write(t.TempDir(), w.people.Networks())
	w.must(err)
	w.stack, err = stack.Start(t.Context(), stack.Options{
		Stream: app.StreamConfig{Name: "weir", Incarnation: 1}, Topics: app.TopicDefaults(), Format: "weir",
		Adjust: func(c *app.Config) { w.adjust(c, places) },
	}, w.discard)
	w.must(err)
	t.Cleanup(func() { w.must(w.stack.Close()) })
	w.conn, err = clickhouse.Open(w.stack.Config.ClickHouse)
	w.must(err)
	t.Cleanup(func() { _ = w.conn.Close() })
	reader, err := clickhouse.OpenToRead(w.stack.Config.ClickHouse)
	w.must(err)
	t.Cleanup(func() { _ = reader.Close() })

	// Before the worker starts: to one that has seen the present, all of this would be late.
	w.launch()
	w.feed(w.began)
	worker, gate := w.start()
	prometheus := testkit.StartPrometheus(t, scrapes, map[string][]string{"weir-worker": {worker}, "weir-gate": {gate}})
	w.runner = &dashboards.Runner{ClickHouse: reader, Prometheus: "http://" + prometheus.Addr, Scrapes: scrapes, Quiet: quiet()}
	w.await("Prometheus has scraped both programs", func() bool { return w.scraped(2) })
	w.live()
	w.shadow()
	w.histories()
	before := w.scrapesSoFar()
	w.await("Prometheus knows the end", func() bool { return w.scraped(before + 3) })

	// A few seconds beyond the present, because of events that claim to be from the future.
	now := time.Now()
	w.runner.Range = dashboards.Range{From: w.began.Add(-past - time.Minute), To: now.Add(10 * time.Second)}
	w.runner.Before = dashboards.Range{From: now.Add(-40 * 24 * time.Hour), To: now.Add(-39 * 24 * time.Hour)}
	w.runner.After = dashboards.Range{From: now.Add(39 * 24 * time.Hour), To: now.Add(40 * 24 * time.Hour)}
	return w
}

// policies are the built-in thresholds, a limit that is soon reached, and another policy
// for one route.
const policies = `policies:
  - id: watched
    when: route == "/v1/me"
    phase: observe
    score: {throttle: 20, deny: 60}
    failure: open
  - id: others
    score: {tag: 10, throttle: 40, challenge: 55, step_up: 70, deny: 85}
    failure: open
limits:
  - id: search
    when: route == "/v1/search"
    per: [account]
    most: 3
    window: 1m
`

func (w *world) adjust(c *app.Config, places geo.Config) {
	file := filepath.Join(w.t.TempDir(), "policy.yaml")
	w.must(os.WriteFile(file, []byte(policies), 0o600))
	c.Geo, c.Gate.Policy, c.Gate.Emit.Decisions, c.Gate.Emit.Controls = places, file, emit.On, emit.On
	c.Ingest.MaxLate, c.Detect.Lateness = 2*past, 5*time.Second
	c.Detect.SnapshotInterval = 5 * time.Second
}

// start runs the worker and the gate until the test ends, and returns the addresses of
// their metrics.
func (w *world) start() (worker, gate string) {
	ofWorker, ofGate := w.stack.Config, w.stack.Config
	var err error
	ofGate.Admin.Listen, err = servers.FreeAddr()
	w.must(err)
	first, err := app.NewWorker(ofWorker, w.discard)
	w.must(err)
	second, err := app.NewGate(ofGate, w.discard)
	w.must(err)
	w.run(first.Run)
	w.run(second.Run)
	w.gate, w.admin = "http://"+ofGate.Gate.Listen, "http://"+ofGate.Admin.Listen
	w.await("the gate answers", func() bool {
		res, err := http.Get(w.admin + "/readyz")
		if err != nil {
			return false
		}
		return res.Body.Close() == nil && res.StatusCode == http.StatusOK
	})
	return ofWorker.Admin.Listen, ofGate.Admin.Listen
}

func (w *world) run(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		w.must(<-ended)
	})
}

// Campaigns, in the order of their launch.
const (
	stuffing   = 0
	travelling = 3
	beginning  = 4 // another stuffing
)

// attackers returns the entities that attack in a campaign.
func (w *world) attackers(campaign int) []facet.Entity {
	return w.people.Campaigns()[campaign].Attackers
}

// launch begins the attacks: all but one in the past.
func (w *world) launch() {
	for _, c := range []population.Campaign{
		{Kind: "credential_stuffing", Start: w.began.Add(-8 * time.Minute).UnixMilli(), Addresses: 12, Rate: 8},
		{Kind: "signature_mismatch", Start: w.began.Add(-past + time.Minute).UnixMilli(), Addresses: 1, Rate: 0.05},
		{Kind: "sequence_anomaly", Start: w.began.Add(-6 * time.Minute).UnixMilli(), Addresses: 1, Rate: 3},
		{Kind: "impossible_travel", Start: w.began.Add(-6 * time.Minute).UnixMilli(), Addresses: 1, Rate: 1},
		{Kind: "credential_stuffing", Start: w.began.UnixMilli(), Addresses: 4, Rate: 40},
		{Kind: "scraping", Start: w.began.Add(-4 * time.Minute).UnixMilli(), Addresses: 1, Rate: 5},
	} {
		c.Duration = time.Hour
		w.people.Launch(c)
	}
}

// live goes on with the traffic for some seconds, and asks the gate about some of it.
func (w *world) live() {
	w.strange()
	w.settle()
	w.ask()
	w.say()
	before := w.scrapesSoFar()
	w.await("Prometheus has seen traffic", func() bool {
		w.feed(time.Now())
		return w.scraped(before + 3)
	})
	w.settle()
	w.block()
	w.ask()
	w.await("the decisions are stored", func() bool {
		var n uint64
		w.must(w.conn.QueryRow(w.t.Context(), "SELECT count() FROM weir.v_decisions").Scan(&n))
		return int(n) >= w.asked
	})
}

// feed sends the traffic until a time.
func (w *world) feed(until time.Time) {
	parts := make([]kafka.Produce, app.TopicDefaults().EventPartitions)
	for i := range parts {
		parts[i].Partition = int32(i)
	}
	w.people.Until(until.UnixMilli(), func(e *event.Event, campaign int) {
		w.sent++
		e.SetText(event.Gateway, "gw-"+fmt.Sprint(w.sent%2+1))
		if campaign == stuffing && w.sent%3 == 0 {
			e.SetText(event.Decision, fmt.Sprintf("sent-%d", w.sent))
			e.SetText(event.DecisionAction, "deny")
		}
		h := fnv.New32a()
		_, _ = h.Write([]byte(e.Text(event.ID)))
		p := &parts[h.Sum32()%uint32(len(parts))]
		r := kafka.Outgoing{Key: []byte(strings.Clone(e.Text(event.ID))), Value: e.AppendJSON(nil)}
		p.Records = append(p.Records, r)
		if w.sent%200 == 0 {
			p.Records = append(p.Records, r)
		}
	})
	parts = slices.DeleteFunc(parts, func(p kafka.Produce) bool { return len(p.Records) == 0 })
	if len(parts) > 0 {
		w.must(w.stack.Kafka.Produce(w.t.Context(), w.stack.Config.Stream.Topic("events"), parts))
	}
}

// strange sends what gateways get wrong, and what pages of the documentation ask for.
func (w *world) strange() {
	var all []kafka.Outgoing
	for i, line := range []string{
		"junk", `{"id":"late","time":%d,"path":"/v1/me","status":500,"ip":"198.18.0.9"}`, `{"id":"future","time":%d,"path":"/v1/me","status":503,"ip":"198.18.0.9"}`,
		`{"id":"long","time":%d,"path":"/v1/me","status":200,"ip":"10.9.9.9","user_agent":"` + strings.Repeat("x", 3000) + `"}`,
		`{"id":"canary","time":%d,"path":"/v1/me","status":200,"ip":"10.9.9.9","tenant":"weir-canary-1"}`, `{"id":"asked","time":%d,"path":"/v1/me","status":200,"ip":"10.9.9.9","account":"account-000000"}`,
		// Another tenant's address of the same name is another entity.
		`{"id":"namesake","time":%d,"path":"/v1/login","status":200,"auth":"success","tenant":"elsewhere","account":"namesake","ip":"` + w.attackers(stuffing)[0].Key + `"}`,
	} {
		if strings.Contains(line, "%d") {
			at := time.Now().Add([]time.Duration{0, -2 * time.Hour, time.Hour, 0, 0, 0, 0}[i])
			line = fmt.Sprintf(line, at.UnixMilli())
		}
		all = append(all, kafka.Outgoing{Value: []byte(line)})
	}
	w.must(w.stack.Kafka.Produce(w.t.Context(), w.stack.Config.Stream.Topic("events"), []kafka.Produce{{Records: all}}))
}

func (w *world) settle() { w.must(w.stack.Settle(w.t.Context(), time.Minute)) }

// ask asks the gate about attackers, innocents, and things that are no entities.
func (w *world) ask() {
	ask := func(entities map[string]string, route string) {
		w.asked++
		w.post(w.gate+"/v1/decide", map[string]any{"route": route, "request": map[string]any{"method": "GET"}, "entities": entities})
	}
	for _, c := range w.people.Campaigns() {
		for _, a := range c.Attackers {
			for _, route := range []string{"/v1/orders/{id}", "/v1/me"} {
				ask(map[string]string{a.Kind.String(): a.Key}, route)
			}
		}
	}
	for _, e := range w.people.Innocents()[:60] {
		ask(map[string]string{e.Kind.String(): e.Key}, "/v1/me")
	}
	for range 6 {
		ask(map[string]string{"account": "searcher"}, "/v1/search")
	}
	ask(map[string]string{"ip": "unknown"}, "/v1/me")
	w.refused(map[string]any{"entities": map[string]any{"planet": "mars"}})
	ask(map[string]string{"ip": blocked}, "/v1/me")
}

// say writes what people say about attackers: the finding about the first was right, the
// second was none, the third is released. The last has yet to begin.
func (w *world) say() {
	var all []kafka.Outgoing
	old, now := w.attackers(stuffing), time.Now()
	for i, said := range []struct {
		action facet.Action
		about  facet.Entity
	}{{facet.TruePositive, old[0]}, {facet.FalsePositive, old[1]}, {facet.Release, old[2]}, {facet.FalsePositive, w.attackers(beginning)[0]}} {
		r := control.Record{ID: fmt.Sprintf("c-%d", i), Action: said.action.String(), Time: now.UnixMilli(), Kind: "ip", Key: said.about.Key, Who: "ann", Reason: "a test"}
		if said.action != facet.Release {
			r.Rule = "credential-stuffing-ip"
		}
		if said.action == facet.FalsePositive {
			r.Expires = now.Add(24 * time.Hour).UnixMilli()
		}
		text, err := r.Encode()
		w.must(err)
		all = append(all, kafka.Outgoing{Key: []byte(r.ID), Value: text})
	}
	w.must(w.stack.Kafka.Produce(w.t.Context(), w.stack.Config.Stream.Topic("controls"), []kafka.Produce{{Records: all}}))
	w.await("what was said is stored", func() bool {
		var n uint64
		w.must(w.conn.QueryRow(w.t.Context(), "SELECT count() FROM weir.v_audit").Scan(&n))
		return int(n) == len(all)
	})
}

// blocked is an address that an operator blocks.
const blocked = "198.18.77.7"

func (w *world) block() {
	w.post(w.admin+"/v1/switches", map[string]any{
		"scope": "entity", "kind": "ip", "name": blocked, "action": "deny", "owner": "ann", "reason": "a test",
		"set": time.Now().UnixMilli(), "expires": time.Now().Add(time.Hour).UnixMilli(),
	})
	w.await("the audit has the block", func() bool {
		var n uint64
		w.must(w.conn.QueryRow(w.t.Context(), "SELECT count() FROM weir.v_audit WHERE action = 'gate_block'").Scan(&n))
		return n == 1
	})
}

func (w *world) post(url string, body any) {
	if status, answer := w.send(url, body); status != http.StatusOK {
		w.t.Fatalf("%s answers %d to %v: %s", url, status, body, answer)
	}
}

// refused asks the gate something that it does not understand.
func (w *world) refused(question any) {
	if status, answer := w.send(w.gate+"/v1/decide", question); status != http.StatusBadRequest {
		w.t.Fatalf("the gate answers %d to %v: %s", status, question, answer)
	}
}

func (w *world) send(url string, body any) (status int, answer []byte) {
	text, err := json.Marshal(body)
	w.must(err)
	res, err := http.Post(url, "application/json", bytes.NewReader(text))
	w.must(err)
	defer res.Body.Close()
	answer, err = io.ReadAll(res.Body)
	w.must(err)
	return res.StatusCode, answer
}

// shadow pushes shadow rules. They come too late to find anything, so it also writes
// signals of one, through the worker's own code.
func (w *world) shadow() {
	set, err := app.LoadRules("")
	w.must(err)
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	_, err = app.NewPusher(w.stack.Config.Stream, w.stack.Kafka, func(text string) { w.t.Log(text) }).Push(ctx, push.Request{Lane: facet.Shadow, Rules: set, Who: "ann"})
	w.must(err)
	s, err := clickhouse.NewShadowSignals(w.stack.Config.ClickHouse, clickhouse.Stream{Name: "weir", Incarnation: 1}, w.discard, nil)
	w.must(err)
	w.run(s.Run)
	rows := s.Open(0)
	for i, a := range append(w.attackers(stuffing), facet.Entity{Kind: facet.IP, Key: "198.18.0.9"}) {
		w.must(rows.Append(w.t.Context(), 0, &score.Signal{
			Position: score.Position{Incarnation: 1, Offset: int64(i)}, Rule: "credential-stuffing-ip", RulesVersion: "shadow", Category: "account_takeover", Phase: rules.Observe,
			Entity: a, Weight: 40, HalfLife: time.Hour, Time: w.began.Add(-time.Minute).UnixMilli(),
		}))
	}
	w.must(rows.Drain(w.t.Context()))
}

// histories writes two runs of a log that has grown, of which the views show one.
func (w *world) histories() {
	for i := range 2 {
		w.must(w.conn.Exec(w.t.Context(), fmt.Sprintf("INSERT INTO weir.events (stream, incarnation, received, time, path) SELECT 'history-%d', 1, now64(3), toDateTime64('2026-01-02 03:04:05', 3), '/'", i)))
	}
}

// scrapesSoFar is how often Prometheus has scraped the program that it scraped least.
func (w *world) scrapesSoFar() int {
	res, err := http.Get(w.runner.Prometheus + "/api/v1/query?query=" + "min(count_over_time(up[10m])*(max_over_time(up[10m])))")
	w.must(err)
	defer res.Body.Close()
	if res.StatusCode == http.StatusServiceUnavailable { // it is starting
		return 0
	}
	var answer struct {
		Data struct {
			Result []struct{ Value []any }
		}
	}
	w.must(json.NewDecoder(res.Body).Decode(&answer))
	if len(answer.Data.Result) == 0 {
		return 0
	}
	n := 0
	_, err = fmt.Sscan(answer.Data.Result[0].Value[1].(string), &n)
	w.must(err)
	return n
}

func (w *world) scraped(n int) bool { return w.scrapesSoFar() >= n }

func (w *world) await(what string, done func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.t.Fatalf("waited in vain until %s", what)
		}
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil && !errors.Is(err, context.Canceled) {
		w.t.Fatal(err)
	}
}
