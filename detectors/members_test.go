package detectors_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

const memberWindow = 10 * time.Second

func newMembers() *detectors.Members {
	return detectors.NewMembers(&rules.Rule{
		Spec:    &detectors.SlidingWindow{Window: memberWindow, Tiers: []detectors.Tier{{At: 1, Weight: 1}}},
		Members: &rules.Members{Entity: facet.Account, Weight: 20},
	}, lateness)
}

// room is a slot with a limited size.
type room struct {
	b    []byte
	most int
}

func (r *room) Payload() []byte { return r.b }

func (r *room) Resize(n int) []byte {
	if n > r.most {
		return nil
	}
	r.b = append(slices.Clone(r.b[:min(n, len(r.b))]), make([]byte, max(0, n-len(r.b)))...)
	return r.b
}

func attempt(account string, t int64) *detectors.Context {
	e := new(event.Event)
	e.SetText(event.Auth, "failure")
	if account != "" {
		e.SetText(event.Account, account)
	}
	return &detectors.Context{Event: e, Time: t, Watermark: math.MinInt64}
}

func taken(m *detectors.Members, s detectors.Slot, t int64) (all []string) {
	m.Take(s, t, func(k facet.Kind, key []byte) { all = append(all, k.String()+" "+string(key)) })
	return all
}

func TestMembersAreThoseThatCameLast(t *testing.T) {
	m, s := newMembers(), &room{most: math.MaxUint16}
	for i := range rules.MostMembers + 5 {
		m.See(s, attempt(fmt.Sprint("a", i), int64(1000+i)))
	}
	m.See(s, attempt("a7", 2000))
	m.See(s, attempt("", 2000))
	if !m.Reads(s.b) {
		t.Error("the payload is not of its own form")
	}
	var want []string
	for i := 5; i < rules.MostMembers+5; i++ {
		if i != 7 {
			want = append(want, fmt.Sprint("account a", i))
		}
	}
	want = append(want, "account a7")
	if got := taken(m, s, 3000); !slices.Equal(got, want) {
		t.Errorf("members %v, want %v", got, want)
	}
	if got := taken(m, s, 3000); got != nil {
		t.Errorf("members %v are named twice", got)
	}
}

func TestMembersOutsideOfTheWindowAreNotNamed(t *testing.T) {
	m, s := newMembers(), &room{most: math.MaxUint16}
	window := memberWindow.Milliseconds()
	m.See(s, attempt("at the edge", 1000))
	m.See(s, attempt("inside", 1001))
	m.See(s, attempt("later", 1000+3*window))
	if got := taken(m, s, 1000+window); !slices.Equal(got, []string{"account inside", "account later"}) {
		t.Errorf("members %v", got)
	}
	in := attempt("old", 1000)
	m.See(s, in)
	in = attempt("new", 1001+window+lateness)
	in.Watermark = 1000 + window + lateness
	m.See(s, in)
	if got := taken(m, s, 1001+window/2); !slices.Equal(got, []string{"account new"}) {
		t.Errorf("what no event on time can share a window with is remembered: %v", got)
	}
}

func TestMembersNamedTooLongAgoAreNotTold(t *testing.T) {
	for within, want := range map[time.Duration][]string{
		0:           {"account ann", "account bob"},
		time.Second: {"account bob"},
		time.Hour:   {"account ann", "account bob"}, // the window is the most
	} {
		m := detectors.NewMembers(&rules.Rule{
			Spec:    &detectors.SlidingWindow{Window: memberWindow, Tiers: []detectors.Tier{{At: 1, Weight: 1}}},
			Members: &rules.Members{Entity: facet.Account, Weight: 20, Within: within},
		}, lateness)
		s := &room{most: math.MaxUint16}
		m.See(s, attempt("old", 1000))
		m.See(s, attempt("ann", 11_500))
		m.See(s, attempt("bob", 13_001))
		if got := taken(m, s, 14_000); !slices.Equal(got, want) {
			t.Errorf("within %v: told %q", within, got)
		}
	}
}

