package oracle

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// tally counts the relevant features of the histories.
type tally struct {
	signals, scores, late, duplicate, errors, forgotten, wholeSignals, told, heard, edits, switches, shadow int
	timers                                                                                                  int // signals of timers
	said, noted                                                                                             int // verdicts
	orders, named                                                                                           int // signals of unlikely orders, and those with two named transitions
	drifts                                                                                                  int // signals of drift
	sequences, compared                                                                                     int // signals of sequences, and those that are unusual in their cohort
	volumes                                                                                                 int // signals of unusual volumes
	controls, held                                                                                          int // control records that counted, and signals that a label held back
}

// compare reads a history with the engine and with the oracle. It returns their
// first difference; "" if there is none.
func (h *history) compare(tally *tally) string {
	if len(h.rules) == 0 {
		return "" // not a valid set
	}
	set, err := h.set()
	if err != nil {
		return err.Error()
	}
	p, err := engine.NewPartition(h.config(), set, hasher, 3, incarnation)
	if err != nil {
		return err.Error()
	}
	lived, err := engine.NewPartition(h.config(), set, hasher, 3, incarnation) // never restored
	if err != nil {
		return err.Error()
	}
	o, whole := newOracle(set, h), newOracle(set, h)
	whole.whole = true
	projection := set.Projection()
	if h.edited() {
		projection = everything(projection)
		o.Forget()
	}
	f := newFramer(set, projection)
	var (
		out  engine.Output
		log  [][]byte // loop-back from the partition to itself, after the record
		sent [partitions]facet.Step
		done bool // p and o have stopped with an error
	)
records:
	for i, r := range h.records {
		if r.edit != nil && r.by != byRestore {
			frame, err := r.frame()
			if err != nil {
				return "" // not a valid set
			}
			log = append(log[:0], frame)
			whole = nil
			tally.switches++
		} else if r.edit != nil {
			if set, err = loadRules(r.edit); err != nil {
				return "" // not a valid set
			}
			if p, err = restored(p, h, set, int64(100*i)); err != nil {
				return fmt.Sprintf("record %d: restore under other rules: %v", i, err)
			}
			lived = nil // only the restored one has such a past
			o.Change(set)
			whole = nil // it knows what is forgotten only under a single set of rules
			tally.edits++
			continue
		}
		if r.edit == nil {
			log = append(log[:0], f.frame(r))
		}
		if h.restore > 0 && i%h.restore == h.restore-1 {
			if p, err = restored(p, h, set, int64(100*i)); err != nil {
				return fmt.Sprintf("record %d: restore: %v", i, err)
			}
		}
		for n := 0; n < len(log); n++ {
			frame, offset := log[n], int64(100*i+n)
			if lived != nil {
				out.Reset()
				if lived.Apply(offset, frame, &out) != nil {
					lived = nil
				}
			}
			out.Reset()
			got := p.Apply(offset, frame, &out)
			signals, want := o.Apply(offset, frame)
			if kind(got) != kind(want) {
				return fmt.Sprintf("record %d: error: %v, want %v", i, got, want)
			}
			if want != nil {
				tally.errors++
				done = true
				break records
			}
			if d := o.disagreement(p, &out, signals); d != "" {
				return fmt.Sprintf("record %d: %s", i, d)
			}
			if d := o.untold(out.Loopback, offset, &sent); d != "" {
				return fmt.Sprintf("record %d: loop-back: %s", i, d)
			}
			for _, l := range out.Loopback {
				if l.To == 3 {
					log = append(log, l.Frame)
				}
			}
			tally.signals += len(signals)
			tally.shadow += len(o.Shadow())
			tally.timers += timerSignals(signals)
			tally.held += heldSignals(signals)
			tally.countSequences(signals)
			if whole == nil {
				continue
			}
			all, err := whole.Apply(offset, frame)
			if d := first(strip(signals), strip(all)); err != nil || d != "" {
				if o.forgotten() == 0 {
					return fmt.Sprintf("record %d: with everything remembered: %s %v", i, d, err)
				}
				whole = nil
			}
			tally.wholeSignals += len(all)
		}
	}
	if d := first(live(p), o.Scores()); d != "" {
		return "in the end, live scores: " + d
	}
	if lived != nil && !done && lived.Digest() != p.Digest() {
		return "in the end, the state: it is another one than where nothing was restored"
	}
	tally.count(o)
	if done {
		return ""
	}
	return o.outlive(p, f)
}

