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

const allReplays = "replay:\n  cooldown: 1s\n  window: 1h\n  learn: 3\n  tiers:\n    - {sign: flood, at: 1, weight: 10}\n    - {sign: backwards, at: 1, weight: 20}\n" +
	"    - {sign: wrong_clock, at: 1, weight: 30}\n    - {sign: reused, at: 1, weight: 40}\n    - {sign: reused, at: 3, weight: 70}\n    - {sign: repeated, at: 2, weight: 80}\n"

// clocked returns "minutes: values" with a client's time that is off the event's by
// so many minutes.
func clocked(minutes, off float64, values string) string {
	return fmt.Sprintf("%v: client_time=%d %s", minutes, start+int64((minutes+off)*60_000), values)
}

func TestSignsOfReplay(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []string
		want   []uint8
	}{
		{"new nonces", []string{"0: nonce=n1", "1: nonce=n2", "2: nonce=n3"}, []uint8{0, 0, 0}},
		{"one again", []string{"0: nonce=n1", "1: nonce=n1"}, []uint8{0, 40}},
		{"one again, out of order", []string{"1: nonce=n1", "0: nonce=n1"}, []uint8{0, 40}},
		{"just inside the window", []string{"0: nonce=n1", "59.999: nonce=n1"}, []uint8{0, 40}},
		{"just behind it", []string{"0: nonce=n1", "60: nonce=n1"}, []uint8{0, 0}},
		{"a retry", []string{"0: nonce=n1", "0.5: nonce=n1"}, []uint8{0, 0}},
		{"a retry that is late", []string{"0: nonce=n1", "0.501: nonce=n1"}, []uint8{0, 40}},
		{"two retries and one more", []string{"0: nonce=n1", "0.1: nonce=n1", "0.2: nonce=n1", "0.3: nonce=n1"}, []uint8{0, 0, 0, 40}},
		{"the gateway tells of one request many times", []string{"0: nonce=n1 request_id=q", "0.1: nonce=n1 request_id=q", "0.2: nonce=n1 request_id=q", "0.3: nonce=n1 request_id=q"}, []uint8{0, 0, 0, 0}},
		{"but not an hour later", []string{"0: nonce=n1 request_id=q", "50: nonce=n1 request_id=q"}, []uint8{0, 40}},
		{"a retry of another client", []string{"0: nonce=n1 ja4=a", "0.1: nonce=n1 ja4=b"}, []uint8{0, 40}},
		{"three", []string{"0: nonce=n1", "1: nonce=n1", "2: nonce=n1", "3: nonce=n1"}, []uint8{0, 40, 40, 70}},
		{"a clock that is wrong and stays so", []string{clocked(0, -300, "nonce=1"), clocked(1, -300, "nonce=2"), clocked(2, -300.5, ""), clocked(3, -299, ""), clocked(4, -304, "")}, []uint8{0, 0, 0, 0, 0}},
		{"a clock that is set", []string{clocked(0, -60, ""), clocked(1, -60, ""), clocked(2, -60, ""), clocked(3, 0, ""), clocked(4, 0, ""), clocked(5, 0, ""), clocked(6, 0, "")}, []uint8{0, 0, 0, 0, 0, 0, 0}},
		{"just within the skew", []string{clocked(0, 0, ""), clocked(1, 0, ""), clocked(2, 0, ""), clocked(3, 5, ""), clocked(4, 0, "")}, []uint8{0, 0, 0, 0, 0}},
		{"a recorded request amid live ones", []string{clocked(0, 0, ""), clocked(1, 0, ""), clocked(2, 0, ""), clocked(20, -20, ""), clocked(21, 0, "")}, []uint8{0, 0, 0, 0, 30}},
		{"a recorded request again and again", []string{clocked(0, 0, ""), clocked(1, 0, ""), clocked(2, 0, ""), clocked(20, 30, ""), clocked(21, 29, ""), clocked(22, 28, "")}, []uint8{0, 0, 0, 0, 30, 30}},
		{"back in time before anything was learned", []string{clocked(0, 0, ""), clocked(10, -15.1, "")}, []uint8{0, 20}},
		{"an event that comes late is not back in time", []string{clocked(10, 0, ""), clocked(0, 0, "")}, []uint8{0, 0}},
		{"times that were moved teach nothing", []string{clocked(0, 0, ""), clocked(1, 0, "skewed=1"), clocked(10, -30, "skewed=1"), clocked(11, 0, "")}, []uint8{0, 0, 0, 0}},
		{"a change that was answered, again as a retry", []string{"0: nonce=n1 method=POST status=200", "0.1: nonce=n1 method=POST status=499", "0.2: nonce=n1 method=POST status=200"}, []uint8{0, 0, 80}},
		{"one that was answered at its second try", []string{"0: nonce=n1 method=POST status=499", "0.1: nonce=n1 method=POST status=201", "1: nonce=n2 method=PUT status=204", "1.1: nonce=n2 method=PUT status=204"}, []uint8{0, 0, 0, 0}},
		{"reading again", []string{"0: nonce=n1 method=GET status=200", "0.1: nonce=n1 method=GET status=200", "0.2: nonce=n1 method=GET status=200"}, []uint8{0, 0, 0}},
		{"a change that was refused, again", []string{"0: nonce=n1 method=POST status=409", "0.1: nonce=n1 method=POST status=409", "0.2: nonce=n1 method=POST status=409"}, []uint8{0, 0, 0}},
		{"the gateway tells of a change that was answered again", []string{"0: nonce=n1 request_id=q method=POST status=200", "0.1: nonce=n1 request_id=q method=POST status=200", "0.2: nonce=n1 request_id=q method=POST status=200"}, []uint8{0, 0, 0}},
		{"neither nonce nor time", []string{"0: request_id=q", "1: request_id=q"}, []uint8{0, 0}},
	} {
		newLine(t, allReplays).says(c.name, c.want, c.events...)
	}
}

