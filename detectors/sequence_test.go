package detectors_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// sequenceRule loads a rule whose detector is given as YAML, without indentation.
func sequenceRule(t testing.TB, text string) (*rules.Rule, error) {
	t.Helper()
	set, err := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte("rules:\n  - id: r\n    title: A rule\n    entity: account\n    when: status >= 0\n    sequence:\n      " +
		strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n      ") +
		"\n    signal: {category: fraud, reason: r, half_life: 1h}\n    phase: observe\n")}}, detectors.All())
	if err != nil {
		return nil, err
	}
	return set.Rules[0], nil
}

// steps runs a rule on one account, step by step. The name of an event is in
// object_type.
type steps struct {
	t         *testing.T
	d         detectors.Detector
	s         slot
	others    cohortSlots
	f         detectors.Firing
	timer     int64
	watermark int64
	n         int64
	fired     []int64 // times
}

// cohortSlot is a cohort, with the verdicts of other partitions.
type cohortSlot struct {
	slot
	key    uint64
	said   uint8 // this partition's verdict
	others []uint8
}

func (c *cohortSlot) Say(level uint8) { c.said = level }
func (c *cohortSlot) Key() uint64     { return c.key }

func (c *cohortSlot) Said(level uint8) (n int) {
	for _, l := range c.others {
		if l >= level {
			n++
		}
	}
	return n
}

// cohortSlots are the cohorts of a partition, by field and value.
type cohortSlots map[string]*cohortSlot

// of returns the Cohort function of an event's context.
func (all cohortSlots) of(e *event.Event) func(event.Field) detectors.Cohort {
	return func(by event.Field) detectors.Cohort {
		value := e.Text(by)
		if value == "" {
			return nil
		}
		name := by.String() + value
		if all[name] == nil {
			all[name] = &cohortSlot{key: uint64(len(all) + 1)}
		}
		return all[name]
	}
}

// recall is the Recall function of a context.
func (all cohortSlots) recall(key uint64) detectors.Cohort {
	for _, c := range all {
		if c.key == key {
			return c
		}
	}
	return nil
}