// outlive advances time from the end to just before each score expires, and to the
// moment when it does, and compares the live scores. The caller no longer needs p
// and o.
func (o *Oracle) outlive(p *engine.Partition, f *framer) string {
	var moments []int64
	for _, u := range o.Scores() {
		expires := score.Expires(u.Contributions)
		moments = append(moments, expires-1, expires)
	}
	slices.Sort(moments)
	var out engine.Output
	for _, t := range slices.Compact(moments) {
		var r record
		for i, s := range o.sources[:len(o.sources)-1] {
			r.sections = append(r.sections, section{Section: facet.Section{Source: int32(i), Owner: s.owner, From: s.next, To: s.next, Watermark: t}})
		}
		frame, offset := f.frame(r), o.at.Offset+1
		if err := p.Apply(offset, frame, &out); err != nil {
			return fmt.Sprintf("%s after the end: %v", moment(t), err)
		}
		if _, err := o.Apply(offset, frame); err != nil {
			return fmt.Sprintf("%s after the end: %v", moment(t), err)
		}
		if d := first(live(p), o.Scores()); d != "" {
			return fmt.Sprintf("at %s, live scores: %s", moment(t), d)
		}
	}
	return ""
}

// restored returns the partition restored from its snapshot.
func restored(p *engine.Partition, h *history, set *rules.Set, next int64) (*engine.Partition, error) {
	b, err := p.Snapshot(next)
	if err != nil {
		return nil, err
	}
	p, _, err = engine.RestorePartition(h.config(), set, hasher, 3, incarnation, b)
	return p, err
}

func (n *tally) count(o *Oracle) {
	t := o.Ledger().Total()
	n.scores += len(o.Scores())
	n.late += int(t.Late)
	n.duplicate += int(t.Duplicate)
	n.told += int(t.Told)
	n.heard += int(t.Heard)
	n.said += int(t.Said)
	n.noted += int(t.Noted)
	n.controls += int(o.sources[len(o.sources)-1].totals.Applied)
	n.forgotten += o.forgotten()
}

// kind classifies an error.
func kind(err error) error {
	for _, k := range []error{engine.ErrGap, engine.ErrForeign, facet.ErrFrame} {
		if errors.Is(err, k) {
			return k
		}
	}
	return err
}

// disagreement compares everything visible after a record.
func (o *Oracle) disagreement(p *engine.Partition, out *engine.Output, signals []score.Signal) string {
	if d := first(out.Signals, signals); d != "" {
		return "signals: " + d
	}
	if d := first(out.Shadow, o.Shadow()); d != "" {
		return "shadow: " + d
	}
	for _, u := range out.Updates {
		if want := o.sent[u.Entity]; !reflect.DeepEqual(u, want) {
			return fmt.Sprintf("updates:\ngot  %+v\nwant %+v", u, want)
		}
	}
	if got, want := len(out.Updates), o.updatedSince(o.at.Offset); got != want {
		return fmt.Sprintf("updates: of %d entities, want %d", got, want)
	}
	if got, want := p.Watermark(), o.Watermark(); got != want {
		return fmt.Sprintf("watermark: %s, want %s", moment(got), moment(want))
	}
	if got, want := p.Ledger(), o.Ledger(); !reflect.DeepEqual(got, want) {
		return fmt.Sprintf("ledger:\ngot  %+v\nwant %+v", got, want)
	}
	return ""
}

// untold compares loop-back frames with the required notices to members; sent holds
// the last frame to each partition.
func (o *Oracle) untold(frames []engine.LoopbackFrame, offset int64, sent *[partitions]facet.Step) string {
	for _, l := range frames {
		var r facet.LoopbackReader
		if err := r.Reset(l.Frame); err != nil {
			return err.Error()
		}
		if r.From != 3 || r.Step != l.Step || r.Step != o.next(sent[l.To], offset) {
			return fmt.Sprintf("%+v of the record at %d", r.Link, offset)
		}
		facet.Chain(l.Frame, sent[l.To])
		sent[l.To] = r.Step
	}
	got, err := toldBy(frames)
	if err != nil {
		return err.Error()
	}
	if d := first(got, o.Told()); d != "" {
		return d
	}
	said, want := verdictsIn(frames), []thinks{}
	for to := range int32(partitions) {
		for _, v := range o.verdicts {
			want = append(want, thinks{to, v})
		}
	}
	return first(said, want)
}

// next returns the step of the next frame after last.
func (o *Oracle) next(last facet.Step, offset int64) facet.Step {
	if last.Next == offset+1 {
		return facet.Step{Next: last.Next, Part: last.Part + 1}
	}
	return facet.Step{Next: offset + 1}
}

// thinks is a verdict sent to a partition.
type thinks struct {
	to int32
	facet.Verdict
}

// verdictsIn returns the verdicts on cohorts in frames.
func verdictsIn(frames []engine.LoopbackFrame) (all []thinks) {
	for _, l := range frames {
		var r facet.LoopbackReader
		if r.Reset(l.Frame) != nil {
			continue
		}
		for v := (facet.Verdict{}); ; {
			if ok, err := r.Verdict(&v); err != nil || !ok {
				break
			}
			all = append(all, thinks{l.To, v})
		}
	}
	return all
}

