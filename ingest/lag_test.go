package ingest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/internal/kafka"
)

// TestControlsHaveALagOfTheirOwn: it is not one of raw partitions.
func TestControlsHaveALagOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, now := newMetrics(nil), time.Now()
		m.lag(8, true, &kafka.Batch{HighWatermark: 10, Asked: now, Records: []kafka.Record{{Time: now.Add(-time.Minute).UnixMilli()}}}, 5)
		m.lag(0, false, &kafka.Batch{HighWatermark: 10, Asked: now}, 10)
		time.Sleep(30 * time.Second) // in which nothing is read
		if controls, events := testutil.ToFloat64(m.waitedBy), testutil.ToFloat64(m.waited); controls != 90 || events != 30 {
			t.Errorf("controls are %v seconds behind, events %v", controls, events)
		}
		m.gone(8)
		if testutil.CollectAndCount(m.waitedBy) != 0 || testutil.CollectAndCount(m.waited) != 1 {
			t.Error("there is a lag of a partition that is another worker's")
		}
	})
}
