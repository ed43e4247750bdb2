package oracle

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// sequencer creates rules with steps, and events that match them.
type sequencer struct{ *rand.Rand }

func newSequencer(seed uint64) *sequencer { return &sequencer{rand.New(rand.NewPCG(seed, 11))} }

func (m *sequencer) pick(of ...string) string { return of[m.IntN(len(of))] }
func (m *sequencer) oneOf(of ...int64) int64  { return of[m.IntN(len(of))] }

// span returns a time at whose edges events occur, in ms.
func (m *sequencer) span() int64 { return m.oneOf(sequenceSpans...) }

var sequenceSpans = []int64{1, 100, 500, 1_000, 2_000, 5_000}

// condition returns a condition for a few kinds of events. Some conditions overlap.
func (m *sequencer) condition() string {
	return m.pick(`object_type == "a"`, `object_type == "b"`, `object_type == "c"`, `object_type == "d"`, `object_type in ["a", "b"]`, `object_type != "d"`, `status == 404`)
}

// rare returns a condition that fewer events meet.
func (m *sequencer) rare() string {
	return m.pick(`object_type == "c"`, `object_type == "d"`, `object_type == "d"`, `status == 404`)
}

// rule returns a rule that is valid most of the time.
func (m *sequencer) rule(id string) string {
	if m.IntN(4) == 0 {
		return m.usual(id)
	}
	var steps []string
	absence := func(edge bool) {
		s := fmt.Sprintf("not: '%s'", m.rare())
		if edge {
			s += fmt.Sprintf(", within: %dms", m.oneOf(100, 1_000, 2_000))
		}
		steps = append(steps, s)
	}
	if m.IntN(4) == 0 {
		absence(true)
	}
	parts := 1 + m.IntN(3)
	if len(steps) == 0 {
		parts++
	}
	for i := range parts {
		var s string
		switch {
		case i > 0 && i < parts-1 && m.IntN(3) == 0:
			s = fmt.Sprintf("maybe: '%s'", m.condition())
		case m.IntN(6) == 0:
			s = fmt.Sprintf("together: [{event: '%s'}, {event: '%s', times: %d}]", m.condition(), m.condition(), 1+m.IntN(2))
		default:
			s = fmt.Sprintf("event: '%s'", m.condition())
			if m.IntN(4) == 0 {
				s += ", times: 2"
			}
		}
		after := int64(0)
		if m.IntN(4) == 0 {
			after = m.span()
			s += fmt.Sprintf(", after: %dms", after)
		}
		if m.IntN(3) == 0 {
			s += fmt.Sprintf(", within: %dms", after+m.span())
		}
		steps = append(steps, s)
		if i < parts-1 && m.IntN(4) == 0 {
			absence(false)
		}
	}
	followed := m.IntN(4) == 0
	if followed {
		absence(true)
	}
	s := fmt.Sprintf("      within: %dms\n      events: %d\n      weight: %d\n      steps:\n", m.oneOf(1_000, 5_000, 10_000, 60_000), m.oneOf(10, 12), 1+m.IntN(100))
	for _, step := range steps {
		s += "        - {" + step + "}\n"
	}
	if m.IntN(4) == 0 {
		s += fmt.Sprintf("      until: '%s'\n", m.rare())
	}
	if m.IntN(4) == 0 {
		s += "      by: [" + m.pick("device", "status", "device, status") + "]\n"
	}
	if m.IntN(4) > 0 {
		s += fmt.Sprintf("      cooldown: %dms\n", m.oneOf(1, 100, 500, 3_000))
	}
	if m.IntN(3) == 0 {
		s += "      newcomers: judged\n"
	}
	if strings.Contains(s, "not:") && m.IntN(2) == 0 {
		s += fmt.Sprintf("      usual: {by: [%s], odds: %d, least: %d%s}\n", m.pick("app_version", "country, app_version"), m.oneOf(2, 3, 4), m.oneOf(5, 5, 10), m.known(10_000))
	}
	return m.text(id, s)
}

