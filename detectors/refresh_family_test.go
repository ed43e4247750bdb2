package detectors_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/rules"
)

const allVerdicts = "refresh_family:\n  cooldown: 1s\n  tiers:\n    - {verdict: race, weight: 10}\n    - {verdict: stale, weight: 35}\n    - {verdict: theft, weight: 85}\n"

func TestVerdictsOnReuse(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []string
		want   []uint8
	}{
		{"rotation", []string{"0: token=r1 device=d1", "15: token=r2 device=d1", "30: token=r3 device=d1"}, []uint8{0, 0, 0}},
		{"a lost answer", []string{"0: token=r1 device=d1 net=n1", "600: token=r1 device=d1 net=n2"}, []uint8{0, 0}},
		{"two requests cross", []string{"0: token=r1 device=d1 net=n1", "15: token=r2 device=d1 net=n1", "15.5: token=r1 device=d1 net=n1"}, []uint8{0, 0, 10}},
		{"a moment too late", []string{"0: token=r1 device=d1 net=n1", "15: token=r2 device=d1 net=n1", "15.501: token=r1 device=d1 net=n1"}, []uint8{0, 0, 35}},
		{"in time, in another network", []string{"0: token=r1 device=d1 net=n1", "15: token=r2 device=d1 net=n1", "15.1: token=r1 device=d1 net=n2"}, []uint8{0, 0, 35}},
		{"in time, in another network of the operator", []string{"0: token=r1 device=d1 net=n1 asn=1", "15: token=r2 device=d1 net=n1 asn=1", "15.1: token=r1 device=d1 net=n2 asn=1"}, []uint8{0, 0, 10}},
		{"in time, on another device", []string{"0: token=r1 device=d1 net=n1", "15: token=r2 device=d1 net=n1", "15.1: token=r1 device=d2 net=n1"}, []uint8{0, 0, 85}},
		{"the thief was first", []string{"0: token=r1 device=d2", "0.1: token=r1 device=d1"}, []uint8{0, 85}},
		{"the thief was first, and refreshed again", []string{"0: token=r1 device=d2", "15: token=r2 device=d2", "20: token=r1 device=d1"}, []uint8{0, 0, 85}},
		{"a token that is never replaced goes to another phone", []string{"0: token=r1 device=d1", "15: token=r1 device=d1", "30: token=r1 device=d2"}, []uint8{0, 0, 0}},
		{"another client in another network, with the device id", []string{"0: token=r1 device=d1 net=n1 ja4=a", "15: token=r2 device=d1 net=n1 ja4=a", "20: token=r1 device=d1 net=n2 ja4=b"}, []uint8{0, 0, 85}},
		{"another network, with the same client", []string{"0: token=r1 net=n1 ja4=a", "15: token=r2 net=n1 ja4=a", "20: token=r1 net=n2 ja4=a"}, []uint8{0, 0, 35}},
		{"both go on after a race", []string{"0: token=r1 device=d1 token_issued=1000", "15: token=r2 device=d1 token_issued=3000", "16: token=r3 device=d1 token_issued=2000"}, []uint8{0, 0, 35}},
		{"the age of a token that gave way", []string{"0: token=r5 device=d1 token_issued=5000", "15: token=r1 device=d2 token_issued=1000"}, []uint8{0, 85}},
		{"tokens of one second", []string{"0: token=r1 device=d1 token_issued=1000", "1: token=r2 device=d1 token_issued=1000", "2: token=r1 device=d1 token_issued=1000"}, []uint8{0, 0, 0}},
		{"out of order", []string{"15: token=r2 device=d1", "0: token=r1 device=d1", "10: token=r1 device=d1"}, []uint8{0, 0, 0}},
		{"another key", []string{"0: token=r1 device=d1 key_id=k1", "15: token=r2 device=d1 key_id=k1", "20: token=r1 device=d1 key_id=k2"}, []uint8{0, 0, 85}},
		{"no key, in another network", []string{"0: token=r1 device=d1 key_id=k1 net=n1 asn=1", "15: token=r2 device=d1 key_id=k1 net=n1 asn=1", "20: token=r1 device=d1 net=n2 asn=1"}, []uint8{0, 0, 85}},
		{"no key, in the same network", []string{"0: token=r1 device=d1 key_id=k1 net=n1", "15: token=r2 device=d1 key_id=k1 net=n1", "20: token=r1 device=d1 net=n1"}, []uint8{0, 0, 35}},
		{"no token", []string{"0: device=d1", "1: device=d2"}, []uint8{0, 0}},
	} {
		newLine(t, allVerdicts).says(c.name, c.want, c.events...)
	}
}

