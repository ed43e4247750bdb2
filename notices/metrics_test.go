package notices

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/internal/kafka"
)

func TestHowLongNoticesWait(t *testing.T) {
	m, began := newMetrics(nil, nil), time.UnixMilli(1_763_892_000_500)
	m.waiting("chat", []*delivery{{began: began}, {began: began.Add(time.Minute)}})
	if n, since := testutil.ToFloat64(m.pending), testutil.ToFloat64(m.oldest); n != 2 || since != 1_763_892_000.5 {
		t.Errorf("%v wait, since %v", n, since)
	}
	m.waiting("chat", nil)
	if n, since := testutil.ToFloat64(m.pending), testutil.ToFloat64(m.oldest); n != 0 || since != 0 {
		t.Errorf("%v wait, since %v", n, since)
	}
	m.forget("chat")
	if testutil.CollectAndCount(m.oldest) != 0 {
		t.Error("there is an age of a channel that is gone")
	}
}

func TestHowFarBehindSignalsAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, now := newMetrics(nil, nil), time.Now()
		m.read(1, &kafka.Batch{HighWatermark: 10, Asked: now, Records: []kafka.Record{{Time: now.Add(-time.Minute).UnixMilli()}}}, 4)
		time.Sleep(30 * time.Second) // in which nothing is read
		if s, n := testutil.ToFloat64(m.waited), testutil.ToFloat64(m.lag); s != 90 || n != 6 {
			t.Errorf("%v seconds and %v records behind", s, n)
		}
		m.read(1, &kafka.Batch{HighWatermark: 10, Asked: time.Now()}, 10)
		if s := testutil.ToFloat64(m.waited); s != 0 {
			t.Errorf("%v seconds behind at the end", s)
		}
		m.gone(1)
		if testutil.CollectAndCount(m.waited) != 0 {
			t.Error("there is a lag of a partition that is another worker's")
		}
	})
}
