package engine

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// groupRules has a rule about groups that fires at every third account.
const groupRules = `rules:
  - id: spray
    title: accounts that one address tries
    entity: ip
    when: auth != ""
    counting: {window: 1m, count: auth == "failure", distinct: account, tiers: [{at: 3, weight: 60}], cooldown: 1s}
    members: {entity: account, weight: %d}
    signal: {category: account_takeover, reason: spray, half_life: 10m}
    phase: soft
`

// loopSet is a stream of some facet partitions and one raw one, in memory.
type loopSet struct {
	t          testing.TB
	set        *rules.Set
	projection facet.Projection
	parts      []*Partition
	logs       [][][]byte // by partition
	writers    []*facet.Writer
	chains     map[[2]int]facet.Step // by writer and reader
	raw        int64
	signals    []score.Signal
	updates    []score.Update
}

const loopPartitions = 4

func groupRuleSet(t testing.TB, weight int) *rules.Set {
	t.Helper()
	set, err := rules.Load(fstest.MapFS{"r.yaml": {Data: fmt.Appendf(nil, groupRules, weight)}}, testrules.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func newLoopSet(t testing.TB) *loopSet {
	l := &loopSet{t: t, set: groupRuleSet(t, 20), logs: make([][][]byte, loopPartitions), chains: map[[2]int]facet.Step{}}
	l.projection = l.set.Projection()
	for i := range loopPartitions {
		l.parts = append(l.parts, l.partition(int32(i), l.set))
		l.writers = append(l.writers, facet.NewWriter(1, 9, &l.projection))
	}
	return l
}

func loopConfig() Config {
	cfg := Defaults()
	cfg.Sources, cfg.Partitions = 1, loopPartitions
	return cfg
}

func (l *loopSet) partition(id int32, set *rules.Set) *Partition {
	p, err := NewPartition(loopConfig(), set, testHasher(), id, 9)
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

// home is the partition of an entity.
func home(e facet.Entity) int32 { return facet.Partition(testHasher().Sum(e), loopPartitions) }

// fail sends a sign-in that fails, without applying what comes of it.
func (l *loopSet) fail(ip, account string, at int64) {
	e := new(event.Event)
	e.SetNum(event.Time, at)
	e.SetText(event.Tenant, "shop")
	e.SetText(event.ClientIP, ip)
	e.SetText(event.Account, account)
	e.SetText(event.Auth, "failure")
	for i, w := range l.writers {
		if ent, ok := facet.EntityOf(facet.IP, e, nil); ok && home(ent) == int32(i) {
			w.Add(ent, 0, l.raw, e)
		}
		l.logs[i] = append(l.logs[i], bytes.Clone(w.Finish(facet.Section{Owner: 1, From: l.raw, To: l.raw + 1, Watermark: at})))
	}
	l.raw++
}

// step applies the next record of a partition and loops back what it causes.
func (l *loopSet) step(to, offset int) {
	var out Output
	if err := l.parts[to].Apply(int64(offset), l.logs[to][offset], &out); err != nil {
		l.t.Fatalf("partition %d, offset %d: %v", to, offset, err)
	}
	l.signals, l.updates = append(l.signals, out.Signals...), append(l.updates, out.Updates...)
	for _, loop := range out.Loopback {
		way := [2]int{to, int(loop.To)}
		facet.Chain(loop.Frame, l.chains[way])
		l.chains[way] = loop.Step
		l.logs[loop.To] = append(l.logs[loop.To], loop.Frame)
	}
}

// settle applies everything.
func (l *loopSet) settle() {
	done := make([]int, len(l.parts))
	for again := true; again; {
		again = false
		for i := range l.parts {
			for ; done[i] < len(l.logs[i]); done[i]++ {
				l.step(i, done[i])
				again = true
			}
		}
	}
}

// loops lists the places of loop-back frames in a partition's log.
func (l *loopSet) loops(partition int) (offsets []int) {
	for i, b := range l.logs[partition] {
		if facet.IsLoopback(b) {
			offsets = append(offsets, i)
		}
	}
	return offsets
}

// spray has one address try accounts.
func (l *loopSet) spray(ip string, from, to int, at int64) {
	for i := from; i < to; i++ {
		l.fail(ip, fmt.Sprint("acc-", i), at)
	}
}

const sprayTime = rules.TestStart

func TestMembersOfAGroupGetASignalAndAScore(t *testing.T) {
	l := newLoopSet(t)
	l.spray("192.0.2.1", 0, 7, sprayTime)
	l.spray("192.0.2.1", 7, 9, sprayTime+2000) // the eighth fires again: its window holds all, of which three are not told
	l.settle()
	members := map[string]score.Signal{}
	for _, s := range l.signals {
		if s.Entity.Kind != facet.Account {
			continue
		}
		if _, twice := members[s.Entity.Key]; twice {
			t.Errorf("%s got two signals", s.Entity.Key)
		}
		members[s.Entity.Key] = s
		if s.Position.Partition != home(s.Entity) || s.Entity.Tenant != "shop" || s.Group != (facet.Entity{Kind: facet.IP, Tenant: "shop", Key: "192.0.2.1"}) ||
			s.Rule != "spray" || s.Weight != 20 || s.Late || s.RulesVersion != l.set.Version || s.Reason != "spray" {
			t.Errorf("signal %+v", s)
		}
	}
	for i, fired := range []struct {
		at, distinct int64
	}{{sprayTime, 3}, {sprayTime, 3}, {sprayTime, 3}, {sprayTime + 2000, 8}, {sprayTime + 2000, 8}, {sprayTime + 2000, 8}, {sprayTime + 2000, 8}, {sprayTime + 2000, 8}} {
		s := members[fmt.Sprint("acc-", i)]
		if s.Time != fired.at || len(s.Evidence) == 0 || s.Evidence[0] != facet.Number("distinct", fired.distinct) {
			t.Errorf("member %d: %+v, want one of %+v", i, s, fired)
		}
	}
	if len(members) != 8 {
		t.Errorf("%d members got signals, want 8", len(members))
	}
	var total Totals
	scores := map[string]bool{}
	for i, p := range l.parts {
		total = total.Plus(p.Ledger().Total())
		for u := range p.Live {
			if home(u.Entity) != int32(i) {
				t.Errorf("the score of %v is in partition %d", u.Entity, i)
			}
			scores[u.Entity.Kind.String()] = true
			if u.Entity.Kind == facet.Account && (len(u.Contributions) != 1 || u.Contributions[0].Weight != 20) {
				t.Errorf("score %+v", u)
			}
		}
	}
	if total.Told != 8 || total.Heard != 8 || !scores["account"] || !scores["ip"] {
		t.Errorf("ledger %+v, scores of %v", total, scores)
	}
}

// victim is a partition that several loop-back frames of one other went to.
func victim(t *testing.T) (l *loopSet, to int, frames []int) {
	l = newLoopSet(t)
	for i := range 20 {
		l.spray("192.0.2.1", 10*i, 10*i+10, sprayTime+int64(i)*2000)
	}
	l.settle()
	for to = range l.logs {
		if frames = l.loops(to); len(frames) >= 4 {
			return l, to, frames
		}
	}
	t.Fatal("no partition got frames")
	return nil, 0, nil
}

// reading applies a log to a fresh partition, and says how far it came.
func (l *loopSet) reading(p *Partition, log [][]byte) (Output, error) {
	var out Output
	for i, b := range log {
		if err := p.Apply(int64(i), b, &out); err != nil {
			return out, fmt.Errorf("offset %d: %w", i, err)
		}
	}
	return out, nil
}

func TestLoopBackThatIsWrittenAgainCountsOnce(t *testing.T) {
	l, to, frames := victim(t)
	want := l.parts[to].Ledger().Loopback
	log := slices.Clone(l.logs[to])
	for _, at := range []int{frames[0], frames[2], frames[1], frames[len(frames)-1]} {
		log = append(log, log[at])
	}
	p := l.partition(int32(to), l.set)
	out, err := l.reading(p, log)
	if err != nil {
		t.Fatal(err)
	}
	got := p.Ledger().Loopback
	if got.Heard != want.Heard || got.Duplicate == 0 || got.Told != want.Told {
		t.Errorf("ledger %+v, want %+v and duplicates", got, want)
	}
	for _, s := range out.Signals {
		if s.Position.Offset >= int64(len(l.logs[to])) {
			t.Errorf("a repeat caused %+v", s)
		}
	}
}

func TestLoopBackThatIsMissingStopsThePartition(t *testing.T) {
	l, to, frames := victim(t)
	for n, at := range frames[:len(frames)-1] {
		log := slices.Delete(slices.Clone(l.logs[to]), at, at+1)
		if _, err := l.reading(l.partition(int32(to), l.set), log); !errors.Is(err, ErrGap) {
			t.Errorf("without frame %d of %d: %v", n, len(frames), err)
		}
	}
	// A state that began after a declared loss cannot know what came before.
	p := l.partition(int32(to), l.set)
	p.begun = 5
	if _, err := l.reading(p, slices.Delete(slices.Clone(l.logs[to]), frames[1], frames[1]+1)); err != nil {
		t.Errorf("after a declared loss: %v", err)
	}
}

func TestForeignLoopBackStopsThePartition(t *testing.T) {
	l := newLoopSet(t)
	for _, c := range []struct {
		frame []byte
		want  error
	}{
		{new(facet.LoopbackWriter).Finish(0, facet.Step{Next: 1}, 8), ErrForeign},
		{new(facet.LoopbackWriter).Finish(loopPartitions, facet.Step{Next: 1}, 9), ErrForeign},
		{new(facet.LoopbackWriter).Finish(0, facet.Step{}, 9), facet.ErrFrame},
	} {
		if err := l.partition(0, l.set).Apply(0, c.frame, new(Output)); !errors.Is(err, c.want) {
			t.Errorf("%v, want %v", err, c.want)
		}
	}
}

// Whoever applies the log writes the same frames, from whichever snapshot.
func TestLoopBackFollowsFromTheLog(t *testing.T) {
	l := newLoopSet(t)
	for i := range 10 {
		l.spray("192.0.2.1", 10*i, 10*i+10, sprayTime+int64(i)*2000)
	}
	l.settle()
	group := int(home(facet.Entity{Kind: facet.IP, Tenant: "shop", Key: "192.0.2.1"}))
	log := l.logs[group]
	all, err := l.reading(l.partition(int32(group), l.set), log)
	if err != nil || len(all.Loopback) < 20 {
		t.Fatalf("%d frames, %v", len(all.Loopback), err)
	}
	for cut := 1; cut < len(log); cut += 7 {
		p := l.partition(int32(group), l.set)
		first, err := l.reading(p, log[:cut])
		if err != nil {
			t.Fatal(err)
		}
		b := snapshotOf(t, p, cut)
		p, _, err = RestorePartition(loopConfig(), l.set, testHasher(), int32(group), 9, b)
		if err != nil {
			t.Fatal(err)
		}
		for i := cut; i < len(log); i++ {
			if err := p.Apply(int64(i), log[i], &first); err != nil {
				t.Fatal(err)
			}
		}
		if len(first.Loopback) != len(all.Loopback) {
			t.Fatalf("cut at %d: %d frames, want %d", cut, len(first.Loopback), len(all.Loopback))
		}
		for i := range all.Loopback {
			if first.Loopback[i].To != all.Loopback[i].To || !bytes.Equal(first.Loopback[i].Frame, all.Loopback[i].Frame) {
				t.Fatalf("cut at %d: frame %d is another", cut, i)
			}
		}
		if p.Digest() != l.parts[group].Digest() {
			t.Fatalf("cut at %d: another state", cut)
		}
	}
}

func TestMuchLoopBackIsCutIntoFrames(t *testing.T) {
	l := newLoopSet(t)
	p := l.parts[0]
	e := new(event.Event)
	w := l.writers[0]
	long := strings.Repeat("x", 1000)
	for i := range 3 * 400 {
		e.Reset()
		e.SetNum(event.Time, sprayTime)
		e.SetText(event.ClientIP, fmt.Sprint("10.0.0.", i/3))
		e.SetText(event.Account, fmt.Sprint(long, i))
		e.SetText(event.Auth, "failure")
		ent, _ := facet.EntityOf(facet.IP, e, nil)
		w.Add(ent, 0, int64(i), e)
	}
	var out Output
	if err := p.Apply(0, w.Finish(facet.Section{Owner: 1, To: 1200, Watermark: sprayTime}), &out); err != nil {
		t.Fatal(err)
	}
	parts := map[int32]uint32{}
	for _, loop := range out.Loopback {
		var r facet.LoopbackReader
		if err := r.Reset(loop.Frame); err != nil {
			t.Fatal(err)
		}
		if want := (facet.Step{Next: 1, Part: parts[loop.To]}); r.Step != want || loop.Step != want || len(loop.Frame) > 2*mostLoopBytes {
			t.Errorf("a frame of %d bytes is %v, want %v", len(loop.Frame), r.Step, want)
		}
		parts[loop.To]++
	}
	if p.Ledger().Loopback.Told != 1200 || len(out.Loopback) < 12 {
		t.Errorf("%d members in %d frames", p.Ledger().Loopback.Told, len(out.Loopback))
	}
}

func TestWhatALoopBackIsWorthIsLookedAt(t *testing.T) {
	finding := func(p *Partition, at int64, slot uint32) Output {
		t.Helper()
		var w facet.LoopbackWriter
		w.Begin(&facet.Finding{Slot: slot, Weight: 20, Time: at, Group: facet.Entity{Kind: facet.IP, Key: "192.0.2.1"}})
		w.Member(facet.Account, "ann")
		w.End()
		step := p.loopback.got[0]
		var out Output
		if err := p.Apply(100, w.Finish(0, facet.Step{Next: step.Next + 1}, 9), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	l := newLoopSet(t)
	slot := l.set.Rules[0].Slot
	p := l.partition(1, l.set)
	p.watermark = sprayTime
	if out := finding(p, sprayTime-24*3_600_000, slot); len(out.Signals) != 1 || len(out.Updates) != 0 || p.Entities() != 0 {
		t.Errorf("a day late: %d signals, %d scores, %d entities", len(out.Signals), len(out.Updates), p.Entities())
	}
	// It is worth less than a point from this age on, to the millisecond.
	age := score.Expires([]score.Contribution{{Weight: 20, HalfLife: 600}})
	if out := finding(p, sprayTime-age, slot); len(out.Signals) != 1 || len(out.Updates) != 0 || p.Entities() != 0 {
		t.Errorf("just worth nothing: %d signals, %d scores, %d entities", len(out.Signals), len(out.Updates), p.Entities())
	}
	if out := finding(p, sprayTime-age+1, slot); len(out.Signals) != 1 || len(out.Updates) != 1 || p.Entities() != 1 {
		t.Errorf("just worth something: %d signals, %d scores, %d entities", len(out.Signals), len(out.Updates), p.Entities())
	}
	if out := finding(p, sprayTime-5*60_000, slot); len(out.Signals) != 1 || len(out.Updates) != 1 || out.Signals[0].Late {
		t.Errorf("five minutes late: %+v", out)
	}
	if out := finding(p, sprayTime, slot+1); len(out.Signals) != 0 || len(out.Updates) != 0 || p.Ledger().Loopback != (Totals{Heard: 5, Unknown: 1}) {
		t.Errorf("of a rule that is gone: %+v, %+v", out, p.Ledger().Loopback)
	}
}