// usual returns a rule about something that is missing now and then.
func (m *sequencer) usual(id string) string {
	before, between := "", fmt.Sprintf("        - {event: 'object_type == \"d\"'}\n        - {not: '%s'}\n", m.pick(`object_type == "a"`, `object_type in ["a", "b"]`, `object_type == "b"`))
	if m.IntN(2) == 0 {
		before, between = fmt.Sprintf("        - {not: '%s', within: %dms}\n", m.pick(`object_type == "a"`, `object_type in ["a", "b"]`, `object_type == "b"`), m.oneOf(500, 1_000, 2_000)), ""
	}
	return m.text(id, fmt.Sprintf("      within: %dms\n      events: 10\n      weight: 7\n      cooldown: 1ms\n      usual: {by: [%s], odds: 2, least: 5%s}\n      steps:\n%s%s        - {event: 'object_type == \"c\"'}\n",
		m.oneOf(1_000, 3_000, 10_000), m.pick("app_version", "country, app_version"), m.known(1_000), before, between))
}

// known returns how long an entity must have been seen to teach, at most so long, or
// nothing.
func (m *sequencer) known(most int64) string {
	return m.pick("", fmt.Sprintf(", known: %dms", min(most, m.oneOf(202, 502, 1_002, 2_002, 5_002))))
}

func (m *sequencer) text(id, s string) string {
	members := ""
	if m.IntN(3) == 0 {
		members = "    members: {entity: device, weight: 40}\n"
	}
	return "  - id: " + id + "\n    title: A rule\n    entity: account\n    when: status >= 0\n    sequence:\n" + s + members +
		"    signal: {category: fraud, reason: r, half_life: 5s}\n    phase: soft\n"
}

// valid returns a valid rule.
func (m *sequencer) valid(id string) string {
	for {
		r := m.rule(id)
		if _, err := loadRules([]string{r}); err == nil {
			return r
		}
	}
}

func sequenceHistory(seed uint64, events int) history {
	h, _ := sequences(seed, events)
	return h
}

// editedSequenceHistory creates a history in which these rules change: some get
// other steps, some only other numbers.
func editedSequenceHistory(seed uint64, events int) history {
	h, sq := sequences(seed, events)
	for n := range 1 + sq.IntN(4) {
		edited := slices.Clone(h.rules)
		for i, r := range edited {
			id := ruleID.FindStringSubmatch(r)[1]
			switch {
			case id[0] != 's':
			case sq.IntN(3) == 0:
				edited[i] = sq.valid(id)
			default:
				edited[i] = sq.renumbered(r)
			}
		}
		r := record{edit: edited, by: lane(max(0, sq.IntN(4)-1)), number: uint64(n + 1)}
		h.records = slices.Insert(h.records, n+(len(h.records)-n)*(n+1)/5, r)
	}
	return h
}

var knownFor = regexp.MustCompile(`(, known: \d+ms)?}$`)

// renumbered returns a rule with other numbers that reads the same state.
func (m *sequencer) renumbered(r string) string {
	lines := strings.Split(r, "\n")
	for i, l := range lines {
		for _, of := range []struct {
			key string
			to  int64
		}{{"      within: ", m.oneOf(500, 2_000, 20_000)}, {"      cooldown: ", m.oneOf(1, 1_000, 10_000)}} {
			if strings.HasPrefix(l, of.key) && m.IntN(2) == 0 {
				lines[i] = fmt.Sprintf("%s%dms", of.key, of.to)
			}
		}
		if strings.HasPrefix(l, "      events: ") && m.IntN(2) == 0 {
			lines[i] = fmt.Sprintf("      events: %d", m.oneOf(10, 11, 12))
		}
		if strings.HasPrefix(l, "      usual: ") && m.IntN(2) == 0 {
			lines[i] = knownFor.ReplaceAllString(l, m.known(10_000)+"}")
		}
		if strings.HasPrefix(l, "        - {not: ") && strings.Contains(l, "within") {
			lines[i] = strings.Replace(l, "within: ", fmt.Sprintf("within: %d", 1+m.IntN(2)), 1)
		}
	}
	edited := strings.Join(lines, "\n")
	if _, err := loadRules([]string{edited}); err != nil {
		return r
	}
	return edited
}

