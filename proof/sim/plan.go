package sim

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/weirdev/weir/ingest"
)

// Plan describes a run. All of it follows from the seed, except for crashes that a
// test may add.
type Plan struct {
	Seed         uint64
	Workers      int
	Raw, Facets  int  // partitions
	Pinned       bool // each entity stays in one raw partition
	Events       int
	Span         time.Duration // in which the events are sent
	FetchRecords int           // maximum per fetch
	StoreRoom    int           // rows of a partition that a store accepts before it blocks
	ClockOff     time.Duration // maximum error of a worker's clock, in either direction
	Appended     bool          // the raw topic keeps the append time
	History      bool          // the stream consists of old events, and ends
	Unreadable   int           // ranges of unreadable raw records
	Snapshots    bool          // whether snapshots are kept
	Transactions bool          // some gateways write transactions
	Epochs       int           // number of different epochs among workers; below 2: they do not differ
	Interleaved  bool          // there are rules whose signals depend on the facet log, and not only on the load
	Rules        int           // number of different rule sets among workers; below 2: they do not differ

	// Lateness is how long after the watermark events count. If Pinned, good events
	// are never later than that.
	Lateness time.Duration

	Linger, IngestCommit, DetectCommit, Drain time.Duration

	Faults    Faults
	LastFlush bool // at the very end Redis loses everything once more

	CrashAt    []int // numbers of effects at which their process dies
	CrashAfter bool
}

// Faults says which faults occur, and how often.
type Faults struct {
	// Out of 1000 effects, on average this many …
	Crash      int // end their process, before or after
	Torn       int // are performed in two parts
	AnswerLost int // are performed again, because the answer was lost
	SlowAnswer int // are answered later than performed
	Stray      int // are performed a second time, late

	Orphan int // out of 1000 requests whose sender has died, this many are performed late

	// Pause between two faults of the kinds below; 0: none.
	Every time.Duration
	Kinds []string // with repetition, from faultKinds
}

var faultKinds = []string{"freeze", "rebalance", "stall", "stall", "flush", "restart", "clock", "spoil"}

// NewPlan draws a plan with faults of some kinds; which kinds depends on the seed.
func NewPlan(seed uint64) Plan {
	r := rand.New(rand.NewPCG(seed, 1))
	p := quiet(seed, r)
	rate := func(most int) int {
		if r.IntN(3) == 0 {
			return 0
		}
		return 1 + r.IntN(most)
	}
	p.Faults = Faults{Crash: rate(8), Torn: rate(150), AnswerLost: rate(60), SlowAnswer: rate(150), Stray: rate(40), Orphan: rate(1000)}
	p.Faults.Every = time.Duration(100+r.IntN(900)) * time.Millisecond
	for _, k := range faultKinds {
		if r.IntN(2) == 0 {
			p.Faults.Kinds = append(p.Faults.Kinds, k)
		}
	}
	p.LastFlush = r.IntN(2) == 0
	if p.Appended = r.IntN(2) == 0; p.Appended {
		p.Lateness += ingest.Defaults().MaxFuture // no claim moves the watermark further ahead
	}
	p.History = r.IntN(6) == 0
	if p.Snapshots = r.IntN(2) == 0; p.Snapshots && !slices.Contains(p.Faults.Kinds, "spoil") {
		p.Faults.Kinds = append(p.Faults.Kinds, "retention") // it relies on snapshots
	}
	if p.Unreadable = max(0, r.IntN(5)-2); p.Unreadable > 0 {
		p.Lateness += 3 * time.Second // a repeat may be the first readable record
	}
	if r.IntN(5) < 2 {
		p.Epochs = 2 + r.IntN(epochsAll-1)
		p.Faults.Kinds = append(p.Faults.Kinds, "epoch")
	}
	if r.IntN(4) == 0 {
		p.Rules, p.Snapshots = ruleSets, true
		p.Faults.Kinds = append(p.Faults.Kinds, "restart")
	}
	if p.Transactions = r.IntN(3) == 0; p.Transactions && p.Unreadable == 0 {
		p.Lateness += 3 * time.Second // a repeat may be the first record that is not aborted
	}
	if p.Rules > 1 && r.IntN(2) == 0 {
		p.Faults.Kinds = append(p.Faults.Kinds, "switch", "switch")
	}
	p.Interleaved = r.IntN(3) == 0
	return p
}

