package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
)

// loopWorld keeps what is written to the facet topic, and the most bytes of one
// write.
type loopWorld struct {
	*world
	writing sync.Mutex
	loops   map[int32][][]byte
	most    int
}

func newLoopWorld(t testing.TB, set *rules.Set, frames int) *loopWorld {
	w := &loopWorld{world: newWorld(t, 0), loops: map[int32][][]byte{}}
	w.frames = sprays(set, frames, 0)
	w.cfg.Config = loopConfig()
	return w
}

func (w *loopWorld) Produce(_ context.Context, topic string, ps []kafka.Produce) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	n := 0
	for _, p := range ps {
		for _, r := range p.Records {
			n += len(r.Value)
			if topic == "facets" {
				w.loops[p.Partition] = append(w.loops[p.Partition], bytes.Clone(r.Value))
			}
		}
	}
	w.most = max(w.most, n)
	return nil
}

// owns has a stage read up to an offset, under some rules, and end cleanly.
func (w *loopWorld) owns(t testing.TB, set *rules.Set, upTo int64) {
	t.Helper()
	w.rules, w.visible = set, upTo
	s := w.stage(t)
	s.Log = w
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Run(ctx); err != nil || w.commit != upTo {
		t.Fatalf("committed %d of %d: %v", w.commit, upTo, err)
	}
}

// killed takes back what happened since the commit at an offset.
func (w *loopWorld) killed(commit int64) {
	w.commit = commit
	for next := range w.store.objects {
		if next > commit {
			delete(w.store.objects, next)
		}
	}
}

// heard has every destination read what was written for it.
func (w *loopWorld) heard(t testing.TB, set *rules.Set) (heard Totals) {
	t.Helper()
	for to, frames := range w.loops {
		cfg := loopConfig()
		cfg.Partitions = testPartitions
		p, err := NewPartition(cfg, set, testHasher(), to, 9)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range frames {
			if err := p.Apply(int64(i), f, new(Output)); err != nil {
				t.Errorf("facet partition %d stops at frame %d of %d: %v", to, i, len(frames), err)
				break
			}
		}
		heard = heard.Plus(p.Ledger().Total())
	}
	return heard
}

// sprays makes frames of one sign-in each, a second apart; all fail, at one
// address, of forty accounts whose names are at least so long.
func sprays(set *rules.Set, n, long int) (frames [][]byte) {
	p := set.Projection()
	w := facet.NewWriter(1, 9, &p)
	for i := range n {
		e := new(event.Event)
		at := sprayTime + int64(i)*1000
		e.SetNum(event.Time, at)
		e.SetText(event.ClientIP, "192.0.2.1")
		e.SetText(event.Account, fmt.Sprint(strings.Repeat("x", long), "acc-", i%40))
		e.SetText(event.Auth, "failure")
		ent, _ := facet.EntityOf(facet.IP, e, nil)
		w.Add(ent, 0, int64(i), e)
		frames = append(frames, bytes.Clone(w.Finish(facet.Section{Owner: 1, From: int64(i), To: int64(i + 1), Watermark: at})))
	}
	return frames
}

// changedRules are the rules about groups with one text replaced.
func changedRules(t testing.TB, old, now string) *rules.Set {
	t.Helper()
	text := fmt.Sprintf(groupRules, 20)
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q is not there once", old)
	}
	set, err := rules.Load(fstest.MapFS{"r.yaml": {Data: []byte(strings.Replace(text, old, now, 1))}}, testrules.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

const membersLine = "    members: {entity: account, weight: 20}\n"

// Whoever owned the writer's partition, under whatever rules, with whatever left of
// its state: the readers go on.
func TestChainsSurviveWhatTheirWritersDo(t *testing.T) {
	present := groupRuleSet(t, 20)
	for _, c := range []struct {
		name string
		do   func(t *testing.T, w *loopWorld)
	}{
		{"members are added, and nothing is kept of the state", func(t *testing.T, w *loopWorld) {
			w.store = nil
			w.owns(t, changedRules(t, membersLine, ""), 100)
			w.owns(t, present, 200)
		}},
		{"a threshold changes over an unclean end", func(t *testing.T, w *loopWorld) {
			w.owns(t, changedRules(t, "at: 3", "at: 45"), 20)
			w.cfg.SnapshotInterval = time.Hour
			w.owns(t, changedRules(t, "at: 3", "at: 45"), 100)
			delete(w.store.objects, 100) // killed before the snapshot was there
			w.owns(t, present, 200)
		}},
		{"rules change, and change back, and nothing is kept of the state", func(t *testing.T, w *loopWorld) {
			w.store = nil
			w.owns(t, present, 60)
			w.owns(t, changedRules(t, "at: 3", "at: 45"), 100)
			w.owns(t, present, 200)
		}},
		{"what was written beyond the commit is not found under other rules, and they change back", func(t *testing.T, w *loopWorld) {
			w.owns(t, present, 20)
			w.owns(t, present, 35)
			w.killed(20)
			w.owns(t, changedRules(t, "at: 3", "at: 39"), 25)
			w.owns(t, present, 200)
		}},
		{"a loss is declared", func(t *testing.T, w *loopWorld) {
			w.owns(t, present, 100)
			clear(w.store.objects)
			w.start, w.cfg.AcceptLoss = 50, true
			w.owns(t, present, 200)
		}},
		{"a loss is declared of all that was committed", func(t *testing.T, w *loopWorld) {
			w.owns(t, present, 100)
			clear(w.store.objects)
			w.start, w.cfg.AcceptLoss = 100, true
			w.owns(t, present, 200)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w := newLoopWorld(t, present, 200)
				c.do(t, w)
				if heard := w.heard(t, present); heard.Heard < 20 {
					t.Errorf("%+v: too little to show anything", heard)
				}
			})
		})
	}
}