func newSteps(t *testing.T, text string) *steps {
	t.Helper()
	r, err := sequenceRule(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return &steps{t: t, d: newDetector(t, r), others: cohortSlots{}, watermark: math.MinInt64}
}

func (s *steps) context(e *event.Event, at int64) *detectors.Context {
	return &detectors.Context{
		Event: e, Source: 3, Offset: 100 + s.n, Time: at, Watermark: s.watermark, Late: s.watermark != math.MinInt64 && at < s.watermark-lateness, Own: &s.s, Timer: s.timer,
		Cohort: s.others.of(e), Recall: s.others.recall,
	}
}

// does sends an event some milliseconds after the start: its name, and optionally
// its device.
func (s *steps) does(at int64, what string) *steps {
	s.t.Helper()
	var e event.Event
	what, device, _ := strings.Cut(what, "@")
	e.SetText(event.ObjectType, what)
	if device != "" {
		e.SetText(event.Device, device)
	}
	e.SetText(event.AppVersion, "1")
	c := s.context(&e, start+at)
	fired := s.d.Apply(c, &s.f)
	if s.n++; fired {
		s.fired = append(s.fired, at)
	}
	s.timer = c.Timer
	if _, ok := s.d.Fit(bytes.Clone(s.s.payload)); s.s.payload != nil && !ok {
		s.t.Fatalf("not of its own form: % x", s.s.payload)
	}
	return s
}

// passes moves the watermark to a moment plus the lateness.
func (s *steps) passes(at int64) *steps {
	for s.watermark = start + at + lateness; s.timer != 0 && s.timer <= start+at; {
		var e event.Event
		c := s.context(&e, s.timer)
		c.Timer = 0
		if s.d.(detectors.Timed).Due(c, &s.f) {
			s.fired = append(s.fired, c.Time-start)
		}
		s.timer = c.Timer
	}
	return s
}

func (s *steps) want(why string, at ...int64) {
	s.t.Helper()
	if !slices.Equal(s.fired, at) {
		s.t.Errorf("%s: fired at %v, want %v", why, s.fired, at)
	}
}

func is(what string) string { return fmt.Sprintf(`'object_type == "%s"'`, what) }

func TestStepsInOrder(t *testing.T) {
	abc := "within: 10s\nweight: 50\ncooldown: 1ms\nsteps: [{event: " + is("a") + "}, {event: " + is("b") + ", after: 1s, within: 5s}, {event: " + is("c") + "}]"
	newSteps(t, abc).does(0, "a").does(2_000, "b").does(3_000, "c").want("in order", 3_000)
	newSteps(t, abc).does(3_000, "c").does(0, "a").does(2_000, "b").want("whatever arrives first", 2_000)
	newSteps(t, abc).does(0, "b").does(2_000, "a").does(3_000, "c").want("in another order")
	newSteps(t, abc).does(0, "a").does(1_000, "b").does(10_000, "c").want("at both edges", 10_000)
	newSteps(t, abc).does(0, "a").does(999, "b").does(3_000, "c").want("too soon")
	newSteps(t, abc).does(0, "a").does(5_001, "b").does(6_000, "c").want("too late")
	newSteps(t, abc).does(0, "a").does(1_000, "b").does(10_001, "c").want("too long")
	newSteps(t, abc).does(0, "a").does(100, "a").does(2_000, "x").does(4_000, "b").does(4_500, "b").does(5_000, "c").want("with others between", 5_000)
	newSteps(t, abc).does(0, "a").does(1_000, "b").does(1_000, "c").want("of one moment, as they came", 1_000)
	newSteps(t, abc).does(0, "a").does(1_000, "c").does(1_000, "b").want("of one moment, the other way")
	s := newSteps(t, abc).does(0, "a").does(2_000, "b").passes(60_000).does(3_000, "c")
	s.want("a late event")

	s = newSteps(t, strings.Replace(abc, "1ms", "4s", 1)).does(0, "a").does(1_000, "b").does(2_000, "c").does(3_000, "c").does(5_999, "c")
	s.want("within the cooldown", 2_000)
	s.does(6_000, "c").want("after the cooldown", 2_000, 6_000)
}

func TestRepeatedOptionalAndUnorderedSteps(t *testing.T) {
	three := "within: 10s\nweight: 50\nsteps: [{event: " + is("a") + ", times: 3, within: 2s}, {event: " + is("b") + "}]"
	newSteps(t, three).does(0, "a").does(1_000, "a").does(2_000, "b").want("two of three")
	newSteps(t, three).does(0, "a").does(1_000, "a").does(3_000, "a").does(5_000, "b").want("three", 5_000)
	newSteps(t, three).does(0, "a").does(1_000, "a").does(3_001, "a").does(5_000, "b").want("too far apart")

	maybe := "within: 10s\nweight: 50\nsteps: [{event: " + is("a") + "}, {maybe: " + is("m") + "}, {event: " + is("b") + ", within: 2s}]"
	newSteps(t, maybe).does(0, "a").does(2_000, "b").want("without", 2_000)
	newSteps(t, maybe).does(0, "a").does(2_000, "m").does(4_000, "b").want("with", 4_000)
	newSteps(t, maybe).does(0, "a").does(4_000, "b").want("neither")

	together := "within: 10s\nweight: 50\nsteps: [{event: " + is("s") + "}, {together: [{event: " + is("a") + ", times: 2}, {event: " + is("b") + "}]}, {event: " + is("e") + "}]"
	for _, order := range []string{"aab", "aba", "baa"} {
		s := newSteps(t, together).does(0, "s")
		for i, what := range strings.Split(order, "") {
			s.does(int64(1_000+i), what)
		}
		s.does(5_000, "e").want(order, 5_000)
	}
	newSteps(t, together).does(0, "s").does(1, "a").does(2, "b").does(3, "e").does(4, "a").want("one is missing before the end")
	newSteps(t, "within: 10s\nweight: 50\nsteps: [{together: [{event: "+is("a")+"}, {event: "+is("b")+"}]}]").does(5, "b").does(0, "a").want("nothing else", 0)
}

func TestAbsence(t *testing.T) {
	between := "within: 10s\nweight: 50\ncooldown: 1ms\nsteps: [{event: " + is("a") + "}, {not: " + is("n") + "}, {event: " + is("b") + "}]"
	newSteps(t, between).does(0, "a").does(2_000, "b").passes(2_000).want("nothing may still come")
	newSteps(t, between).does(0, "a").does(2_000, "b").passes(2_001).want("absent", 2_001)
	newSteps(t, between).does(0, "a").does(1_000, "n").does(2_000, "b").passes(9_000).want("present")
	newSteps(t, between).does(0, "a").does(2_000, "b").does(1_000, "n").passes(9_000).want("present, and arrives last")
	newSteps(t, between).does(0, "n").does(0, "a").does(2_000, "b").does(2_000, "n").passes(9_000).want("outside", 2_001)
	newSteps(t, between).does(0, "a").does(1_000, "n").does(1_500, "a").does(2_000, "b").passes(9_000).want("begun again", 2_001)

	before := "within: 10s\nweight: 50\ncooldown: 1ms\nsteps: [{not: " + is("n") + ", within: 5s}, {event: " + is("b") + "}]"
	newSteps(t, before).does(0, "x").does(5_000, "b").passes(9_000).want("known for just long enough", 5_001)
	newSteps(t, before).does(1, "x").does(5_000, "b").passes(9_000).want("not known for long enough")
	newSteps(t, before+"\nnewcomers: judged").does(1, "x").does(5_000, "b").passes(9_000).want("judged all the same", 5_001)
	newSteps(t, before).does(0, "n").does(5_000, "b").passes(9_000).want("just within")
	newSteps(t, before).does(-1, "x").does(0, "n").does(5_001, "b").passes(9_000).want("just before", 5_002)
	s := newSteps(t, before).does(0, "x").passes(15_002+lateness).does(25_000, "b").passes(60_000)
	s.want("seen so long ago that it is forgotten")

	after := "within: 10s\nweight: 50\ncooldown: 1ms\nsteps: [{event: " + is("a") + "}, {not: " + is("n") + ", within: 5s}]"
	newSteps(t, after).does(0, "a").passes(5_000).want("time is not over")
	newSteps(t, after).does(0, "a").passes(5_001).want("never came", 5_001)
	newSteps(t, after).does(0, "a").does(5_000, "n").passes(60_000).want("came at the last moment")
	newSteps(t, after).does(0, "a").does(5_001, "n").passes(60_000).want("came a moment later", 5_001)
	newSteps(t, after).does(0, "a").does(1_000, "a").does(5_500, "n").passes(60_000).want("of two the first", 5_001)

	until := "within: 10s\nweight: 50\nuntil: " + is("u") + "\nsteps: [{event: " + is("a") + "}, {event: " + is("b") + "}, {event: " + is("c") + "}]"
	newSteps(t, until).does(0, "a").does(1, "b").does(2, "c").passes(3).want("goes on", 3)
	newSteps(t, until).does(0, "a").does(1, "u").does(2, "b").does(3, "c").passes(60_000).want("ended")
	newSteps(t, until).does(0, "u").does(1, "a").does(2, "b").does(3, "c").does(4, "u").passes(60_000).want("ended elsewhere", 4)
}

func TestSequencesByAValue(t *testing.T) {
	ab := "within: 10s\nweight: 50\ncooldown: 1ms\nby: [device]\nsteps: [{event: " + is("a") + "}, {event: " + is("b") + "}]"
	newSteps(t, ab).does(0, "a@d1").does(1, "b@d2").want("of two devices")
	newSteps(t, ab).does(0, "a@d1").does(1, "b@d2").does(2, "b@d1").want("of one", 2)
	newSteps(t, ab).does(0, "a").does(1, "b").want("of none")
	anb := "within: 10s\nweight: 50\nby: [device]\nsteps: [{event: " + is("a") + "}, {not: " + is("n") + "}, {event: " + is("b") + "}]"
	newSteps(t, anb).does(0, "a@d1").does(1, "n@d2").does(2, "b@d1").passes(9).want("what another device does", 3)
}

// TestTheSequenceOfThePage checks the worked example of docs/detectors/sequence.md.
func TestTheSequenceOfThePage(t *testing.T) {
	page, err := os.ReadFile("../docs/detectors/sequence.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```yaml\nsequence:\n")
	text, _, _ = strings.Cut(text, "```")
	text = strings.ReplaceAll(strings.TrimPrefix(text, "  "), "\n  ", "\n")
	text = strings.ReplaceAll(text, "route_class", "object_type")
	const second, minute = 1_000, 60_000
	bob := func() *steps {
		return newSteps(t, text).does(0, "password_reset@d").does(20*minute, "contact_change@d").does(21*minute, "withdrawal@d")
	}
	s := bob().does(21*minute+10*second, "withdrawal@d").passes(60 * minute)
	s.want("the example", 21*minute+10*second+1)
	if s.f.Weight != 60 || s.f.Evidence[0].Values[0] != 4 || s.f.Evidence[1].Values[0] != 1_270_000 ||
		s.f.Evidence[2] != facet.EventAt("event_1", 3, 100, start) || s.f.Evidence[5] != facet.EventAt("event_4", 3, 103, start+21*minute+10*second) {
		t.Errorf("fired %+v", s.f)
	}
	bob().does(21*minute+9*second, "withdrawal@d").passes(60 * minute).want("a second too early")
	bob().does(21*minute+10*second, "withdrawal@d").does(5*minute, "logout@d").passes(60 * minute).want("with a logout")
	bob().does(21*minute+10*second, "withdrawal@d").does(20*minute+30*second, "mfa@d").passes(60 * minute).want("with a second factor")
	newSteps(t, text).does(0, "password_reset@e").does(20*minute, "contact_change@d").does(21*minute, "withdrawal@d").does(21*minute+10*second, "withdrawal@d").
		passes(60 * minute).want("another device's reset")
	for _, number := range []string{"1,200,000 ms", "1,270,000 ms", "12:21:10.001"} {
		if !strings.Contains(string(page), number) {
			t.Errorf("the page does not have %s", number)
		}
	}
}

// TestWhatOthersDo checks that an absence is unusual if many do not have it, and no
// longer after the app has changed.
func TestWhatOthersDo(t *testing.T) {
	s := newSteps(t, "within: 1s\nweight: 50\ncooldown: 1ms\nnewcomers: judged\nusual: {by: [app_version], odds: 10, least: 20}\nsteps: [{not: "+is("n")+", within: 1s}, {event: "+is("b")+"}]")
	others, now := s.others, int64(0)
	whose := func(what ...string) []int64 {
		now += 10_000
		s.s, s.timer, s.fired, s.watermark = slot{}, 0, nil, math.MinInt64
		for i, w := range what {
			s.does(now+int64(i), w)
		}
		return s.passes(now + 5_000).fired
	}
	if fired := whose("b"); fired != nil {
		t.Fatal("fired of the first of all")
	}
	for n := range 18 {
		if whose("n", "b") != nil {
			t.Fatalf("fired at %d", n)
		}
	}
	if whose("b") != nil {
		t.Fatal("fired with 19 sequences")
	}
	for range 20 {
		whose("n", "b")
	}
	if whose("b") == nil {
		t.Fatal("did not fire where 2 of 40 lack it")
	}
	if got := s.f.Evidence[2:4]; got[0] != facet.Number("others", 40) || got[1] != facet.Number("others_lacking", 2) {
		t.Errorf("evidence %+v", got)
	}
	odd := 1
	for ; whose("b") != nil; odd++ {
	}
	if odd != 3 {
		t.Errorf("%d fired of 43 sequences, want 3: more than one in 15 is not odd", odd)
	}
	if len(others) != 1 || len(s.s.payload) == 0 {
		t.Errorf("%d cohorts", len(others))
	}
	if d := s.d.(detectors.Comparing); d != nil {
		if _, ok := d.FitCohort(event.AppVersion, others["app_version1"].payload); !ok {
			t.Error("what is kept of a cohort is not of its form")
		}
		if _, ok := d.FitCohort(event.Country, others["app_version1"].payload); ok {
			t.Error("a cohort that the rule has not")
		}
	}
}

// TestOnlyKnownEntitiesTeach checks that with known, an entity's first moments are no
// habit of others.
func TestOnlyKnownEntitiesTeach(t *testing.T) {
	type did struct {
		at   int64
		what string
	}
	s := newSteps(t, "within: 1s\nweight: 50\ncooldown: 1ms\nnewcomers: judged\nusual: {by: [app_version], odds: 10, least: 20, known: 500ms}\nsteps: [{not: "+is("n")+", within: 1s}, {event: "+is("b")+"}]")
	now := int64(0)
	another := func(deeds ...did) []int64 {
		now += 100_000
		s.s, s.timer, s.fired, s.watermark = slot{}, 0, nil, math.MinInt64
		for _, d := range deeds {
			s.passes(now+d.at-1).does(now+d.at, d.what).passes(now + d.at + 1)
		}
		return s.fired
	}
	counts := func() [3]uint32 {
		b := s.others["app_version1"].payload
		return [3]uint32{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])}
	}
	teaches := func(why string, want [3]uint32, deeds ...did) {
		t.Helper()
		if another(deeds...); counts() != want {
			t.Errorf("%s: %d sequences, lacking and odd, want %d", why, counts(), want)
		}
	}
	teaches("at once", [3]uint32{}, did{0, "b"})
	teaches("at once, and lacks nothing", [3]uint32{}, did{0, "n"}, did{1, "b"})
	teaches("a moment too early", [3]uint32{}, did{0, "x"}, did{498, "b"})
	teaches("just known", [3]uint32{1, 1}, did{0, "x"}, did{499, "b"})
	teaches("again within two seconds of the time at which it was new", [3]uint32{1, 1}, did{0, "b"}, did{1_900, "b"})
	teaches("again after that", [3]uint32{2, 2}, did{0, "b"}, did{1_900, "b"}, did{2_100, "b"})
	teaches("after an absence", [3]uint32{3, 3}, did{0, "x"}, did{600, "b"}, did{50_000, "b"})
	teaches("after an absence, and once more", [3]uint32{5, 5}, did{0, "x"}, did{600, "b"}, did{50_000, "x"}, did{50_600, "b"})
	for n := range uint32(45) {
		teaches("lacks nothing", [3]uint32{6 + n, 5}, did{0, "x"}, did{600, "n"}, did{700, "b"})
	}
	if another(did{0, "b"}) == nil {
		t.Error("a new entity is not judged")
	}
	teaches("new, and unusual", [3]uint32{50, 5}, did{0, "b"}, did{1_900, "b"})
	teaches("known, and unusual", [3]uint32{51, 5, 1}, did{0, "x"}, did{600, "b"})
}