// ruleSets is the number of rule sets in a simulation.
const ruleSets = 3

// Undisturbed returns the plan of the same load without faults, on one worker.
func (p Plan) Undisturbed() Plan {
	p.Faults, p.LastFlush, p.Workers, p.ClockOff, p.CrashAt = Faults{}, false, 1, 0, nil
	return p
}

// Crashes returns a plan of two workers without faults other than the crashes that a
// test adds.
func Crashes(events int) Plan {
	p := quiet(1, rand.New(rand.NewPCG(1, 1)))
	p.Workers, p.Raw, p.Facets, p.Pinned, p.Events, p.Span, p.FetchRecords = 2, 2, 2, true, events, 1500*time.Millisecond, 40
	p.IngestCommit, p.DetectCommit, p.Snapshots = 300*time.Millisecond, 300*time.Millisecond, true
	return p
}

func quiet(seed uint64, r *rand.Rand) Plan {
	ms := func(least, most int) time.Duration {
		return time.Duration(least+r.IntN(most-least+1)) * time.Millisecond
	}
	p := Plan{
		Seed: seed, Workers: 1 + r.IntN(3), Raw: 1 + r.IntN(3), Facets: 1 + r.IntN(3), Pinned: r.IntN(3) > 0,
		Events: 40 + r.IntN(160), Span: ms(1000, 4000), FetchRecords: 1 + r.IntN(40), StoreRoom: 1 + r.IntN(6), ClockOff: ms(0, 1) * time.Duration(r.IntN(4000)),
		Linger: ms(0, 20), IngestCommit: ms(50, 500), DetectCommit: ms(50, 500), Drain: ms(100, 600),
	}
	// Gateways take up to 700 ms.
	p.Lateness = time.Second + p.ClockOff
	if !p.Pinned {
		p.Lateness = 20 * time.Second
	}
	return p
}

// misfortune injects the faults of the plan until the world is calm. w.mu is held.
func (w *world) misfortune() {
	f := w.plan.Faults
	if len(f.Kinds) == 0 {
		return
	}
	w.after(f.Every/2+time.Duration(w.rng.Int64N(int64(f.Every))), func() {
		if !w.calm {
			w.befall(f.Kinds[w.rng.IntN(len(f.Kinds))])
			w.misfortune()
		}
	})
}

// stallable lists the services that may stop answering for a while.
var stallable = []string{"table events", "table labels", "table dead_letters", "table signals", "redis", topicFacets, topicDead, topicSignals, "commit", "snapshots", "fetch " + topicRaw, "fetch " + topicControls, "fetch " + topicFacets}

func (w *world) befall(kind string) {
	living := w.living()
	if len(living) == 0 {
		return
	}
	p := living[w.rng.IntN(len(living))]
	w.counts[kind]++
	switch kind {
	case "freeze":
		w.freeze(p, time.Duration(50+w.rng.IntN(2500))*time.Millisecond)
	case "rebalance":
		g := w.groups[[]string{groupIngest, groupControls, groupDetect}[w.rng.IntN(3)]]
		w.note("%s rebalances", g.name)
		g.rebalance()
	case "stall":
		all := stallable
		if w.plan.Epochs > 1 {
			all = append(all[:len(all):len(all)], "epochs")
		}
		what := all[w.rng.IntN(len(all))]
		d := time.Duration(20+w.rng.IntN(1500)) * time.Millisecond
		w.note("%s stalls for %v", what, d)
		w.stalled[what] = time.Now().Add(d)
	case "flush":
		w.flush()
	case "clock":
		p.off = w.anyOff()
		w.note("the clock of %s is now off by %v", p, p.off)
	case "epoch":
		p.epoch = w.anyEpoch()
		w.note("%s has other rules or data: epoch %d", p, p.epoch)
	case "switch":
		w.switchRules()
	case "spoil":
		w.spoil()
	case "retention":
		w.retention()
	case "restart":
		w.note("%s is told to stop", p)
		p.stop()
	}
}

// flush makes Redis lose everything. Every process learns of it in time.
func (w *world) flush() {
	w.note("redis loses everything")
	clear(w.scores)
	w.losses++
	for _, s := range w.slots {
		p := s.current
		w.after(time.Duration(w.rng.IntN(1000))*time.Millisecond, func() { p.losses = w.losses })
	}
}
