package quota

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Local counts requests in memory. Its memory is bounded: beyond the bound it
// forgets the counters that were not used for the longest time. It is safe for
// concurrent use.
type Local struct {
	half int // highest cost of the young half

	mu         sync.Mutex
	young, old map[string]*times
	cost       int // of the young half
}

// times holds the times of the last requests that count, in ascending order.
type times struct{ at []time.Time }

// costOfKey is the memory of a key and its map entry, in times.
const costOfKey = 8

// NewLocal creates a Local that keeps about most times.
func NewLocal(most int) *Local {
	return &Local{half: max(most/2, 1), young: map[string]*times{}, old: map[string]*times{}}
}

// Take counts a request at a time. The times of consecutive calls should not fall.
func (l *Local) Take(counters []Counter, now time.Time) Answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := Answer{Counts: make([]Count, len(counters)), At: now}
	lists, refused := make([]*times, len(counters)), false
	for i := range counters {
		c := &counters[i]
		lists[i] = l.list(c)
		l.trim(lists[i], c, now)
		a.Counts[i].Exceeded = len(lists[i].at) >= c.Most
		refused = refused || a.Counts[i].Exceeded && c.Refuses
	}
	for i := range counters {
		c, list, count := &counters[i], lists[i], &a.Counts[i]
		if c.All || !refused && !count.Exceeded {
			list.at = append(list.at, now)
			l.cost++
			l.trim(list, c, now)
		}
		count.Remaining = c.Most - len(list.at)
		if len(list.at) > 0 {
			count.Reset = list.at[0].Add(c.Window).Sub(now)
		}
	}
	return a
}

// trim drops the times that no longer count, and those beyond the most.
func (l *Local) trim(t *times, c *Counter, now time.Time) {
	from := now.Add(-c.Window)
	first, _ := slices.BinarySearchFunc(t.at, from, func(at, from time.Time) int {
		if at.After(from) {
			return 1
		}
		return -1
	})
	dropped := max(first, len(t.at)-c.Most, 0)
	t.at = t.at[dropped:]
	l.cost -= dropped
}

// list returns the times of a counter, and makes them young.
func (l *Local) list(c *Counter) *times {
	var b strings.Builder
	b.WriteString(c.ID)
	for _, e := range c.Entities {
		b.WriteByte(0)
		b.WriteByte(byte(e.Kind))
		b.WriteString(e.Tenant)
		b.WriteByte(0)
		b.WriteString(e.Key)
	}
	key := b.String()
	if t, ok := l.young[key]; ok {
		return t
	}
	t, ok := l.old[key]
	if !ok {
		t = &times{}
	}
	if cost := costOfKey + len(t.at); l.cost+cost > l.half {
		l.old, l.young, l.cost = l.young, map[string]*times{}, 0
	}
	l.young[key] = t
	l.cost += costOfKey + len(t.at)
	return t
}