// TestTheHabitOfThePage checks the example of known in docs/detectors/sequence.md.
func TestTheHabitOfThePage(t *testing.T) {
	page, err := os.ReadFile("../docs/detectors/sequence.md")
	if err != nil {
		t.Fatal(err)
	}
	_, usual, _ := strings.Cut(string(page), "```yaml\nusual: ")
	usual, _, _ = strings.Cut(usual, "\n")
	// told returns how many new accounts are told, that pay after a hundred known ones.
	told := func(withoutCart, newcomers int) (n int) {
		s := newSteps(t, "within: 1h\nweight: 50\nnewcomers: judged\nusual: "+usual+"\nsteps: [{not: "+is("cart")+", within: 24h}, {event: "+is("pay")+"}]")
		for i := range 100 + newcomers {
			now, known := int64(i)*10_000, int64(0)
			s.s, s.timer, s.fired, s.watermark = slot{}, 0, nil, math.MinInt64
			s.does(now, "login")
			if i < 100 {
				known = 2 * 60_000
			}
			if i < 100-withoutCart {
				s.does(now+known+1, "cart")
			}
			if s.does(now+known+2, "pay").passes(now + known + 5); i >= 100 {
				n += len(s.fired)
			}
		}
		return n
	}
	if n := told(5, 20); n != 0 {
		t.Errorf("%d new accounts are told where one in twenty known ones buys at once", n)
	}
	if n := told(0, 20); n != 20 {
		t.Errorf("%d of twenty are told where a hundred known ones have a cart", n)
	}
	for _, words := range []string{"one in twenty", "twenty accounts", "a hundred known accounts"} {
		if !strings.Contains(string(page), words) {
			t.Errorf("the page does not have %q", words)
		}
	}
}

