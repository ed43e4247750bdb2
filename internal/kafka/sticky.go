package kafka

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"

	kafkago "github.com/segmentio/kafka-go"
)

// stickyName is the protocol as brokers see it. It is not the "cooperative-sticky"
// of other clients, whose members say what they hold in a form of their own.
const stickyName = "weir-cooperative"

// sticky shares a topic's partitions so that members keep what they hold: state
// that has to be rebuilt is the price of every partition that moves. All members
// get the same number of partitions, give or take one, and no more partitions
// move than that needs.
//
// Members go on with what they hold while the group is shared anew, so what is
// to move from one to another is first given to nobody: the one that holds it
// drains and commits, joins anew without it, and then the other gets it.
//
// And nothing moves before the group has been at rest for as long as a session
// lasts: until then somebody may be a member who is dead, or dies soon again, and
// whoever holds a partition has enough to catch up with. What nobody holds is
// given at once to those who have least.
//
// A member says with every join what it holds, and since which generation. The
// member that leads the group decides, and what it decides is a function of
// what the members said. Each Join has a balancer of its own.
type sticky struct {
	mu     sync.Mutex
	last   claim
	said   claim // with the last join
	level  bool  // the next time partitions may move
	uneven bool  // the last time they would have
}

// claim is what a member says that it holds.
type claim struct {
	Topic      string  `json:"topic"`
	Generation int32   `json:"generation"`
	Partitions []int32 `json:"partitions"`
	Giving     []int32 `json:"giving,omitempty"` // those of them that it is giving up: nobody gets them yet
}

// assigned remembers what the next join will claim.
func (s *sticky) assigned(topic string, generation int32, partitions, giving []int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = claim{Topic: topic, Generation: generation, Partitions: partitions, Giving: giving}
}

// ProtocolName is what members agree on.
func (s *sticky) ProtocolName() string { return stickyName }

// levelNext lets partitions move the next time that this member shares them.
func (s *sticky) levelNext() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.level = true
}

// takeUneven reports whether this member was the last to share, and left
// somebody with more than a fair share, or all with nothing. A new generation has
// begun, and what was to be the next time is decided anew.
func (s *sticky) takeUneven() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	uneven := s.uneven
	s.uneven, s.level = false, false
	return uneven
}

// claimed is what the member held when it joined last.
func (s *sticky) claimed() []int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.Partitions
}

// UserData is the claim; none before the first generation.
func (s *sticky) UserData() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = s.last
	if s.last.Topic == "" {
		return nil, nil
	}
	return json.Marshal(s.last)
}

// AssignGroups shares the partitions of each topic among the members that read
// it. Claims that do not read count as none.
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

// sharer is one of those among whom partitions are shared.
type sharer struct {
	claims     []int32
	giving     []int32 // those of the claims that it is giving up
	generation int32   // of the claims
	gets       []int   // ascending
}

// share gives every partition of ids (ascending) to one of the sharers, but for
// those that another holds as yet. A partition that several claim is the one's
// who got it last, of equals the first's. What goes beyond a fair share is for
// those who have less, if level says so; otherwise it stays, and share reports
// false.
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
			fair[next]-- // the place is kept for it
			continue
		}
		sharers[next].gets = append(sharers[next].gets, p)
	}
	for i := range sharers {
		slices.Sort(sharers[i].gets)
	}
	return true
}

// fill gives what nobody owns to those who have least.
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

// owners tells for each of ids which sharer had it; −1 where none did.
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

// fairShares tells how many of n partitions each sharer gets. Those who had more
// than the rest can have are the first to get one of the odd ones: then the
// fewest move.
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
