package notices

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// told describes rules by heart.
type told struct{}

func (told) Title(rule string) string { return "title of " + rule }
func (told) Groups(rule string) bool  { return rule == "farm" }

func testFile() *File {
	return &File{
		Phase: rules.Soft, By: []string{byRule, byTenant, byGroup}, Wait: 30 * time.Second, Interval: 5 * time.Minute, Repeat: time.Hour, Resolve: 15 * time.Minute,
		Channels: []*Channel{{ID: "all", PerMinute: 600, GiveUp: time.Hour, Resolved: true}},
	}
}

// signal is the n-th signal of a facet partition.
func signal(n int64, rule, entity string) score.Signal {
	return score.Signal{
		Position: score.Position{Incarnation: 1, Partition: 3, Offset: n}, Rule: rule, Category: "scraping", Reason: "too_many",
		Entity: facet.Entity{Kind: facet.IP, Key: entity}, Weight: 60, Phase: rules.Enforce, Time: 1_763_892_000_000,
	}
}

// line is a notice in short.
func (d *due) line() string {
	n := d.notice
	return fmt.Sprintf("%ds %s %v %d/%d %s", d.at/1000, n.Status, n.Rules, n.Signals, n.Entities, n.Ended)
}

func seconds(n int64) int64 { return n * 1000 }

func TestAGroupIsToldWhenItBeginsGoesOnAndEnds(t *testing.T) {
	b := newBook(testFile(), "weir", told{})
	var got []string
	var ids []string
	step := func(at int64, s score.Signal) {
		for _, d := range b.advance(seconds(at)) {
			got, ids = append(got, strings.TrimSpace(d.line())), append(ids, d.notice.ID)
		}
		if s.Rule != "" {
			b.add(&s, at, seconds(at))
		}
	}
	step(1000, signal(1, "scan", "a"))
	step(1001, signal(2, "scan", "a"))
	step(1002, signal(3, "scan", "b"))
	step(1100, signal(4, "scan", "a")) // told at 1030; more of the same
	step(1200, signal(5, "scan", "c")) // a new entity: told at 1330
	step(2000, signal(6, "scan", "c")) // more of the same
	step(3000, signal(7, "scan", "d")) // the group was quiet from 2000 to 2900
	step(9999, score.Signal{})
	want := []string{
		"1030s firing [scan] 3/2", "1330s update [scan] 5/3", "2900s resolved [scan] 6/3 quiet",
		"3030s firing [scan] 1/1", "3900s resolved [scan] 1/1 quiet",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for i, id := range ids {
		if group, first := ids[0][:16], i < 3; strings.HasPrefix(id, group) != first || !strings.HasSuffix(id, fmt.Sprint("-", i%3+1)) {
			t.Errorf("notice %d is %s", i, id)
		}
	}
}

func TestMoreOfTheSameIsToldRarely(t *testing.T) {
	b := newBook(testFile(), "weir", told{})
	var got []string
	for at := int64(0); at < 2*86400; at += 600 {
		for _, d := range b.advance(seconds(at)) {
			got = append(got, strings.TrimSpace(d.line()))
		}
		if at < 90_000 {
			s := signal(at, "scan", "a")
			b.add(&s, at, seconds(at))
		}
	}
	if len(got) != 28 || got[0] != "30s firing [scan] 1/1" || got[1] != "3630s update [scan] 7/1" {
		t.Errorf("%d notices: %q", len(got), got)
	}
	// After a day, what follows is another group.
	if got[24] != "86400s resolved [scan] 144/1 day" || got[25] != "86430s firing [scan] 1/1" {
		t.Errorf("around the end of the day: %q", got[23:26])
	}
}

func TestWhatIsToldAndWhatIsNot(t *testing.T) {
	file := testFile()
	file.Weight = 40
	file.Silences = []Silence{{Match: Match{Rules: []string{"quiet-*"}, Entities: []string{"ip:b"}}, Expires: seconds(500)}}
	file.Channels[0].Only = Match{Tenants: []string{""}}
	change := func(n int64, f func(*score.Signal)) score.Signal {
		s := signal(n, "scan", "a")
		f(&s)
		return s
	}
	b := newBook(file, "weir", told{})
	for _, c := range []struct {
		name string
		s    score.Signal
		at   int64
		want outcome
	}{
		{"a signal", signal(1, "scan", "a"), 1, counted},
		{"the same again", signal(1, "scan", "a"), 2, repeated},
		{"another rule at the same place", signal(1, "scrape", "a"), 2, counted},
		{"one from before", signal(0, "scan", "b"), 3, repeated},
		{"of a rule that is observed", change(2, func(s *score.Signal) { s.Phase = rules.Observe }), 4, below},
		{"of too little weight", change(3, func(s *score.Signal) { s.Weight = 39 }), 4, below},
		{"one that speaks for its entity", change(4, func(s *score.Signal) { s.Lowers = true }), 4, below},
		{"one that takes something back", change(5, func(s *score.Signal) { s.Clears = true }), 4, below},
		{"of no weight, which asks for people", change(5, func(s *score.Signal) { s.Rule, s.Weight, s.Phase, s.Asks = "asks", 0, rules.Observe, rules.Notify }), 5, counted},
		{"a silenced one", signal(6, "quiet-scan", "b"), 5, silenced},
		{"of the silenced rule, about another entity", signal(7, "quiet-scan", "a"), 5, counted},
		{"after the silence", signal(8, "quiet-scan", "b"), 500, counted},
		{"that no channel is for", change(9, func(s *score.Signal) { s.Entity.Tenant = "shop" }), 501, unwanted},
		{"of weir canary", change(10, func(s *score.Signal) { s.Entity.Tenant = "weir-canary-1" }), 501, canary},
		{"of the next incarnation", change(0, func(s *score.Signal) { s.Position.Incarnation = 2 }), 502, counted},
	} {
		if got := b.add(&c.s, 0, seconds(c.at)); got != c.want {
			t.Errorf("%s is %s, want %s", c.name, got, c.want)
		}
	}
}

func TestMembersAreToldWithTheirGroup(t *testing.T) {
	b := newBook(testFile(), "weir", told{})
	farm := signal(1, "farm", "203.0.113.0/24")
	farm.Entity.Kind = facet.Net
	for n, s := range []score.Signal{farm, signal(2, "farm", "203.0.113.7"), signal(3, "farm", "203.0.113.9")} {
		if n > 0 {
			s.Group = farm.Entity
		}
		b.add(&s, int64(n), seconds(10))
	}
	all := b.advance(seconds(40))
	if len(all) != 1 || all[0].notice.Group != "net:203.0.113.0/24" || all[0].notice.Entities != 3 {
		t.Errorf("told: %+v", all)
	}
}

func TestGroupsAndEntitiesAreBounded(t *testing.T) {
	file := testFile()
	file.By = []string{byEntity}
	b := newBook(file, "weir", told{})
	for n := range int64(mostGroups + 2*MostEntities) {
		s := signal(n, "scan", fmt.Sprint(n))
		if got := b.add(&s, n, seconds(1)); got != counted {
			t.Fatalf("signal %d is %s", n, got)
		}
	}
	all := b.advance(seconds(100))
	if len(all) != mostGroups+1 {
		t.Fatalf("%d groups are told", len(all))
	}
	for _, d := range all {
		if n := d.notice; n.Signals > 1 && (n.Signals != 2*MostEntities || n.Entities != MostEntities || !n.AtLeast || len(n.Findings) != MostFindings) {
			t.Errorf("the last group has %d signals about %d entities, %d shown", n.Signals, n.Entities, len(n.Findings))
		}
	}
}

// TestWhatIsDueIsAFunctionOfTheLog reads a random log in one go, and again in other
// portions with a look at the end of the log after each.
func TestWhatIsDueIsAFunctionOfTheLog(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		var log []score.Signal
		var times []int64
		for n, at := int64(0), int64(0); n < 400; n++ {
			at += r.Int64N(120_000)
			log = append(log, signal(n, []string{"scan", "scrape", "farm"}[r.IntN(3)], string(rune('a'+r.IntN(5)))))
			times = append(times, at)
		}
		read := func(looks bool) (all []due) {
			b := newBook(testFile(), "weir", told{})
			for i := range log {
				all = append(all, b.advance(times[i])...)
				b.add(&log[i], int64(i), times[i])
				if looks && r.IntN(3) == 0 && i+1 < len(log) {
					all = append(all, b.advance(times[i]+r.Int64N(times[i+1]-times[i]+1))...)
				}
			}
			return append(all, b.advance(times[len(times)-1]+seconds(86400))...)
		}
		if all := read(true); !slices.IsSortedFunc(all, func(a, b due) int { return cmp.Compare(a.at, b.at) }) {
			t.Fatalf("seed %d: notices are not due in their order", seed)
		}
		if once, often := read(false), read(true); !reflect.DeepEqual(once, often) {
			t.Fatalf("seed %d: %d notices and %d", seed, len(once), len(often))
		}
	}
}