func sequences(seed uint64, events int) (history, *sequencer) {
	m := newMaker(seed)
	m.spans = append(m.spans, sequenceSpans...)
	h := m.history(events)
	sq := newSequencer(seed)
	h.rules = h.rules[:min(len(h.rules), 9)]
	for _, id := range []string{"s0", "s1", "s2"}[:1+sq.IntN(3)] {
		h.rules = append(h.rules, sq.valid(id))
	}
	for _, p := range m.sources {
		for _, r := range p.log {
			if sq.IntN(10) > 0 {
				r.values = append(r.values, value{event.ObjectType, sq.pick("a", "a", "b", "b", "c", "d"), 0})
			}
			if sq.IntN(10) > 0 {
				r.values = append(r.values, value{event.AppVersion, sq.pick("1", "1", "2"), 0})
			}
			if sq.IntN(3) == 0 {
				r.values = append(r.values, value{event.Country, sq.pick("DE", "FR"), 0})
			}
		}
	}
	return h, sq
}

func TestTheEngineAgreesWithTheOracleOnSequences(t *testing.T) {
	n, histories := agree(t, sequenceHistory)
	if histories >= 100 && (n.sequences < 5*int(histories) || n.timers < int(histories) || n.compared < int(histories)/50 || min(n.said, n.noted) < int(histories) || min(n.scores, n.late, n.forgotten) < int(histories)/4) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}

func TestTheEngineAgreesWithTheOracleOnEditedSequences(t *testing.T) {
	n, histories := agree(t, editedSequenceHistory)
	if histories >= 100 && (n.sequences < int(histories) || n.timers < int(histories) || min(n.forgotten, n.edits, n.switches, n.shadow) < int(histories)/4) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}

// keepsOfCohort is the state of a rule for a cohort, of which other partitions have
// given verdicts.
type keepsOfCohort struct {
	keeps
	key    uint64
	others []uint8
}

func (*keepsOfCohort) Say(uint8)     {}
func (c *keepsOfCohort) Key() uint64 { return c.key }

func (c *keepsOfCohort) Said(level uint8) (n int) {
	for _, l := range c.others {
		if l >= level {
			n++
		}
	}
	return n
}

// walk sends the events of one entity to a detector and to its model.
type walk struct {
	t      *testing.T
	m      *sequencer
	spec   *detectors.Sequence
	d      detectors.Detector
	model  *procession
	own    keeps
	others map[cohortName]*keepsOfCohort // as seen by the detector
	theirs map[cohortName]*cohort        // as seen by the model

	now, watermark, lateness, timer int64
	n                               int
	fired, timers, compared         int
}

func (w *walk) use(rule string) {
	set, err := loadRules([]string{rule})
	if err != nil {
		w.t.Fatal(err)
	}
	spec := set.Rules[0].Spec.(*detectors.Sequence)
	if w.model == nil || w.spec.State() != spec.State() {
		w.model, w.own, w.timer = &procession{rule: spec}, keeps{}, 0
		w.others, w.theirs = map[cohortName]*keepsOfCohort{}, map[cohortName]*cohort{}
	} else {
		w.model.change(spec)
	}
	w.spec = spec
	if w.d, err = detectors.New(&rules.Rule{ID: "r", Spec: spec}, detectors.Environment{Lateness: w.lateness, Hasher: hasher}); err != nil {
		w.t.Fatal(err)
	}
	w.fit()
	if w.spec.Keeps().Ahead == 0 {
		w.timer = 0
	}
}

// fit continues like after a restore.
func (w *walk) fit() {
	if w.own.b == nil {
		return
	}
	kept, ok := w.d.Fit(slices.Clone(w.own.b))
	if !ok {
		w.t.Fatalf("not of its own form: % x", w.own.b)
	}
	w.own.b = kept
}