// TestWhatOthersDoElsewhere checks that partitions tell one another what is usual,
// so that it does not matter how many there are.
func TestWhatOthersDoElsewhere(t *testing.T) {
	fires := func(elsewhere ...uint8) bool {
		s := newSteps(t, "within: 1s\nweight: 50\ncooldown: 1ms\nnewcomers: judged\nusual: {by: [app_version], odds: 10, least: 20}\nsteps: [{not: "+is("n")+", within: 1s}, {event: "+is("b")+"}]")
		s.does(0, "n").does(1, "b").passes(5_000)
		others := s.others["app_version1"]
		if others.said != 0 {
			t.Fatalf("said %d before anything was counted", others.said)
		}
		others.others = elsewhere
		s.s, s.timer, s.watermark = slot{}, 0, math.MinInt64
		fired := s.does(10_000, "b").passes(15_000).fired != nil
		if others.said != 1 {
			t.Fatalf("said %d of one sequence, want 1", others.said)
		}
		s.s, s.timer, s.watermark = slot{}, 0, math.MinInt64
		if s.does(20_000, "b"); !fired && others.said != 2+11*5 {
			t.Fatalf("said %d of two sequences with one that lacks something, want 57: 2, and 10 to make up for it", others.said)
		}
		return fired
	}
	for _, c := range []struct {
		name      string
		elsewhere []uint8
		want      bool
	}{
		{"16 and 8 sequences", []uint8{5, 4}, true},
		{"16 sequences are too few", []uint8{5}, false},
		{"20 in two partitions", []uint8{5, 3}, true},
		{"32, of which some lack something: 20 are needed", []uint8{6 + 11*6}, true},
		{"32, and 40 are needed", []uint8{6 + 11*7}, false},
		{"20 are needed, and another partition has them", []uint8{2 + 11*6, 6}, true},
		{"20 are needed in each of two partitions, which have 32 together", []uint8{5 + 11*6, 5 + 11*6}, false},
	} {
		if got := fires(c.elsewhere...); got != c.want {
			t.Errorf("%s: fired %v, want %v", c.name, got, c.want)
		}
	}
}

