package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/proxy"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
	"github.com/weirdev/weir/sink/redis"
)

// drillPolicies has a route for each failure behaviour.
const drillPolicies = `
policies:
  - {id: closed, when: route == "/login", score: {deny: 80}, failure: closed, failure_action: step_up, budget: 25ms}
  - {id: earlier, when: route == "/pay", score: {deny: 80}, failure: last_known_good, failure_action: challenge, budget: 25ms}
  - {id: open, score: {deny: 80}, failure: open, budget: 25ms}
`

// drill is a gate in this process with a real Redis behind a proxy that can fail.
type drill struct {
	cfg    Config
	server *testkit.Server
	proxy  *proxy.Proxy
	writer *redis.Track
	offset int64

	gate *Gate
	stop func()
}

func startDrill(t *testing.T) *drill {
	t.Helper()
	d := &drill{server: testkit.StartRedis(t)}
	var err error
	if d.proxy, err = proxy.Listen(d.server.Addr, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.proxy.Close() })
	d.configure(t)
	d.openWriter(t, func(c *redis.Config) { c.Addrs = []string{d.server.Addr} })
	d.cfg.Redis.Addrs, d.cfg.Redis.ReadTimeout = []string{d.proxy.Addr()}, drillHang
	d.start(t)
	return d
}

// configure sets all but the addresses of Redis.
func (d *drill) configure(t *testing.T) {
	d.cfg = Defaults()
	d.cfg.Stream.Secret, d.cfg.Gate.Lookup.State = "an example, never a real secret!", filepath.Join(t.TempDir(), "state")
	d.cfg.Gate.Listen, d.cfg.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	d.cfg.Gate.Policy = filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(d.cfg.Gate.Policy, []byte(drillPolicies), 0o600); err != nil {
		t.Fatal(err)
	}
}

// openWriter starts the worker's side, which bypasses the proxy.
func (d *drill) openWriter(t *testing.T, reach func(*redis.Config)) {
	cfg := d.cfg.redis()
	reach(&cfg)
	w, err := redis.NewWriter(cfg, redis.Dependencies{Secret: []byte(d.cfg.Stream.Secret)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	d.writer = w.Open(1)
}

// start starts a gate, which ends with the test or with stop.
func (d *drill) start(t *testing.T) {
	t.Helper()
	var err error
	if d.gate, err = NewGate(d.cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.gate.Run(ctx) }()
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the gate: %v", err)
		}
	})
	t.Cleanup(d.stop)
}

