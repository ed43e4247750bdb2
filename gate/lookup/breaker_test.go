package lookup

import (
	"testing"
	"time"
)

func TestTheBreaker(t *testing.T) {
	now := time.Unix(0, 0)
	b := breaker{failures: 3, pause: time.Second, now: func() time.Time { return now }}
	step := func(what string, want bool, then ...outcome) {
		t.Helper()
		if got := b.allow(); got != want {
			t.Fatalf("%s: allowed is %v", what, got)
		}
		for _, o := range then {
			b.done(o)
		}
	}
	step("at first it is closed", true, failed)
	step("after one failure too", true, failed)
	step("a success starts the count again", true, succeeded)
	step("one", true, failed)
	step("two", true, failed)
	step("who goes away says nothing", true, abandoned)
	step("three", true, failed)
	if b.open() != 1 {
		t.Error("an open one says that it is closed")
	}
	step("now it is open", false)
	now = now.Add(999 * time.Millisecond)
	step("until the pause is over", false)
	now = now.Add(time.Millisecond)
	step("then one may try", true)
	step("but only one", false)
	b.done(failed)
	step("its failure opens it again", false)
	now = now.Add(time.Second)
	step("the next one tries", true, abandoned)
	step("and if it went away, another", true, succeeded)
	step("a success closes it", true)
	step("for all", true)
	if b.open() != 0 {
		t.Error("a closed one says that it is open")
	}
}
