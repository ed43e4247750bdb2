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

const slowly = "cadence:\n  count: auth == \"failure\"\n  cancel: auth == \"success\"\n  distinct: net\n  interval: 10m\n  spread: 30\n  memory: 48h\n" +
	"  tiers:\n    - {at: 4, weight: 30}\n    - {at: 8, weight: 45}\n    - {at: 8, values: 6, weight: 60}\n"

// failedAt returns a history of failed sign-ins at these minutes.
func failedAt(minutes ...float64) (all []string) {
	for _, m := range minutes {
		all = append(all, fmt.Sprintf("%v: auth=failure net=n1", m))
	}
	return all
}

func TestPace(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []string
		want   []uint8
	}{
		{"four, evenly", failedAt(0, 10, 20, 30), []uint8{0, 0, 0, 30}},
		{"a little too fast", failedAt(0, 9.99, 19.98, 29.97), []uint8{0, 0, 0, 0}},
		{"half of them fast", failedAt(0, 1, 16, 17), []uint8{0, 0, 0, 0}},
		{"just even enough", failedAt(0, 10, 23, 33), []uint8{0, 0, 0, 30}},
		{"not even enough", failedAt(0, 10, 23.1, 33.1), []uint8{0, 0, 0, 0}},
		{"out of order", failedAt(30, 10, 0, 20), []uint8{0, 0, 0, 30}},
		{"at one moment", failedAt(0, 0, 0, 0, 0), []uint8{0, 0, 0, 0, 0}},
		{"the last four are even", failedAt(0, 1, 2, 12, 22, 32), []uint8{0, 0, 0, 0, 0, 30}},
		{"eight, with a pause", failedAt(0, 10, 20, 30, 60, 70, 80, 90), []uint8{0, 0, 0, 30, 0, 0, 0, 45}},
		{"a success between", []string{"0: auth=failure", "10: auth=failure", "20: auth=failure", "21: auth=success", "30: auth=failure", "40: auth=failure", "50: auth=failure", "60: auth=failure"}, []uint8{0, 0, 0, 0, 0, 0, 0, 30}},
		{"a success that comes last", []string{"0: auth=failure", "10: auth=failure", "20: auth=failure", "21: auth=failure", "20: auth=success", "31: auth=failure", "41: auth=failure", "51: auth=failure"}, []uint8{0, 0, 0, 0, 0, 0, 0, 30}},
		{"an attempt from before the success", []string{"25: auth=success", "30: auth=failure", "40: auth=failure", "50: auth=failure", "20: auth=failure", "25: auth=failure", "60: auth=failure"}, []uint8{0, 0, 0, 0, 0, 0, 30}},
		{"neither", []string{"0: net=n1", "10: net=n1", "20: net=n1", "30: net=n1"}, []uint8{0, 0, 0, 0}},
	} {
		newLine(t, slowly).says(c.name, c.want, c.events...)
	}
}

func TestValuesOfAttempts(t *testing.T) {
	for _, c := range []struct {
		net  string
		want uint8
	}{{"net=n%d", 60}, {"net=n1", 45}, {"", 45}} {
		l, got := newLine(t, slowly), uint8(0)
		for i := range int64(8) {
			text := "auth=failure "
			if strings.Contains(c.net, "%") {
				text += fmt.Sprintf(c.net, i%6)
			} else {
				text += c.net
			}
			got = max(got, l.see(withToken{at: start + i*1_200_000, values: fields(t, text)}))
		}
		if got != c.want {
			t.Errorf("%q: %d, want %d", c.net, got, c.want)
		}
	}
}

