package detectors

import (
	"fmt"
	"slices"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// Comparison configures how a rule compares an entity with the others of its
// cohorts.
type Comparison struct {
	Cohorts     []event.Field // by which others are looked at, the finest first; never empty
	Peers       int           // others that must be known
	BrokenShare int           // percent of a cohort that fail, from which on nobody in it is to blame
	Wait        time.Duration // until an entity is judged whose cohort could not be judged at once
	Usual       time.Duration // how far back a cohort is looked at where the last Wait tells too little

	UnjudgedPercent int // of a weight, where no cohort could be judged
}

const mostCohorts = 4

// comparisonKeys are its keys; absent names the default cohorts.
func comparisonKeys(absent string) []rules.Key {
	const day = 24 * time.Hour
	return []rules.Key{
		rules.ListKey("cohorts", rules.Optional, 1, mostCohorts, "fields that others must share with the entity to be compared with, the finest first; default: "+absent,
			rules.ChoiceKey("", rules.Required, []string{"build", "app_version", "device_model", "os"}, "a field")),
		rules.CountKey("peers", rules.Optional, 2, mostPeers, "number of others, and of networks, that must be known to judge a cohort; default 3"),
		rules.CountKey("broken_share", rules.Optional, 1, 100, "percentage of failing members from which a cohort is broken and nothing fires; default 30"),
		rules.DurationKey("wait", rules.Optional, 10*time.Second, day, "how long an entity waits for others of its first cohort to pass before it is judged; default 10m"),
		rules.DurationKey("usual", rules.Optional, 10*time.Second, 31*day, "how far back a cohort is examined if the last wait shows too little; default 6h"),
		rules.CountKey("unjudged_percent", rules.Optional, 0, 100, "percent of the weight that remains if too little is known about all cohorts; default 50; 0: nothing fires"),
	}
}

func compileComparison(p *rules.Params, absent ...event.Field) Comparison {
	c := Comparison{
		Peers: p.IntOr("peers", 3), BrokenShare: p.IntOr("broken_share", 30),
		Wait: p.DurationOr("wait", 10*time.Minute), Usual: p.DurationOr("usual", 6*time.Hour), UnjudgedPercent: p.IntOr("unjudged_percent", 50),
	}
	for _, name := range p.Texts("cohorts") {
		f, _ := event.Lookup(name)
		if slices.Contains(c.Cohorts, f.Field) {
			p.Problem("cohorts", name+" is there twice", "name each field once")
		}
		c.Cohorts = append(c.Cohorts, f.Field)
	}
	if !p.Has("cohorts") {
		c.Cohorts = absent
	}
	if c.Usual < c.Wait {
		p.Problem("usual", "usual is shorter than wait, which is 10m where it is absent", "look further back than the wait")
	}
	return c
}

// state is its part of the name of a rule's state.
func (c *Comparison) state() string {
	return fmt.Sprintf("%v in %d and %d", c.Cohorts, c.Wait.Milliseconds(), c.Usual.Milliseconds())
}

func (c *Comparison) canonical() string {
	return fmt.Sprintf("cohorts %v peers %d broken %d wait %d usual %d unjudged %d",
		c.Cohorts, c.Peers, c.BrokenShare, c.Wait.Milliseconds(), c.Usual.Milliseconds(), c.UnjudgedPercent)
}

func (c *Comparison) peers() *peers {
	return &peers{fields: c.Cohorts, stretch: [2]int64{c.Wait.Milliseconds(), c.Usual.Milliseconds()}, enough: c.Peers, share: c.BrokenShare}
}

// peers compares an entity with the others of its cohorts: do they fail as it does?
// For each cohort it counts the entities that pass and those that fail, each once
// in a stretch of time; there are short and long stretches.
//
// For an entity it keeps a standing of 32 bytes per cohort:
//
//	0 key of the cohort u64 · 8 short stretch i64 · 16 long stretch i64 · 24 how it counted in each 2×u8 · 26 unused 6
//
// and for a cohort a crowd of 224 bytes, in which the numbers of stretches are
// those of the newest:
//
//	0 short stretch i64 · 8 long stretch i64 · 16 failing u16 · passing u16, of the newest short stretch, the one before, and both long ones
//	32 networks of those that fail 8×(hash u32 · last i64, Unix ms) · 128 who passed last 8×(hash u32 · last i64, Unix ms)
type peers struct {
	fields  []event.Field
	stretch [2]int64 // ms: short, long
	enough  int      // entities that must be known for a judgement, at most mostPeers
	share   int      // percent of a cohort that fail, from which on it is broken
	judged  judgement
}

const (
	standingSize = 32
	crowdSize    = 224
	mostPeers    = 8
	crowdLists   = 32
	listed       = 12 // bytes

	shortStretch = 0
	longStretch  = 1
)

// How an entity counts.
const (
	uncounted uint8 = iota
	passing
	failing
)

// Which list of a crowd.
const (
	networksOf = iota
	passedLast
)

// judgement is the verdict of the cohorts on an entity that fails.
type judgement struct {
	by                         event.Field // the cohort that says so; event.None: none knows enough
	failing, passing, networks int
	broken                     bool // many entities fail, on many networks
	few                        bool // as many fail, on few networks
	now                        bool // others of the first cohort have passed since
	first                      bool // the first cohort knows enough
}

func (p *peers) room() int { return len(p.fields) * standingSize }

// standing is an entity's state for one cohort.
type standing []byte

func (s standing) key() uint64     { return le.Uint64(s) }
func (s standing) at(of int) int64 { return int64(le.Uint64(s[8+8*of:])) }

func (s standing) how(of int) uint8 { return s[24+of] }

func (s standing) set(of int, stretch int64, how uint8) {
	le.PutUint64(s[8+8*of:], uint64(stretch))
	s[24+of] = how
}

func (s standing) valid() bool { return max(s.how(shortStretch), s.how(longStretch)) <= failing }

// crowd is the state of a cohort.
type crowd []byte

func (b crowd) newest(of int) int64 { return int64(le.Uint64(b[8*of:])) }

// counts returns the counts of the newest stretch (0), or of the one before (1).
func (b crowd) counts(of, back int) []byte { return b[16+8*of+4*back:][:4] }

func failingIn(c []byte) int { return int(le.Uint16(c)) }
func passingIn(c []byte) int { return int(le.Uint16(c[2:])) }

// roll makes a stretch the newest, unless there is a later one.
func (b crowd) roll(of int, stretch int64) {
	newest := b.newest(of)
	if stretch <= newest {
		return
	}
	clear(b.counts(of, 1))
	if stretch == newest+1 {
		copy(b.counts(of, 1), b.counts(of, 0))
	}
	clear(b.counts(of, 0))
	le.PutUint64(b[8*of:], uint64(stretch))
}

// in returns the counts of a stretch; nil if it is over.
func (b crowd) in(of int, stretch int64) []byte {
	if back := b.newest(of) - stretch; back == 0 || back == 1 {
		return b.counts(of, int(back))
	}
	return nil
}

func (b crowd) list(which int) []byte {
	return b[crowdLists+which*mostPeers*listed:][:mostPeers*listed]
}

// note puts a hash into a list, replacing the oldest.
func (b crowd) note(which int, hash uint32, t int64) {
	l, oldest := b.list(which), 0
	for i := 0; i < len(l); i += listed {
		switch h, at := le.Uint32(l[i:]), int64(le.Uint64(l[i+4:])); {
		case h == hash:
			le.PutUint64(l[i+4:], uint64(max(at, t)))
			return
		case le.Uint32(l[oldest:]) != 0 && (h == 0 || at < int64(le.Uint64(l[oldest+4:]))):
			oldest = i
		}
	}
	le.PutUint32(l[oldest:], hash)
	le.PutUint64(l[oldest+4:], uint64(t))
}

// since counts the hashes of a list that came at a moment or later, except one.
func (b crowd) since(which int, t int64, but uint32) (n int) {
	l := b.list(which)
	for i := 0; i < len(l); i += listed {
		if h := le.Uint32(l[i:]); h != 0 && h != but && int64(le.Uint64(l[i+4:])) >= t {
			n++
		}
	}
	return n
}

// take counts the entity in a cohort. It returns the crowd; nil if there is no
// room.
func (p *peers) take(s standing, c Cohort, how uint8, t int64, who, network uint32) crowd {
	b := crowd(c.Payload())
	if len(b) == 0 {
		if b = c.Resize(crowdSize); b == nil {
			return nil
		}
	}
	if s.key() != c.Key() {
		clear(s)
		le.PutUint64(s, c.Key())
	}
	for of, length := range p.stretch {
		b.count(of, s, how, t/length)
	}
	switch {
	case how == passing:
		b.note(passedLast, who, t)
	case network != 0:
		b.note(networksOf, network, t)
	}
	c.Say(p.opinion(b))
	return b
}

// count counts an entity in a stretch: once, and as failing if it fails at any time
// in it.
func (b crowd) count(of int, s standing, how uint8, stretch int64) {
	was := s.how(of)
	if was != uncounted && (s.at(of) > stretch || s.at(of) == stretch && was >= how) {
		return
	}
	b.roll(of, stretch)
	in := b.in(of, stretch)
	if in == nil {
		return
	}
	if was == passing && s.at(of) == stretch {
		le.PutUint16(in[2:], uint16(max(passingIn(in)-1, 0)))
	}
	at := in[2*(failing-how):]
	le.PutUint16(at, uint16(min(int(le.Uint16(at))+1, 1<<16-1)))
	s.set(of, stretch, how)
}

// A partition's verdict on a cohort with failing entities, as a level: up to 8 that
// fail, up to 7 that pass.
const (
	mostToldFailing = 8
	mostToldPassing = 7
	levels          = mostToldFailing * (mostToldPassing + 1)
)

func (p *peers) opinion(b crowd) uint8 {
	fails, passes := b.both(longStretch)
	if fails == 0 {
		return 0
	}
	return uint8(min(fails, mostToldFailing) + mostToldFailing*min(passes, mostToldPassing))
}

// told adds up the verdicts of the facet partitions.
func told(c Cohort) (fails, passes int) {
	if c.Said(1) == 0 {
		return 0, 0
	}
	above := 0
	for level := levels; level > 0; level-- {
		n := c.Said(uint8(level))
		fails += (n - above) * ((level-1)%mostToldFailing + 1)
		passes += (n - above) * ((level - 1) / mostToldFailing)
		above = n
	}
	return fails, passes
}

// both adds up the counts of the newest stretch and of the one before.
func (b crowd) both(of int) (fails, passes int) {
	newest, before := b.counts(of, 0), b.counts(of, 1)
	return failingIn(newest) + failingIn(before), passingIn(newest) + passingIn(before)
}

// look counts a cohort's entities at a moment: in the newest short stretch if that
// has enough, else in two, else in two long ones; if even they have too few, it
// uses the verdicts of the facet partitions. It returns the beginning of the
// stretches used; all is true if the numbers cover the whole stream.
func (p *peers) look(c Cohort, b crowd, t int64) (fails, passes int, from int64, all bool) {
	n := t / p.stretch[shortStretch]
	if newest := b.newest(shortStretch); newest >= n {
		from = newest * p.stretch[shortStretch]
		fails, passes = failingIn(b.counts(shortStretch, 0)), passingIn(b.counts(shortStretch, 0))
	}
	if newest := b.newest(shortStretch); fails+passes < 2*p.enough && newest >= n-1 {
		from = (newest - 1) * p.stretch[shortStretch]
		fails, passes = b.both(shortStretch)
	}
	if newest := b.newest(longStretch); fails+passes < 2*p.enough && newest >= t/p.stretch[longStretch]-1 {
		from = (newest - 1) * p.stretch[longStretch]
		fails, passes = b.both(longStretch)
	}
	if fails+passes < 2*p.enough {
		if f, q := told(c); f+q > fails+passes {
			return f, q, from, true
		}
	}
	return fails, passes, from, false
}

// judge begins a judgement.
func (p *peers) judge() { p.judged = judgement{} }

// hear adds a cohort's verdict, at a moment, on an entity that has failed since
// another moment; fields[i] forms the cohort.
func (p *peers) hear(i int, c Cohort, t, since int64, who uint32) {
	j, b := &p.judged, crowd(nil)
	if c != nil {
		b = crowd(c.Payload())
	}
	if len(b) != crowdSize || j.broken {
		return
	}
	fails, passes, from, all := p.look(c, b, t)
	networks := b.since(networksOf, from, 0)
	failed := fails >= p.enough && 100*fails >= p.share*(fails+passes)
	if failed && (all || networks >= p.enough) {
		*j = judgement{by: p.fields[i], failing: fails, passing: passes, networks: networks, broken: true}
		return
	}
	if i == 0 {
		j.first = failed || passes >= p.enough
		j.now = !failed && j.first && b.since(passedLast, since, who) >= p.enough
	}
	if (failed || passes >= p.enough) && j.by == event.None {
		j.by, j.failing, j.passing, j.networks, j.few = p.fields[i], fails, passes, networks, failed
	}
}

// evidence describes how an entity was judged.
func (j *judgement) evidence(list []facet.Evidence) []facet.Evidence {
	switch {
	case j.by == event.None:
		return append(list, facet.Text("judged", "too little is known of others"))
	case j.few:
		list = append(list, facet.Text("judged", "many fail, on few networks"))
	default:
		list = append(list, facet.Text("judged", "others pass"))
	}
	return append(list,
		facet.Text("cohort", j.by.String()),
		facet.Number("cohort_failing", int64(j.failing)),
		facet.Number("cohort_passing", int64(j.passing)),
		facet.Number("cohort_networks", int64(j.networks)))
}

// keeps states how a rule keeps cohorts. Partitions publish at most ten verdicts
// per short stretch.
func (p *peers) keeps() rules.KeepsOfCohort {
	return rules.KeepsOfCohort{
		Reach: 2 * time.Duration(p.stretch[longStretch]) * time.Millisecond, Bytes: crowdSize,
		Verdicts: time.Duration(p.stretch[shortStretch]/10) * time.Millisecond,
	}
}