// An owner that was killed is followed by one that writes the same again: members
// are told once.
func TestMembersAreToldOnceOverAnUncleanEnd(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		set := groupRuleSet(t, 20)
		calm, rough := newLoopWorld(t, set, 200), newLoopWorld(t, set, 200)
		calm.owns(t, set, 200)
		for upTo := int64(20); upTo <= 200; upTo += 20 {
			rough.owns(t, set, upTo)
			if upTo < 200 {
				rough.killed(upTo - 13)
			}
		}
		want, got := calm.heard(t, set), rough.heard(t, set)
		if got.Duplicate == 0 {
			t.Error("nothing was written again")
		}
		if got.Duplicate = 0; got != want || want.Heard < 50 {
			t.Errorf("heard %+v, want %+v", got, want)
		}
	})
}

// A frame that an owner has written, and that is not there, stops the reader.
func TestALostFrameOfAnOwnerIsSeen(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		set := groupRuleSet(t, 20)
		w := newLoopWorld(t, set, 200)
		w.owns(t, set, 200)
		for to, frames := range w.loops {
			for lost := range len(frames) - 1 {
				cfg := loopConfig()
				cfg.Partitions = testPartitions
				p, err := NewPartition(cfg, set, testHasher(), to, 9)
				if err != nil {
					t.Fatal(err)
				}
				for i, f := range frames {
					if i != lost && err == nil {
						err = p.Apply(int64(i), f, new(Output))
					}
				}
				if !errors.Is(err, ErrGap) {
					t.Errorf("to %d, frame %d of %d: %v", to, lost, len(frames), err)
				}
			}
		}
	})
}

// While a deployment rolls, a worker may not have the rule yet: that is counted.
func TestWhatAnUnknownRuleTellsIsCounted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		set := groupRuleSet(t, 20)
		w := newLoopWorld(t, set, 50)
		w.owns(t, set, 50)
		if heard := w.heard(t, changedRules(t, "id: spray", "id: other")); heard.Unknown == 0 || heard.Unknown != heard.Heard {
			t.Errorf("heard %+v", heard)
		}
	})
}

func TestManyFiringsAreWrittenInParts(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		set := groupRuleSet(t, 20)
		w := newLoopWorld(t, set, 0)
		// A hundred addresses in one record, each of which tries 32 accounts.
		p := set.Projection()
		writer := facet.NewWriter(1, 9, &p)
		n := int64(0)
		for at := range 20 {
			from := n
			for ip := range 100 {
				for range 16 {
					e := new(event.Event)
					e.SetNum(event.Time, sprayTime+int64(at)*2000)
					e.SetText(event.ClientIP, fmt.Sprint("198.51.100.", ip))
					e.SetText(event.Account, fmt.Sprint(strings.Repeat("x", 200), n))
					e.SetText(event.Auth, "failure")
					ent, _ := facet.EntityOf(facet.IP, e, nil)
					writer.Add(ent, 0, n, e)
					n++
				}
			}
			w.frames = append(w.frames, bytes.Clone(writer.Finish(facet.Section{Owner: 1, From: from, To: n, Watermark: sprayTime + int64(at)*2000})))
		}
		w.owns(t, set, 20)
		heard := w.heard(t, set)
		if w.most > 4*mostUnsent || heard.Heard < 20_000 {
			t.Errorf("%d members heard, at most %d bytes at once", heard.Heard, w.most)
		}
	})
}