func TestTextsOfClientsAreShownAndDoNothing(t *testing.T) {
	s := signal(1, "scan", "evil\r\nBcc: all@example.org\x1b[31m\u202e https://evil.example/?q=<!channel>"+strings.Repeat("x", 5000))
	s.Evidence = []facet.Evidence{facet.Text("ua", "HTTP://a\x00b\nc"), facet.Number("n", 7), facet.Text("path", "HttpS://c WWW.d.example www.e")}
	b := newBook(testFile(), "weir", told{})
	b.add(&s, 0, 0)
	n := b.advance(seconds(60))[0].notice
	text := n.Subject() + "\n" + n.Text()
	for _, r := range text {
		if r < ' ' && r != '\n' || r == 0x1b || r == 0x202e {
			t.Errorf("%q is in %q", r, text)
		}
	}
	if lines := strings.Count(text, "\n"); lines != 5 || len(text) > 950 || strings.Contains(strings.ToLower(text), "http") {
		t.Errorf("%d lines, %d bytes: %s", lines, len(text), text)
	}
	if !strings.Contains(text, "hxxps[:]//evil.example") || !strings.Contains(text, "ua=hxxp[:]//a\ufffdb c, n=7, path=hxxps[:]//c WWW[.]d.example www[.]e") {
		t.Errorf("something is missing: %s", text)
	}
}
