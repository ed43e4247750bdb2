package detectors_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/rules"
)

const (
	errorsOf = "drift:\n  measure: share\n  count: status >= 500\n  least: 10\n  learn: 3\n  weight: 0\n"
	fiveMins = 5 * 60_000
)

// meter is an entity under measurement.
type meter struct {
	*line
	bucket int64 // number of the current bucket, since start
	timer  int64
	fired  bool // in the current bucket, or when the last one was closed
}

func newMeter(t testing.TB, detector string) *meter {
	t.Helper()
	return &meter{line: newLine(t, asking(detector))}
}

// asking gives the detector a weight above 0, which a rule that asks needs.
func asking(detector string) string { return strings.Replace(detector, "weight: 0", "weight: 1", 1) }

// show sends n events in the current bucket.
func (w *meter) show(n int, values string) {
	w.t.Helper()
	for i := range n {
		var e event.Event
		for f, v := range fields(w.t, values) {
			if !f.Kind().Numeric() {
				e.SetText(f, v)
			} else if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				e.SetNum(f, n)
			}
		}
		at := int64(startOfDay) + w.bucket*fiveMins + int64(i)*(fiveMins-1)/int64(max(n-1, 1))
		c := detectors.Context{Event: &e, Time: at, Watermark: math.MinInt64, Own: &w.s, Timer: w.timer}
		w.fired = w.d.Apply(&c, &w.f) || w.fired
		w.timer = c.Timer
	}
}

// close lets buckets pass. It reports whether the rule has fired since the last
// call.
func (w *meter) close(buckets int64) bool {
	w.t.Helper()
	w.bucket += buckets
	for to := int64(startOfDay) + w.bucket*fiveMins; w.timer != 0 && w.timer <= to; {
		c := detectors.Context{Event: new(event.Event), Time: w.timer, Watermark: to, Own: &w.s}
		w.fired = w.d.(detectors.Timed).Due(&c, &w.f) || w.fired
		w.timer = c.Timer
	}
	if _, ok := w.d.Fit(bytes.Clone(w.s.payload)); w.s.payload != nil && !ok {
		w.t.Fatalf("not of its own form: % x", w.s.payload[:80])
	}
	fired := w.fired
	w.fired = false
	return fired
}

// startOfDay is the start time of meters: 10:00 UTC.
const startOfDay = start - start%(24*hour) + 10*hour

// shares sends a hundred events in each bucket, with the given numbers of errors,
// and returns the indices of the buckets in which the rule fires.
func (w *meter) shares(failed ...int) (fired []int) {
	w.t.Helper()
	for i, n := range failed {
		w.show(n, "status=503")
		w.show(100-n, "status=200")
		if w.close(1) {
			fired = append(fired, i)
		}
	}
	return fired
}

func TestHysteresisOfDrift(t *testing.T) {
	for _, c := range []struct {
		name   string
		failed []int
		want   []int
	}{
		{"as usual", []int{1, 1, 2, 3, 2, 1, 3, 2}, nil},
		{"an outage", []int{1, 1, 2, 3, 90, 90, 90, 90}, []int{5}},
		{"one bucket", []int{1, 1, 2, 3, 90, 2, 90, 2}, nil},
		{"too little is learned", []int{1, 1, 2, 90, 90, 90, 90}, []int{5}},
		{"of nothing", []int{90, 90, 90, 90, 90}, nil},
		{"over, and again", []int{1, 1, 2, 3, 90, 90, 2, 2, 2, 90, 90}, []int{5, 10}},
		{"not over, and again", []int{1, 1, 2, 3, 90, 90, 2, 2, 90, 90, 90}, []int{5}},
		{"nothing is learned of it", append([]int{1, 1, 2, 3, 90, 90}, slices.Repeat([]int{90}, 40)...), []int{5}},
		{"it creeps up", []int{1, 1, 2, 3, 9, 9, 9, 9, 14, 14, 14}, nil},
	} {
		if got := newMeter(t, errorsOf).shares(c.failed...); !slices.Equal(got, c.want) {
			t.Errorf("%s: fired in buckets %v, want %v", c.name, got, c.want)
		}
	}
	w := newMeter(t, errorsOf)
	w.shares(1, 1, 2, 3)
	if got := w.shares(slices.Repeat([]int{90}, 80)...); !slices.Equal(got, []int{1, 73}) {
		t.Errorf("a drift that goes on is told in %v, want 1 and 73", got)
	}
	w = newMeter(t, errorsOf+"  settle: 2h\n")
	w.shares(1, 1, 2, 3)
	if got := w.shares(slices.Repeat([]int{90}, 40)...); !slices.Equal(got, []int{1}) {
		t.Errorf("a new level is told in %v, want 1", got)
	}
	if got := w.shares(90, 90, 90, 90, 20, 90, 90); len(got) != 0 {
		t.Errorf("the new level is told in %v", got)
	}
}