func (w *walk) same(got bool, f *detectors.Firing, want *firing, timer, wanted int64, by string) {
	w.t.Helper()
	if got != (want != nil) || timer != wanted || got && (f.Weight != want.weight || !slices.Equal(f.Evidence, want.evidence)) {
		w.t.Fatalf("event %d (%s): fired %v %+v, want %+v; timer %d, want %d\n%+v", w.n, by, got, *f, want, timer, wanted, w.spec)
	}
	if most := w.spec.Keeps().Bytes; len(w.own.b) > most {
		w.t.Fatalf("event %d: %d bytes, want %d at most", w.n, len(w.own.b), most)
	}
	if got {
		if w.fired++; w.spec.UsualBy != nil {
			w.compared++
		}
	}
}

// meet creates a cohort with some history.
func (w *walk) meet(name cohortName) {
	all := w.m.oneOf(0, 3, 100, 100, 300, 9_996)
	h := habits{int(all), int(all / w.m.oneOf(1, 2, 3, 4, 10)), int(all / w.m.oneOf(49, 50, 51, 200))}
	others := &keepsOfCohort{key: uint64(len(w.others) + 1)}
	theirs := &cohort{name: name, memory: &h, o: &Oracle{watermark: facet.NoWatermark}, rule: &rules.Rule{Spec: w.spec}}
	for from := range int32(w.m.oneOf(0, 0, 2, 6)) {
		level := uint8(1 + w.m.IntN(209))
		if w.m.IntN(2) == 0 {
			level = uint8(1 + w.m.IntN(11)) // nothing lacks anything
		}
		others.others = append(others.others, level)
		theirs.opinions = append(theirs.opinions, opinion{from: from, level: level, until: 1 << 62})
	}
	w.theirs[name], w.others[name] = theirs, others
	b := w.others[name].Resize(12)
	for i, n := range []int{h.sequences, h.lacking, h.odd} {
		binary.LittleEndian.PutUint32(b[4*i:], uint32(n))
	}
}

// sameHabits checks that the detector and the model counted the same.
func (w *walk) sameHabits() {
	w.t.Helper()
	for name, c := range w.others {
		h, b := w.theirs[name].memory.(*habits), c.Payload()
		for i, want := range []int{h.sequences, h.lacking, h.odd} {
			if got := binary.LittleEndian.Uint32(b[4*i:]); int(got) != want {
				w.t.Fatalf("event %d: number %d of %v is %d, want %d\n%+v", w.n, i, name, got, want, w.spec)
			}
		}
	}
}

// named returns the cohort of an event, and creates it if necessary.
func (w *walk) named(e *event.Event, by event.Field) (name cohortName, ok bool) {
	if name = (cohortName{by: by, value: e.Text(by)}); name.value == "" {
		return name, false
	}
	if w.others[name] == nil {
		w.meet(name)
	}
	return name, true
}

func (w *walk) recall(key uint64) detectors.Cohort {
	for _, c := range w.others {
		if c.key == key {
			return c
		}
	}
	return nil
}

func (w *walk) recallTheirs(name cohortName) *cohort { return w.theirs[name] }

// set sets a timer in the same way as the engine.
func (w *walk) set(timer, at int64) {
	if ahead := w.spec.Keeps().Ahead.Milliseconds(); timer != w.timer && ahead > 0 {
		if w.timer = timer; timer != 0 {
			w.timer = min(max(timer, at+1), at+ahead)
		}
	}
}

// pass lets time pass.
func (w *walk) pass(to int64) {
	var e event.Event
	for w.watermark = to; w.timer != 0 && w.timer <= to-w.lateness; {
		at, f, again := w.timer, detectors.Firing{}, int64(0)
		w.timer = 0
		c := detectors.Context{Event: &e, Time: at, Watermark: to, Own: &w.own, Recall: w.recall}
		got := w.d.(detectors.Timed).Due(&c, &f)
		want := w.model.due(arrival{time: at, watermark: to, lateness: w.lateness, timer: &again, recall: w.recallTheirs})
		w.same(got, &f, want, c.Timer, again, "timer")
		if got {
			w.timers++
		}
		w.set(c.Timer, at)
	}
}