// TestWhatIsShown checks that a token is replaced when its user uses what was issued
// for it.
func TestWhatIsShown(t *testing.T) {
	rule := strings.Replace(allVerdicts, "  cooldown: 1s\n", "  cooldown: 1s\n  shown: grant == \"\"\n", 1)
	const refresh, access = "grant=refresh_token token=r1 token_issued=1000 device=d1 net=n1", "token=a2 token_issued=2000 device=d1 net=n1"
	for _, c := range []struct {
		name   string
		events []string
		want   []uint8
	}{
		{"the answer is used", []string{"0: " + refresh, "1: " + access, "5: " + refresh}, []uint8{0, 0, 35}},
		{"at once", []string{"0: " + refresh, "1: " + access, "1.5: " + refresh}, []uint8{0, 0, 10}},
		{"the answer is lost", []string{"0: token=a1 token_issued=1000 device=d1 net=n1", "1: " + refresh, "5: token=a1 token_issued=1000 device=d1 net=n1", "9: " + refresh}, []uint8{0, 0, 0, 0}},
		{"somebody else uses the answer", []string{"0: " + refresh, "1: token=a2 token_issued=2000 device=d2 net=n2", "5: " + refresh}, []uint8{0, 0, 85}},
		{"the answer is used later than the token", []string{"0: " + refresh, "9: " + access, "5: " + refresh}, []uint8{0, 0, 0}},
		{"an older one comes after a newer", []string{"0: token=a3 token_issued=3000 device=d1 net=n1", "1: " + access, "5: " + refresh}, []uint8{0, 0, 35}},
		{"nothing says when it was issued", []string{"0: " + refresh, "1: token=a2 device=d1 net=n1", "5: " + refresh}, []uint8{0, 0, 0}},
	} {
		newLine(t, rule).says(c.name, c.want, c.events...)
	}
}

