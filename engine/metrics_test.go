package engine

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// TestTheFiguresOfAPartitionGoWithIt: what a worker says of a partition that
// another one has would never change again.
func TestTheFiguresOfAPartitionGoWithIt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, registry := newWorld(t, 240), prometheus.NewPedanticRegistry()
		w.cfg.MaxEntities = 20
		s := w.stage(t)
		s.metrics = newStageMetrics(registry)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		held := make(chan []string, 1)
		time.AfterFunc(19*time.Second, func() { held <- testkit.OfPartitions(t, registry) })
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"weir_detect_cohorts", "weir_detect_commit_age_seconds", "weir_detect_entities", "weir_detect_evicted_entities", "weir_detect_facets", "weir_detect_lag_records", "weir_detect_lag_seconds", "weir_detect_refused_facets",
			"weir_detect_snapshot_age_seconds", "weir_detect_snapshot_bytes", "weir_detect_state_bytes", "weir_detect_timers",
		}
		if got := <-held; !slices.Equal(got, want) {
			t.Errorf("of a partition that is owned there are %v, want %v", got, want)
		}
		if left := testkit.OfPartitions(t, registry); len(left) > 0 {
			t.Errorf("of one that was given up there are %v", left)
		}
	})
}

// TestSignalsOfTheCanaryAreNotCounted: a rule that only the canary makes fire is quiet.
func TestSignalsOfTheCanaryAreNotCounted(t *testing.T) {
	m := newStageMetrics(nil)
	of := func(tenant string) score.Signal {
		return score.Signal{Rule: "r", Phase: rules.Soft, Entity: facet.Entity{Kind: facet.IP, Tenant: tenant, Key: "203.0.113.9"}}
	}
	m.fired(&Output{Signals: []score.Signal{of("shop"), of("weir-canary-x")}, Shadow: []score.Signal{of("weir-canary-x")}})
	if n := testutil.ToFloat64(m.signals); n != 1 {
		t.Errorf("%v signals are counted", n)
	}
	if n := testutil.CollectAndCount(m.shadow); n != 0 {
		t.Errorf("%d series of shadow rules", n)
	}
}
