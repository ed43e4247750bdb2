package push

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

func TestAPushReachesEveryPartition(t *testing.T) {
	w, r := newWorld(), Request{Rules: set(t, "ip", "auth"), Who: "ann", Reason: "case 81", Source: "./rules"}
	p := w.must(t, r)
	if got := w.in(t, facet.Live); got != r.Rules.Version || p.Number != 1 || !p.Done {
		t.Errorf("version %s is in force, push %+v", got, p)
	}
	s, err := facet.ReadSwitch(w.facets[2][0])
	if err != nil || s.Who != "ann" || s.Time != 1763892000123 || s.Source != "push 1 of ./rules: case 81" {
		t.Errorf("the switch record says %+v, %v", s, err)
	}
	again, err := r.Rules.Open(s.Bundle)
	if err != nil || again.Version != r.Rules.Version {
		t.Errorf("it holds %v, %v", again, err)
	}
	if h := w.history(t); h.InForce(facet.Live).Reason != "case 81" || h.State(h.Pushes[0]) != "in force" {
		t.Errorf("the history is %+v", h.Pushes[0])
	}
	t.Run("pushed again, nothing is written", func(t *testing.T) {
		rules, facets := len(w.rules), len(w.facets[0])
		if again := w.must(t, r); again.Number != 1 || len(w.rules) != rules || len(w.facets[0]) != facets {
			t.Errorf("push %d, %d records", again.Number, len(w.rules))
		}
	})
	t.Run("shadow rules are apart, and end", func(t *testing.T) {
		shadow := set(t, "net", "auth")
		w.must(t, Request{Lane: facet.Shadow, Rules: shadow})
		if w.in(t, facet.Shadow) != shadow.Version || w.in(t, facet.Live) != r.Rules.Version {
			t.Error("another version is in force")
		}
		w.must(t, Request{Lane: facet.Shadow})
		if w.in(t, facet.Shadow) != "" || w.in(t, facet.Live) != r.Rules.Version {
			t.Error("another version is in force")
		}
	})
}

// TestAPushThatDiesIsFinished, wherever it dies: by the same command, under the same
// number, and partitions that had it ignore what is written twice.
func TestAPushThatDiesIsFinished(t *testing.T) {
	r := Request{Rules: set(t, "ip", "auth")}
	died := 0
	for life := range 20 {
		w := newWorld()
		w.must(t, Request{Rules: set(t, "ip", "method")})
		number := uint64(len(w.rules)) + 1
		w.mortal = life
		if _, err := w.push(t, r); err == nil {
			break
		}
		died++
		w.mortal = -1
		p := w.must(t, r)
		if p.Number != number || w.in(t, facet.Live) != r.Rules.Version || len(w.history(t).Pushes) != 2 {
			t.Errorf("life %d: push %d of %d", life, p.Number, number)
		}
	}
	if died != 6 { // a proposal, a decision, three partitions, the end
		t.Errorf("it has died in %d places", died)
	}
}

// TestAnotherPushReplacesOneThatDied, wherever that died.
func TestAnotherPushReplacesOneThatDied(t *testing.T) {
	for life := range 6 {
		w := newWorld()
		w.mortal = life
		if _, err := w.push(t, Request{Rules: set(t, "ip", "auth")}); err == nil {
			t.Fatal("it has not died")
		}
		w.mortal = -1
		other := set(t, "ip", "method")
		w.must(t, Request{Rules: other})
		if got := w.in(t, facet.Live); got != other.Version {
			t.Errorf("life %d: version %s is in force", life, got)
		}
	}
}

// TestTwoWhoPushAtOnceGetOneOrder, whenever the second begins. The first is told, unless
// the second was done before its proposal.
func TestTwoWhoPushAtOnceGetOneOrder(t *testing.T) {
	for at := range 6 {
		w := newWorld()
		first, second := set(t, "ip", "auth"), set(t, "ip", "method")
		effects := 0
		var wait func()
		wait = func() {
			if effects++; effects > at {
				w.must(t, Request{Rules: second, Who: "bob"})
			} else {
				w.before = wait
			}
		}
		w.before = wait
		_, err := w.push(t, Request{Rules: first})
		if want := at > 0; (err != nil) != want || want && !strings.Contains(err.Error(), "bob has pushed") {
			t.Errorf("at %d: %v", at, err)
		}
		got, want := w.in(t, facet.Live), second.Version
		if at == 0 {
			want = first.Version // proposed after the second was done
		}
		if h := w.history(t); got != want || h.InForce(facet.Live).Version != want {
			t.Errorf("at %d: version %s is in force, want %s", at, got, want)
		}
	}
}

