package ingest

import (
	"testing"
	"time"

	"github.com/weirdev/weir/internal/kafka"
)

func TestWhatAClaimBecomes(t *testing.T) {
	const minute = int64(time.Minute / time.Millisecond)
	const now = 1_000 * minute
	for _, c := range []struct {
		name     string
		low      int64 // when the end was seen last
		appended int64 // 0: the topic does not keep it
		arrival  bool
		believe  bool
		claimed  int64
		want     placed
	}{
		{"just now", now - minute, 0, false, false, now - 1, placed{time: now - 1, passed: now - 1}},
		{"as far back as is believed", now - minute, 0, false, false, now - 11*minute, placed{time: now - 11*minute, passed: now - 11*minute}},
		{"a moment further back stays, and is delayed", now - minute, 0, false, false, now - 11*minute - 1, placed{time: now - 11*minute - 1, passed: now - 11*minute, delayed: true}},
		{"or counts as of the bracket's beginning", now - minute, 0, true, false, now - 11*minute - 1, placed{time: now - minute, passed: now - minute, skewed: true, delayed: true}},
		{"what was never seen at its end may be of any time", 0, 0, false, false, 1, placed{time: 1, passed: 1}},
		{"as far ahead as is believed", now - minute, 0, false, false, now + 5000, placed{time: now + 5000, passed: now + 5000}},
		{"a moment further ahead is moved", now - minute, 0, false, false, now + 5001, placed{time: now + 5000, passed: now + 5000, skewed: true}},
		{"the broker's time counts, not the worker's", 0, now - 60*minute, false, false, now - 70*minute, placed{time: now - 70*minute, passed: now - 70*minute}},
		{"and what lies before it is delayed", 0, now - 60*minute, false, false, now - 70*minute - 1, placed{time: now - 70*minute - 1, passed: now - 70*minute, delayed: true}},
		{"or counts as of it", 0, now - 60*minute, true, false, now - 70*minute - 1, placed{time: now - 60*minute, passed: now - 60*minute, skewed: true, delayed: true}},
		{"and what lies ahead of it is moved", 0, now - 60*minute, false, false, now, placed{time: now - 60*minute + 5000, passed: now - 60*minute + 5000, skewed: true}},
		{"an end that a wrong clock saw tomorrow delays nothing", now + 1440*minute, 0, false, false, now - 9*minute, placed{time: now - 9*minute, passed: now - 9*minute}},
		{"history is believed", now, 0, false, true, 5, placed{time: 5, passed: 5}},
		{"whatever it says", now, now, true, true, 2 * now, placed{time: 2 * now, passed: 2 * now}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bracket{low: c.low, maxLate: 10 * minute, maxFuture: 5000, arrival: c.arrival, believe: c.believe}
			r := kafka.Record{Time: c.appended, Appended: c.appended != 0}
			if got := b.place(c.claimed, &r, now); got != c.want {
				t.Errorf("%d becomes %+v, want %+v", c.claimed, got, c.want)
			}
		})
	}
}

// TestAnEndThatWasSeenStaysSeen: a clock that is set back for a moment, or another
// worker's that is behind, would else have old claims be believed.
func TestAnEndThatWasSeenStaysSeen(t *testing.T) {
	b := bracket{maxLate: 600_000}
	b.seenEnd(10_000_000)
	b.seenEnd(9_000_000)
	if got := b.place(9_399_999, &kafka.Record{}, 10_000_500); !got.delayed {
		t.Errorf("a claim from before the end was seen becomes %+v", got)
	}
	b.seenEnd(10_000_400)
	if b.low != 10_000_400 {
		t.Errorf("the end was last seen at %d", b.low)
	}
}