// toldBy returns the content of loop-back frames.
func toldBy(frames []engine.LoopbackFrame) (all []Told, err error) {
	for _, l := range frames {
		_, _, findings, err := facet.ReadLoopback(l.Frame)
		if err != nil {
			return nil, err
		}
		for _, f := range findings {
			for _, m := range f.Members {
				all = append(all, Told{To: l.To, Member: m, Finding: f.Finding})
			}
		}
	}
	return all, nil
}

// timerSignals counts the signals caused by time alone.
func timerSignals(signals []score.Signal) (n int) {
	for _, s := range signals {
		if s.Group.Kind == 0 && len(s.Evidence) == 1 && s.Evidence[0].Name == "since" {
			n++
		}
	}
	return n
}

// countSequences counts signals of sequences. Those caused by timers are later than
// the last event of the sequence.
func (n *tally) countSequences(signals []score.Signal) {
	for _, s := range signals {
		if s.Group.Kind == 0 && len(s.Evidence) > 2 && s.Evidence[0].Name == "unlikely" {
			if n.orders++; len(s.Evidence) > 3 && isOrder(s.Evidence[3].Text) {
				n.named++
			}
		}
		if s.Group.Kind == 0 && len(s.Evidence) > 2 && s.Evidence[0].Name == "operation" {
			n.volumes++
		}
		if len(s.Evidence) > 0 && s.Evidence[0].Name == "measure" {
			n.drifts++
		}
		if s.Group.Kind != 0 || len(s.Evidence) < 3 || s.Evidence[0].Name != "events" {
			continue
		}
		n.sequences++
		if s.Evidence[len(s.Evidence)-1].Values[2] < s.Time {
			n.timers++
		}
		if s.Evidence[2].Name == "others" {
			n.compared++
		}
	}
}

func (o *Oracle) updatedSince(offset int64) (n int) {
	for _, u := range o.sent {
		if u.Position.Offset >= offset {
			n++
		}
	}
	return n
}

func (o *Oracle) forgotten() (n int) {
	for _, w := range o.counts {
		if w, ok := w.(*windows); ok {
			n += w.forgot()
		}
	}
	return n
}

// live lists the engine's scores in the oracle's order.
func live(p *engine.Partition) (all []score.Update) {
	for u := range p.Live {
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b score.Update) int { return compareEntities(a.Entity, b.Entity) })
	return all
}

// strip removes from signals the parts that depend on which occurrences are
// remembered.
func strip(signals []score.Signal) []score.Signal {
	all := slices.Clone(signals)
	for i := range all {
		all[i].Evidence = slices.DeleteFunc(slices.Clone(all[i].Evidence), func(n facet.Evidence) bool { return n.Name == "first_ms" })
	}
	return all
}

// first returns the first difference between two lists.
func first[T any](got, want []T) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return fmt.Sprintf("missing %+v", want[i])
		case i >= len(want):
			return fmt.Sprintf("not expected %+v", got[i])
		case !reflect.DeepEqual(got[i], want[i]):
			return fmt.Sprintf("\ngot  %+v\nwant %+v", got[i], want[i])
		}
	}
	return ""
}

// number reads a figure from the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

const eventsOfAHistory = 500

// The engine is compared with the oracle on random histories: 200 of them (30 in a
// short run), or WEIR_HISTORIES, starting with WEIR_SEED. A failure prints the seed
// and the shortest history found.
func TestTheEngineAgreesWithTheOracle(t *testing.T) {
	n, histories := agree(t, randomHistory)
	if histories >= 100 && (n.signals < 10*int(histories) || n.wholeSignals < 5*int(histories) || min(n.scores, n.late, n.duplicate, n.forgotten, n.told, n.heard, n.controls, n.held) < int(histories) || n.errors == 0) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}

// The same with rules that change during the history, as happens when a worker with
// other rules takes over a partition.
func TestTheEngineAgreesWithTheOracleOnEditedRules(t *testing.T) {
	n, histories := agree(t, editedHistory)
	if histories >= 100 && (n.signals < 10*int(histories) || min(n.scores, n.forgotten, n.told, n.edits, n.switches, n.shadow) < int(histories)) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}

// The same with rules that set timers, and with such rules that change.
func TestTheEngineAgreesWithTheOracleOnTimers(t *testing.T) {
	n, histories := agree(t, timedHistory)
	if histories >= 100 && (min(n.timers, n.told, n.scores) < int(histories) || min(n.edits, n.switches, n.shadow) < int(histories)/2) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}