func TestVolume(t *testing.T) {
	const rule = "drift:\n  measure: volume\n  least: 50\n  percent: 100\n  direction: %s\n  explain: [country]\n  weight: 1\n"
	volumes := func(w *meter, all ...int) (fired []int) {
		for i, n := range all {
			w.show(n/4, "country=DE")
			w.show(n-n/4, "country=FR")
			if w.close(1) {
				fired = append(fired, i)
			}
		}
		return fired
	}
	usual := slices.Repeat([]int{100, 110, 95}, 5)
	for _, c := range []struct {
		direction string
		then      []int
		want      []int
	}{
		{"above", []int{400, 400, 400}, []int{16}}, {"above", []int{0, 0, 0}, nil}, {"below", []int{0, 0, 0}, []int{16}},
		{"either", []int{0, 0}, []int{16}}, {"either", []int{400, 400}, []int{16}}, {"above", []int{190, 190, 190}, nil}, {"below", []int{400, 400}, nil},
	} {
		w := newMeter(t, fmt.Sprintf(rule, c.direction))
		if c.direction != "above" {
			w = newMeter(t, strings.Replace(fmt.Sprintf(rule, c.direction), "percent: 100", "percent: 50", 1))
		}
		if got := volumes(w, append(slices.Clone(usual), c.then...)...); !slices.Equal(got, c.want) {
			t.Errorf("%s, %v: fired in buckets %v, want %v", c.direction, c.then, got, c.want)
		}
	}
	w := newMeter(t, fmt.Sprintf(rule, "above"))
	volumes(w, usual...)
	for range 2 {
		w.show(100, "country=DE")
		w.show(200, "country=BR")
		w.close(1)
	}
	for name, want := range map[string]string{"measure": "volume", "unit": "events", "value": "300", "usual": "100", "limit": "100", "events": "300", "baseline": "lately", "known": "14",
		"since": fmt.Sprint(int64(startOfDay) + 15*fiveMins), "by_country": "BR", "by_country_percent": "100"} {
		if got := w.text(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestLatency(t *testing.T) {
	w := newMeter(t, "drift:\n  measure: latency\n  least: 1000\n  learn: 3\n  explain: [asn]\n  weight: 1\n")
	fired := func(slow int) bool {
		w.show(100-slow, "latency_us=40000 asn=1")
		w.show(slow, "latency_us=8000000 asn=2")
		return w.close(1)
	}
	for i, slow := range []int{0, 0, 5, 10, 10, 10, 5, 11} {
		if fired(slow) {
			t.Errorf("fired in bucket %d", i)
		}
	}
	if !fired(11) || w.text("value") != "6291456" || w.text("usual") != "32768" || w.text("by_asn") != "2" || w.text("unit") != "µs" {
		t.Errorf("%v", w.f.Evidence)
	}
}

func TestTheTimeOfDay(t *testing.T) {
	w := newMeter(t, "drift:\n  measure: volume\n  least: 50\n  percent: 100\n  weight: 1\n")
	day := func(atNine int) (fired bool) {
		for b := range 288 {
			n := 30
			if b/12 == 23 { // 9:00 of the next day
				n = atNine
			}
			w.show(n, "status=200")
			fired = w.close(1) || fired
		}
		return fired
	}
	for d := range 3 {
		if !day(200) {
			t.Errorf("day %d: the rush is not told, and is not known yet", d)
		}
	}
	if w.text("baseline") != "lately" {
		t.Errorf("baseline %q", w.text("baseline"))
	}
}

func TestADailyRushIsUsual(t *testing.T) {
	w := newMeter(t, "drift:\n  measure: volume\n  least: 50\n  percent: 100\n  for: 3\n  deviations: 3\n  weight: 1\n")
	day := func(most int) (fired int) {
		for b := range 288 {
			n := 30
			if b/12 == 23 { // the rise is small enough
				n = 30 + (most-30)*(b%12)/11
			}
			w.show(n, "status=200")
			if w.close(1) {
				fired++
			}
		}
		return fired
	}
	day(75)
	day(75)
	day(75)
	day(75)
	if n := day(75); n != 0 {
		t.Errorf("the rush of every day is told %d times", n)
	}
	if n := day(400); n != 1 || w.text("baseline") != "time of day" || w.text("known") == "" {
		t.Errorf("a greater one is told %d times, by %s", n, w.text("baseline"))
	}
}

func TestEventsOutOfOrderAreMeasured(t *testing.T) {
	w := newMeter(t, errorsOf)
	w.shares(1, 1, 2, 3, 2)
	w.show(50, "status=200") // 5
	w.bucket++
	w.show(50, "status=503") // 6
	w.bucket--
	w.show(50, "status=503")
	w.bucket++
	w.show(50, "status=200")
	w.bucket++
	if !w.close(0) || w.text("value") != "5000" {
		t.Errorf("not told: %v", w.f.Evidence)
	}
	w.bucket -= 2
	before := bytes.Clone(w.s.payload)
	w.show(1, "status=503")
	if w.bucket += 2; !bytes.Equal(before[:72], w.s.payload[:72]) || !bytes.Equal(before[80:], w.s.payload[80:]) {
		t.Error("a bucket that is closed is measured again")
	}
}

func TestFewAreNotFollowed(t *testing.T) {
	w := newMeter(t, errorsOf)
	for range 10 {
		w.show(19, "status=200")
		w.close(1)
	}
	if len(w.s.payload) != 16 || w.timer != 0 {
		t.Errorf("%d bytes, timer %d", len(w.s.payload), w.timer)
	}
	w.show(20, "status=200")
	if len(w.s.payload) != 3512 {
		t.Errorf("%d bytes, want 3512", len(w.s.payload))
	}
	w.shares(1, 1, 2, 3)
	for range 5 {
		w.show(19, "status=503")
		if w.close(1) {
			t.Error("a few are measured")
		}
	}
	if w.timer != 0 {
		t.Error("a timer without an open bucket")
	}
	if w.see(withToken{at: start, watermark: start + lateness + 1, values: fields(t, "status=200")}) != 0 {
		t.Error("a late event fires")
	}
}

// TestTheExampleOfDrift checks the table on the page.
func TestTheExampleOfDrift(t *testing.T) {
	page, err := os.ReadFile("../docs/detectors/drift.md")
	if err != nil {
		t.Fatal(err)
	}
	w, rows := newMeter(t, errorsOf), 0
	for row := range strings.Lines(string(page)) {
		cells := strings.Split(row, "|")
		if len(cells) != 9 || !strings.HasPrefix(row, "| 10:") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		failed, err := strconv.Atoi(cells[2])
		if err != nil {
			t.Fatal(err)
		}
		fired := len(w.shares(failed)) > 0
		if want := !strings.HasPrefix(cells[7], "nothing"); fired != want {
			t.Errorf("%s: fired %v, want %s", cells[1], fired, cells[7])
		}
		if x := w.d.Explain(w.s.payload, start); cells[4] != "" && (fmt.Sprint(x.Held[0].Values[0]) != cells[3] || fmt.Sprint(x.Held[1].Values[0]) != cells[4] || fmt.Sprint(x.Demands[0].Need) != cells[6]) {
			t.Errorf("%s: %+v, want %v", cells[1], x, cells)
		}
		rows++
	}
	if rows != 8 {
		t.Errorf("%d rows, want 8", rows)
	}
}

func TestParametersOfDrift(t *testing.T) {
	for _, c := range []struct{ name, parameters, want string }{
		{"no measure", "drift: {least: 1, weight: 1}", `the key "measure" is missing`},
		{"another measure", "drift: {measure: mood, least: 1, weight: 1}", "mood"},
		{"no least", "drift: {measure: volume, weight: 1}", `the key "least" is missing`},
		{"a share of nothing", "drift: {measure: share, least: 1, weight: 1}", "a share needs to know"},
		{"a share of more than all", "drift: {measure: share, count: rooted, least: 101, weight: 1}", "above 100"},
		{"a percentile of volumes", "drift: {measure: volume, percentile: 50, least: 1, weight: 1}", "percentile is of latency"},
		{"a field twice", "drift: {measure: volume, least: 1, weight: 1, explain: [asn, asn]}", "is there twice"},
		{"a bucket too long", "drift: {measure: volume, least: 1, weight: 1, bucket: 2h}", "2h"},
		{"weight of nothing", "drift: {measure: volume, least: 1, weight: 0}", "0"},
	} {
		if _, err := specOf(c.parameters); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	const plain = "drift:\n  measure: latency\n  least: 100\n  weight: 2\n"
	eachChanges(t, plain, "  min_events: 21", "  direction: below", "  learn: 13", "  deviations: 7", "  percent: 51", "  for: 3", "  until: 4", "  settle: 25h", "  cooldown: 2h")
	a, _ := specOf(plain)
	for _, other := range []string{"  explain: [asn]", "  bucket: 6m", "  count: rooted", "  percentile: 91"} {
		if b, err := specOf(plain + other); err != nil || a.State() == b.State() {
			t.Errorf("%s: the state is the same, %v", other, err)
		}
	}
}

func TestExplanationOfDrift(t *testing.T) {
	w := newMeter(t, errorsOf)
	if x := w.d.Explain(nil, start); len(x.Demands) != 2 || x.Demands[0].Met() || x.Last >= x.First || len(x.Held) != 0 {
		t.Errorf("of nothing: %+v", x)
	}
	w.shares(1, 1, 2, 3, 90, 90)
	at := int64(startOfDay) + 6*fiveMins
	x := w.d.Explain(w.s.payload, at)
	if !x.Demands[0].Met() || !x.Demands[1].Met() || len(x.HeldBack) != 1 || x.HeldBack[0].Until != at+6*hour || x.Last != at-1 || x.First != at-2*fiveMins {
		t.Errorf("%+v", x)
	}
}

// muchMeasured returns a payload after many events.
func muchMeasured(t testing.TB) []byte {
	w := newMeter(t, errorsOf+"  explain: [country, asn]\n")
	for i := range 40 {
		w.show(20, fmt.Sprintf("status=%d country=C%d asn=%d", 200+300*(i%2), i%9, i%4))
		w.close(1)
	}
	return w.s.payload
}

func TestMeasuresOfAnyFormAreReadOrRefused(t *testing.T) {
	rule := asking(errorsOf + "  explain: [country, asn]\n")
	events := []string{"status=503 country=DE asn=1", "status=200 country=XX", "status=503"}
	if n := damaged(t, rule, muchMeasured(t), events...); n < 100 {
		t.Errorf("only %d were of the form", n)
	}
	for _, b := range [][]byte{nil, make([]byte, 15), bytes.Repeat([]byte{0x7f}, 16), make([]byte, 3511), bytes.Repeat([]byte{0x7f}, 3512)} {
		if goOn(t, newLine(t, rule), b, events...) {
			t.Errorf("%d bytes are taken", len(b))
		}
	}
}

func FuzzDrift(f *testing.F) {
	f.Add(muchMeasured(f))
	f.Add(make([]byte, 16))
	f.Add(make([]byte, 3512))
	f.Fuzz(func(t *testing.T, b []byte) {
		goOn(t, newLine(t, asking(errorsOf+"  explain: [country, asn]\n")), b, "status=503 country=DE asn=1", "status=200 country=XX", "status=503")
	})
}

func TestDriftWithoutRoomBreaksNothing(t *testing.T) {
	spec, err := specOf(asking(errorsOf))
	if err != nil {
		t.Fatal(err)
	}
	for _, most := range []int{0, 15, 16, 100, 3511, 3512} {
		d, s := newDetector(t, &rules.Rule{ID: "r", Spec: spec}), &room{most: most}
		for i := range int64(200) {
			var e event.Event
			d.Apply(&detectors.Context{Event: &e, Time: start + i*10_000, Watermark: math.MinInt64, Own: s}, new(detectors.Firing))
			if _, ok := d.Fit(bytes.Clone(s.b)); s.b != nil && !ok {
				t.Fatalf("room for %d: %d bytes", most, len(s.b))
			}
		}
	}
}

// A bucket beyond the limit fires with the event that closes it.
func TestDriftAllocatesNothing(t *testing.T) {
	var events []string
	for i := range 600 {
		events = append(events, fmt.Sprintf("country=C%d os=android method=%s", i%9, []string{"GET", "POST"}[i/300]))
	}
	allocatesNothing(t, "drift:\n  measure: share\n  count: method == \"POST\"\n  least: 1\n  learn: 1\n  for: 1\n  until: 1\n  deviations: 1\n  explain: [country, os]\n  weight: 1\n", 0, events...)
}

func BenchmarkDrift(b *testing.B) {
	b.Run("share", func(b *testing.B) {
		benchmark(b, "drift:\n  measure: share\n  count: method == \"POST\"\n  least: 10\n  explain: [build, country]\n  weight: 1\n", "build=4.2|Pixel country=DE", "build=4.1|Pixel country=FR")
	})
	b.Run("volume", func(b *testing.B) {
		benchmark(b, "drift:\n  measure: volume\n  least: 10\n  explain: [build, country]\n  weight: 1\n", "build=4.2|Pixel country=DE", "build=4.1|Pixel country=FR")
	})
}
