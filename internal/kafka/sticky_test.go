package kafka

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"pgregory.net/rapid"
)

// groupOf makes a group out of lines such as "a 7 0,1": a member, the generation
// of its claim, and what it claims. "a" claims nothing; "a !garbage" says so.
func groupOf(t testing.TB, topic string, lines ...string) (members []kafkago.GroupMember) {
	t.Helper()
	for _, line := range lines {
		name, rest, _ := strings.Cut(line, " ")
		m := kafkago.GroupMember{ID: name, Topics: []string{topic}}
		switch {
		case strings.HasPrefix(rest, "!"):
			m.UserData = []byte(rest[1:])
		case rest != "":
			c := claim{Topic: topic}
			generation, partitions, _ := strings.Cut(rest, " ")
			if _, err := fmt.Sscan(generation, &c.Generation); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte("["+partitions+"]"), &c.Partitions); err != nil {
				t.Fatal(err)
			}
			m.UserData, _ = json.Marshal(c)
		}
		members = append(members, m)
	}
	return members
}

func partitionsOf(topic string, ids ...int) (ps []kafkago.Partition) {
	for _, id := range ids {
		ps = append(ps, kafkago.Partition{Topic: topic, ID: id})
	}
	return ps
}

func upTo(n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = i
	}
	return ids
}

func TestSticky(t *testing.T) {
	for _, c := range []struct {
		name       string
		partitions []int
		members    []string
		want       string
	}{
		{"a new group shares evenly", upTo(5), []string{"b", "a"}, "a[0 1 2] b[3 4]"},
		{"members keep what they had", upTo(4), []string{"a 3 1,2", "b 3 0,3"}, "a[1 2] b[0 3]"},
		{"what one who comes is to take, others give up first", upTo(6), []string{"a 3 0,2,4", "b 3 1,3,5", "c"}, "a[0 2] b[1 3] c[]"},
		{"one who comes takes what was given up", upTo(6), []string{"a 3 0,2", "b 3 1,3", "c"}, "a[0 2] b[1 3] c[4 5]"},
		{"a place is kept for what is not yet given up", upTo(6), []string{"a 3 0,1,2,3", "b 3 5", "c"}, "a[0 1] b[5] c[4]"},
		{"what one who left had goes to who has less", upTo(6), []string{"a 3 0,1", "c 3 4,5"}, "a[0 1 2] c[3 4 5]"},
		{"who has more keeps the odd one", upTo(5), []string{"a 3 0,1", "b 3 2,3,4"}, "a[0 1] b[2 3 4]"},
		{"the later claim counts", upTo(2), []string{"a 3 0,1", "b 5 1"}, "a[0] b[1]"},
		{"a later claim is given up before another gets it", upTo(3), []string{"a 3 0,1,2", "b 5 0,1,2", "c"}, "a[] b[0] c[]"},
		{"of two claims of one generation the first member's counts", upTo(2), []string{"b 3 0", "a 3 0"}, "a[0] b[1]"},
		{"claims that do not read count as none", upTo(4), []string{"a !{\"partitions\":\"all\"}", "b 3 0,1", "c !\x00\xff"}, "a[2] b[0 1] c[3]"},
		{"claims of partitions that are not there, or twice", upTo(2), []string{"a 3 0,0,7,-1", "b 3 0,1,1"}, "a[0] b[1]"},
		{"partitions that appeared are shared", upTo(4), []string{"a 3 0", "b 3 1"}, "a[0 2] b[1 3]"},
		{"partitions that vanished leave a balance", []int{0, 1, 2}, []string{"a 3 3,4,5", "b 3 0,1"}, "a[2] b[0 1]"},
		{"more members than partitions", upTo(2), []string{"a", "b 3 0", "c 3 1"}, "a[] b[0] c[1]"},
		{"no partitions", nil, []string{"a 3 0"}, "a[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := (&sticky{level: true}).AssignGroups(groupOf(t, "t", c.members...), partitionsOf("t", c.partitions...))
			var parts []string
			for id, topics := range got {
				parts = append(parts, fmt.Sprint(id, append([]int{}, topics["t"]...)))
			}
			slices.Sort(parts)
			if s := strings.ReplaceAll(strings.Join(parts, " "), " [", "["); s != c.want {
				t.Errorf("%s, want %s", s, c.want)
			}
		})
	}
}