// TestNothingChangesUntilWorkersFollow: the push says so, and what to do.
func TestNothingChangesUntilWorkersFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newWorld(), Request{Rules: set(t, "ip", "auth")}
		w.stalled = true
		_, err := w.push(t, r)
		if err == nil || !strings.Contains(err.Error(), "nothing has changed: ingest of the raw partitions 0, 1 does not say that it follows (-timeout is over)") {
			t.Errorf("it ends with %v", err)
		}
		if len(w.facets[0])+len(w.facets[1])+len(w.facets[2]) > 0 {
			t.Error("switch records are written")
		}
		if h := w.history(t); h.State(h.Pushes[0]) != "proposed" {
			t.Errorf("it is %s", h.State(h.Pushes[0]))
		}
		w.stalled = false
		if p := w.must(t, r); p.Number != 1 {
			t.Errorf("it is finished as push %d", p.Number)
		}
	})
}

// TestTheWayBackNeedsNoIngest: the fields of the rules before are still there, also those
// of shadow rules that become live. Others must wait.
func TestTheWayBackNeedsNoIngest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		a, b, c, d := set(t, "ip", "auth"), set(t, "ip", "method"), set(t, "net", "auth"), set(t, "account", "auth")
		w.must(t, Request{Rules: a})
		w.must(t, Request{Rules: b})
		w.must(t, Request{Rules: c, Lane: facet.Shadow})
		w.stalled = true
		for _, s := range []Request{{Rules: a}, {Rules: b}, {Rules: c}, {Lane: facet.Shadow}} {
			if _, err := w.push(t, s); err == nil {
				continue
			}
			t.Errorf("%+v waits", s)
		}
		if _, err := w.push(t, Request{Rules: a}); err == nil || !strings.Contains(err.Error(), "nothing has changed") {
			t.Errorf("a, which ingest may have dropped: %v", err)
		}
		w.fetched = 0
		if _, err := w.push(t, Request{Rules: d}); err == nil || !strings.Contains(err.Error(), "nothing has changed") {
			t.Errorf("d, which is new: %v", err)
		}
		if w.fetched > 3 { // what was pushed, its own record, and whether fields were kept
			t.Errorf("while it waits, it reads the topic %d times", w.fetched)
		}
	})
}

// TestAPushSaysWhereItIsNotInForce: the records are there, and a worker is missing.
func TestAPushSaysWhereItIsNotInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newWorld(), Request{Rules: set(t, "ip", "auth")}
		w.idle = true
		_, err := w.push(t, r)
		if err == nil || !strings.Contains(err.Error(), "push 1 is in the log of every facet partition") || !strings.Contains(err.Error(), "partitions 0, 1, 2 have committed nothing after it (-timeout is over)") {
			t.Errorf("it ends with %v", err)
		}
		if w.in(t, facet.Live) != r.Rules.Version {
			t.Error("it is not there")
		}
	})
}

// TestATopicThatWasMadeAnewIsRefused: partitions would ignore its numbers.
func TestATopicThatWasMadeAnewIsRefused(t *testing.T) {
	w := newWorld()
	w.must(t, Request{Rules: set(t, "ip", "auth")})
	w.must(t, Request{Rules: set(t, "ip", "method")})
	w.rules = nil
	if _, err := w.push(t, Request{Rules: set(t, "ip", "auth")}); err == nil || !strings.Contains(err.Error(), "made anew") || len(w.rules) > 0 {
		t.Errorf("it ends with %v", err)
	}
}

// TestATopicMadeAnewIsRefusedWhereOnlyIngestKnewIt: nothing was in force, but commits say
// that ingest follows more records than there are.
func TestATopicMadeAnewIsRefusedWhereOnlyIngestKnewIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.mortal = 1 // only proposed
		if _, err := w.push(t, Request{Rules: set(t, "ip", "auth")}); err == nil {
			t.Fatal("it has not died")
		}
		if _, err := w.Committed(t.Context(), "ingest", ""); err != nil { // ingest follows
			t.Fatal(err)
		}
		w.mortal, w.stalled, w.rules = -1, true, nil
		if _, err := w.push(t, Request{Rules: set(t, "net", "auth")}); err == nil || !strings.Contains(err.Error(), "ingest of raw partition") || len(w.rules) > 0 {
			t.Errorf("it ends with %v", err)
		}
	})
}