// Where the log begins at 0, no facet may be missing, not even a first one.
func TestMissingFacetsAreSeen(t *testing.T) {
	set := groupRuleSet(t, 20)
	frames := sprays(set, 10, 0)
	read := func(p *Partition, frames [][]byte) (err error) {
		for i, f := range frames {
			if err = p.Apply(int64(i), f, new(Output)); err != nil {
				break
			}
		}
		return err
	}
	fresh := func(begun int64) *Partition {
		p, err := NewPartition(loopConfig(), set, testHasher(), 1, 9)
		if err != nil {
			t.Fatal(err)
		}
		p.begun = begun
		return p
	}
	if err := read(fresh(0), frames[4:]); !errors.Is(err, ErrGap) {
		t.Errorf("four of ten are missing: %v", err)
	}
	if err := read(fresh(7), frames[4:]); err != nil {
		t.Errorf("after a declared loss: %v", err)
	}
	// A paused owner's frame may be the first that comes after the loss.
	s := source{}
	if err := s.begin(facet.Section{Owner: 1, From: 80, To: 120, Sent: 500, Facets: 3}, true); err != nil {
		t.Fatal(err)
	}
	s.next = 120
	if err := s.begin(facet.Section{Owner: 2, From: 110, To: 130, Sent: 30, Facets: 10}, true); err != nil {
		t.Errorf("the next owner after a loss: %v", err)
	}
}

// Names that an attacker makes up do not keep rules from firing, nor groups from
// having a score.
func TestLongNamesSilenceNobody(t *testing.T) {
	var text strings.Builder
	text.WriteString("rules:\n")
	for i := range 8 {
		r := strings.TrimPrefix(fmt.Sprintf(groupRules, 20), "rules:\n")
		text.WriteString(strings.NewReplacer("id: spray", fmt.Sprint("id: spray", i), "at: 3", "at: 40").Replace(r))
	}
	set, err := rules.Load(fstest.MapFS{"r.yaml": {Data: []byte(text.String())}}, testrules.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	for _, long := range []int{0, 246} {
		p, err := NewPartition(loopConfig(), set, testHasher(), 1, 9)
		if err != nil {
			t.Fatal(err)
		}
		signals, scores := 0, 0
		for i, f := range sprays(set, 60, long) {
			var out Output
			if err := p.Apply(int64(i), f, &out); err != nil {
				t.Fatal(err)
			}
			signals, scores = signals+len(out.Signals), scores+len(out.Updates)
		}
		if signals != 8*21 || scores != 21 {
			t.Errorf("names of %d bytes: %d signals, %d scores, want %d and 21", long, signals, scores, 8*21)
		}
	}
}

// A member's signal is no reason to spare its record: whom a firing names, an
// attacker chooses.
func TestWhoIsOnlyNamedIsNotSpared(t *testing.T) {
	l := newLoopSet(t)
	l.spray("192.0.2.1", 0, 3, sprayTime)
	l.settle()
	spared := map[facet.Kind]int{}
	for _, p := range l.parts {
		for _, e := range []facet.Entity{
			{Kind: facet.IP, Tenant: "shop", Key: "192.0.2.1"}, {Kind: facet.Account, Tenant: "shop", Key: "acc-0"},
		} {
			if rec, ok := p.table.Find(testHasher().Sum(e), p.watermark); ok && rec.Remarkable() {
				spared[e.Kind]++
			} else if ok {
				spared[e.Kind] -= 10
			}
		}
	}
	if spared[facet.IP] != 1 || spared[facet.Account] != -10 {
		t.Errorf("spared: %v", spared)
	}
}

// The states of two owners of the same rules may differ where former rules held up
// to different offsets. That is no fault of anybody.
func TestStatesOfAnotherPastAreNotCompared(t *testing.T) {
	old, now := changedRules(t, "at: 3", "at: 5"), groupRuleSet(t, 20)
	frames := sprays(now, 60, 0)
	under := func(cut int) []byte {
		p, err := NewPartition(loopConfig(), old, testHasher(), 1, 9)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range frames {
			if i == cut {
				if p, _, err = RestorePartition(loopConfig(), now, testHasher(), 1, 9, snapshotOf(t, p, i)); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Apply(int64(i), f, new(Output)); err != nil {
				t.Fatal(err)
			}
		}
		return snapshotOf(t, p, len(frames))
	}
	if got, err := compareSnapshots(under(10), under(4)); err != nil || got != otherTerms {
		t.Errorf("two pasts: %v %v", got, err)
	}
	if got, err := compareSnapshots(under(10), under(10)); err != nil || got != sameState {
		t.Errorf("one past: %v %v", got, err)
	}
}