// TestTheExampleOfARefreshFamily checks the table on the page.
func TestTheExampleOfARefreshFamily(t *testing.T) {
	page, err := os.ReadFile("../docs/detectors/refresh_family.md")
	if err != nil {
		t.Fatal(err)
	}
	l, rows := newLine(t, allVerdicts), 0
	for row := range strings.Lines(string(page)) {
		if !strings.HasPrefix(row, "| 10:") {
			continue
		}
		cells := strings.Split(row, "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		var minutes int64
		if _, err := fmt.Sscanf(cells[1], "10:%d", &minutes); err != nil {
			t.Fatal(err)
		}
		got := "rightful"
		if l.see(withToken{at: start + minutes*60_000, values: fields(t, fmt.Sprintf("token=%s device=%s net=%s", cells[2], cells[3], cells[4]))}) > 0 {
			got = l.text("verdict")
		}
		if want, _, _ := strings.Cut(cells[5], ":"); got != want {
			t.Errorf("%s %s: %s, want %s", cells[1], cells[2], got, want)
		}
		rows++
	}
	if rows != 8 {
		t.Errorf("%d events, want 8", rows)
	}
}

func TestTokensOfAFamilyAreForgotten(t *testing.T) {
	const month = 30 * 24 * hour
	for _, c := range []struct {
		watermark int64
		want      uint8
	}{{start + month + lateness - 1, 85}, {start + month + lateness, 0}} {
		l := newLine(t, allVerdicts)
		l.says("the first", []uint8{0}, "0: token=r1 device=d1")
		if got := l.see(withToken{at: start + month, watermark: c.watermark, values: fields(t, "token=r1 device=d2")}); got != c.want {
			t.Errorf("watermark %d: weight %d, want %d", c.watermark-start, got, c.want)
		}
	}
	l := newLine(t, allVerdicts)
	l.says("the first", []uint8{0}, "0: token=r1 device=d1")
	if got := l.see(withToken{at: start + 1000, watermark: start + lateness + 1001, values: fields(t, "token=r1 device=d2")}); got != 0 {
		t.Errorf("late: weight %d", got)
	}
	for i := range 1000 {
		l.see(withToken{at: start + int64(i), values: fields(t, fmt.Sprintf("token=r%d", i))})
	}
	if want := 96 + 32*72; len(l.s.payload) != want {
		t.Errorf("%d bytes, want %d", len(l.s.payload), want)
	}
}

func TestParametersOfARefreshFamily(t *testing.T) {
	for _, c := range []struct{ name, parameters, want string }{
		{"no tiers", "refresh_family: {grace: 10s}", `the key "tiers" is missing`},
		{"a verdict twice", "refresh_family: {tiers: [{verdict: race, weight: 1}, {verdict: race, weight: 2}]}", "has a tier already"},
		{"a verdict that is not there", "refresh_family: {tiers: [{verdict: rightful, weight: 1}]}", "rightful"},
		{"a milder verdict later", "refresh_family: {tiers: [{verdict: race, weight: 2}, {verdict: theft, weight: 2}]}", "weighs no more"},
		{"tokens that are forgotten in their grace", "refresh_family: {grace: 30m, memory: 10m, tiers: [{verdict: theft, weight: 2}]}", "forgotten before"},
	} {
		if _, err := specOf(c.parameters); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	eachChanges(t, strings.Replace(allVerdicts, "  cooldown: 1s\n", "", 1), "  grace: 10s", "  tokens: 9", "  memory: 25h", "  cooldown: 2h")
}

func TestReuseExplanation(t *testing.T) {
	l := newLine(t, strings.Replace(allVerdicts, "1s", "1h", 1))
	if x := l.d.Explain(nil, start); len(x.Demands) != 3 || x.Demands[0].Met() || x.Last >= x.First {
		t.Errorf("of nothing: %+v", x)
	}
	l.says("a race", []uint8{0, 0, 10, 0}, "0: token=r1", "1: token=r2", "1.1: token=r1", "1.2: token=r1")
	x := l.d.Explain(l.s.payload, start+72_000)
	if x.First != start || x.Last != start+72_000 || len(x.Held) != 3 || !x.Demands[0].Met() || x.Demands[1].Met() || x.Demands[2].Met() {
		t.Errorf("%+v", x)
	}
	if want := []detectors.HeldBack{{Tier: 0, By: "cooldown", Until: start + 66_000 + hour}}; !slices.Equal(x.HeldBack, want) {
		t.Errorf("held back: %+v", x.HeldBack)
	}
}

func manyTokens(t testing.TB) []byte {
	l := newLine(t, allVerdicts)
	for i := range 12 {
		l.see(withToken{at: start + int64(i)*1000, values: fields(t, fmt.Sprintf("token=r%d device=d%d net=n%d token_issued=%d", i%5, i%3, i%4, i%5*1000))})
	}
	return l.s.payload
}

func TestFamiliesOfAnyFormAreReadOrRefused(t *testing.T) {
	if n := damaged(t, allVerdicts, manyTokens(t), "token=r1 device=d1", "token=r9 device=d1", "token=r1 device=d2"); n < 100 {
		t.Errorf("only %d were of the form", n)
	}
	backwards := make([]byte, 96+72)
	backwards[96+16] = 1 // its first use is later than its last
	for _, b := range [][]byte{nil, make([]byte, 95), make([]byte, 96+71), make([]byte, 96+202*72), backwards} {
		if goOn(t, newLine(t, allVerdicts), b) {
			t.Errorf("%d bytes are taken", len(b))
		}
	}
}

func FuzzRefreshFamily(f *testing.F) {
	f.Add(manyTokens(f))
	f.Add(make([]byte, 24))
	f.Fuzz(func(t *testing.T, b []byte) {
		goOn(t, newLine(t, allVerdicts), b, "token=r1 device=d1", "token=r9 device=d1", "token=r1 device=d2")
	})
}

func TestRefreshFamilyWithoutRoomBreaksNothing(t *testing.T) {
	spec, err := specOf(allVerdicts)
	if err != nil {
		t.Fatal(err)
	}
	for most := range 300 {
		d, s := newDetector(t, &rules.Rule{ID: "r", Spec: spec}), &room{most: most}
		for i := range int64(20) {
			var e event.Event
			e.SetText(event.Token, fmt.Sprint(i%7))
			d.Apply(&detectors.Context{Event: &e, Time: start + i, Watermark: math.MinInt64, Own: s}, new(detectors.Firing))
			if _, ok := d.Fit(bytes.Clone(s.b)); s.b != nil && !ok {
				t.Fatalf("room for %d: % x", most, s.b)
			}
		}
	}
}

func TestRefreshFamilyAllocatesNothing(t *testing.T) {
	allocatesNothing(t, allVerdicts, 600, "token=r1 device=d1 net=n1", "token=r2 device=d2 net=n2", "token=r3 device=d1 net=n1")
}

func BenchmarkRefreshFamily(b *testing.B) {
	var all []string
	for i := range 64 {
		all = append(all, fmt.Sprintf("token=r%d device=d1 ja4=a net=n1 user_agent=Shop/4.2", i))
	}
	benchmark(b, allVerdicts, all...)
}
