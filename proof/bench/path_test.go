package bench

import (
	"testing"
	"time"
)

// BenchmarkPath is decode → facets → frames → windows → verdict, an event each.
func BenchmarkPath(b *testing.B) {
	p, err := newPath()
	if err != nil {
		b.Fatal(err)
	}
	records, _ := samples(pathKeys)
	b.ReportAllocs()
	for at := 0; at < b.N; at += 500 {
		i := at % len(records)
		if err := p.run(records[i:i+500], 100*time.Microsecond); err != nil {
			b.Fatal(err)
		}
	}
}
