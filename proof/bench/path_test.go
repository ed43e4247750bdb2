package bench

import (
	"slices"
	"testing"
	"time"

	"github.com/weirdev/weir/rules"
)

// BenchmarkPath measures decode → facets → frames → windows → verdict, per event,
// with the built-in rules.
func BenchmarkPath(b *testing.B) { benchmarkPath(b, builtInRules) }

// BenchmarkYardstick does the same with the five rules of the yardstick.
func BenchmarkYardstick(b *testing.B) { benchmarkPath(b, yardstickRules) }

func benchmarkPath(b *testing.B, load func() (*rules.Set, error)) {
	p, err := newPath(load)
	if err != nil {
		b.Fatal(err)
	}
	records, _ := samples(pathKeys)
	b.ReportAllocs()
	b.ResetTimer()
	for at := 0; at < b.N; at += 500 {
		i := at % len(records)
		if err := p.run(records[i:i+500], 100*time.Microsecond); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoad does the same with the load of the worker, of which each identity sends
// three events, and reports the memory of an entity. Run it with -benchtime 240000x.
func BenchmarkLoad(b *testing.B) {
	p, err := newPath(builtInRules)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for at := 0; at < b.N; at += 500 {
		b.StopTimer()
		var records [][]byte
		for i := range 500 {
			records = append(records, loadEvent(at+i, max(b.N/3, 1)))
		}
		b.StartTimer()
		if err := p.run(records, 100*time.Microsecond); err != nil {
			b.Fatal(err)
		}
	}
	entities, used, bytes := 0, 0, 0
	for _, part := range p.partitions {
		entities, used, bytes = entities+part.Entities(), used+part.Used(), bytes+part.Bytes()
	}
	b.ReportMetric(float64(used)/float64(entities), "used-B/entity")
	b.ReportMetric(float64(bytes)/float64(entities), "B/entity")
}

func TestRulesByTurns(t *testing.T) {
	one, err := oneRuleEach()
	if err != nil {
		t.Fatal(err)
	}
	many, err := byTurns(manyRules)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := detectorsOf(many), detectorsOf(one); len(one.Rules) != len(want) || !slices.Equal(got, want) {
		t.Errorf("%d rules of the detectors %v, and many of %v", len(one.Rules), want, got)
	}
	if len(many.Rules) != manyRules {
		t.Errorf("%d rules, want %d", len(many.Rules), manyRules)
	}
}