// TestTheExampleOfAReplay checks the table on the page.
func TestTheExampleOfAReplay(t *testing.T) {
	page, err := os.ReadFile("../docs/detectors/replay.md")
	if err != nil {
		t.Fatal(err)
	}
	l := newLine(t, "replay:\n  window: 1h\n  learn: 3\n  tiers: [{sign: wrong_clock, at: 2, weight: 30}, {sign: reused, at: 1, weight: 40}, {sign: reused, at: 3, weight: 70}]")
	clock := func(cell string) int64 {
		var hours, minutes int64
		if _, err := fmt.Sscanf(strings.TrimSpace(cell), "%d:%d", &hours, &minutes); err != nil {
			t.Fatal(err)
		}
		return start + (hours-10)*hour + minutes*60_000
	}
	rows, counts := 0, map[string]int64{}
	for row := range strings.Lines(string(page)) {
		if !strings.HasPrefix(row, "| 10:") {
			continue
		}
		cells := strings.Split(row, "|")
		at := clock(cells[1])
		got := l.see(withToken{at: at, values: fields(t, fmt.Sprintf("client_time=%d nonce=%s request_id=%s", clock(cells[2]), strings.TrimSpace(cells[3]), strings.TrimSpace(cells[4])))})
		want := uint64(0)
		says := strings.TrimSpace(cells[5])
		if _, weight, ok := strings.Cut(says, "reused, "); ok {
			weight, _, _ = strings.Cut(weight, ":")
			if want, err = strconv.ParseUint(weight, 10, 8); err != nil {
				t.Fatal(err)
			}
		}
		if uint64(got) != want {
			t.Errorf("%s: weight %d, want %d", strings.TrimSpace(row), got, want)
		}
		sign, _, _ := strings.Cut(says, ":")
		sign, _, _ = strings.Cut(sign, ",")
		if strings.Contains(says, "one wrong_clock") {
			sign = "wrong_clock"
		}
		counts[sign]++
		for _, d := range l.d.Explain(l.s.payload, at).Demands {
			if d.Have != counts[d.What] {
				t.Errorf("%s: %d %s, want %d", strings.TrimSpace(row), d.Have, d.What, counts[d.What])
			}
		}
		rows++
	}
	if rows != 10 {
		t.Errorf("%d events, want 10", rows)
	}
}

