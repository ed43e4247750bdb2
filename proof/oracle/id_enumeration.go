package oracle

import (
	"math"
	"math/bits"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// shopper is the state of one rule for the requests of one entity, as described in
// docs/detectors/id_enumeration.md.
type shopper struct {
	rule   *detectors.IDEnumeration
	hasher facet.Hasher

	shelves []*shelf // in the order of their first request
	latest  int64
	weight  uint8 // of the last firing
	lastAt  int64
	fired   int // number of firings
}

// shelf holds the objects of one kind.
type shelf struct {
	kind   string
	level  int
	last   int64
	things []*thing
}

// thing is an object.
type thing struct {
	id                        string
	before, digits, after     string // the id, split around its number
	first, last               int64
	times                     int
	refused, granted, foreign bool
	account                   string
}

var (
	digitRuns  = regexp.MustCompile(`[0-9]+`)
	pageNumber = regexp.MustCompile(`^((?:page|offset|start|skip|cursor|p|pg|from)=)([0-9]{1,15})$`)
)

// numbered splits an id. digits is "" if it has no number.
func numbered(id string) (before, digits, after string) {
	runs := digitRuns.FindAllStringIndex(id, -1)
	if len(runs) > 3 {
		return id, "", ""
	}
	for _, r := range runs {
		if r[1]-r[0] >= len(digits) {
			before, digits, after = id[:r[0]], id[r[0]:r[1]], id[r[1]:]
		}
	}
	if len(digits) > 15 {
		return id, "", ""
	}
	return before, digits, after
}

// paged splits a path around the number of the page; ok is false if it names none.
func paged(path string) (before, number, after string, ok bool) {
	place, query, _ := strings.Cut(path, "?")
	parts := strings.Split(query, "&")
	for i, part := range parts {
		if m := pageNumber.FindStringSubmatch(part); m != nil {
			rest := strings.Join(parts[i+1:], "&")
			if i+1 < len(parts) {
				rest = "&" + rest
			}
			return place + "?" + strings.Join(append(slices.Clone(parts[:i]), m[1]), "&"), m[2], rest, true
		}
	}
	return "", "", "", false
}

func value64(digits string) int64 {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func (s *shopper) change(r rules.Spec) {
	s.rule = r.(*detectors.IDEnumeration)
	s.thin()
}

// in reports whether an object is in the sample.
func (s *shopper) in(id string, level int) bool {
	return bits.LeadingZeros32(max(uint32(s.hasher.Text(id)), 1)) >= level
}

// thin samples until the number of objects is within the bound.
func (s *shopper) thin() {
	for {
		all, largest := 0, (*shelf)(nil)
		for _, sh := range s.shelves {
			all += len(sh.things)
			if largest == nil || len(sh.things) > len(largest.things) {
				largest = sh
			}
		}
		if all <= s.rule.Exact {
			return
		}
		largest.level++
		largest.things = slices.DeleteFunc(largest.things, func(t *thing) bool { return !s.in(t.id, largest.level) })
	}
}

func (s *shopper) arrive(a arrival) (*firing, bool) {
	id := a.event.Text(s.rule.Of)
	if id == "" {
		return nil, false
	}
	before, digits, after := numbered(id)
	if s.rule.Of == event.Path {
		if b, d, a, ok := paged(id); ok {
			before, digits, after = b, d, a
		}
	}
	if _, own, _ := numbered(a.event.Text(event.Account)); len(own) >= 4 && len(digits) >= 4 && value64(own) == value64(digits) {
		return nil, false
	}
	status := a.event.Num(event.Status)
	refused := status == 403 || status == 404
	if s.rule.Refused != nil {
		refused = s.rule.Refused.Holds(a.event)
	}
	foreign := s.rule.Foreign != nil && s.rule.Foreign.Holds(a.event)
	counts := refused || foreign
	for _, t := range s.rule.Tiers {
		if t.Refused == 0 && t.RefusedPercent == 0 && t.Foreign == 0 {
			counts = true
		}
	}
	oldest := s.latest - s.rule.Window.Milliseconds()
	if a.time <= oldest {
		return nil, counts
	}
	if a.time > s.latest {
		s.latest = a.time
		oldest = s.latest - s.rule.Window.Milliseconds()
		s.shelves = slices.DeleteFunc(s.shelves, func(sh *shelf) bool {
			sh.things = slices.DeleteFunc(sh.things, func(t *thing) bool { return t.last <= oldest })
			return sh.last <= oldest
		})
	}
	sh := s.shelfOf(a)
	if !s.in(id, sh.level) {
		return nil, counts
	}
	t := sh.find(id)
	news := t == nil
	if news {
		t = &thing{id: id, before: before, digits: digits, after: after, first: a.time, last: a.time}
		sh.things = append(sh.things, t)
	}
	was := *t
	t.first, t.last, t.times = min(t.first, a.time), max(t.last, a.time), min(t.times+1, math.MaxUint16)
	t.refused = t.refused || refused
	t.granted = t.granted || !refused && status/100 == 2
	t.foreign = t.foreign || foreign
	if account := a.event.Text(event.Account); account != "" {
		t.account = account
	}
	s.thin()
	if news || t.refused != was.refused || t.granted != was.granted || t.foreign != was.foreign {
		return s.judge(sh, a.time), counts
	}
	return nil, counts
}

func (s *shopper) shelfOf(a arrival) *shelf {
	kind := ""
	for i := len(s.rule.By) - 1; i >= 0; i-- {
		if v := a.event.Text(s.rule.By[i]); v != "" {
			kind = v
		}
	}
	i := slices.IndexFunc(s.shelves, func(sh *shelf) bool { return sh.kind == kind })
	if i < 0 {
		if len(s.shelves) == 8 {
			goes := slices.MinFunc(s.shelves, func(a, b *shelf) int { return int(a.last - b.last) })
			s.shelves = slices.DeleteFunc(s.shelves, func(sh *shelf) bool { return sh == goes })
		}
		i = len(s.shelves)
		s.shelves = append(s.shelves, &shelf{kind: kind, last: a.time})
	}
	sh := s.shelves[i]
	sh.last = max(sh.last, a.time)
	return sh
}

func (sh *shelf) find(id string) *thing {
	for _, t := range sh.things {
		if t.id == id {
			return t
		}
	}
	return nil
}

func (sh *shelf) numbers() (all []int64) {
	for _, t := range sh.things {
		if t.digits != "" {
			all = append(all, value64(t.digits))
		}
	}
	slices.Sort(all)
	return all
}

// count returns how many objects satisfy is; an estimate if there is a sample.
func (sh *shelf) count(is func(*thing) bool) int64 {
	n := int64(0)
	for _, t := range sh.things {
		if is(t) {
			n++
		}
	}
	for range sh.level {
		n *= 2
	}
	return n
}

func (s *shopper) judge(sh *shelf, now int64) *firing {
	objects := sh.count(func(*thing) bool { return true })
	refused := sh.count(func(t *thing) bool { return t.refused && !t.granted })
	foreign := sh.count(func(t *thing) bool { return t.foreign })
	share := int64(0)
	if objects > 0 {
		share = 100 * refused / objects
	}
	asks, accounts := int64(0), map[string]bool{}
	for _, t := range sh.things {
		asks += int64(t.times)
		if t.account != "" {
			accounts[t.account] = true
		}
	}
	fresh := int64(0)
	if asks > 0 {
		fresh = 100 * int64(len(sh.things)) / asks
	}
	for i := len(s.rule.Tiers) - 1; i >= 0; i-- {
		t := s.rule.Tiers[i]
		if objects < int64(t.Objects) || refused < int64(t.Refused) || share < int64(t.RefusedPercent) || foreign < int64(t.Foreign) ||
			fresh < int64(t.New) || len(accounts) < t.Accounts {
			continue
		}
		regular, even, interval := s.regular(sh), spreadOf(sh.numbers()), sh.interval()
		if regular < int64(t.Regular) || even < int64(t.Even) || interval < t.Interval.Milliseconds() {
			continue
		}
		if t.Weight <= s.weight && now < s.lastAt+s.rule.Cooldown.Milliseconds() {
			return nil
		}
		s.weight, s.lastAt = t.Weight, now
		s.fired++
		says := []facet.Evidence{facet.Text("kind", sh.kind), facet.Number("objects", objects), facet.Number("refused", refused)}
		if s.rule.Foreign != nil {
			says = append(says, facet.Number("foreign", foreign))
		}
		says = append(says, facet.Number("regular_percent", regular), facet.Number("even_percent", even), facet.Number("new_percent", fresh),
			facet.Number("interval_ms", interval), facet.Number("accounts", int64(len(accounts))))
		if sh.level > 0 {
			percent := math.Ceil(100 / math.Sqrt(float64(len(sh.things))))
			says = append(says, facet.Number("deviation_percent", int64(percent)))
		}
		if numbers := sh.numbers(); len(numbers) > 0 {
			says = append(says, facet.Number("lowest", numbers[0]), facet.Number("highest", numbers[len(numbers)-1]))
		}
		first, last := int64(math.MaxInt64), int64(math.MinInt64)
		for _, t := range sh.things {
			first, last = min(first, t.first), max(last, t.last)
		}
		return &firing{tier: i, weight: t.Weight, evidence: append(says, facet.Number("first_ms", first), facet.Number("last_ms", last))}
	}
	return nil
}

// regular returns the percentage of objects that follow another.
func (s *shopper) regular(sh *shelf) int64 {
	forms := map[[2]string][]int64{}
	for _, t := range sh.things {
		if t.digits != "" {
			f := [2]string{t.before, t.after}
			forms[f] = append(forms[f], value64(t.digits))
		}
	}
	step := s.rule.Step
	for range sh.level {
		step *= 2
	}
	near, differences := 0, map[int64]int{}
	for _, numbers := range forms {
		slices.Sort(numbers)
		numbers = slices.Compact(numbers)
		for i := 1; i < len(numbers); i++ {
			if numbers[i]-numbers[i-1] <= step {
				near++
			}
			differences[numbers[i]-numbers[i-1]]++
		}
	}
	if sh.level == 0 {
		for _, n := range differences {
			near = max(near, n)
		}
	}
	if len(sh.things) < 2 {
		return 0
	}
	return int64(100 * near / (len(sh.things) - 1))
}

// spreadOf returns how evenly sorted numbers are spread.
func spreadOf(numbers []int64) int64 {
	if len(numbers) < 8 {
		return 0
	}
	middle := numbers[len(numbers)/10 : len(numbers)-len(numbers)/10]
	parts := len(middle) - 1
	width := middle[parts] - middle[0]
	if width == 0 {
		return 0
	}
	var widths []int64
	for k := range 4 {
		widths = append(widths, middle[parts*(k+1)/4]-middle[parts*k/4])
	}
	return 400 * slices.Min(widths) / width
}

// interval returns the median of the times between first requests, ms.
func (sh *shelf) interval() int64 {
	var times, between []int64
	for _, t := range sh.things {
		times = append(times, t.first)
	}
	slices.Sort(times)
	for i := 1; i < len(times); i++ {
		between = append(between, times[i]-times[i-1])
	}
	if len(between) == 0 {
		return 0
	}
	slices.Sort(between)
	median := between[(len(between)-1)/2]
	for range sh.level {
		median /= 2
	}
	return median
}
