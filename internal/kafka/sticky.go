package kafka

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"

	kafkago "github.com/segmentio/kafka-go"
)

// stickyName is the protocol's name for brokers. It is not the "cooperative-sticky"
// of other clients, whose members describe their partitions in another form.
const stickyName = "weir-cooperative"

// sticky shares a topic's partitions so that members keep what they hold, because
// every partition that moves costs a rebuild of its state. All members get the same
// number of partitions, plus or minus one, and no more partitions move than
// necessary.
//
// Members keep working during a rebalance. So a partition that should move is first
// assigned to nobody: its owner drains and commits it, and joins again without it;
// then the other member gets it.
//
// Nothing moves before the group has been stable for one session length. Until then
// a member may be dead, or die again soon, and owners have enough to catch up with.
// Free partitions are assigned at once to the members with the fewest.
//
// With every join a member states what it holds, and since which generation. The
// leading member decides, as a function of these statements. Each Join has its own
// balancer.
type sticky struct {
	mu     sync.Mutex
	last   claim
	said   claim // sent with the last join
	level  bool  // partitions may move next time
	uneven bool  // some would have moved last time
}

// claim is a member's statement of what it holds.
type claim struct {
	Topic      string  `json:"topic"`
	Generation int32   `json:"generation"`
	Partitions []int32 `json:"partitions"`
	Giving     []int32 `json:"giving,omitempty"` // those that it is giving up: nobody gets them yet
}

// assigned stores what the next join will claim.
func (s *sticky) assigned(topic string, generation int32, partitions, giving []int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = claim{Topic: topic, Generation: generation, Partitions: partitions, Giving: giving}
}

// ProtocolName is the name that members agree on.
func (s *sticky) ProtocolName() string { return stickyName }

// levelNext lets partitions move the next time this member shares them.
func (s *sticky) levelNext() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.level = true
}

// takeUneven reports whether this member was the last to share partitions, and left
// a member with more than a fair share, or all with nothing. A new generation has
// begun, and the next sharing is decided anew.
func (s *sticky) takeUneven() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	uneven := s.uneven
	s.uneven, s.level = false, false
	return uneven
}

// claimed returns what the member held at its last join.
func (s *sticky) claimed() []int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.Partitions
}

// UserData returns the claim; none before the first generation.
func (s *sticky) UserData() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = s.last
	if s.last.Topic == "" {
		return nil, nil
	}
	return json.Marshal(s.last)
}

// AssignGroups shares the partitions of each topic among the members that read it.
// Unreadable claims count as none.
func (s *sticky) AssignGroups(members []kafkago.GroupMember, partitions []kafkago.Partition) kafkago.GroupMemberAssignments {
	s.mu.Lock()
	defer s.mu.Unlock()
	level := s.level
	s.level, s.uneven = false, false
	all := kafkago.GroupMemberAssignments{}
	claims := make([]claim, len(members))
	readers := map[string][]int{} // by topic, indices of members
	for i, m := range members {
		all[m.ID] = map[string][]int{}
		if err := json.Unmarshal(m.UserData, &claims[i]); err != nil {
			claims[i] = claim{}
		}
		for _, topic := range m.Topics {
			if !slices.Contains(readers[topic], i) {
				readers[topic] = append(readers[topic], i)
			}
		}
	}
	for topic, list := range readers {
		slices.SortFunc(list, func(a, b int) int { return strings.Compare(members[a].ID, members[b].ID) })
		sharers := make([]sharer, len(list))
		for i, m := range list {
			if claims[m].Topic == topic {
				sharers[i] = sharer{claims: claims[m].Partitions, giving: claims[m].Giving, generation: claims[m].Generation}
			}
		}
		ids := idsOf(topic, partitions)
		if !share(sharers, ids, level) || len(ids) == 0 { // none: a broker that does not know the topic yet
			s.uneven = true
		}
		for i, m := range list {
			all[members[m].ID][topic] = sharers[i].gets
		}
	}
	return all
}

func idsOf(topic string, partitions []kafkago.Partition) (ids []int) {
	for _, p := range partitions {
		if p.Topic == topic {
			ids = append(ids, p.ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// sharer is a member among whom partitions are shared.
type sharer struct {
	claims     []int32
	giving     []int32 // those claims that it is giving up
	generation int32   // of the claims
	gets       []int   // ascending
}

// share assigns every partition of ids (ascending) to a sharer, except those that
// another one still holds. If several claim a partition, the latest owner gets it;
// among equals, the first. Partitions beyond a fair share go to members with fewer,
// if level is true; otherwise they stay, and share reports false.
func share(sharers []sharer, ids []int, level bool) bool {
	owners := owners(sharers, ids)
	for i, p := range ids {
		if o := owners[i]; o >= 0 && !slices.Contains(sharers[o].giving, int32(p)) {
			sharers[o].gets = append(sharers[o].gets, p)
		}
	}
	fair := fairShares(sharers, len(ids))
	uneven := false
	for i := range sharers {
		uneven = uneven || len(sharers[i].gets) > fair[i]
	}
	if uneven && !level {
		fill(sharers, ids, owners)
		return false
	}
	for i := range sharers {
		s := &sharers[i]
		s.gets = s.gets[:min(len(s.gets), fair[i])]
	}
	kept := make(map[int]bool, len(ids))
	for i := range sharers {
		for _, p := range sharers[i].gets {
			kept[p] = true
		}
	}
	next := 0
	for i, p := range ids {
		if kept[p] {
			continue
		}
		for fair[next] == len(sharers[next].gets) {
			next++
		}
		if owners[i] >= 0 {
			fair[next]-- // the place is reserved for it
			continue
		}
		sharers[next].gets = append(sharers[next].gets, p)
	}
	for i := range sharers {
		slices.Sort(sharers[i].gets)
	}
	return true
}

// fill assigns free partitions to the sharers with the fewest.
func fill(sharers []sharer, ids, owners []int) {
	for i, p := range ids {
		if owners[i] >= 0 {
			continue
		}
		least := 0
		for j := range sharers {
			if len(sharers[j].gets) < len(sharers[least].gets) {
				least = j
			}
		}
		sharers[least].gets = append(sharers[least].gets, p)
	}
	for i := range sharers {
		slices.Sort(sharers[i].gets)
	}
}

// owners returns for each of ids which sharer had it; −1 for none.
func owners(sharers []sharer, ids []int) []int {
	owners := slices.Repeat([]int{-1}, len(ids))
	for i := range sharers {
		for _, p := range sharers[i].claims {
			at, there := slices.BinarySearch(ids, int(p))
			if !there {
				continue
			}
			if o := owners[at]; o < 0 || sharers[i].generation > sharers[o].generation {
				owners[at] = i
			}
		}
	}
	return owners
}

// fairShares returns how many of n partitions each sharer gets. Sharers that have
// the most are the first to get one of the remaining ones, so the fewest partitions
// move.
func fairShares(sharers []sharer, n int) []int {
	least, odd := n/len(sharers), n%len(sharers)
	fair := slices.Repeat([]int{least}, len(sharers))
	for _, wanted := range []bool{true, false} {
		for i := range sharers {
			if odd > 0 && fair[i] == least && (len(sharers[i].gets) > least) == wanted {
				fair[i]++
				odd--
			}
		}
	}
	return fair
}
