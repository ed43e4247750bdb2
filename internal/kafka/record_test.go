package kafka

import (
	"testing"
	"time"
)

func TestReadUpTo(t *testing.T) {
	asked := time.UnixMilli(9_000)
	for name, c := range map[string]struct {
		records []Record
		next    int64
		want    time.Time
		ok      bool
	}{
		"at the end":                   {[]Record{{Offset: 4, Time: 1_000}}, 5, asked, true},
		"at the end of an empty one":   {nil, 5, asked, true},
		"behind":                       {[]Record{{Offset: 1, Time: 500}, {Offset: 2, Time: 1_000}}, 3, time.UnixMilli(1_000), true},
		"before an open transaction":   {nil, 3, time.Time{}, false},
		"beyond what was the end then": {nil, 6, asked, true},
	} {
		b := Batch{Records: c.records, HighWatermark: 5, Asked: asked}
		if got, ok := b.ReadUpTo(c.next); !got.Equal(c.want) || ok != c.ok {
			t.Errorf("%s: read up to %v, %v", name, got, ok)
		}
	}
}
