package dashboards_test

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/dashboards"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// runScore compares the scores that Entity and Overview compute in SQL with those of the
// code that makes them.
func runScore(t *testing.T, w *world) {
	all := read(t)
	of := func(uid string) *dashboards.Dashboard {
		return &all[slices.IndexFunc(all, func(d dashboards.Dashboard) bool { return d.UID == uid })]
	}
	end := w.runner.Range.To
	riskiest, err := w.runner.Rows(t.Context(), of("weir-overview"), "Riskiest entities")
	if err != nil || len(riskiest) < 15 {
		t.Fatalf("%d entities (%v)", len(riskiest), err)
	}
	compared := 0
	for _, row := range riskiest {
		kind, _ := facet.ParseKind(row["kind"])
		list := w.signalsOf(row["kind"], row["entity"])
		near(t, row["entity"], "score", row["score"], acting(list, end))
		near(t, row["entity"], "observed", row["observed"], observed(list, end))
		if len(list) < 3 || compared > 4 {
			continue
		}
		compared++
		w.choose(facet.Entity{Kind: kind, Key: row["entity"]})
		steps, err := w.runner.Rows(t.Context(), of("weir-entity"), "Score over time")
		if err != nil || len(steps) < 100 {
			t.Fatalf("%d steps (%v)", len(steps), err)
		}
		for _, step := range steps {
			at, err := time.Parse("2006-01-02 15:04:05 -0700 MST", step["time"])
			if err != nil {
				t.Fatal(err)
			}
			near(t, row["entity"]+" at "+step["time"], "acting", step["acting"], acting(list, at))
			near(t, row["entity"]+" at "+step["time"], "observed", step["observed"], observed(list, at))
		}
	}
	if compared == 0 {
		t.Error("no entity has several signals")
	}
}

// signalsOf reads the signals of an entity in the order in which they were made.
func (w *world) signalsOf(kind, entity string) (all []score.Signal) {
	rows, err := w.conn.Query(w.t.Context(), `SELECT rule, category, phase, weight, half_life_s, lowers, clears, toUnixTimestamp64Milli(time)
		FROM weir.v_signals WHERE entity_kind = ? AND entity = ? ORDER BY facet_partition, facet_offset, facet_index`, kind, entity)
	w.must(err)
	defer rows.Close()
	for rows.Next() {
		var s score.Signal
		var phase string
		var halfLife uint32
		var lowers, clears uint8
		w.must(rows.Scan(&s.Rule, &s.Category, &phase, &s.Weight, &halfLife, &lowers, &clears, &s.Time))
		w.must(s.Phase.UnmarshalText([]byte(phase)))
		s.HalfLife, s.Lowers, s.Clears = time.Duration(halfLife)*time.Second, lowers == 1, clears == 1
		all = append(all, s)
	}
	return w.withStatements(all, kind, entity)
}

// withStatements adds a withdrawal of each rule whose contribution people took away.
func (w *world) withStatements(all []score.Signal, kind, entity string) []score.Signal {
	rows, err := w.conn.Query(w.t.Context(), `SELECT rule, toUnixTimestamp64Milli(time) FROM weir.v_audit
		WHERE entity_kind = ? AND entity = ? AND action IN ('false_positive', 'release')`, kind, entity)
	w.must(err)
	defer rows.Close()
	for rows.Next() {
		var rule string
		var at int64
		w.must(rows.Scan(&rule, &at))
		for _, s := range slices.Clone(all) {
			if rule == "" || s.Rule == rule {
				all = append(all, score.Signal{Rule: s.Rule, Clears: true, Time: at})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b score.Signal) int { return cmp.Compare(a.Time, b.Time) })
	return all
}

// contributions are those of the signals up to a moment.
func contributions(all []score.Signal, at time.Time) (list []score.Contribution) {
	for _, s := range all {
		switch {
		case s.Time > at.UnixMilli():
		case s.Clears:
			list, _ = score.Clear(list, s.Rule, s.Time)
		case s.Weight > 0:
			list, _ = score.Merge(list, s.Contribution())
		}
	}
	return list
}

func observed(all []score.Signal, at time.Time) float64 {
	s := score.At(contributions(all, at), at.UnixMilli())
	return points(s)
}

func acting(all []score.Signal, at time.Time) float64 {
	list := contributions(all, at)
	return max(points(score.AtLeast(rules.Soft, list, at.UnixMilli())), points(score.AtLeast(rules.Enforce, list, at.UnixMilli())))
}

func points(s score.Scores) float64 { return float64(s.Total) / float64(score.Point) }

// near allows for rounding to whole points, and for contributions of less than a point,
// which the code forgets.
func near(t *testing.T, who, what, got string, want float64) {
	t.Helper()
	if n, err := strconv.ParseFloat(got, 64); err != nil || math.Abs(n-want) > 1.5 {
		t.Errorf("%s: %s is %s, want %.2f", who, what, got, want)
	}
}