func TestHoursOfTheDay(t *testing.T) {
	const rule = "cadence:\n  interval: 1s\n  longest: 1h\n  tiers: [{at: 3, hours: 5, weight: 30}]\n"
	for _, c := range []struct {
		name  string
		hours []int64
		want  uint8
	}{
		{"five in a row", []int64{0, 1, 2, 3, 4}, 30},
		{"four, one of them twice", []int64{0, 1, 2, 3, 3}, 0},
		{"the first is 23 hours before", []int64{0, 20, 21, 22, 23}, 30},
		{"the first is 24 hours before", []int64{0, 21, 22, 23, 24}, 0},
		{"out of order", []int64{23, 0, 20, 21, 22}, 30},
		{"too slow", []int64{0, 2, 4, 6, 8}, 0},
	} {
		l, got := newLine(t, rule), uint8(0)
		for _, h := range c.hours {
			got = max(got, l.see(withToken{at: start - start%hour + h*hour, values: fields(t, "net=n1")}))
		}
		if got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestLastingPace(t *testing.T) {
	const rule = "cadence:\n  interval: 1m\n  cancel: auth == \"success\"\n  count: auth == \"failure\"\n  cooldown: 1s\n  tiers: [{at: 3, weight: 10}, {at: 3, lasts: 1h, weight: 30}, {at: 5, lasts: 2h, weight: 50}]\n"
	every := func(minutes float64, from, n int) (all []float64) {
		for i := range n {
			all = append(all, float64(from)+minutes*float64(i))
		}
		return all
	}
	says := func(n int, before, last uint8) (all []uint8) {
		return append(slices.Repeat([]uint8{before}, n-1), last)
	}
	for _, c := range []struct {
		name   string
		events []string
		want   []uint8
	}{
		{"an hour, to the minute", failedAt(every(10, 0, 7)...), append([]uint8{0, 0}, says(5, 10, 30)...)},
		{"two hours", failedAt(every(10, 0, 13)...), slices.Concat([]uint8{0, 0, 10, 10, 10, 10}, says(7, 30, 50))},
		{"a break in between", failedAt(0, 10, 20, 30, 32, 42, 52, 62, 72, 82), []uint8{0, 0, 10, 10, 0, 0, 10, 10, 10, 10}},
		{"what is even again lasts from then on", failedAt(0, 10, 20, 21, 31, 41, 51, 61, 71, 81), []uint8{0, 0, 10, 0, 0, 10, 10, 10, 10, 30}},
		{"an attempt that comes late breaks it", failedAt(0, 10, 20, 30, 40, 50, 41, 60, 70), []uint8{0, 0, 10, 10, 10, 10, 0, 10, 10}},
		{"a success between", append(append(failedAt(every(10, 0, 6)...), "51: auth=success"), failedAt(60, 70, 80)...), []uint8{0, 0, 10, 10, 10, 10, 0, 0, 0, 10}},
	} {
		newLine(t, rule).says(c.name, c.want, c.events...)
	}
	for pause, want := range map[int]uint8{19: 30, 20: 30, 21: 0} { // of ten intervals
		l, got := newLine(t, "cadence:\n  interval: 1m\n  tiers: [{at: 8, lasts: 1h, weight: 30}]\n"), uint8(0)
		for _, m := range append(every(2, 0, 21), every(2, 40+pause, 15)...) {
			got = max(got, l.see(withToken{at: start + int64(m)*60_000, values: fields(t, "net=n1")}))
		}
		if got != want {
			t.Errorf("a pause of %d minutes: weight %d, want %d", pause, got, want)
		}
	}
	l := newLine(t, rule)
	l.says("explained", []uint8{0, 0, 10, 10}, failedAt(0, 10, 20, 30)...)
	if d := l.d.Explain(l.s.payload, start+30*60_000).Demands; !slices.Contains(d, detectors.Demand{Tier: 1, Weight: 30, What: "lasting_ms", Have: 30 * 60_000, Need: hour}) {
		t.Errorf("%+v", d)
	}
}

// TestTheExampleOfCadence checks the table on the page.
func TestTheExampleOfCadence(t *testing.T) {
	page, err := os.ReadFile("../docs/detectors/cadence.md")
	if err != nil {
		t.Fatal(err)
	}
	l, rows := newLine(t, slowly), 0
	held := func(name string, unit uint64) string {
		for _, e := range l.d.Explain(l.s.payload, start).Held {
			if e.Name == name {
				return strconv.FormatUint(uint64(e.Values[0])/unit, 10)
			}
		}
		return "0"
	}
	for row := range strings.Lines(string(page)) {
		cells := strings.Split(row, "|")
		if len(cells) < 8 || !strings.HasPrefix(row, "| 1") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		var h, m int64
		if _, err := fmt.Sscanf(cells[1], "%d:%d", &h, &m); err != nil {
			t.Fatal(err)
		}
		got := l.see(withToken{at: start + h*hour + m*60_000, values: fields(t, "net="+cells[2]+" auth="+cells[3])})
		says, _, _ := strings.Cut(cells[7], ":")
		if want := map[string]uint8{"nothing": 0, "30": 30, "60": 60}[says]; got != want {
			t.Errorf("%s: weight %d, want %s", cells[1], got, cells[7])
		}
		if n := held("attempts", 1); n != cells[4] {
			t.Errorf("%s: %s attempts, want %s", cells[1], n, cells[4])
		}
		if cells[5] != "" && held("median_ms", 60_000) != cells[5] || cells[6] != "" && held("spread_percent", 1) != cells[6] {
			t.Errorf("%s: %s, %s, want %s, %s", cells[1], held("median_ms", 60_000), held("spread_percent", 1), cells[5], cells[6])
		}
		rows++
	}
	if rows != 10 {
		t.Errorf("%d rows, want 10", rows)
	}
}

func TestAttemptsAreForgotten(t *testing.T) {
	const rule = "cadence:\n  interval: 1s\n  spread: 99\n  memory: 10m\n  tiers: [{at: 3, weight: 30}]\n"
	newLine(t, rule).says("within the memory", []uint8{0, 0, 30}, "0: net=n", "5: net=n", "9.99: net=n")
	newLine(t, rule).says("beyond it", []uint8{0, 0, 0, 0}, "0: net=n", "5: net=n", "10: net=n", "-1: net=n")
	l := newLine(t, rule)
	for i := range 1000 {
		l.see(withToken{at: start + int64(i*7919%1000)*100, values: fields(t, "net=n")})
	}
	if want := 40 + 3*12; len(l.s.payload) != want {
		t.Errorf("%d bytes, want %d", len(l.s.payload), want)
	}
	l = newLine(t, rule)
	if l.see(withToken{at: start, watermark: start + lateness + 1, values: fields(t, "net=n")}) != 0 || l.s.payload != nil {
		t.Error("a late attempt is remembered")
	}
}

func TestParametersOfCadence(t *testing.T) {
	for _, c := range []struct{ name, parameters, want string }{
		{"no tiers", "cadence: {interval: 1m}", `the key "tiers" is missing`},
		{"no interval", "cadence: {tiers: [{at: 3, weight: 1}]}", `the key "interval" is missing`},
		{"two attempts", "cadence: {interval: 1m, tiers: [{at: 2, weight: 1}]}", "2"},
		{"values of nothing", "cadence: {interval: 1m, tiers: [{at: 3, values: 2, weight: 1}]}", "no field whose values"},
		{"more values than attempts", "cadence: {interval: 1m, distinct: net, tiers: [{at: 3, values: 4, weight: 1}]}", "never have so many"},
		{"no interval fits", "cadence: {interval: 1m, longest: 30s, tiers: [{at: 3, weight: 1}]}", "no interval is both"},
		{"a memory too short", "cadence: {interval: 1h, memory: 2h, tiers: [{at: 4, weight: 1}]}", "forgotten before"},
		{"tiers out of order", "cadence: {interval: 1m, tiers: [{at: 3, weight: 2}, {at: 4, weight: 2}]}", "can never be seen"},
	} {
		if _, err := specOf(c.parameters); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	const plain = "cadence:\n  interval: 1m\n  tiers: [{at: 4, weight: 2}]\n"
	eachChanges(t, plain, "  longest: 2h", "  spread: 21", "  memory: 25h", "  cooldown: 2h", "  count: auth == \"failure\"", "  cancel: auth == \"failure\"")
	a, _ := specOf(plain)
	b, _ := specOf(plain + "  distinct: net\n")
	if a.State() == b.State() || a.Canonical() == b.Canonical() {
		t.Error("with and without values are the same")
	}
}

func TestExplanationOfCadence(t *testing.T) {
	l := newLine(t, slowly)
	if x := l.d.Explain(nil, start); len(x.Demands) != 10 || x.Demands[0].Met() || x.Last >= x.First || len(x.Held) != 0 {
		t.Errorf("of nothing: %+v", x)
	}
	l.says("four", []uint8{0, 0, 0, 30}, failedAt(0, 10, 20, 30)...)
	x := l.d.Explain(l.s.payload, start+1_800_000)
	met := ""
	for _, d := range x.Demands {
		met += fmt.Sprint(d.Tier, " ", d.What, " ", d.Have, "/", d.Need, " ")
	}
	if want := "0 attempts 4/4 0 median_ms 600000/600000 0 evenness_percent 100/70 1 attempts 4/8 1 median_ms 600000/600000 1 evenness_percent 100/70 " +
		"2 attempts 4/8 2 median_ms 600000/600000 2 evenness_percent 100/70 2 values 1/6 "; met != want {
		t.Errorf("%s", met)
	}
	if x.First != start || x.Last != start+1_800_000 {
		t.Errorf("from %d to %d", x.First-start, x.Last-start)
	}
	if want := []detectors.HeldBack{{Tier: 0, By: "cooldown", Until: start + 1_800_000 + hour}}; !slices.Equal(x.HeldBack, want) {
		t.Errorf("held back: %+v", x.HeldBack)
	}
}

// manyAttempts returns a payload after many events.
func manyAttempts(t testing.TB) []byte {
	l := newLine(t, slowly)
	for i := range int64(12) {
		l.see(withToken{at: start + i*1_200_000, values: fields(t, fmt.Sprintf("auth=failure net=n%d", i%7))})
	}
	return l.s.payload
}

func TestAttemptsOfAnyFormAreReadOrRefused(t *testing.T) {
	if n := damaged(t, slowly, manyAttempts(t), "auth=failure net=n1", "auth=success", "auth=failure", "auth=failure net=n2"); n < 100 {
		t.Errorf("only %d were of the form", n)
	}
	hours := make([]byte, 32)
	hours[27] = 1
	for _, b := range [][]byte{nil, make([]byte, 31), make([]byte, 32+11), make([]byte, 32+65*12), hours, bytes.Repeat([]byte{0x7f}, 32+12)} {
		if goOn(t, newLine(t, slowly), b) {
			t.Errorf("%d bytes are taken", len(b))
		}
	}
}

func FuzzCadence(f *testing.F) {
	f.Add(manyAttempts(f))
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		goOn(t, newLine(t, slowly), b, "auth=failure net=n1", "auth=success", "auth=failure", "auth=failure net=n2")
	})
}

func TestCadenceWithoutRoomBreaksNothing(t *testing.T) {
	spec, err := specOf(slowly)
	if err != nil {
		t.Fatal(err)
	}
	for most := range 140 {
		d, s := newDetector(t, &rules.Rule{ID: "r", Spec: spec}), &room{most: most}
		for i := range int64(20) {
			var e event.Event
			e.SetText(event.Auth, []string{"failure", "failure", "failure", "failure", "success"}[i%5])
			d.Apply(&detectors.Context{Event: &e, Time: start + i, Watermark: math.MinInt64, Own: s}, new(detectors.Firing))
			if _, ok := d.Fit(bytes.Clone(s.b)); s.b != nil && !ok {
				t.Fatalf("room for %d: % x", most, s.b)
			}
		}
	}
}

const eachSecond = "cadence:\n  distinct: net\n  interval: 1s\n  cooldown: 1s\n  tiers: [{at: 8, weight: 30}]\n"

func TestCadenceAllocatesNothing(t *testing.T) {
	allocatesNothing(t, eachSecond, 900, "net=n1", "net=n2", "net=n3")
}

func BenchmarkCadence(b *testing.B) {
	b.Run("eight attempts", func(b *testing.B) { benchmark(b, eachSecond, "net=n1", "net=n2", "net=n3") })
	b.Run("sixty-four attempts", func(b *testing.B) {
		benchmark(b, strings.ReplaceAll(eachSecond, "at: 8", "at: 64"), "net=n1", "net=n2", "net=n3")
	})
}