// TestWhatPartitionsTell checks that the sum over partitions is close to what one
// partition would know: with sequences rounded down, a quarter of them would be lost.
func TestWhatPartitionsTell(t *testing.T) {
	told := func(whole, lacking uint32) uint8 {
		s := newSteps(t, "within: 1s\nweight: 50\ncooldown: 1ms\nnewcomers: judged\nusual: {by: [app_version], odds: 200, least: 20}\nsteps: [{not: "+is("n")+", within: 1s}, {event: "+is("b")+"}]")
		s.does(0, "n").does(1, "b").passes(5_000)
		b := s.others["app_version1"].payload
		binary.LittleEndian.PutUint32(b, whole)
		binary.LittleEndian.PutUint32(b[4:], lacking)
		s.s, s.timer, s.watermark = slot{}, 0, math.MinInt64
		s.does(10_000, "b")
		return s.others["app_version1"].said
	}
	for _, c := range []struct {
		whole, lacking, sequences, needed uint32
	}{
		{0, 0, 0, 0}, {1, 0, 1, 0}, {2, 0, 2, 0}, {3, 0, 4, 0}, {5, 0, 4, 0}, {6, 0, 8, 0}, {11, 0, 8, 0}, {12, 0, 16, 0}, {22, 0, 16, 0}, {24, 0, 32, 0},
		{1535, 0, 1024, 0}, {1536, 0, 1024, 0}, {10_000, 0, 1024, 0},
		{30, 1, 32, 200}, {30, 2, 32, 400}, {30, 3, 32, 800}, {1536, 1, 1024, 100}, {6_400, 1, 1024, 25},
	} {
		level := told(c.whole, c.lacking)
		var sequences, needed uint32
		if level > 0 {
			if sequences = 1 << ((level - 1) % 11); level > 11 {
				needed = 200 << ((level-1)/11 - 1) / 16
			}
		}
		if sequences != c.sequences || needed != c.needed {
			t.Errorf("%d sequences, %d of which lack something, are told as %d and %d needed, want %d and %d", c.whole, c.lacking, sequences, needed, c.sequences, c.needed)
		}
	}
}

