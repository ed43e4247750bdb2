package explain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/rules"
)

const someRules = `rules:
  - id: failures
    title: sign-ins of one account fail
    entity: account
    when: auth == "failure"
    sliding_window: {window: 1m, tiers: [{at: 3, weight: 40}, {at: 6, weight: 80}], cooldown: 2m}
    signal: {category: account_takeover, reason: many_failures, half_life: 10m}
    phase: soft
  - id: lone
    title: one is enough
    entity: device
    when: rooted
    sliding_window: {window: 1m, tiers: [{at: 1, weight: 10}]}
    signal: {category: bot, reason: one, half_life: 10m}
    phase: observe
`

func loaded(t testing.TB) *rules.Set {
	t.Helper()
	set, err := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(someRules)}}, detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func explainer(t testing.TB, entity string) *Explainer { return explainerOf(t, loaded(t), entity) }

func explainerOf(t testing.TB, set *rules.Set, entity string) (x *Explainer) {
	t.Helper()
	var err error
	o := Options{Rules: set, Ingest: ingest.Defaults(), Detect: engine.Defaults()}
	if entity != "" {
		if o.Entity, err = ParseEntity(entity); err != nil {
			t.Fatal(err)
		}
	}
	if x, err = New(o); err != nil {
		t.Fatal(err)
	}
	return x
}