func TestNothingMovesBeforeTheGroupIsAtRest(t *testing.T) {
	members := groupOf(t, "t", "a 3 0,1,2,5", "b 3 3", "c")
	var s sticky
	got := s.AssignGroups(members, partitionsOf("t", upTo(7)...))
	want := kafkago.GroupMemberAssignments{"a": {"t": {0, 1, 2, 5}}, "b": {"t": {3, 6}}, "c": {"t": {4}}}
	if !reflect.DeepEqual(got, want) || !s.takeUneven() || s.takeUneven() {
		t.Errorf("assigned %v, want %v", got, want)
	}
	s.levelNext()
	got = s.AssignGroups(members, partitionsOf("t", upTo(7)...))
	want = kafkago.GroupMemberAssignments{"a": {"t": {0, 1, 2}}, "b": {"t": {3, 4}}, "c": {"t": {6}}}
	if !reflect.DeepEqual(got, want) || s.takeUneven() {
		t.Errorf("at rest assigned %v, want %v", got, want)
	}
	if s.AssignGroups(members, partitionsOf("t", upTo(7)...)); !s.takeUneven() {
		t.Error("they may move a second time")
	}
}

func TestWhatIsBeingGivenUpIsNobodysYet(t *testing.T) {
	members := groupOf(t, "t", "a", "b 3 3", "c")
	members[0].UserData, _ = json.Marshal(claim{Topic: "t", Generation: 3, Partitions: []int32{0, 1, 2, 4}, Giving: []int32{1, 2}})
	for _, level := range []bool{false, true} {
		s := sticky{level: level}
		got := s.AssignGroups(members, partitionsOf("t", upTo(5)...))
		want := kafkago.GroupMemberAssignments{"a": {"t": {0, 4}}, "b": {"t": {3}}, "c": {"t": nil}}
		if !reflect.DeepEqual(got, want) || s.takeUneven() {
			t.Errorf("assigned %v, want %v", got, want)
		}
	}
}