func (w *walk) show() {
	w.n++
	w.now += w.m.oneOf(0, 1, 10, 99, 100, 101, 400, 500, 999, 1_000, 2_000)
	r := raw{time: w.now}
	if w.m.IntN(4) == 0 {
		r.time -= w.m.Int64N(w.lateness + 1)
	}
	if w.watermark != facet.NoWatermark && r.time < w.watermark-w.lateness {
		return
	}
	which := w.m.IntN(3) % 2
	r.values = []value{{event.ObjectType, w.m.pick("a", "a", "b", "b", "c", "d", ""), 0}, {event.AppVersion, fmt.Sprint(which), 0}}
	if w.m.IntN(10) > 0 {
		r.values = append(r.values, value{event.Status, "", w.m.oneOf(200, 200, 404)})
	}
	if w.m.IntN(3) == 0 {
		r.values = append(r.values, value{event.Country, fmt.Sprint(which), 0})
	}
	if w.m.IntN(10) > 0 {
		r.values = append(r.values, value{event.Device, w.m.pick("d0", "d0", "d1"), 0})
	}
	var e event.Event
	r.fill(&e)
	f, wanted := detectors.Firing{}, w.timer
	a := arrival{event: &e, source: int32(w.m.IntN(3)), offset: int64(w.n), time: r.time, watermark: w.watermark, lateness: w.lateness, timer: &wanted, recall: w.recallTheirs}
	a.cohort = func(by event.Field) *cohort {
		if name, ok := w.named(&e, by); ok {
			return w.theirs[name]
		}
		return nil
	}
	want, counts := w.model.arrive(a)
	c := detectors.Context{Event: &e, Source: a.source, Offset: a.offset, Time: a.time, Watermark: w.watermark, Own: &w.own, Timer: w.timer, Recall: w.recall}
	c.Cohort = func(by event.Field) detectors.Cohort {
		if name, ok := w.named(&e, by); ok {
			return w.others[name]
		}
		return nil
	}
	got := w.d.Apply(&c, &f)
	if c.Counts != counts {
		w.t.Fatalf("event %d: counts %v, want %v", w.n, c.Counts, counts)
	}
	w.same(got, &f, want, c.Timer, wanted, "arrival")
	w.set(c.Timer, a.time)
	if w.m.IntN(3) == 0 {
		w.pass(max(w.watermark, w.now-w.m.oneOf(0, 1, 500, 2_000)))
		w.sameHabits()
	}
	if w.m.IntN(100) == 0 {
		w.now += w.m.oneOf(5_000, 60_000, 200_000)
	}
}

// TestSequencesAgreeWithTheirModel sends random events to both, with a rule that
// changes now and then.
func TestSequencesAgreeWithTheirModel(t *testing.T) {
	walks := number(t, "WEIR_HISTORIES", shorter(200, 60))
	var fired, timers, compared uint64
	for seed := range walks {
		m := newSequencer(seed)
		w := &walk{t: t, m: m, now: start, watermark: facet.NoWatermark, lateness: []int64{0, 500, 2_000}[seed%3]}
		rule := m.valid("r")
		w.use(rule)
		for range 250 {
			switch m.IntN(100) {
			case 0:
				rule = m.renumbered(rule)
				w.use(rule)
			case 1:
				w.fit()
			}
			w.show()
		}
		fired, timers, compared = fired+uint64(w.fired), timers+uint64(w.timers), compared+uint64(w.compared)
	}
	t.Logf("%d firings, %d of timers, %d of what others make unusual", fired, timers, compared)
	if walks >= 60 && (fired < 3*walks || timers < walks || compared < walks/4) {
		t.Error("too little of what matters happened")
	}
}