// accuse gives an account a score of 90.
func (d *drill) accuse(t *testing.T, name string) {
	t.Helper()
	d.offset++
	err := d.writer.Put(t.Context(), d.offset, score.Update{Entity: account(name), Position: score.Position{Incarnation: 1, Partition: 1, Offset: d.offset}, Contributions: []score.Contribution{{
		Rule: "login-brute-force", Category: "account_takeover", Reason: "many_failures", Phase: rules.Enforce, Weight: 90, HalfLife: 3600, Time: time.Now().UnixMilli(),
	}}})
	if err == nil {
		err = d.writer.Drain(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func account(name string) facet.Entity { return facet.Entity{Kind: facet.Account, Key: name} }

func (d *drill) decide(route, name string) gate.Decision {
	return d.gate.gate.Decide(context.Background(), gate.Request{Route: route, Entities: []facet.Entity{account(name)}})
}

// within polls until met, for at most limit.
func within(t *testing.T, limit time.Duration, what string, met func() bool) {
	t.Helper()
	tick, end := time.NewTicker(5*time.Millisecond), time.NewTimer(limit)
	defer tick.Stop()
	defer end.Stop()
	for !met() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

const (
	drillCrowd = 2000
	// drillMore is the maximum number of additional goroutines: four round trips,
	// four connections being opened, and those of feed and switches.
	drillMore = 4 + 4 + 4
	// drillSlack is the time that 2,000 simultaneous goroutines may take on a
	// shared machine with two cores, beyond the 25 ms that each waits. A round trip
	// that hangs takes drillHang.
	drillSlack = time.Second
	drillHang  = 2 * time.Second
)

// goroutines counts the goroutines of the process except the proxy's. The proxy
// keeps abandoned connections for as long as it swallows their data.
func goroutines() int { return len(stacks()) }

func stacks() (all []string) {
	room := make([]byte, 8<<20)
	for _, one := range strings.Split(string(room[:runtime.Stack(room, true)]), "\n\n") {
		if !strings.Contains(one, "proof/proxy") {
			all = append(all, one)
		}
	}
	return all
}

// gateGoroutines counts the goroutines once every part of a gate runs, and these
// functions too. A gate answers before all its parts were started.
func gateGoroutines(t *testing.T, more ...string) int {
	t.Helper()
	parts := append([]string{"errgroup.(*Group).Wait", "listen.ServeHTTP", "http1.(*server).Accept", "telemetry.Serve", "switches.(*Switches).Run"}, more...)
	within(t, 10*time.Second, "all parts of the gate run", func() bool {
		all := strings.Join(stacks(), "\n")
		return !slices.ContainsFunc(parts, func(f string) bool { return !strings.Contains(all, f+"(") })
	})
	return goroutines()
}

// fewGoroutines waits until at most limit are left, and says else what they do.
func fewGoroutines(t *testing.T, limit int) {
	t.Helper()
	few := func() bool { return goroutines() <= limit }
	defer func() {
		if !few() {
			t.Logf("%d goroutines, at most %d expected:\n%s", goroutines(), limit, strings.Join(stacks(), "\n\n"))
		}
	}()
	within(t, 5*time.Second, "no goroutine is left", few)
}

// crowd asks about many accounts at once, a third of them on each route: the known
// attacker, and accounts about which nothing was ever known.
func (d *drill) crowd(t *testing.T, check func(route, name string, got gate.Decision)) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	slowest := time.Duration(0)
	begin := make(chan struct{})
	for i := range drillCrowd {
		wg.Go(func() {
			route, name := []string{"/login", "/pay", "/feed"}[i%3], "attacker"
			if i%2 == 0 {
				name = fmt.Sprint("stranger-", i, time.Now().UnixNano())
			}
			<-begin
			start := time.Now()
			got := d.decide(route, name)
			took := time.Since(start)
			mu.Lock()
			defer mu.Unlock()
			slowest = max(slowest, took)
			check(route, name, got)
		})
	}
	close(begin)
	wg.Wait()
	if slowest > 25*time.Millisecond+drillSlack {
		t.Errorf("the slowest answer took %v", slowest)
	}
}

func TestDrills(t *testing.T) {
	redis.Quiet()
	for _, tc := range []struct {
		name    string
		begin   func(t *testing.T, d *drill)
		end     func(t *testing.T, d *drill)
		emptied bool
	}{
		{"Redis is killed", func(t *testing.T, d *drill) { d.server.Kill(t) }, func(t *testing.T, d *drill) { d.server.Start(t) }, true},
		{"Redis is stopped", func(t *testing.T, d *drill) { d.server.Signal(t, syscall.SIGSTOP) }, func(t *testing.T, d *drill) { d.server.Signal(t, syscall.SIGCONT) }, false},
		{"the network swallows all", func(_ *testing.T, d *drill) { d.proxy.Set(proxy.Blackhole, 0) }, func(_ *testing.T, d *drill) { d.proxy.Set(proxy.Refuse, 0); d.proxy.Set(proxy.Pass, 0) }, false},
		{"connections are refused", func(_ *testing.T, d *drill) { d.proxy.Set(proxy.Refuse, 0) }, func(_ *testing.T, d *drill) { d.proxy.Set(proxy.Pass, 0) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := startDrill(t)
			d.accuse(t, "attacker")
			within(t, 5*time.Second, "the attacker is refused", func() bool { return d.decide("/feed", "attacker").Action == policy.Deny })
			before := gateGoroutines(t)

			tc.begin(t, d)
			within(t, 5*time.Second, "what was kept is too old", func() bool { return d.decide("/feed", "attacker").Degraded })
			for range 3 {
				d.crowd(t, func(route, name string, got gate.Decision) {
					want := map[string]policy.Action{"/login": policy.StepUp, "/pay": policy.Challenge, "/feed": policy.Allow}[route]
					if route == "/pay" && name == "attacker" {
						want = policy.Deny // by the last known scores
					}
					if got.Action != want || !got.Degraded || got.LastKnownGood != (want == policy.Deny) {
						t.Errorf("%s %s: %+v, want %s", route, name, got, want)
					}
				})
			}
			if n := goroutines() - before; n > drillMore {
				t.Errorf("%d goroutines more than before, amid the failure", n)
			}

			tc.end(t, d)
			if tc.emptied {
				d.accuse(t, "another")
			}
			within(t, 2*time.Second, "all is known again", func() bool { return !d.decide("/login", "somebody").Degraded })
			d.accuse(t, "another")
			within(t, time.Second, "a new attacker is refused", func() bool { return d.decide("/login", "another").Action == policy.Deny })
			fewGoroutines(t, before+drillMore)
		})
	}
}

// TestASlowRedisStillDenies: each round trip takes 200 ms, eight times the budget.
func TestASlowRedisStillDenies(t *testing.T) {
	redis.Quiet()
	d := startDrill(t)
	for i := range 50 {
		d.accuse(t, fmt.Sprint("attacker-", i))
	}
	within(t, 5*time.Second, "the gate is up", func() bool { return !d.decide("/feed", "somebody").Degraded })
	d.proxy.Set(proxy.Pass, 100*time.Millisecond)
	round := func() (denied int) {
		for i := range 50 {
			if d.decide("/feed", fmt.Sprint("attacker-", i)).Action == policy.Deny {
				denied++
			}
		}
		return denied
	}
	within(t, 2*time.Second, "all are looked up once", func() bool { return round() == 50 })
	// Meanwhile the entries become outdated twice, and are looked up again. What counts
	// is for how long an attacker passes: a busy machine asks less often.
	begin, before, held := time.Now(), time.Now(), 0.0
	for tick := time.NewTicker(20 * time.Millisecond); time.Since(begin) < 2*d.cfg.Gate.Lookup.MaxStale; <-tick.C {
		denied := round()
		held += float64(denied) / 50 * time.Since(before).Seconds()
		before = time.Now()
	}
	share := held / before.Sub(begin).Seconds()
	t.Logf("an attacker is denied for %.0f %% of the time", 100*share)
	if share < 0.9 {
		t.Errorf("an attacker is denied for %.0f %% of the time", 100*share)
	}
	d.crowd(t, func(route, name string, got gate.Decision) {
		if got.Action == policy.Deny {
			t.Errorf("%s %s: %+v", route, name, got)
		}
	})
}

// TestAnEmptiedRedisIsNoFailure: nothing is known any more, and cached scores
// expire within gate.max_stale. Workers write them again.
func TestAnEmptiedRedisIsNoFailure(t *testing.T) {
	redis.Quiet()
	d := startDrill(t)
	d.accuse(t, "attacker")
	within(t, 5*time.Second, "the attacker is refused", func() bool { return d.decide("/login", "attacker").Action == policy.Deny })
	c := goredis.NewClient(&goredis.Options{Addr: d.server.Addr, Protocol: 2, DisableIdentity: true})
	defer c.Close()
	if err := c.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	within(t, d.cfg.Gate.Lookup.MaxStale+time.Second, "it is forgotten", func() bool {
		got := d.decide("/login", "attacker")
		if got.Degraded {
			t.Fatalf("got %+v", got)
		}
		return got.Action == policy.Allow
	})
	if !d.writer.Forgotten() {
		within(t, 3*time.Second, "the worker notices", d.writer.Forgotten)
	}
	d.accuse(t, "attacker")
	within(t, time.Second, "it is back", func() bool { return d.decide("/login", "attacker").Action == policy.Deny })
}

// TestAFailoverToAnEmptyRedis: the master dies, and sentinels promote a replica that
// has lost everything.
func TestAFailoverToAnEmptyRedis(t *testing.T) {
	redis.Quiet()
	d := &drill{server: testkit.StartRedis(t)}
	host, port, _ := net.SplitHostPort(d.server.Addr)
	replica := testkit.StartRedis(t, "--replicaof", host, port, "--replica-read-only", "no", "--repl-diskless-sync-delay", "0")
	client := func(addr string) *goredis.Client {
		c := goredis.NewClient(&goredis.Options{Addr: addr, Protocol: 2, DisableIdentity: true})
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	other := client(replica.Addr)
	within(t, 20*time.Second, "the replica follows", func() bool {
		info, err := other.Info(t.Context(), "replication").Result()
		return err == nil && strings.Contains(info, "master_link_status:up")
	})
	sentinel := testkit.StartSentinel(t, "weir", d.server.Addr)
	within(t, 20*time.Second, "the sentinel knows the replica", func() bool {
		all, err := client(sentinel.Addr).Do(t.Context(), "sentinel", "replicas", "weir").Slice()
		return err == nil && len(all) == 1
	})
	d.configure(t)
	d.cfg.Redis.MasterName, d.cfg.Redis.Addrs, d.cfg.Redis.ReadTimeout = "weir", []string{sentinel.Addr}, drillHang
	d.openWriter(t, func(*redis.Config) {})
	d.start(t)
	d.accuse(t, "attacker")
	within(t, 5*time.Second, "the attacker is refused", func() bool { return d.decide("/login", "attacker").Action == policy.Deny })
	before := gateGoroutines(t)

	d.server.Kill(t)
	if err := other.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		d.crowd(t, func(route, name string, got gate.Decision) {
			byRoute := map[string]policy.Action{"/login": policy.StepUp, "/pay": policy.Challenge, "/feed": policy.Allow}[route]
			if known := name == "attacker" && got.Action == policy.Deny; got.Degraded && got.Action != byRoute && !known {
				t.Errorf("%s %s: %+v", route, name, got)
			}
		})
	}
	within(t, 20*time.Second, "the replica is promoted", func() bool {
		addr, err := client(sentinel.Addr).Do(t.Context(), "sentinel", "get-master-addr-by-name", "weir").StringSlice()
		return err == nil && net.JoinHostPort(addr[0], addr[1]) == replica.Addr
	})
	within(t, 2*time.Second, "all is known again", func() bool { return !d.decide("/login", "somebody").Degraded })
	within(t, d.cfg.Gate.Lookup.MaxStale+time.Second, "the attacker is forgotten, as the new master knows nothing", func() bool {
		return d.decide("/login", "attacker").Action == policy.Allow
	})
	within(t, 5*time.Second, "the worker notices", d.writer.Forgotten)
	d.accuse(t, "attacker") // as a worker then writes all scores
	within(t, time.Second, "it is back", func() bool { return d.decide("/login", "attacker").Action == policy.Deny })
	fewGoroutines(t, before+drillMore)
}

// TestAGateThatIsRestartedWithoutRedisKnowsWhatItKnew restarts a gate with its
// state on disk.
func TestAGateThatIsRestartedWithoutRedisKnowsWhatItKnew(t *testing.T) {
	redis.Quiet()
	d := startDrill(t)
	d.accuse(t, "attacker")
	within(t, 5*time.Second, "the attacker is refused", func() bool { return d.decide("/pay", "attacker").Action == policy.Deny })
	d.proxy.Set(proxy.Refuse, 0)
	d.stop()
	d.start(t)
	for name, want := range map[string]policy.Action{"attacker": policy.Deny, "stranger": policy.Challenge} {
		if got := d.decide("/pay", name); got.Action != want || !got.Degraded {
			t.Errorf("%s: %+v, want %s", name, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(d.cfg.Gate.Lookup.State, "scores")); errors.Is(err, os.ErrNotExist) {
		t.Error("nothing was kept")
	}
}

// TestAChangeIsHeardAtOnce: a worker's change takes effect long before the cached
// value is outdated.
func TestAChangeIsHeardAtOnce(t *testing.T) {
	redis.Quiet()
	d := startDrill(t)
	d.cfg.Gate.Lookup.MaxStale = time.Hour
	d.stop()
	d.start(t)
	within(t, 5*time.Second, "the feed is whole", func() bool { return d.gate.risk.Following() })
	if got := d.decide("/feed", "attacker"); got.Action != policy.Allow || got.Degraded {
		t.Fatalf("got %+v", got)
	}
	d.accuse(t, "attacker")
	within(t, 500*time.Millisecond, "it is heard", func() bool { return d.decide("/feed", "attacker").Action == policy.Deny })
}

// TestSwitchesHoldOnEveryGateWithinASecond checks this with Redis. Without Redis,
// they hold at the gate where they are set, also after its restart, and at the
// others when Redis is back.
func TestSwitchesHoldOnEveryGateWithinASecond(t *testing.T) {
	redis.Quiet()
	one := startDrill(t)
	other := &drill{cfg: one.cfg, server: one.server, proxy: one.proxy, writer: one.writer}
	other.cfg.Gate.Lookup.State = filepath.Join(t.TempDir(), "state")
	other.start(t)
	both := []*drill{one, other}
	one.accuse(t, "attacker")
	expect := func(limit time.Duration, what string, action policy.Action, gates ...*drill) {
		t.Helper()
		within(t, limit, what, func() bool {
			for _, d := range gates {
				if d.decide("/feed", "attacker").Action != action {
					return false
				}
			}
			return true
		})
	}
	expect(5*time.Second, "the attacker is refused", policy.Deny, both...)

	log, reaching := slog.New(slog.DiscardHandler), one.cfg
	reaching.Redis.Addrs = []string{one.server.Addr}
	object := func(scope switches.Scope, name string, clears bool) switches.Object {
		return switches.Object{Scope: scope, Name: name, Owner: "ann", Reason: "a drill", Set: time.Now().UnixMilli(), Expires: time.Now().Add(time.Hour).UnixMilli(), Cleared: clears}
	}
	if _, err := PutSwitch(t.Context(), reaching, log, object(switches.Rule, "login-brute-force", false), nil); err != nil {
		t.Fatal(err)
	}
	expect(time.Second, "the rule is off on both gates", policy.Allow, both...)
	if all, err := ListSwitches(t.Context(), reaching, log); err != nil || len(all) != 1 || all[0].ID() != "rule:login-brute-force" {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := PutSwitch(t.Context(), reaching, log, object(switches.Rule, "login-brute-force", true), nil); err != nil {
		t.Fatal(err)
	}
	expect(time.Second, "and on again", policy.Deny, both...)

	one.proxy.Set(proxy.Refuse, 0)
	block := object(switches.Entity, "attacker", false)
	block.Kind, block.Action = "account", policy.Challenge.String()
	if err := one.gate.switches.Put(block); err != nil {
		t.Fatal(err)
	}
	expect(time.Second, "a block without Redis holds at the gate where it was set", policy.Challenge, one)
	one.stop()
	one.start(t)
	expect(time.Second, "and after its restart", policy.Challenge, one)
	if got := other.decide("/feed", "attacker"); got.Switch != "" {
		t.Errorf("the other gate knows already: %+v", got)
	}
	one.proxy.Set(proxy.Pass, 0)
	expect(2*time.Second, "and on the other when Redis is back", policy.Challenge, both...)
}

// TestTheClockOfAnOperatorDoesNotCount: it may be a day ahead or behind.
func TestTheClockOfAnOperatorDoesNotCount(t *testing.T) {
	redis.Quiet()
	cfg := Defaults()
	cfg.Stream.Secret, cfg.Redis.Addrs = "an example, never a real secret!", []string{testkit.StartRedis(t).Addr}
	log := slog.New(slog.DiscardHandler)
	server := time.Now()
	for i, wrong := range []time.Duration{24 * time.Hour, -24 * time.Hour, 0} {
		at := server.Add(wrong)
		o := switches.Object{Scope: switches.Global, Owner: "ann", Reason: fmt.Sprint("try ", i), Set: at.UnixMilli(), Expires: at.Add(time.Hour).UnixMilli()}
		added, err := PutSwitch(t.Context(), cfg, log, o, nil)
		all, listed := ListSwitches(t.Context(), cfg, log)
		if err = errors.Join(err, listed); err != nil || len(all) != 1 || all[0] != added.Object || all[0].Reason != o.Reason {
			t.Fatalf("%v: %+v, %+v, %v", wrong, all, added, err)
		}
		if ends := time.UnixMilli(all[0].Expires).Sub(server); ends < time.Hour-time.Minute || ends > time.Hour+time.Minute {
			t.Errorf("%v: it ends in %v", wrong, ends)
		}
	}
}