func TestSequencesThatCannotBe(t *testing.T) {
	a, b := is("a"), is("b")
	for text, want := range map[string]string{
		"steps: [{event: " + a + "}]":                                                                                "one event is no sequence",
		"steps: [{not: " + a + ", within: 1s}]":                                                                      "nothing must come",
		"steps: [{event: " + a + ", maybe: " + b + "}, {event: " + a + "}]":                                          "this one is two",
		"steps: [{times: 2}, {event: " + a + "}]":                                                                    "this one is none",
		"steps: [{maybe: " + a + "}, {event: " + b + "}]":                                                            "does not begin or end",
		"steps: [{event: " + a + "}, {maybe: " + b + "}]":                                                            "does not begin or end",
		"steps: [{not: " + a + "}, {event: " + b + "}]":                                                              "how long must it be absent",
		"steps: [{event: " + a + "}, {not: " + a + "}]":                                                              "how long must it be absent",
		"steps: [{event: " + a + "}, {not: " + a + ", within: 1s}, {event: " + b + "}]":                              "absence lasts from one to the other",
		"steps: [{event: " + a + "}, {not: " + a + ", times: 2}, {event: " + b + "}]":                                "times says nothing",
		"steps: [{event: " + a + ", times: 12}, {event: " + b + "}]":                                                 "the sequence has 13 events",
		"events: 3\nsteps: [{event: " + a + "}, {event: " + b + "}]":                                                 "3 events are remembered",
		"steps: [{event: " + a + "}, {event: " + b + ", after: 5s, within: 2s}]":                                     "the most time is less than the least",
		"by: [device, device]\nsteps: [{event: " + a + "}, {event: " + b + "}]":                                      "device stands twice",
		"usual: {by: [app_version], known: 21s}\nsteps: [{not: " + a + ", within: 10s}, {event: " + b + "}]":         "is never known",
		"usual: {by: [app_version]}\nsteps: [{event: " + a + "}, {event: " + b + "}]":                                "nothing can be usual",
		"steps: [{together: [{event: " + a + "}, {event: " + b + "}], times: 2}]":                                    "times is of a single event",
		"steps: [{event: " + a + "}, {event: " + b + "}]\nusual: {by: [route], least: 10}":                           "is no value",
		"steps: [{together: [" + strings.Repeat("{event: "+a+", times: 3}, ", 3) + "{event: " + a + ", times: 3}]}]": "too many orders",
	} {
		_, err := sequenceRule(t, "within: 10s\nweight: 50\n"+text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// Any payload is either refused or processed without harm.
func FuzzSequencePayload(f *testing.F) {
	r, err := sequenceRule(f, "within: 10s\nweight: 50\nevents: 6\nnewcomers: judged\nusual: {by: [app_version], least: 5}\nsteps: [{not: "+is("n")+", within: 1s}, {event: "+is("a")+"}, {maybe: "+is("n")+"}, {event: "+is("b")+"}]")
	if err != nil {
		f.Fatal(err)
	}
	d := newDetector(f, r)
	f.Add([]byte{})
	f.Add(make([]byte, 68))
	f.Add(make([]byte, 68+8*28))
	f.Fuzz(func(t *testing.T, payload []byte) {
		kept, ok := d.Fit(payload)
		if !ok {
			return
		}
		if len(kept) > r.Spec.Keeps().Bytes {
			t.Fatalf("%d bytes are kept", len(kept))
		}
		s := &steps{t: t, d: d, others: cohortSlots{}, watermark: math.MinInt64}
		s.s.payload = kept
		d.Explain(kept, start)
		s.does(0, "a").does(1, "b").does(0, "n").passes(5_000)
	})
}

// TestAnyEditLeavesASequenceToGoOnWith checks that the payload stays within the
// rule's bound for any change of its numbers.
func TestAnyEditLeavesASequenceToGoOnWith(t *testing.T) {
	for seed := range uint64(25) {
		rng := rand.New(rand.NewPCG(seed, 5))
		var s slot
		now := int64(0)
		for range 6 {
			w := newSteps(t, fmt.Sprintf("within: %ds\nweight: 50\nevents: %d\nsteps: [{not: %s, within: %ds}, {event: %s}, {event: %s, within: 5s}]",
				1+rng.IntN(60), 4+rng.IntN(20), is("n"), 1+rng.IntN(60), is("a"), is("b")))
			if s.payload != nil {
				kept, ok := w.d.Fit(s.payload)
				if !ok {
					t.Fatalf("seed %d: not of its own form", seed)
				}
				s.payload = kept
			}
			w.s = s
			for range rng.IntN(60) {
				now += rng.Int64N(3_000)
				w.does(now, []string{"a", "b", "n", "x"}[rng.IntN(4)])
				w.passes(now - rng.Int64N(5_000))
			}
			s = w.s
		}
	}
}

func TestSequencesAllocateNothing(t *testing.T) {
	s := newSteps(t, "within: 10s\nweight: 50\ncooldown: 1ms\nby: [device]\nsteps: [{event: "+is("a")+"}, {maybe: "+is("n")+"}, {event: "+is("b")+"}]")
	var a, b event.Event
	for e, what := range map[*event.Event]string{&a: "a", &b: "b"} {
		e.SetText(event.ObjectType, what)
		e.SetText(event.Device, "d")
	}
	now, fired := int64(start), 0
	c := s.context(&a, now)
	c.Own = &roomySlot{make([]byte, 0, 4096)}
	show := func() {
		for _, e := range []*event.Event{&a, &b} {
			now += 100
			c.Event, c.Time, c.Watermark = e, now, now-lateness
			if s.d.Apply(c, &s.f) {
				fired++
			}
		}
	}
	for range 50 {
		show()
	}
	if n := testing.AllocsPerRun(100, show); n != 0 || fired < 100 {
		t.Errorf("%v allocations, %d firings", n, fired)
	}
}

func TestExplainingASequence(t *testing.T) {
	s := newSteps(t, "within: 10s\nweight: 50\nsteps: [{event: "+is("a")+"}, {event: "+is("b")+"}, {event: "+is("c")+"}]")
	if x := s.d.Explain(nil, start); x.Last >= x.First || x.Demands[0].Have != 0 || x.Demands[0].Need != 3 {
		t.Errorf("nothing: %+v", x)
	}
	s.does(0, "a").does(1_000, "b")
	if x := s.d.Explain(s.s.payload, start+1_000); x.Demands[0].Have != 2 || x.First != start || x.Last != start+1_000 || len(x.HeldBack) != 0 {
		t.Errorf("two of three: %+v", x)
	}
	s.does(2_000, "c").does(3_000, "c")
	if x := s.d.Explain(s.s.payload, start+3_000); !x.Demands[0].Met() || len(x.HeldBack) != 1 || x.HeldBack[0].By != "cooldown" || x.HeldBack[0].Until != start+12_000 {
		t.Errorf("held back: %+v", x)
	}
	s = newSteps(t, "within: 10s\nweight: 50\nsteps: [{event: "+is("a")+"}, {not: "+is("n")+"}, {event: "+is("b")+"}]").does(0, "a").does(1, "n").does(2, "b")
	if x := s.d.Explain(s.s.payload, start+2); !x.Demands[0].Met() || !strings.Contains(x.HeldBack[0].By, "absent") {
		t.Errorf("present: %+v", x)
	}
}

func BenchmarkSequence(b *testing.B) {
	for name, text := range map[string]string{
		"steps":   "within: 1h\nweight: 50\nsteps: [{event: " + is("a") + "}, {event: " + is("b") + "}, {event: " + is("c") + "}]",
		"absence": "within: 1h\nweight: 50\nsteps: [{event: " + is("a") + "}, {not: " + is("c") + "}, {event: " + is("b") + "}]",
	} {
		b.Run(name, func(b *testing.B) {
			r, err := sequenceRule(b, text)
			if err != nil {
				b.Fatal(err)
			}
			d := newDetector(b, r)
			var e [2]event.Event
			e[0].SetText(event.ObjectType, "a")
			e[1].SetText(event.ObjectType, "b")
			c := detectors.Context{Own: &roomySlot{make([]byte, 0, 4096)}}
			var f detectors.Firing
			now := int64(start)
			for n := 0; b.Loop(); n++ {
				now += int64(10 * time.Second / time.Millisecond)
				c.Event, c.Time, c.Watermark = &e[n%2], now, now-lateness
				d.Apply(&c, &f)
			}
		})
	}
}
