package breaker

import (
	"testing"
	"time"
)

func TestTheBreaker(t *testing.T) {
	now := time.Unix(0, 0)
	b := New(3, time.Second, func() time.Time { return now })
	step := func(what string, want bool, then ...Outcome) {
		t.Helper()
		if got := b.Allow(); got != want {
			t.Fatalf("%s: allowed is %v", what, got)
		}
		for _, o := range then {
			b.Done(o)
		}
	}
	step("at first it is closed", true, Failed)
	step("after one failure too", true, Failed)
	step("a success starts the count again", true, Succeeded)
	step("one", true, Failed)
	step("two", true, Failed)
	step("who goes away says nothing", true, Abandoned)
	step("three", true, Failed)
	if b.Open() != 1 {
		t.Error("an open one says that it is closed")
	}
	step("now it is open", false)
	now = now.Add(999 * time.Millisecond)
	step("until the pause is over", false)
	now = now.Add(time.Millisecond)
	step("then one may try", true)
	step("but only one", false)
	b.Done(Failed)
	step("its failure opens it again", false)
	now = now.Add(time.Second)
	step("the next one tries", true, Abandoned)
	step("and if it went away, another", true, Succeeded)
	step("a success closes it", true)
	step("for all", true)
	if b.Open() != 0 {
		t.Error("a closed one says that it is open")
	}
}
