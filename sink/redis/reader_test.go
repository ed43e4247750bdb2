package redis

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/internal/facet"
)

func TestManyEntitiesAreLookedUpAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		track := startWriter(t, testConfig(s)).Open(3)
		entities := make([]facet.Entity, 64)
		for i := range entities {
			entities[i] = entityNumber(i)
			if i%2 == 0 {
				put(t, track, int64(i), update(entities[i], int64(i), 50))
			}
		}
		drain(t, track)
		r := newTestReader(t, testConfig(s))
		values, err := fetchAll(t.Context(), r, entities)
		if err != nil {
			t.Fatal(err)
		}
		if got := testutil.ToFloat64(r.metrics.reads); got != 1 {
			t.Errorf("%v look-ups counted", got)
		}
		for i, v := range values {
			if there := v.Kind != 0; there != (i%2 == 0) || there && v.Position.Offset != int64(i) {
				t.Errorf("entity %d: %+v", i, v)
			}
		}
	})
}

func TestTheSameEntityOfAnotherTenantIsAnother(t *testing.T) {
	s := startFake(t)
	track := startWriter(t, testConfig(s)).Open(3)
	put(t, track, 0, update(entityNumber(0), 0, 50))
	drain(t, track)
	other := entityNumber(0)
	other.Tenant = "bank"
	if v := get(t, newTestReader(t, testConfig(s)), other); v.Kind != 0 {
		t.Errorf("got %+v", v)
	}
	for _, key := range s.scores() {
		if strings.Contains(key, "user") || strings.Contains(key, "shop") || !strings.HasPrefix(key, "weir:risk:account:{") {
			t.Errorf("key %q", key)
		}
	}
}

func TestALookUpFailsRatherThanWait(t *testing.T) {
	s := startFake(t)
	r := newTestReader(t, testConfig(s))
	if err := r.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Stop(t)
	if err := r.Ready(t.Context()); err == nil {
		t.Error("ready without a server")
	}
	if _, err := fetchAll(t.Context(), r, []facet.Entity{entityNumber(0)}); err == nil {
		t.Error("no error without a server")
	}
	if got := testutil.ToFloat64(r.metrics.errors[reasonNetwork]); got != 1 {
		t.Errorf("%v network errors counted", got)
	}
}

func TestALookUpOfNothing(t *testing.T) {
	r := newTestReader(t, testConfig(startFake(t)))
	if v, bad, err := r.Fetch(t.Context(), nil); v != nil || bad != nil || err != nil {
		t.Errorf("of nothing: %v, %v, %v", v, bad, err)
	}
}

func BenchmarkFetch(b *testing.B) {
	s := startReal(b)
	track, r := startWriter(b, testConfig(s)).Open(3), newTestReader(b, testConfig(s))
	entities := []facet.Entity{entityNumber(0), entityNumber(1), entityNumber(2), entityNumber(3)}
	for i, e := range entities {
		put(b, track, int64(i), update(e, int64(i), 50))
	}
	drain(b, track)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fetchAll(b.Context(), r, entities); err != nil {
			b.Fatal(err)
		}
	}
}

func TestALookUpEndsWithItsContextWhateverTheServerDoes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := Defaults()
	cfg.Addrs, cfg.ReadTimeout = []string{l.Addr().String()}, 10*time.Second
	r := newTestReader(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = fetchAll(ctx, r, []facet.Entity{entityNumber(0)})
	if took := time.Since(start); err == nil || took > 2*time.Second {
		t.Errorf("%v after %v", err, took)
	}
	if got := testutil.ToFloat64(r.metrics.errors[reasonTimeout]); got != 1 {
		t.Errorf("%v timeouts counted (%v)", got, err)
	}
}