// report explains records; those that start with a number are failures of ann at
// that second.
func report(t testing.TB, entity string, records ...string) *Report {
	t.Helper()
	x := explainer(t, entity)
	for i, record := range records {
		if record[0] != '{' {
			record = fmt.Sprintf(`{"id":"%d","time":"2026-01-01T00:%02d:%02dZ","account":"ann","auth":"failure"}`, i, atoi(record)/60, atoi(record)%60)
		}
		if err := x.Record([]byte(record)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := x.Report()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func atoi(s string) (n int) {
	fmt.Sscan(s, &n)
	return n
}

func seconds(from, to, by int) (all []string) {
	for s := from; s <= to; s += by {
		all = append(all, fmt.Sprint(s))
	}
	return all
}

func TestWhatWouldHaveKeptARuleFromFiring(t *testing.T) {
	for _, c := range []struct {
		name    string
		records []string
		firing  int // which of them is looked at
		record  int
		numbers []Number
		without []int
		raised  []Raised
	}{
		{"as many as are asked for", seconds(1, 3, 1), 0, 3, []Number{{"count", 3, 3, true}}, []int{1}, []Raised{{"count", 3, 4, 4}}},
		{"more come later", seconds(1, 5, 1), 0, 3, []Number{{"count", 3, 3, true}}, []int{1}, []Raised{{"count", 3, 4, 6}}},
		{"the next tier", seconds(1, 6, 1), 1, 6, []Number{{"count", 6, 6, true}}, []int{1}, []Raised{{"count", 6, 7, 7}}},
		{"after the cooldown, more than are asked for", seconds(0, 150, 15), 1, 11, []Number{{"count", 4, 3, true}}, []int{9, 10}, []Raised{{"count", 3, 5, 5}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := report(t, "", c.records...)
			if len(r.Findings) != 1 || len(r.Findings[0].Firings) <= c.firing {
				t.Fatalf("%+v", r.Findings)
			}
			f := r.Findings[0].Firings[c.firing]
			if f.Record != c.record || !slices.Equal(f.Numbers, c.numbers) || !slices.Equal(f.Raised, c.raised) {
				t.Errorf("got %d %+v %+v", f.Record, f.Numbers, f.Raised)
			}
			if f.Without == nil || !slices.Equal(f.Without.Records, c.without) || !f.Without.Whole {
				t.Errorf("without %+v, want %v", f.Without, c.without)
			}
		})
	}
}

// Every counterfactual is true: the events without those named do not fire there,
// and with all but one of them they do.
func TestALeastSetIsLeast(t *testing.T) {
	records := seconds(0, 150, 15)
	set := report(t, "", records...).Findings[0].Firings[1].Without.Records
	firesAt := func(without []int) bool {
		var left []string
		for i, record := range records {
			if slices.Contains(without, i+1) {
				record = `{"id":"x","time":"2026-01-01T00:00:00Z"}` // keeps the place
			}
			left = append(left, record)
		}
		for _, f := range report(t, "", left...).Findings {
			if slices.ContainsFunc(f.Firings, func(f Firing) bool { return f.Record == 11 }) {
				return true
			}
		}
		return false
	}
	if firesAt(set) {
		t.Errorf("it fires without %v", set)
	}
	for i := range set {
		if fewer := slices.Delete(slices.Clone(set), i, i+1); !firesAt(fewer) {
			t.Errorf("it does not fire without %v", fewer)
		}
	}
}

func TestAnEventThatFiresByItself(t *testing.T) {
	r := report(t, "device:d", `{"id":"a","time":"2026-01-01T00:00:00Z","device":"d","rooted":true}`)
	f := r.Findings[0].Firings[0]
	if f.Without == nil || len(f.Without.Records) != 0 || !f.Without.Whole || !slices.Equal(f.Raised, []Raised{{"count", 1, 2, 2}}) {
		t.Errorf("%+v, %+v", f.Without, f.Raised)
	}
}

// Others are judged by what is about themselves, and the one asked about alone is
// shown.
func TestOneEntityOfMany(t *testing.T) {
	bob := `{"id":"b%d","time":"2026-01-01T00:00:0%dZ","account":"bob","auth":"failure"}`
	records := append(seconds(1, 3, 1), fmt.Sprintf(bob, 1, 4), fmt.Sprintf(bob, 2, 5))
	r := report(t, "account:bob", records...)
	if *r.About != 2 || len(r.Findings) != 1 || r.Findings[0].Fired != 0 || r.Findings[0].Matching != 2 {
		t.Fatalf("%+v", r)
	}
	if n := r.Findings[0].NotFired; len(n) != 2 || n[0].Record != 5 || n[0].Numbers[0] != (Number{"count", 2, 3, false}) || n[1].Numbers[0].Need != 6 {
		t.Errorf("%+v", n)
	}
	r = report(t, "", records...)
	if len(r.Findings) != 1 || r.Findings[0].Entity != "account:ann" { // the rule is not silent
		t.Errorf("%+v", r.Findings)
	}
	r = report(t, "account:carol", records...)
	if *r.About != 0 || !slices.Equal(r.Others, []string{"ann", "bob"}) || len(r.Findings) != 1 || r.Findings[0].Matching != 0 {
		t.Errorf("%+v", r)
	}
}

// A great many events are explained within bounds.
func TestManyEvents(t *testing.T) {
	var many []string
	for i := range 6000 {
		many = append(many, fmt.Sprint(i/100))
	}
	r := report(t, "", many...)
	f := r.Findings[0]
	if f.Firings[0].Unexplored == "" || f.Firings[0].Without != nil || len(f.HeldBack) != 2 || len(f.HeldBack[0].Records) != 2 || len(f.HeldBack[1].Records) != 5994 {
		t.Errorf("%d firings, %+v", f.Fired, f.Firings[0])
	}
	var out bytes.Buffer
	r.Write(&out, false)
	if out.Len() > 8000 {
		t.Errorf("%d bytes are written", out.Len())
	}
	r = report(t, "", many[:1000]...)
	if f := r.Findings[0].Firings[0]; f.Unexplored != "" || f.Without == nil || f.LeftOut != 0 {
		t.Errorf("%+v", f)
	}
}

// A report is the same whether memory has room for the records or not, and nothing is
// left of the file of those that it has no room for.
func TestRecordsBeyondMemory(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	var want []byte
	for _, most := range []int{MostBytes, 500, 0} {
		for _, entity := range []string{"", "account:ann"} {
			x := explainer(t, entity)
			x.records.most = most
			for i := range 40 {
				record := fmt.Sprintf(`{"id":"%d","time":"2026-01-01T00:00:%02dZ","account":"ann","auth":"failure"}`, i, i)
				if err := x.Record([]byte(record)); err != nil {
					t.Fatal(err)
				}
			}
			r, err := x.Report()
			if err != nil {
				t.Fatal(err)
			}
			if spilled := x.records.len() - len(x.records.memory); (spilled > 0) != (most < MostBytes) {
				t.Errorf("%d records are in the file, with room for %d bytes", spilled, most)
			}
			x.Close()
			got, err := json.Marshal(r.Findings)
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = got
			}
			if !bytes.Equal(got, want) {
				t.Errorf("room for %d bytes, entity %q: got\n%s\nwant\n%s", most, entity, got, want)
			}
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// What does not fit anywhere is an error that says what to do.
func TestNoRoomForRecords(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()+"/none")
	x := explainer(t, "")
	x.records.most = 0
	if err := x.Record([]byte("{}")); err == nil || !strings.Contains(err.Error(), "name a directory with room in TMPDIR") {
		t.Error(err)
	}
}

// Of more events than are kept, the first are explained, and all are counted.
func TestEventsThatAreOnlyCounted(t *testing.T) {
	for _, entity := range []string{"", "account:ann"} {
		x := explainer(t, entity)
		x.mostSteps = 10
		for i := range 400 {
			record := fmt.Sprintf(`{"id":"%d","time":"2026-01-01T00:%02d:%02dZ","account":"ann","auth":"failure"}`, i, i/60, i%60)
			if err := x.Record([]byte(record)); err != nil {
				t.Fatal(err)
			}
		}
		r, err := x.Report()
		if err != nil || len(r.Findings) != 1 {
			t.Fatalf("%v, %+v", err, r)
		}
		f := r.Findings[0]
		if f.Matching != 400 || f.Beyond != 390 || len(f.Firings) != 2 || f.Fired <= 2 || len(f.NotFired) != 0 {
			t.Errorf("%+v", f)
		}
		var out bytes.Buffer
		if r.Write(&out, false); !strings.Contains(out.String(), "400 events met the condition, of which the last 390 are only counted") {
			t.Error(out.String())
		}
	}
}

// If nobody is named, as many are kept as are shown, however many there are.
func TestWhoIsExplainedIsChosenFirst(t *testing.T) {
	x := explainer(t, "")
	for i := range 3000 {
		record := fmt.Sprintf(`{"id":"%d","time":"2026-01-01T00:%02d:%02dZ","account":"u%d","auth":"failure"}`, i, i/60%60, i%60, i/3)
		if err := x.Record([]byte(record)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := x.Report()
	if err != nil || len(r.Findings) != mostFindings || r.LeftOut != 1000-mostFindings || r.Findings[0].Entity != "account:u0" || r.Findings[19].Entity != "account:u19" {
		t.Errorf("%v, %d findings, %d left out", err, len(r.Findings), r.LeftOut)
	}
	if len(x.cases) != 0 {
		t.Errorf("%d cases are kept", len(x.cases))
	}
}

// What happened outside the bounds is not shown, and still counts.
func TestOnlyAStretchOfTimeIsShown(t *testing.T) {
	at := func(second int) time.Time { return time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC) }
	for _, c := range []struct {
		from, to         time.Time
		matching, fired  int
		record, notFired int // of the first firing, and of the higher tier
	}{
		{matching: 11, fired: 2, record: 3, notFired: 4},
		{from: at(60), matching: 7, fired: 1, record: 11, notFired: 5},
		{to: at(60), matching: 4, fired: 1, record: 3, notFired: 4},
		{from: at(45), to: at(75), matching: 2, notFired: 4},
		{from: at(1000)},
	} {
		for _, entity := range []string{"", "account:ann"} {
			x := explainer(t, entity)
			x.o.From, x.o.To = c.from, c.to
			for i := range 11 {
				if err := x.Record(fmt.Appendf(nil, `{"id":"%d","time":"2026-01-01T00:%02d:%02dZ","account":"ann","auth":"failure"}`, i, i*15/60, i*15%60)); err != nil {
					t.Fatal(err)
				}
			}
			r, err := x.Report()
			if err != nil {
				t.Fatal(err)
			}
			if c.matching == 0 && entity == "" {
				if len(r.Findings) != 0 {
					t.Errorf("%+v", r.Findings)
				}
				continue
			}
			f := r.Findings[0]
			if f.Matching != c.matching || f.Fired != c.fired || len(f.Firings) != c.fired || c.fired > 0 && (f.Firings[0].Record != c.record || f.Firings[0].Without == nil) {
				t.Errorf("%v to %v, %q: %+v", c.from, c.to, entity, f)
			}
			if n := f.NotFired; c.notFired > 0 && n[len(n)-1].Record != c.notFired || c.notFired == 0 && len(n) > 0 {
				t.Errorf("%v to %v, %q: did not fire %+v", c.from, c.to, entity, n)
			}
		}
	}
}

// TestFieldsThatWereGivenAreNotCalledEmpty, whatever their value.
func TestFieldsThatWereGivenAreNotCalledEmpty(t *testing.T) {
	r := report(t, "device:d", `{"id":"a","time":"2026-01-01T00:00:00Z","device":"d"}`, `{"id":"b","time":"2026-01-01T00:00:01Z","device":"d","rooted":false}`)
	var out bytes.Buffer
	if r.Write(&out, true); strings.Contains(out.String(), "empty in all") {
		t.Errorf("it says\n%s", &out)
	}
}

// Rules that have nothing to say of an entity do not bury the others.
func TestRulesWithoutAMatchingEventAreFolded(t *testing.T) {
	r := report(t, "device:d", `{"id":"a","time":"2026-01-01T00:00:00Z","device":"d"}`)
	for all, want := range map[bool]string{false: "none of its events meets the condition of 1 other rule; -all names them\n", true: "lone (observe) did not fire for device:d: one is enough\n  none of its events meets the condition (when)\n  empty in all of them: rooted\n"} {
		var out bytes.Buffer
		if r.Write(&out, all); !strings.Contains(out.String(), want) || strings.Contains(out.String(), "lone") != all {
			t.Errorf("%v: %s", all, out.String())
		}
	}
}

const usualRule = `rules:
  - id: without-start
    title: no start
    entity: device
    when: route in ["/config", "/login"]
    sequence:
      within: 10m
      newcomers: judged
      usual: {by: [app_version], odds: 20, least: 30}
      steps:
        - {not: route == "/config", within: 1h}
        - {event: route == "/login"}
      cooldown: 1h
      weight: 50
    signal: {category: bot, reason: skipped_start, half_life: 6h}
    phase: soft
`

// A rule that waits tells what it judged in the end, and by which numbers.
func TestWhatATimerJudgedIsShown(t *testing.T) {
	set, err := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(usualRule)}}, detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	for others, want := range map[int]string{
		20: "held back by others, who lack it too, or of whom too little is known at record 41\n    others         20 of 30, 10 short\n    others_at_odds 20 of 0\n",
		40: "    others         40\n    others_lacking 0\n",
	} {
		x := explainerOf(t, set, "device:s")
		add := func(second int, device, route string) {
			at := time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC).Format(time.RFC3339)
			if err := x.Record(fmt.Appendf(nil, `{"id":"%s %s","time":%q,"device":%q,"route":%q,"app_version":"1","status":200}`, device, route, at, device, route)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range others {
			add(i, fmt.Sprint("d", i), "/config")
			add(i, fmt.Sprint("d", i), "/login")
		}
		add(7200, "s", "/login")
		add(20_000, "z", "/config")
		r, err := x.Report()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if r.Write(&out, false); !strings.Contains(out.String(), want) {
			t.Errorf("%d others: %s", others, out.String())
		}
	}
}

// The JSON form is what programs rely on: a member that goes, or is renamed, is seen
// here.
func TestTheJSONForm(t *testing.T) {
	r := report(t, "", append(seconds(1, 3, 1), `{"id":"x"}`)...)
	var out bytes.Buffer
	if err := r.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	event := func(n int) string {
		return fmt.Sprintf(`{"record":%d,"time":"2026-01-01T00:00:0%d.000Z","counts":true,"fields":{"account":"ann","auth":"failure"}}`, n, n)
	}
	err := json.Unmarshal([]byte(`{"v":1,"rules_version":"`+r.RulesVersion+`",
		"records":{"events":3,"first":"2026-01-01T00:00:01.000Z","last":"2026-01-01T00:00:03.000Z","dead":1,"filtered":0,"repeated":0,"refused":0},
		"unread":[{"record":4,"reason":"missing_field","field":"time","position":10,"explain":"`+r.Unread[0].Explain+`"}],
		"findings":[{"rule":"failures","title":"sign-ins of one account fail","phase":"soft","entity":"account:ann","matching":3,"fired":1,
			"firings":[{"record":3,"time":"2026-01-01T00:00:03.000Z","tier":1,"tiers":2,"weight":40,"reason":"many_failures","numbers":[{"name":"count","have":3,"need":3,"met":true}],
				"evidence":`+evidenceOf(t, r)+`,"from":"2026-01-01T00:00:01.000Z","to":"2026-01-01T00:00:03.000Z","events":[`+event(1)+`,`+event(2)+`,`+event(3)+`],
				"without":{"records":[1],"whole":true},"raised":[{"name":"count","now":3,"here":4,"ever":4}]}],
			"held_back":[],
			"not_fired":[{"tier":2,"weight":80,"record":3,"time":"2026-01-01T00:00:03.000Z","numbers":[{"name":"count","have":3,"need":6,"met":false}]}]}],
		"told":[],"scores":[{"entity":"account:ann","points":40,"reasons":["many_failures"]}]}`), &want)
	if err != nil {
		t.Fatal(err)
	}
	g, _ := json.MarshalIndent(got, "", " ")
	w, _ := json.MarshalIndent(want, "", " ")
	if !bytes.Equal(g, w) {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func evidenceOf(t *testing.T, r *Report) string {
	t.Helper()
	text, err := json.Marshal(r.Findings[0].Firings[0].Evidence)
	if err != nil || len(r.Findings[0].Firings[0].Evidence) < 3 {
		t.Fatal(string(text), err)
	}
	return string(text)
}

func TestNoRecordIsAnEvent(t *testing.T) {
	x := explainer(t, "")
	for range 5 {
		if err := x.Record([]byte("GET /")); err != nil {
			t.Fatal(err)
		}
	}
	r, err := x.Report()
	var out bytes.Buffer
	r.Write(&out, false)
	if !errors.Is(err, ErrNoEvents) || r.Records.Dead != 5 || len(r.Unread) != mostUnread || !strings.Contains(out.String(), "record 1\n  DEAD: ") {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestEntitiesAreReadInAnyForm(t *testing.T) {
	for text, want := range map[string]string{
		"account:ann": "account:ann", "account:a:b": "account:a:b", "ip:203.0.113.9": "ip:203.0.113.9", "ip:2001:db8::1": "ip:2001:db8::/64",
		"": "names no entity", "ann": "names no entity", "planet:mars": "names no entity", "ip:": "names no entity", "ip:x": "is no key of kind ip",
	} {
		s, err := ParseEntity(text)
		if err != nil && !strings.Contains(err.Error(), want) || err == nil && s.String() != want {
			t.Errorf("%q: %v, %v, want %s", text, s, err, want)
		}
	}
}

func TestRecordsAreNamedShortly(t *testing.T) {
	for want, list := range map[string][]int{
		"record 7": {7}, "records 1–3": {1, 2, 3}, "records 1, 3–4, 9": {1, 3, 4, 9},
	} {
		if got := recordList(list); got != want {
			t.Errorf("%v: %s", list, got)
		}
	}
	var odd []int
	for i := range 30 {
		odd = append(odd, 2*i)
	}
	if got := recordList(odd); !strings.HasSuffix(got, "38 and 10 more") {
		t.Error(got)
	}
}

// Whatever is in the events, there is a report, and it is JSON.
func FuzzRecords(f *testing.F) {
	f.Add([]byte(`{"id":"1","time":"2026-01-01T00:00:01Z","account":"ann","auth":"failure"}` + "\n" + `{"id":"2","time":"2026-01-01T00:00:02Z","account":"ann","auth":"failure"}` + "\n" +
		`{"id":"3","time":"2026-01-01T00:00:03Z","account":"ann","auth":"failure","device":"d","rooted":true}`))
	f.Add([]byte("{\n\xff\x1b[2J"))
	f.Add([]byte(`{"id":"1","time":"9999-12-31T23:59:59Z","account":"\u001b","auth":"failure"}` + "\n" + `{"id":"2","time":"1970-01-01T00:00:00Z","account":"\u001b","auth":"failure"}`))
	set := loaded(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		x := explainerOf(t, set, "")
		for record := range bytes.Lines(data) {
			if err := x.Record(record); err != nil {
				t.Fatal(err)
			}
		}
		r, err := x.Report()
		if err != nil && !errors.Is(err, ErrNoEvents) {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := r.WriteJSON(&out); err != nil || !json.Valid(out.Bytes()) {
			t.Fatalf("%v: %s", err, out.Bytes())
		}
		out.Reset()
		r.Write(&out, false)
		if bytes.ContainsAny(out.Bytes(), "\x1b\x00") {
			t.Fatalf("%q", out.Bytes())
		}
	})
}