// TestNoncesAreForgottenAloud checks that evicting nonces is detected, and that the
// number remembered is reported.
func TestNoncesAreForgottenAloud(t *testing.T) {
	l := newLine(t, allReplays+"  nonces: 10\n  room: 5s")
	for i := range int64(100) { // two per second: evicted ones are five seconds old
		if got := l.see(withToken{at: start + i*500, values: fields(t, fmt.Sprint("nonce=a", i))}); got != 0 {
			t.Fatalf("nonce %d: weight %d", i, got)
		}
	}
	if got := l.see(withToken{at: start + 99*500 + 499, values: fields(t, "nonce=b")}); got != 10 || l.text("sign") != "flood" {
		t.Errorf("faster: weight %d, %s", got, l.text("sign"))
	}
	if l.text("complete_ms") != "4999" || l.text("nonces") != "10" {
		t.Errorf("%+v", l.f.Evidence)
	}
	// An evicted nonce is new again; a remembered one is not.
	if got := l.see(withToken{at: start + 60_000, values: fields(t, "nonce=a0")}); got != 0 {
		t.Errorf("a nonce that gave way: weight %d", got)
	}
	if got := l.see(withToken{at: start + 100_000, values: fields(t, "nonce=b")}); got != 40 {
		t.Errorf("a nonce that is remembered: weight %d", got)
	}
}

func TestReplaysAreForgotten(t *testing.T) {
	for _, c := range []struct {
		watermark int64
		at        int64
		want      uint8
	}{{start + hour + lateness - 1, start + hour - 1, 40}, {start + hour + lateness, start + hour, 0}} {
		l := newLine(t, allReplays)
		l.says("the first", []uint8{0}, "0: nonce=n1")
		if got := l.see(withToken{at: c.at, watermark: c.watermark, values: fields(t, "nonce=n1")}); got != c.want {
			t.Errorf("watermark %d: weight %d, want %d", c.watermark-start, got, c.want)
		}
	}
	l := newLine(t, allReplays)
	l.says("the first", []uint8{0}, "1: nonce=n1")
	was := len(l.s.payload)
	for range 3 {
		if got := l.see(withToken{at: start + 1000, watermark: start + lateness + 1001, values: fields(t, "nonce=n1")}); got != 0 || len(l.s.payload) != was {
			t.Errorf("late: weight %d", got)
		}
	}
	// A clock that was not seen for a day is learned again.
	l = newLine(t, allReplays)
	l.says("a clock", []uint8{0, 0, 0}, clocked(0, 0, ""), clocked(1, 0, ""), clocked(2, 0, ""))
	at := int64(start + 25*hour)
	for i := range int64(3) {
		if got := l.see(withToken{at: at + i*1000, watermark: at, values: fields(t, fmt.Sprint("client_time=", at+i*1000+100*hour))}); got != 0 {
			t.Errorf("another clock: weight %d", got)
		}
	}
	if n := l.s.payload[121]; n != 3 {
		t.Errorf("%d offsets, want 3", n)
	}
}

