package redis

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/internal/facet"
)

// startCluster is a cluster of one node that owns every slot: it refuses
// commands that span slots, as any cluster does.
func startCluster(t *testing.T) (*realServer, Config) {
	t.Helper()
	s := startReal(t, "--cluster-enabled", "yes")
	c := connect(t, s)
	if err := c.Do(t.Context(), "cluster", "addslotsrange", 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster is up", func() bool {
		info, err := c.ClusterInfo(t.Context()).Result()
		return err == nil && strings.Contains(info, "cluster_state:ok")
	})
	cfg := testConfig(s)
	cfg.Cluster = true
	return s, cfg
}

func TestAClusterIsWrittenAndRead(t *testing.T) {
	s, cfg := startCluster(t)
	w := startWriter(t, cfg)
	track := w.Open(3)
	entities := make([]facet.Entity, 40)
	for i := range entities {
		entities[i] = entityNumber(i)
		put(t, track, int64(i), update(entities[i], int64(i), 50))
	}
	drain(t, track)
	if err := connect(t, s).ScriptFlush(t.Context()).Err(); err != nil {
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
		{"acl", "setuser", "weir-gate", "on", ">gate", "resetkeys", "~weir:risk:*", "resetchannels", "&weir:risk:*", "-@all", "+getrange", "+subscribe", "+hlen", "+hgetall", "+hset", "+ping"},
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
