package chaos

import (
	"bytes"
	"testing"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
)

func records(p plan, partition int, steps ...int64) (all []record) {
	s := p.generator(partition)
	for _, t := range steps {
		s.until(t, func(r record) { all = append(all, r) })
	}
	return all
}

// TestTheLoadIsAFunctionOfThePlan also checks the assumptions of the verifier: good
// records are readable, garbage is unreadable and never the same, and repeats have
// the bytes of an earlier record.
func TestTheLoadIsAFunctionOfThePlan(t *testing.T) {
	p := plan{Seed: 3, Start: 1_764_000_000_000, Rate: 2000, Partitions: 2, For: 10 * time.Second}
	end := p.Start + 10_000
	all := records(p, 1, end)
	var steps []int64
	for at := p.Start; at < end; at += 37 {
		steps = append(steps, at)
	}
	again := records(p, 1, append(steps, end)...)
	if len(all) != len(again) || len(all) < 8000 {
		t.Fatalf("%d records, and %d when the time is cut into pieces", len(all), len(again))
	}
	seen, count := map[string]int{}, map[content]int{}
	var d format.Decoder
	var e event.Event
	for i, r := range all {
		if !bytes.Equal(r.value, again[i].value) || r.what != again[i].what {
			t.Fatalf("record %d differs when the time is cut into pieces", i)
		}
		count[r.what]++
		before, known := seen[string(r.value)]
		if known != (r.what == repeat) || known && i-before > 2*farthestRepeat {
			t.Fatalf("record %d is %d, but its bytes were seen: %v at %d", i, r.what, known, before)
		}
		seen[string(r.value)] = i
		e.Reset()
		if err := d.Decode(r.value, &e); (err != nil) != (r.what == garbage) {
			t.Fatalf("record %d is %d and reads with %v: %q", i, r.what, err, r.value)
		}
		if r.what != garbage && e.Text(event.Tenant) != "t1" {
			t.Fatalf("record %d belongs to tenant %q", i, e.Text(event.Tenant))
		}
	}
	if count[garbage] == 0 || count[repeat] == 0 {
		t.Errorf("the load holds %v", count)
	}
	if p.Seed++; bytes.Equal(records(p, 1, end)[100].value, all[100].value) {
		t.Error("another seed gives the same records")
	}
}
