package notices

import (
	"cmp"
	"container/heap"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

const (
	// mostGroups is how many groups of a partition may be open. The signals of
	// further ones share one group.
	mostGroups = 10_000
	// longestGroup is how long a group may be open, ms. A worker that takes over
	// reads its signals again.
	longestGroup = int64(24 * time.Hour / time.Millisecond)
)

// Why a group was closed.
const (
	endedQuiet = "quiet"
	endedDay   = "day"
)

// outcome is what became of a signal.
type outcome string

const (
	counted  outcome = "counted"  // it is in a group
	repeated outcome = "repeated" // detect wrote it before
	below    outcome = "below"    // it is less than the file asks for, or speaks for its entity
	silenced outcome = "silenced"
	unwanted outcome = "unwanted" // no channel asks for it
	canary   outcome = "canary"   // its attack is ours
)

var outcomes = []outcome{counted, repeated, below, silenced, unwanted, canary}

// book gathers the signals of one partition in groups. It is a function of the
// records that it is given, their times, and the file: it has no clock. One
// goroutine uses it.
type book struct {
	file   *File
	stream string
	about  About

	now    int64 // time of the log, Unix ms; it never goes back
	groups map[string]*group
	due    agenda
	seen   map[int32]*place // by facet partition
}

// place is the last signal of a facet partition, and the rules that fired at it.
type place struct {
	at    score.Position
	rules []string
}

// About is what the book asks about rules.
type About interface {
	// Title describes a rule; "" if it is unknown.
	Title(rule string) string
	// Groups reports whether a rule fires for groups of entities.
	Groups(rule string) bool
}

// group is an open group of signals.
type group struct {
	key, id  string
	first    int64 // offset of the first signal
	began    int64 // times of the log, Unix ms
	last     int64
	notice   Notice // without id and status
	entities map[string]bool
	channels []string // ids, sorted

	told   int   // how many notices were due
	toldAt int64 // when the last one was
	news   bool  // something since then is worth an update
	more   bool  // there were signals since then

	at    int64 // when the next notice is due
	index int   // in the agenda
}

// due is a notice that is due.
type due struct {
	notice   Notice
	group    string // id
	first    int64  // offset of the group's first signal
	at       int64  // Unix ms
	channels []string
}

func newBook(file *File, stream string, about About) *book {
	return &book{file: file, stream: stream, about: about, groups: map[string]*group{}, seen: map[int32]*place{}}
}

// use changes to another file.
func (b *book) use(file *File) {
	if b.file == file {
		return
	}
	b.file = file
	for _, g := range b.due {
		g.at = b.deadline(g, b.now)
	}
	heap.Init(&b.due)
}

// add takes a signal that was written at time at (Unix ms) to offset.
func (b *book) add(s *score.Signal, offset, at int64) outcome {
	b.now = max(b.now, at)
	if b.isRepeat(s) {
		return repeated
	}
	switch {
	case event.IsCanary(s.Entity.Tenant):
		return canary
	case s.Lowers || s.Clears || !reaches(s, b.file.Phase, b.file.Weight):
		return below
	case b.file.silences(s, b.now):
		return silenced
	}
	channels := b.file.channelsFor(s)
	if len(channels) == 0 {
		return unwanted
	}
	g := b.groupOf(s, offset)
	g.take(s, b.now, channels)
	g.at = b.deadline(g, b.now)
	heap.Fix(&b.due, g.index)
	return counted
}

// isRepeat reports whether a signal was added before. A facet partition's signals are
// written in order, and again in order by an owner that starts at an earlier place.
func (b *book) isRepeat(s *score.Signal) bool {
	p := b.seen[s.Position.Partition]
	switch {
	case p == nil || p.at.Less(s.Position):
		b.seen[s.Position.Partition] = &place{at: s.Position, rules: []string{s.Rule}}
		return false
	case s.Position.Less(p.at) || slices.Contains(p.rules, s.Rule):
		return true
	}
	p.rules = append(p.rules, s.Rule)
	return false
}

// groupOf returns the open group of a signal. It opens one if there is none.
func (b *book) groupOf(s *score.Signal, offset int64) *group {
	key, of := b.keyOf(s)
	g := b.groups[key]
	if g == nil && len(b.groups) >= mostGroups {
		key, of = "", Notice{Title: "Signals beyond the groups that can be told apart"}
		g = b.groups[key]
	}
	if g != nil {
		return g
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s", b.stream, s.ID(), key))
	of.Version, of.Stream, of.First = 1, b.stream, time.UnixMilli(b.now).UTC()
	g = &group{
		key: key, id: strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10])), first: offset, began: b.now, notice: of, entities: map[string]bool{},
	}
	b.groups[key] = g
	heap.Push(&b.due, g)
	return g
}