func TestLongNamesTakeNoMoreThanTheirShare(t *testing.T) {
	m, s := newMembers(), &room{most: math.MaxUint16}
	long := strings.Repeat("x", 250)
	for i := range 40 {
		m.See(s, attempt(fmt.Sprint(long, i), int64(1000+i)))
		if len(s.b) > 4096 {
			t.Fatalf("%d bytes of names", len(s.b))
		}
	}
	m.See(s, attempt(strings.Repeat("y", 5000), 2000))
	got := taken(m, s, 2000)
	if len(got) != 15 || got[len(got)-1] != "account "+long+"39" {
		t.Errorf("%d members, the last is %q", len(got), got[len(got)-1])
	}
}

func TestAFullRecordKeepsTheMembersThatItHas(t *testing.T) {
	m, s := newMembers(), &room{most: 40}
	m.See(s, attempt("ann", 1000))
	m.See(s, attempt(strings.Repeat("x", 60), 1001))
	m.See(s, attempt("bob", 1002))
	if got := taken(m, s, 2000); !slices.Equal(got, []string{"account ann", "account bob"}) {
		t.Errorf("members %v", got)
	}
}

func TestMembersOfAnyFormAreReadOrRefused(t *testing.T) {
	m := newMembers()
	rng := rand.New(rand.NewPCG(1, 1))
	read := 0
	for range 20_000 {
		b := make([]byte, rng.IntN(40))
		for i := range b {
			b[i] = byte(rng.IntN(3)) * byte(rng.IntN(9))
		}
		s := &room{b: b, most: math.MaxUint16}
		if m.Reads(b) {
			read++
			m.See(s, attempt("ann", math.MaxInt64))
			if got := taken(m, s, math.MaxInt64); !slices.Contains(got, "account ann") {
				t.Fatalf("% x: %v", b, got)
			}
		}
	}
	if read < 100 {
		t.Errorf("only %d were of the form", read)
	}
	if m.Reads([]byte("short")) || m.Reads(make([]byte, (rules.MostMembers+1)*10)) {
		t.Error("what is cut short, or too long, is taken")
	}
}

func TestMembersThatACancellingEventNamesAreNotTold(t *testing.T) {
	success := &rules.Condition{Holds: func(e *event.Event) bool { return e.Text(event.Auth) == "success" }}
	m := detectors.NewMembers(&rules.Rule{
		Spec:    &detectors.SlidingWindow{Window: memberWindow, Tiers: []detectors.Tier{{At: 1, Weight: 1}}},
		Members: &rules.Members{Entity: facet.Account, Weight: 20, Cancel: success},
	}, lateness)
	s := &room{most: math.MaxUint16}
	apply := func(account, auth string, counts, late bool) {
		c := attempt(account, 1000)
		c.Event.SetText(event.Auth, auth)
		c.Counts, c.Late = counts, late
		m.Apply(s, c)
	}
	for _, account := range []string{"ann", "bob", "eve", "dan"} {
		apply(account, "failure", true, false)
	}
	apply("cy", "failure", false, false) // not counted: not named
	apply("ann", "success", false, false)
	apply("bob", "success", false, true) // too late to withdraw anybody
	apply("dan", "success", true, false) // withdrawn, though counted
	apply("fay", "success", true, false) // never named
	apply("", "success", true, false)    // names nobody
	if !m.Reads(s.b) {
		t.Error("the payload is not of its own form")
	}
	if got := taken(m, s, 2000); !slices.Equal(got, []string{"account bob", "account eve"}) {
		t.Errorf("members %v", got)
	}
	apply("ann", "failure", true, false)
	apply("ann", "success", false, false)
	apply("ann", "failure", true, false)
	if got := taken(m, s, 2000); !slices.Equal(got, []string{"account ann"}) {
		t.Errorf("named again after a success: members %v", got)
	}
}