// The same with rules that compare entities with their cohorts and exchange
// verdicts, and with such rules that change.
func TestTheEngineAgreesWithTheOracleOnCohorts(t *testing.T) {
	n, histories := agree(t, comparingHistory)
	if histories >= 100 && (min(n.said, n.noted, n.told) < int(histories) || min(n.edits, n.switches, n.shadow) < int(histories)/2) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}

// The same with rules that use every measure of a sliding window.
func TestTheEngineAgreesWithTheOracleOnEveryForm(t *testing.T) {
	n, histories := agree(t, formsHistory)
	if histories >= 100 && (n.signals < 10*int(histories) || n.wholeSignals < 2*int(histories) || min(n.scores, n.forgotten, n.told, n.edits+n.switches) < int(histories)) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}

// shorter returns one number for a whole run, and another for a short one.
func shorter(whole, short uint64) uint64 {
	if testing.Short() {
		return short
	}
	return whole
}

// agree compares the requested number of histories.
func agree(t *testing.T, of func(seed uint64, events int) history) (n tally, histories uint64) {
	t.Helper()
	from, histories := number(t, "WEIR_SEED", 1), number(t, "WEIR_HISTORIES", shorter(200, 30))
	for seed := from; seed < from+histories; seed++ {
		h := of(seed, eventsOfAHistory)
		if d := h.compare(&n); d != "" {
			small := h
			if os.Getenv("WEIR_SHRINK") != "no" {
				small = shrink(h, func(h history) bool { return subject(h.compare(&tally{})) == subject(d) })
			}
			t.Fatalf("seed %d (replay with WEIR_SEED=%d WEIR_HISTORIES=1): %s\n\nin short: %s\n%s", seed, seed, d, small.compare(&tally{}), small.String())
		}
	}
	t.Logf("%d histories of %d events: %+v", histories, eventsOfAHistory, n)
	return n, histories
}

// subject returns the topic of a difference: signals, the ledger, …
func subject(difference string) string {
	_, what, _ := strings.Cut(difference, ": ")
	what, _, _ = strings.Cut(what, ":")
	return what
}

// shrink removes everything from a failing history that the failure does not need.
func shrink(h history, fails func(history) bool) history {
	if straight := h; h.restore > 0 {
		if straight.restore = 0; fails(straight) {
			h = straight
		}
	}
	for changed := true; changed; {
		changed = false
		for _, part := range []struct {
			size    func(h *history) int
			without func(h history, from, to int) history
		}{
			{func(h *history) int { return len(h.records) }, withoutRecords},
			{func(h *history) int { return len(h.rules) }, withoutRules},
			{func(h *history) int { return len(h.places()) }, withoutEvents},
		} {
			var did bool
			h, did = reduce(h, part.size(&h), part.without, fails)
			changed = changed || did
		}
	}
	return h
}

// reduce removes ever smaller ranges of one part, starting from its end.
func reduce(h history, size int, without func(history, int, int) history, fails func(history) bool) (history, bool) {
	before := size
	for step := max(size/2, 1); step > 0 && size > 0; step /= 2 {
		for to := size; to > 0; to -= step {
			from := max(to-step, 0)
			if smaller := without(h, from, to); fails(smaller) {
				h, size = smaller, size-(to-from)
			}
		}
	}
	return h, size < before
}

func withoutRecords(h history, from, to int) history {
	h.records = slices.Delete(slices.Clone(h.records), from, to)
	return h
}

func withoutRules(h history, from, to int) history {
	h.rules = slices.Delete(slices.Clone(h.rules), from, to)
	h.records = slices.Clone(h.records)
	for i := range h.records {
		if r := &h.records[i]; r.edit != nil {
			r.edit = slices.Delete(slices.Clone(r.edit), from, to)
		}
	}
	return h
}

// place is the position of a raw event.
type place struct {
	source int32
	offset int64
}

func (h *history) places() (all []place) {
	for _, r := range h.records {
		for _, s := range r.sections {
			for _, e := range s.events {
				all = append(all, place{s.Source, e.offset})
			}
		}
	}
	slices.SortFunc(all, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.offset, b.offset))
	})
	return slices.Compact(all)
}

// withoutEvents removes raw events wherever they were sent; the covered ranges stay.
func withoutEvents(h history, from, to int) history {
	gone := map[place]bool{}
	for _, p := range h.places()[from:to] {
		gone[p] = true
	}
	h.records = slices.Clone(h.records)
	for i := range h.records {
		h.records[i].sections = slices.Clone(h.records[i].sections)
		for j := range h.records[i].sections {
			s := &h.records[i].sections[j]
			without := func(e *raw) bool { return gone[place{s.Source, e.offset}] }
			s.before, s.events = slices.DeleteFunc(slices.Clone(s.before), without), slices.DeleteFunc(slices.Clone(s.events), without)
		}
	}
	return h
}