func TestParametersOfReplay(t *testing.T) {
	for _, c := range []struct{ name, parameters, want string }{
		{"no tiers", "replay: {window: 10m}", `the key "tiers" is missing`},
		{"a sign that asks for no more", "replay: {tiers: [{sign: reused, at: 2, weight: 1}, {sign: reused, at: 2, weight: 2}]}", "asks for as much"},
		{"a sign that is not there", "replay: {tiers: [{sign: again, at: 1, weight: 1}]}", "again"},
		{"a milder tier later", "replay: {tiers: [{sign: reused, at: 2, weight: 2}, {sign: flood, at: 2, weight: 2}]}", "can never be seen"},
		{"nonces that are forgotten in their grace", "replay: {window: 10s, grace: 30s, tiers: [{sign: reused, at: 1, weight: 1}]}", "while they may be retried"},
		{"room beyond the window", "replay: {window: 1m, room: 2m, tiers: [{sign: reused, at: 1, weight: 1}]}", "forgotten sooner"},
	} {
		if _, err := specOf(c.parameters); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	eachChanges(t, "replay:\n  tiers: [{sign: reused, at: 1, weight: 1}]\n", "  window: 1h", "  nonces: 9", "  grace: 31s", "  retries: 3", "  skew: 4m",
		"  learn: 4", "  memory: 25h", "  room: 6s", "  cooldown: 2h")
}

func TestReplayExplanation(t *testing.T) {
	l := newLine(t, strings.Replace(allReplays, "cooldown: 1s", "cooldown: 2h", 1))
	if x := l.d.Explain(nil, start); len(x.Demands) != 6 || x.Demands[0].Met() || x.Last >= x.First {
		t.Errorf("of nothing: %+v", x)
	}
	l.says("reused", []uint8{0, 40, 0}, "0: nonce=n1", "1: nonce=n1", "2: nonce=n1")
	x := l.d.Explain(l.s.payload, start+120_000)
	if d := x.Demands[4]; d != (detectors.Demand{Tier: 4, Weight: 70, What: "reused", Have: 2, Need: 3}) || x.First != start+60_000 || x.Last != start+120_000 {
		t.Errorf("%+v", x)
	}
	if want := []detectors.HeldBack{{Tier: 3, By: "cooldown", Until: start + 60_000 + 2*hour}}; !slices.Equal(x.HeldBack, want) {
		t.Errorf("held back: %+v", x.HeldBack)
	}
}

func manyReplays(t testing.TB) []byte {
	l := newLine(t, allReplays)
	for i := range int64(24) {
		l.see(withToken{at: start + i*1000, values: fields(t, fmt.Sprintf("nonce=n%d client_time=%d", i%9, start+i%7*100_000))})
	}
	return l.s.payload
}

func TestReplaysOfAnyFormAreReadOrRefused(t *testing.T) {
	events := []string{"nonce=n1 client_time=1767225600000", "nonce=n9 client_time=1767225600001", "nonce=n1 client_time=5", "nonce=n2 client_time=1767225600001"}
	if n := damaged(t, allReplays, manyReplays(t), events...); n < 100 {
		t.Errorf("only %d were of the form", n)
	}
	for _, b := range [][]byte{nil, make([]byte, 135), make([]byte, 136+23), make([]byte, 136+1002*24)} {
		if goOn(t, newLine(t, allReplays), b) {
			t.Errorf("%d bytes are taken", len(b))
		}
	}
}

func FuzzReplay(f *testing.F) {
	f.Add(manyReplays(f))
	f.Add(make([]byte, 136))
	f.Fuzz(func(t *testing.T, b []byte) {
		goOn(t, newLine(t, allReplays), b, "nonce=n1 client_time=1767225600000", "nonce=n9 client_time=1767225600001", "nonce=n1 client_time=5")
	})
}

func TestReplayWithoutRoomBreaksNothing(t *testing.T) {
	spec, err := specOf(allReplays)
	if err != nil {
		t.Fatal(err)
	}
	for most := range 500 {
		d, s := newDetector(t, &rules.Rule{ID: "r", Spec: spec}), &room{most: most}
		for i := range int64(30) {
			var e event.Event
			e.SetText(event.Nonce, fmt.Sprint(i%7))
			e.SetNum(event.ClientTime, start+i%5*1_000_000)
			d.Apply(&detectors.Context{Event: &e, Time: start + i*60_000, Watermark: math.MinInt64, Own: s}, new(detectors.Firing))
			if _, ok := d.Fit(bytes.Clone(s.b)); s.b != nil && !ok {
				t.Fatalf("room for %d: % x", most, s.b)
			}
		}
	}
}

func TestReplayAllocatesNothing(t *testing.T) {
	allocatesNothing(t, strings.Replace(allReplays, "cooldown", "grace: 0s\n  cooldown", 1), 900, "nonce=n1 ja4=a", "nonce=n2 ja4=b", "nonce=n3")
}

func BenchmarkReplay(b *testing.B) {
	for _, n := range []int{20, 2000} {
		b.Run(fmt.Sprint(n, " nonces"), func(b *testing.B) {
			var all []string
			for i := range n {
				all = append(all, fmt.Sprintf("nonce=n%d request_id=q%d ja4=a user_agent=Shop/4.2", i, i))
			}
			benchmark(b, "replay: {window: 10m, tiers: [{sign: reused, at: 1, weight: 1}]}", all...)
		})
	}
}
