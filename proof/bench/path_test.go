package bench

import (
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
