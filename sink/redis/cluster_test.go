package redis

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	goredis "github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/quota"
	"github.com/weirdev/weir/proof/servers"
)

// startCluster is a cluster of so many nodes, among which the slots are divided. One
// of a single node also refuses commands that span slots, as any cluster does.
func startCluster(t *testing.T, nodes int) ([]*realServer, Config) {
	t.Helper()
	const slots = 16384
	all, clients := make([]*realServer, nodes), make([]*goredis.Client, nodes)
	for i := range all {
		bus := freePort(t) // its default, 10000 above the port, may be no port
		all[i] = startReal(t, "--cluster-enabled", "yes", "--cluster-port", bus)
		clients[i] = connect(t, all[i])
		if err := clients[i].Do(t.Context(), "cluster", "addslotsrange", i*slots/nodes, (i+1)*slots/nodes-1).Err(); err != nil {
			t.Fatal(err)
		}
		host, port, _ := net.SplitHostPort(all[i].addr)
		if err := clients[0].Do(t.Context(), "cluster", "meet", host, port, bus).Err(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the cluster is up", func() bool {
		for _, c := range clients {
			info, err := c.ClusterInfo(t.Context()).Result()
			if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r", nodes)) {
				return false
			}
		}
		return true
	})
	cfg := testConfig(all[0])
	cfg.Cluster = true
	return all, cfg
}

func freePort(t *testing.T) string {
	t.Helper()
	addr, err := servers.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr)
	return port
}

func TestAClusterIsWrittenAndRead(t *testing.T) {
	nodes, cfg := startCluster(t, 1)
	w := startWriter(t, cfg)
	track := w.Open(3)
	entities := make([]facet.Entity, 40)
	for i := range entities {
		entities[i] = entityNumber(i)
		put(t, track, int64(i), update(entities[i], int64(i), 50))
	}
	drain(t, track)
	if err := connect(t, nodes[0]).ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	put(t, track, 40, update(entities[7], 40, 60))
	drain(t, track)
	values, err := fetchAll(t.Context(), newTestReader(t, cfg), append(entities, entityNumber(99)))
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range values[:40] {
		want := int64(i)
		if i == 7 {
			want = 40
		}
		if v.Position.Offset != want {
			t.Errorf("entity %d: %+v", i, v)
		}
	}
	if values[40].Kind != 0 {
		t.Errorf("an entity that nobody put: %+v", values[40])
	}
	if got := testutil.ToFloat64(w.metrics.errors[reasonServer]); got != 0 {
		t.Errorf("%v refusals", got)
	}
}