func TestClaimsAreOfOneTopic(t *testing.T) {
	ps := append(partitionsOf("t", 0, 1), partitionsOf("u", 0, 1)...)
	members := groupOf(t, "t", "a 3 1", "b 3 0")
	members[0].Topics, members[1].Topics = []string{"u", "t", "u"}, []string{"t", "u"}
	got := new(sticky).AssignGroups(members, ps)
	want := kafkago.GroupMemberAssignments{"a": {"t": {1}, "u": {0}}, "b": {"t": {0}, "u": {1}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("assigned %v, want %v", got, want)
	}
}

func TestAMemberClaimsWhatItHolds(t *testing.T) {
	var s sticky
	if data, err := s.UserData(); data != nil || err != nil {
		t.Errorf("a new member claims %q, %v", data, err)
	}
	s.assigned("t", 7, []int32{3, 5}, nil)
	data, err := s.UserData()
	if want := `{"topic":"t","generation":7,"partitions":[3,5]}`; string(data) != want || err != nil {
		t.Errorf("it claims %s, %v; want %s", data, err, want)
	}
}

// TestStickyKeepsAllThatABalanceAllows: on random groups nobody is given what
// another holds, and once that is given up every partition has one owner, shares
// differ by one at most, order of input does not matter, and as many partitions
// stay as any balanced sharing could leave.
func TestStickyKeepsAllThatABalanceAllows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "partitions")
		var members []kafkago.GroupMember
		had := map[int]string{} // the claim that counts
		age := map[int]int32{}
		for i := range rapid.IntRange(1, 9).Draw(t, "members") {
			m := kafkago.GroupMember{ID: fmt.Sprintf("m%02d", i), Topics: []string{"t"}}
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
			case 1:
				m.UserData = rapid.SliceOf(rapid.Byte()).Draw(t, "garbage")
			default:
				c := claim{Topic: "t", Generation: rapid.Int32Range(1, 3).Draw(t, "generation"), Partitions: rapid.SliceOfN(rapid.Int32Range(-1, 45), 0, 20).Draw(t, "claims")}
				m.UserData, _ = json.Marshal(c)
				for _, p := range c.Partitions {
					if p := int(p); p >= 0 && p < n && c.Generation > age[p] {
						had[p], age[p] = m.ID, c.Generation
					}
				}
			}
			members = append(members, m)
		}
		ps := partitionsOf("t", upTo(n)...)
		got := (&sticky{level: true}).AssignGroups(members, ps)
		for id, topics := range got {
			for _, p := range topics["t"] {
				if holder, held := had[p]; held && holder != id {
					t.Fatalf("%s is given %d, which %s holds", id, p, holder)
				}
			}
		}
		shuffled := slices.Clone(members)
		shuffled = rapid.Permutation(shuffled).Draw(t, "members in another order")
		slices.Reverse(ps)
		if again := (&sticky{level: true}).AssignGroups(shuffled, ps); !reflect.DeepEqual(got, again) {
			t.Fatalf("in another order it is %v, not %v", again, got)
		}
		for i := range members {
			c := claim{Topic: "t", Generation: 4}
			for _, p := range got[members[i].ID]["t"] {
				c.Partitions = append(c.Partitions, int32(p))
			}
			members[i].UserData, _ = json.Marshal(c)
		}
		got = (&sticky{level: true}).AssignGroups(members, ps)

		owner, least, most := map[int]string{}, n, 0
		for id, topics := range got {
			least, most = min(least, len(topics["t"])), max(most, len(topics["t"]))
			for _, p := range topics["t"] {
				if o, twice := owner[p]; twice {
					t.Fatalf("partition %d is given to %s and %s", p, o, id)
				}
				owner[p] = id
			}
		}
		if len(got) != len(members) || len(owner) != n || most-least > 1 {
			t.Fatalf("%d of %d partitions are shared among %d of %d, %d to %d each", len(owner), n, len(got), len(members), least, most)
		}
		if kept, can := keptOf(owner, had), keepable(had, len(members), n); kept != can {
			t.Fatalf("%d partitions stay, %d could", kept, can)
		}
	})
}

func keptOf(owner, had map[int]string) (n int) {
	for p, o := range had {
		if owner[p] == o {
			n++
		}
	}
	return n
}

// keepable is how many of the partitions that members had a balanced sharing of
// n can leave with them: everyone the floor, and as many as there are odd ones
// one more.
func keepable(had map[int]string, members, n int) (can int) {
	counts := map[string]int{}
	for _, o := range had {
		counts[o]++
	}
	odd := n % members
	for _, c := range counts {
		can += min(c, n/members)
		if c > n/members && odd > 0 {
			can++
			odd--
		}
	}
	return can
}

func staying(t *testing.T, addr string) {
	topic := newTopic(t, client(t, addr), 9)
	var members []*testMember
	for range 3 {
		members = append(members, joinGroup(t, client(t, addr), topic, topic, nil))
	}
	had := make([]map[int32]*Lease, 3)
	for range 2 { // the first look may see somebody on the way to more
		for i, m := range members {
			had[i] = m.with(t, 3)
		}
	}
	members[1].leave()
	if err := <-members[1].left; err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 2} {
		owned := members[i].with(t, 4, 5)
		if !contains(owned, had[i]) {
			t.Errorf("when another left, a member had %v and goes on with %v", had[i], owned)
		}
	}
	fresh := joinGroup(t, client(t, addr), topic, topic, nil)
	fresh.with(t, 3)
	for _, i := range []int{0, 2} {
		for p := range members[i].with(t, 3) {
			if n := members[i].timesTaken(p); n != 1 {
				t.Errorf("when another came, a member kept partition %d, and took it up %d times", p, n)
			}
		}
	}
}

// contains reports whether every lease of b is one of a.
func contains(a, b map[int32]*Lease) bool {
	for p, l := range b {
		if a[p] != l {
			return false
		}
	}
	return true
}