// TestWhereTheWayBackLeads: to the rules in force everywhere after a push that died half
// way, and nowhere after one that has changed nothing.
func TestWhereTheWayBackLeads(t *testing.T) {
	a, b, c := set(t, "ip", "auth"), set(t, "ip", "method"), set(t, "net", "auth")
	pushed := func(t *testing.T, all ...*rules.Set) *world {
		w := newWorld()
		for _, s := range all {
			w.must(t, Request{Rules: s})
		}
		return w
	}
	for _, tc := range []struct {
		name  string
		w     *world
		life  int // of the push of c
		want  *rules.Set
		error string
	}{
		{"nothing was pushed", pushed(t), 0, nil, "by their directory"},
		{"all was well", pushed(t, a, b), 6, b, ""},
		{"it died before anything was written", pushed(t, a, b), 0, a, ""},
		{"it was only proposed", pushed(t, a, b), 1, nil, "push 7 of ann was only proposed, and has changed nothing, so there is nothing to go back from; name the push that you want: -number 1 "},
		{"it was only proposed, and is the second", pushed(t, a), 1, nil, "nothing to go back from"},
		{"it died when it was decided", pushed(t, a, b), 2, b, ""},
		{"it died half way", pushed(t, a, b), 3, b, ""},
		{"the first died half way", pushed(t), 3, nil, "by their directory"},
	} {
		tc.w.mortal = tc.life
		_, _ = tc.w.push(t, Request{Rules: c})
		tc.w.mortal = -1
		switch back, err := tc.w.history(t).Back(facet.Live); {
		case tc.want == nil && (err == nil || !errors.Is(err, ErrNoWayBack) || !strings.Contains(err.Error(), tc.error)):
			t.Errorf("%s: %v", tc.name, err)
		case tc.want != nil && (err != nil || back.Version != tc.want.Version):
			t.Errorf("%s: %+v, %v", tc.name, back, err)
		case tc.want != nil:
			tc.w.must(t, Request{Rules: tc.want})
			if tc.w.in(t, facet.Live) != tc.want.Version {
				t.Errorf("%s: the way back does not reach every partition", tc.name)
			}
		}
	}
	w := newWorld()
	w.must(t, Request{Lane: facet.Shadow, Rules: a})
	w.must(t, Request{Lane: facet.Shadow})
	w.must(t, Request{Lane: facet.Shadow, Rules: b})
	if back, err := w.history(t).Back(facet.Shadow); err != nil || back.Version != "" {
		t.Errorf("no shadow rules watched before: %+v, %v", back, err)
	}
}

// TestALostSwitchIsWrittenAgain: a partition began anew after a loss that was declared,
// and commits that it has read its whole log without the push.
func TestALostSwitchIsWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newWorld(), Request{Rules: set(t, "ip", "auth")}
		w.must(t, r)
		w.facets[1] = nil
		p := w.must(t, r)
		if p.Number != 1 || w.in(t, facet.Live) != r.Rules.Version || len(w.facets[0]) != 1 {
			t.Errorf("push %d, records %d", p.Number, len(w.facets[0]))
		}
		if !strings.Contains(strings.Join(w.said, "\n"), "its record is lost in facet partition 1; it is written again") {
			t.Errorf("it says %q", w.said)
		}
		w.mute = true // outputs are on their way all the time
		w.must(t, r)
		if len(w.facets[1]) != 1 {
			t.Error("it is written again where commits do not say what is in force")
		}
	})
}

// TestWhatKeepsWorkersFromFollowingIsNamed: shadow rules that no worker reads are in the
// way of live ones, and the message says how to end that.
func TestWhatKeepsWorkersFromFollowingIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newWorld(), Request{Rules: set(t, "ip", "auth")}
		w.unread = 1
		for _, lane := range []facet.Lane{facet.Shadow, facet.Live} {
			r.Lane = lane
			if _, err := w.push(t, r); err == nil || strings.Contains(err.Error(), "ann has proposed push 1 to the shadow lane") != (lane == facet.Live) {
				t.Errorf("%v: it ends with %v", lane, err)
			}
		}
		w.must(t, Request{Lane: facet.Shadow}) // as the message says
		w.unread = 0                           // it counts no more
		w.must(t, r)
	})
}

// TestWhatNobodyPushesIsPassedOver, but not what a later version has pushed.
func TestWhatNobodyPushesIsPassedOver(t *testing.T) {
	w, r := newWorld(), Request{Rules: set(t, "ip", "auth")}
	w.rules = append(w.rules, []byte("{}"), []byte("garbage"), []byte(`{"v":1,"incarnation":1,"step":"done","number":9}`))
	if p := w.must(t, r); p.Number != 4 || w.in(t, facet.Live) != r.Rules.Version || w.history(t).Foreign != 2 {
		t.Errorf("push %d, foreign %d", p.Number, w.history(t).Foreign)
	}
	w.rules = append(w.rules, []byte(`{"v":2}`))
	if _, err := w.push(t, r); err == nil || !strings.Contains(err.Error(), "run that version") {
		t.Errorf("it ends with %v", err)
	}
}

// FuzzTake: whatever is in the topic, a history is read from it, and what is kept has a
// lane and a number.
func FuzzTake(f *testing.F) {
	for _, seed := range []string{
		`{"v":1,"incarnation":1,"step":"proposed","id":"a","lane":"live","rules":"x","bundle":"AA=="}`, `{"v":1,"incarnation":1,"step":"decided","number":1}`,
		`{"v":1,"incarnation":1,"step":"proposed","id":"b","lane":"shadow"}`, `{"v":9}`, `[`, "null",
	} {
		f.Add([]byte(seed), []byte(`{"v":1,"incarnation":1,"step":"done","number":1}`))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		h := &History{Incarnation: 1}
		for i, value := range [][]byte{a, b, a} {
			if err := h.Take(int64(i), value); err != nil {
				return
			}
		}
		for _, p := range h.Kept() {
			if p.Number == 0 || p.Lane > facet.Shadow || (p.Version == "") != (p.Bundle == nil) || len(p.Who) > longestText || h.State(p) == "" {
				t.Errorf("%+v", p)
			}
		}
	})
}