// The users that docs/redis.md recommends can do all that is needed.
func TestTheRecommendedUsersSuffice(t *testing.T) {
	s := startReal(t)
	c := connect(t, s)
	for _, rules := range [][]any{
		{"acl", "setuser", "weir-worker", "on", ">worker", "resetkeys", "~weir:risk:*", "resetchannels", "&weir:risk:*", "-@all", "+evalsha", "+script|load", "+getrange", "+set", "+publish", "+ping"},
		{"acl", "setuser", "weir-gate", "on", ">gate", "resetkeys", "~weir:risk:*", "resetchannels", "&weir:risk:*", "-@all", "+getrange", "+subscribe", "+hlen", "+hgetall", "+hset", "+ping", "+evalsha", "+script|load", "+time", "+llen", "+lindex", "+ltrim", "+rpush", "+pexpireat", "+unlink"},
		{"acl", "setuser", "weir-switch", "on", ">switch", "resetkeys", "~weir:risk:*", "resetchannels", "-@all", "+hlen", "+hgetall", "+hset", "+hdel", "+watch", "+unwatch", "+multi", "+exec", "+time"},
		{"acl", "setuser", "weir-console", "on", ">console", "resetkeys", "~weir:risk:*", "resetchannels", "-@all", "+getrange", "+ping", "+hlen", "+hgetall", "+hset", "+hdel", "+watch", "+unwatch", "+multi", "+exec", "+time"},
	} {
		if err := c.Do(t.Context(), rules...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	worker, gate := testConfig(s), testConfig(s)
	worker.Username, worker.Password = "weir-worker", "worker"
	gate.Username, gate.Password = "weir-gate", "gate"
	w := startWriter(t, worker)
	track := w.Open(3)
	put(t, track, 0, update(entityNumber(0), 0, 50))
	put(t, track, 1, update(entityNumber(0), 1, 60))
	drain(t, track)
	if got := testutil.ToFloat64(w.metrics.errors[reasonDenied]); got != 0 {
		t.Errorf("%v writes were denied", got)
	}
	r := newTestReader(t, gate)
	if v := get(t, r, entityNumber(0)); v.Position.Offset != 1 {
		t.Errorf("got %+v", v)
	}
	if err := r.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if err := r.PutSwitches(t.Context(), map[string]string{"global": "a form"}); err != nil {
		t.Error(err)
	}
	if all, err := r.Switches(t.Context()); err != nil || len(all) != 1 || all["global"] != "a form" {
		t.Errorf("%v, %v", all, err)
	}
	follow(t, gate)
	for range 3 {
		if a := r.Take(t.Context(), [][]quota.Counter{{{ID: "all", Entities: account("alice"), Most: 1, Window: time.Minute, Refuses: true, All: true}}})[0]; a.Err != nil {
			t.Error(a.Err)
		}
	}
	odd := quota.Counter{ID: "odd", Entities: account("alice"), Most: 1, Window: time.Minute}
	if _, key := r.limitKey(&odd); c.Set(t.Context(), key, "text", 0).Err() != nil {
		t.Fatal("no odd value")
	}
	if a := r.Take(t.Context(), [][]quota.Counter{{odd}})[0]; a.Err != nil {
		t.Error(a.Err)
	}
	operator := testConfig(s)
	operator.Username, operator.Password = "weir-switch", "switch"
	o := newTestReader(t, operator)
	if _, err := o.Clock(t.Context()); err != nil {
		t.Error(err)
	}
	if err := errors.Join(o.PutSwitches(t.Context(), map[string]string{"rule:a": "a form"}), o.DropSwitches(t.Context(), map[string]string{"global": "a form", "rule:a": "another"})); err != nil {
		t.Error(err)
	}
	if all, err := o.Switches(t.Context()); err != nil || len(all) != 1 || all["rule:a"] != "a form" {
		t.Errorf("%v, %v", all, err)
	}
	console := testConfig(s)
	console.Username, console.Password = "weir-console", "console"
	page := newTestReader(t, console)
	if v := get(t, page, entityNumber(0)); v.Position.Offset != 1 {
		t.Errorf("the console sees %+v", v)
	}
	if err := errors.Join(page.Ready(t.Context()), page.PutSwitches(t.Context(), map[string]string{"rule:b": "a form"})); err != nil {
		t.Errorf("the console: %v", err)
	}
}

// TestWhoMayNotReadIsNotReady: a user of an older version lacks a command.
func TestWhoMayNotReadIsNotReady(t *testing.T) {
	s := startReal(t)
	if err := connect(t, s).Do(t.Context(), "acl", "setuser", "weir-gate", "on", ">gate", "~weir:risk:*", "-@all", "+get", "+mget", "+ping").Err(); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(s)
	cfg.Username, cfg.Password = "weir-gate", "gate"
	err := newTestReader(t, cfg).Ready(t.Context())
	if err == nil || reasonOf(err) != reasonDenied || !strings.Contains(err.Error(), "getrange") {
		t.Errorf("got %v", err)
	}
}

// TestSeveralNodesCountTogether: two gates ask a cluster of three nodes about many
// accounts and addresses, whose counters are on different nodes. Each limit admits
// exactly what it should. If a node dies, its counters alone are unknown.
func TestSeveralNodesCountTogether(t *testing.T) {
	nodes, cfg := startCluster(t, 3)
	const accounts, most, requests = 30, 5, 8 // of each account by each gate
	counters := func(n int) []quota.Counter {
		return []quota.Counter{
			{ID: "account", Entities: account(fmt.Sprint("user-", n)), Most: most, Window: time.Hour, Refuses: true},
			{ID: "ip", Entities: []facet.Entity{{Kind: facet.IP, Key: fmt.Sprint("203.0.113.", n)}}, Most: 1000, Window: time.Hour, All: true},
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	admitted, seen := [accounts]int{}, [accounts]int{}
	for range 2 {
		gate := newTestReader(t, cfg)
		for range requests {
			wg.Go(func() {
				batch := make([][]quota.Counter, accounts)
				for n := range batch {
					batch[n] = counters(n)
				}
				answers := gate.Take(t.Context(), batch)
				mu.Lock()
				defer mu.Unlock()
				for n, a := range answers {
					if a.Err != nil {
						t.Errorf("account %d: %v", n, a.Err)
						continue
					}
					if !a.Counts[0].Exceeded {
						admitted[n]++
					}
					seen[n] = max(seen[n], 1000-a.Counts[1].Remaining)
				}
			})
		}
	}
	wg.Wait()
	for n := range accounts {
		if admitted[n] != most || seen[n] != 2*requests {
			t.Errorf("account %d: %d of %d are admitted, and its address made %d of %d", n, admitted[n], most, seen[n], 2*requests)
		}
	}

	nodes[2].Stop(t)
	gate := newTestReader(t, cfg)
	var known, unknown int
	for n := range accounts {
		for _, c := range counters(n) {
			switch a := gate.Take(t.Context(), [][]quota.Counter{{c}})[0]; {
			case a.Err != nil:
				unknown++
			case c.ID == "account" && !a.Counts[0].Exceeded:
				t.Errorf("account %d is admitted once more", n)
			default:
				known++
			}
		}
	}
	if known < accounts/2 || unknown < accounts/4 {
		t.Errorf("with two of three nodes, %d counters are known and %d unknown", known, unknown)
	}
}