// keyOf names the group of a signal, and returns what its notices say of it.
func (b *book) keyOf(s *score.Signal) (key string, n Notice) {
	var parts []string
	for _, by := range b.file.By {
		switch by {
		case byRule:
			parts = append(parts, s.Rule)
			n.Title = visible(b.about.Title(s.Rule))
		case byCategory:
			parts = append(parts, s.Category)
		case byTenant:
			parts = append(parts, s.Entity.Tenant)
			n.Tenant = visible(s.Entity.Tenant)
		case byEntity:
			parts = append(parts, s.Entity.Kind.String(), s.Entity.Key)
		case byGroup:
			of := s.Group
			if of.Kind == 0 && b.about.Groups(s.Rule) {
				of = s.Entity
			}
			if of.Kind != 0 {
				parts = append(parts, of.Kind.String(), of.Key)
				n.Group = of.Kind.String() + ":" + visible(of.Key)
			} else {
				parts = append(parts, "", "")
			}
		}
	}
	return fmt.Sprintf("%q", parts), n
}

// take adds a signal to a group.
func (g *group) take(s *score.Signal, now int64, channels []string) {
	n := &g.notice
	g.last, g.more = now, true
	n.Last = time.UnixMilli(now).UTC()
	n.Signals++
	if s.Weight > n.Weight || s.Phase > n.Phase {
		g.news = true
	}
	n.Weight, n.Phase = max(n.Weight, s.Weight), max(n.Phase, s.Phase)
	n.Rules = including(n.Rules, visible(s.Rule))
	n.Categories = including(n.Categories, visible(s.Category))
	for _, c := range channels {
		if i, found := slices.BinarySearch(g.channels, c); !found {
			g.channels = slices.Insert(g.channels, i, c)
		}
	}
	g.entity(s)
}

// entity counts the entity of a signal. The first signal of each of some is kept.
func (g *group) entity(s *score.Signal) {
	n := &g.notice
	name := facetName(s.Entity)
	switch {
	case g.entities[name]:
		return
	case len(g.entities) >= MostEntities:
		n.AtLeast = true
		return
	}
	g.entities[name], g.news = true, true
	n.Entities++
	if len(n.Findings) < MostFindings {
		n.Findings = append(n.Findings, finding(s))
	}
}

func facetName(e facet.Entity) string { return e.Kind.String() + "\x00" + e.Tenant + "\x00" + e.Key }

// including adds a name to a sorted list, unless it is there or the list is full.
func including(list []string, name string) []string {
	if i, found := slices.BinarySearch(list, name); !found && len(list) < MostNamed {
		return slices.Insert(list, i, name)
	}
	return list
}

// deadline returns when the next notice of a group is due: not before now, so that
// notices are due in the order in which they are told.
func (b *book) deadline(g *group, now int64) int64 {
	if g.told == 0 {
		return max(g.began+b.file.Wait.Milliseconds(), now)
	}
	at := min(g.last+b.file.Resolve.Milliseconds(), g.began+longestGroup)
	if g.news {
		at = min(at, g.toldAt+b.file.Interval.Milliseconds())
	}
	if g.more {
		at = min(at, g.toldAt+b.file.Repeat.Milliseconds())
	}
	return max(at, now)
}

// advance moves the time of the log on to now, and returns what is due by then, in
// order.
func (b *book) advance(now int64) (all []due) {
	b.now = max(b.now, now)
	for len(b.due) > 0 && b.due[0].at <= b.now {
		all = append(all, b.tell(b.due[0]))
	}
	return all
}

// tell makes the notice of a group that is due.
func (b *book) tell(g *group) due {
	n := g.notice
	n.Rules, n.Categories, n.Findings = slices.Clone(n.Rules), slices.Clone(n.Categories), slices.Clone(n.Findings)
	n.GroupID, n.Status = g.id, Update
	d := due{group: g.id, first: g.first, at: g.at, channels: slices.Clone(g.channels)}
	switch {
	case g.told == 0:
		n.Status = Firing
	case g.at >= g.last+b.file.Resolve.Milliseconds():
		n.Status, n.Ended = Resolved, endedQuiet
	case g.at >= g.began+longestGroup:
		n.Status, n.Ended = Resolved, endedDay
	}
	g.told++
	n.ID = fmt.Sprintf("%s-%d", g.id, g.told)
	d.notice = n
	if n.Status == Resolved {
		heap.Remove(&b.due, g.index)
		delete(b.groups, g.key)
		return d
	}
	g.toldAt, g.news, g.more = g.at, false, false
	g.at = b.deadline(g, g.at)
	heap.Fix(&b.due, g.index)
	return d
}

// oldest returns the offset at which the first of the open groups begins;
// [math.MaxInt64] if none is open.
func (b *book) oldest() int64 {
	first := int64(math.MaxInt64)
	for _, g := range b.groups {
		first = min(first, g.first)
	}
	return first
}

// agenda is a heap of groups by what is due first.
type agenda []*group

func (a agenda) Len() int { return len(a) }

func (a agenda) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(a[i].at, a[j].at), cmp.Compare(a[i].id, a[j].id)) < 0
}

func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i, j
}

// Push implements [heap.Interface].
func (a *agenda) Push(x any) {
	g := x.(*group)
	g.index = len(*a)
	*a = append(*a, g)
}

// Pop implements [heap.Interface].
func (a *agenda) Pop() any {
	last := len(*a) - 1
	g := (*a)[last]
	*a = (*a)[:last]
	return g
}
