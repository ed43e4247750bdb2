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

const newcomer = "first_seen:\n  values: [device, country]\n  judge: route_class in [\"contact_change\", \"withdrawal\"]\n  learn_visits: 3\n  new_for: 12h\n  doubted_for: 3d\n" +
	"  tiers:\n    - {at: 1, with: [device], weight: 20}\n    - {at: 2, weight: 60}\n"

// atHome are three visits that make an account known, at -180, -120 and -60 minutes.
var atHome = []string{"-180: device=d1 country=DE status=200", "-120: device=d1 country=DE status=200", "-60: device=d1 country=DE status=200"}

// visitor checks what fires after three visits at home.
func visitor(t *testing.T, detector, name string, want []uint8, history ...string) *line {
	t.Helper()
	l := newLine(t, detector)
	l.says(name, append([]uint8{0, 0, 0}, want...), append(slices.Clone(atHome), history...)...)
	return l
}

func TestWhatIsNew(t *testing.T) {
	const gone = "status=200 method=POST route=/withdrawals"
	for _, c := range []struct {
		name   string
		events []string
		want   []uint8
	}{
		{"the same as ever", []string{"0: device=d1 country=DE " + gone}, []uint8{0}},
		{"a new device", []string{"0: device=d2 country=DE " + gone}, []uint8{20}},
		{"a new country is not asked for", []string{"0: device=d1 country=FR " + gone}, []uint8{0}},
		{"both", []string{"0: device=d2 country=FR " + gone}, []uint8{60}},
		{"both, and it is refused", []string{"0: device=d2 country=FR status=403 method=POST route=/withdrawals"}, []uint8{60}},
		{"a route that is not judged", []string{"0: device=d2 country=FR status=200 method=POST route=/login"}, []uint8{0}},
		{"the sign-in was a while ago", []string{"0: device=d2 country=FR status=200", "719.99: device=d2 country=FR " + gone}, []uint8{0, 60}},
		{"the sign-in was just too long ago", []string{"0: device=d2 country=FR status=200", "720: device=d2 country=FR " + gone}, []uint8{0, 0}},
		{"what failed teaches nothing", []string{"0: device=d2 country=FR status=401", "720: device=d2 country=FR " + gone}, []uint8{0, 60}},
		{"what a sign-in merely named teaches nothing", []string{"0: device=d2 country=FR status=200 account_tried=1", "720: device=d2 country=FR " + gone}, []uint8{0, 60}},
		{"what was told is in doubt", []string{"0: device=d2 country=FR " + gone, "1440: device=d2 country=FR " + gone, "4319: device=d2 country=FR " + gone, "4320: device=d2 country=FR " + gone}, []uint8{60, 60, 60, 0}},
		{"no device is no new one", []string{"0: country=DE " + gone, "1: country=FR " + gone}, []uint8{0, 0}},
		{"a second device while the first is new", []string{"0: device=d2 status=200", "1: device=d3 " + gone}, []uint8{0, 20}},
		{"within the cooldown", []string{"0: device=d2 " + gone, "1439.9: device=d3 " + gone, "1440: device=d4 " + gone}, []uint8{20, 0, 20}},
		{"more weighs more", []string{"0: device=d2 country=DE " + gone, "1: device=d2 country=FR " + gone}, []uint8{20, 60}},
		{"out of order", []string{"0: device=d2 country=FR status=200", "-1: device=d2 country=FR " + gone}, []uint8{0, 60}},
		{"an earlier sight arrives later", []string{"720: device=d2 country=DE status=200", "0: device=d2 country=DE status=200", "721: device=d2 country=DE " + gone}, []uint8{0, 0, 0}},
	} {
		visitor(t, newcomer, c.name, c.want, c.events...)
	}
}

func TestNobodyIsJudgedUnknown(t *testing.T) {
	const stranger = ": device=d2 country=FR status=200 method=POST route=/withdrawals"
	newLine(t, newcomer).says("of the first visit", []uint8{0}, "0"+stranger)
	newLine(t, newcomer).says("after two visits", []uint8{0, 0, 0}, "0: device=d1 country=DE status=200", "60: device=d1 country=DE status=200", "119"+stranger)
	newLine(t, newcomer).says("visits that are too close", []uint8{0, 0, 0, 0}, "0: device=d1 country=DE status=200", "59: device=d1 country=DE status=200", "118: device=d1 country=DE status=200", "119"+stranger)
	newLine(t, newcomer).says("few visits, and a fortnight", []uint8{0, 0, 60}, "0: device=d1 country=DE status=200", "20159: device=d1 country=DE status=400 method=POST route=/withdrawals", "20160"+stranger)
	newLine(t, newcomer).says("what is learned first is known", []uint8{0, 0, 0, 0, 0}, "0: device=d1 country=DE status=200", "60: device=d2 country=FR status=200", "120: device=d1 country=DE status=200", "180: device=d1 country=DE status=200", "181"+stranger)
}

func TestFieldsThatShowNothing(t *testing.T) {
	const gone = "status=200 method=POST route=/withdrawals"
	newLine(t, newcomer).says("the first device of an account", []uint8{0, 0, 0, 0, 20},
		"0: country=DE status=200", "60: country=DE status=200", "120: country=DE status=200", "180: device=d1 country=DE "+gone, "181: device=d2 country=DE "+gone)
	many := []string{"0: country=DE device=d1 status=200", "60: country=DE device=d2 status=200", "120: country=DE device=d3 status=200"}
	newLine(t, newcomer+"  kept: 3\n").says("an account of many", []uint8{0, 0, 0, 0, 0, 0}, append(slices.Clone(many), "180: country=DE device=d4 "+gone, "181: country=DE device=d4 "+gone, "182: country=DE device=d1 "+gone)...)
	newLine(t, newcomer+"  kept: 4\n").says("of not so many", []uint8{0, 0, 0, 20}, append(slices.Clone(many), "180: country=DE device=d4 "+gone)...)
}

func TestValuesGiveWay(t *testing.T) {
	const gone = "country=DE status=200 method=POST route=/withdrawals"
	l := visitor(t, newcomer+"  kept: 2\n", "invented devices", []uint8{0, 0, 0, 0, 20},
		"0: device=d2 country=DE status=200", "1: device=d3 country=DE status=200", "2: device=d4 country=DE status=200", "3: device=d1 "+gone, "4: device=d2 "+gone)
	if want := 56 + 3*40; len(l.s.payload) != want {
		t.Errorf("%d bytes, want %d", len(l.s.payload), want)
	}
	if got := l.text("usual_device"); got != "d1" {
		t.Errorf("usual is %q", got)
	}
	for i := range 1000 {
		l.see(withToken{at: start + int64(i)*60_000, values: fields(t, fmt.Sprintf("device=d%d country=C%d status=200", i, i%7))})
	}
	if want := 56 + 4*40; len(l.s.payload) != want {
		t.Errorf("%d bytes, want %d", len(l.s.payload), want)
	}
}

func TestValuesAreForgotten(t *testing.T) {
	const day = 24 * hour
	for _, c := range []struct {
		watermark int64
		want      uint8
	}{{-hour + 28*day + lateness - 1, 60}, {-hour + 28*day + lateness, 0}} {
		l := visitor(t, newcomer, "at home", nil)
		if got := l.see(withToken{at: start + 28*day, watermark: start + c.watermark, values: fields(t, "device=d2 country=FR status=200 method=POST route=/withdrawals")}); got != c.want {
			t.Errorf("watermark %d: weight %d, want %d", c.watermark, got, c.want)
		}
	}
	l := newLine(t, newcomer)
	if l.see(withToken{at: start, watermark: start + lateness + 1, values: fields(t, "device=d1 status=200")}) != 0 || l.s.payload != nil {
		t.Error("a late event is remembered")
	}
	if l.see(withToken{at: start, values: fields(t, "device=d1 status=500 method=POST route=/withdrawals")}) != 0 || l.s.payload != nil {
		t.Error("what is judged and teaches nothing takes room")
	}
}

const evader = "first_seen:\n  values: [device]\n  judge: route_class == \"withdrawal\"\n  learn_visits: 3\n  avoided: {challenge: auth == \"challenge\", solved: auth == \"success\", within: 1h}\n  tiers: [{at: 1, weight: 60}]\n"

func TestAChallengeThatIsAvoided(t *testing.T) {
	const (
		asked = "0: device=d8 auth=challenge status=401"
		gone  = " country=DE status=200 method=POST route=/withdrawals"
	)
	for _, c := range []struct {
		name   string
		events []string
		want   []uint8
	}{
		{"avoided", []string{asked, "5: device=d9" + gone}, []uint8{0, 60}},
		{"just in time", []string{asked, "59.99: device=d9" + gone}, []uint8{0, 60}},
		{"an hour later", []string{asked, "60: device=d9" + gone}, []uint8{0, 0}},
		{"no challenge", []string{"5: device=d9" + gone}, []uint8{0}},
		{"on the same device", []string{asked, "5: device=d8" + gone}, []uint8{0, 0}},
		{"on a device that is known", []string{asked, "5: device=d1" + gone}, []uint8{0, 0}},
		{"on no device", []string{asked, "5:" + gone}, []uint8{0, 0}},
		{"solved", []string{asked, "1: device=d8 auth=success status=200", "5: device=d9" + gone}, []uint8{0, 0, 0}},
		{"solved by another device", []string{asked, "1: device=d9 auth=success status=200", "5: device=d9" + gone}, []uint8{0, 0, 60}},
		{"solved before", []string{"-1: device=d8 auth=success status=200", asked, "5: device=d9" + gone}, []uint8{0, 0, 60}},
		{"the solution arrives first", []string{"1: device=d8 auth=success status=200", asked, "5: device=d9" + gone}, []uint8{0, 0, 0}},
		{"asked for on both", []string{asked, "1: device=d9 auth=challenge status=401", "5: device=d9" + gone}, []uint8{0, 0, 0}},
		{"asked for on both, the later arrives first", []string{"1: device=d9 auth=challenge status=401", asked, "5: device=d9" + gone}, []uint8{0, 0, 0}},
		{"a challenge without a device", []string{"0: auth=challenge status=401", "5: device=d9" + gone}, []uint8{0, 0}},
		{"before the challenge", []string{asked, "-1: device=d9" + gone}, []uint8{0, 0}},
	} {
		l := visitor(t, evader, c.name, c.want, c.events...)
		if c.name == "avoided" && l.text("challenged_ms") != "300000" {
			t.Errorf("challenged_ms is %s", l.text("challenged_ms"))
		}
	}
}

// TestTheExampleOfFirstSeen checks the table on the page.
func TestTheExampleOfFirstSeen(t *testing.T) {
	page, err := os.ReadFile("../docs/detectors/first_seen.md")
	if err != nil {
		t.Fatal(err)
	}
	classes := map[string]string{"cart": "/cart", "login": "/login", "withdrawal": "/withdrawals"}
	l, rows := newLine(t, newcomer), 0
	for row := range strings.Lines(string(page)) {
		cells := strings.Split(row, "|")
		if len(cells) != 9 || !strings.Contains(cells[2], ":") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		var h, m int64
		if _, err := fmt.Sscanf(cells[2], "%d:%d", &h, &m); err != nil {
			t.Fatal(err)
		}
		day, err := strconv.ParseInt(cells[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		at := start + (day*24+h)*hour + m*60_000
		got := l.see(withToken{at: at, values: fields(t, fmt.Sprintf("device=%s country=%s method=POST route=%s status=200", cells[3], cells[4], classes[cells[5]]))})
		says, _, _ := strings.Cut(cells[7], ":")
		if want := map[string]uint8{"nothing": 0, "20": 20, "60": 60}[says]; got != want {
			t.Errorf("day %d, %s: weight %d, want %s", day, cells[2], got, cells[7])
		}
		if visits := fmt.Sprint(l.d.Explain(l.s.payload, at).Held[1].Values[0]); visits != cells[6] {
			t.Errorf("day %d, %s: %s visits, want %s", day, cells[2], visits, cells[6])
		}
		rows++
	}
	if rows != 11 {
		t.Errorf("%d rows, want 11", rows)
	}
}

func TestEvidenceOfFirstSeen(t *testing.T) {
	l := visitor(t, "first_seen:\n  values: [device, asn, device_model]\n  learn_visits: 3\n  tiers: [{at: 1, weight: 20}]\n", "at home", []uint8{0, 0, 20},
		"0: device=d1 asn=64500 device_model=123456789012345ü status=200", "1: device=d1 asn=64500 device_model=123456789012345ü status=200", "2: device=d2 asn=64501 device_model=Pixel status=200")
	for name, want := range map[string]string{
		"new": "3", "visits": "4", "known_for_ms": fmt.Sprint(182 * 60_000), "new_device": "d2", "usual_device": "d1", "new_asn": "64501", "usual_asn": "64500",
		"new_device_model": "Pixel", "usual_device_model": "123456789012345",
	} {
		if got := l.text(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestParametersOfFirstSeen(t *testing.T) {
	for _, c := range []struct{ name, parameters, want string }{
		{"no tiers", "first_seen: {values: [device]}", `the key "tiers" is missing`},
		{"no values", "first_seen: {tiers: [{at: 1, weight: 1}]}", `the key "values" is missing`},
		{"a field twice", "first_seen: {values: [device, device], tiers: [{at: 1, weight: 1}]}", "is there twice"},
		{"a field that is not offered", "first_seen: {values: [path], tiers: [{at: 1, weight: 1}]}", "path"},
		{"more than there are", "first_seen: {values: [device], tiers: [{at: 2, weight: 1}]}", "so many values are not watched"},
		{"with what is not watched", "first_seen: {values: [device], tiers: [{at: 1, with: [asn], weight: 1}]}", "asn is not watched"},
		{"doubt that is shorter", "first_seen: {values: [device], new_for: 2d, doubted_for: 1d, tiers: [{at: 1, weight: 1}]}", "known sooner"},
		{"a memory too short", "first_seen: {values: [device], memory: 13d, tiers: [{at: 1, weight: 1}]}", "forgotten before they are known"},
		{"a challenge that is forgotten", "first_seen: {values: [device], avoided: {challenge: rooted, solved: rooted, within: 29d}, tiers: [{at: 1, weight: 1}]}", "challenges are forgotten"},
		{"tiers out of order", "first_seen: {values: [device], tiers: [{at: 1, weight: 2}, {at: 1, weight: 2}]}", "can never be seen"},
	} {
		if _, err := specOf(c.parameters); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	eachChanges(t, newcomer, "  learn: rooted", "  learn_time: 13d", "  memory: 29d", "  kept: 9", "  cooldown: 2h", "  avoided: {challenge: rooted, solved: rooted, within: 1h}")
	a, _ := specOf(newcomer)
	b, _ := specOf(strings.Replace(newcomer, "[device, country]", "[device, asn]", 1))
	if a.State() == b.State() || a.Canonical() == b.Canonical() {
		t.Error("values of other fields are the same")
	}
	if r := a.(detectors.Adjustable).Raised("new", 2); r == nil || r.Canonical() == a.Canonical() {
		t.Error("the demand is not raised")
	}
	if r := a.(detectors.Adjustable).Raised("new", 3); r != nil {
		t.Error("more is demanded than there is")
	}
}

func TestExplanationOfFirstSeen(t *testing.T) {
	l := newLine(t, newcomer)
	if x := l.d.Explain(nil, start); len(x.Demands) != 2 || x.Demands[0].Met() || x.Last >= x.First || len(x.Held) != 0 {
		t.Errorf("of nothing: %+v", x)
	}
	l = visitor(t, newcomer, "both", []uint8{60}, "0: device=d2 country=FR status=200 method=POST route=/withdrawals")
	x := l.d.Explain(l.s.payload, start)
	met := ""
	for _, d := range x.Demands {
		met += fmt.Sprint(d.Tier, " ", d.What, " ", d.Have, "/", d.Need, " ")
	}
	if met != "0 new 2/1 1 new 2/2 " || x.First != start-3*hour || x.Last != start {
		t.Errorf("%s%+v", met, x)
	}
	if want := []detectors.HeldBack{{Tier: 0, By: "cooldown", Until: start + 24*hour}, {Tier: 1, By: "cooldown", Until: start + 24*hour}}; !slices.Equal(x.HeldBack, want) {
		t.Errorf("held back: %+v", x.HeldBack)
	}
	l = visitor(t, newcomer, "a country", []uint8{0}, "0: device=d1 country=FR status=200 method=POST route=/withdrawals")
	if x = l.d.Explain(l.s.payload, start); len(x.HeldBack) != 1 || !strings.HasPrefix(x.HeldBack[0].By, "with") {
		t.Errorf("held back: %+v", x.HeldBack)
	}
}

// manyValues returns a payload after many events.
func manyValues(t testing.TB) []byte {
	l := newLine(t, newcomer)
	for i := range int64(20) {
		l.see(withToken{at: start + i*hour, values: fields(t, fmt.Sprintf("device=d%d country=C%d status=200 method=POST route=/withdrawals", i%9, i/4))})
	}
	return l.s.payload
}

func TestValuesOfAnyFormAreReadOrRefused(t *testing.T) {
	events := []string{"device=d1 country=DE status=200", "device=d9 country=XX status=200 method=POST route=/withdrawals", "device=d9 status=200"}
	if n := damaged(t, newcomer, manyValues(t), events...); n < 100 {
		t.Errorf("only %d were of the form", n)
	}
	for _, b := range [][]byte{nil, make([]byte, 55), make([]byte, 56+39), make([]byte, 56+40), bytes.Repeat([]byte{0x7f}, 56+40), bytes.Repeat([]byte{1}, 56)} {
		if taken := goOn(t, newLine(t, newcomer), b, events...); taken != (len(b) == 56) {
			t.Errorf("%d bytes are taken: %v", len(b), taken)
		}
	}
}

func FuzzFirstSeen(f *testing.F) {
	f.Add(manyValues(f))
	f.Add(make([]byte, 56))
	f.Fuzz(func(t *testing.T, b []byte) {
		goOn(t, newLine(t, newcomer), b, "device=d1 country=DE status=200", "device=d9 country=XX status=200 method=POST route=/withdrawals", "device=d9 status=200")
	})
}

func TestFirstSeenWithoutRoomBreaksNothing(t *testing.T) {
	spec, err := specOf(newcomer)
	if err != nil {
		t.Fatal(err)
	}
	for most := range 300 {
		d, s := newDetector(t, &rules.Rule{ID: "r", Spec: spec}), &room{most: most}
		for i := range int64(20) {
			var e event.Event
			e.SetText(event.Device, fmt.Sprint(i%7))
			e.SetText(event.Country, fmt.Sprint(i%5))
			e.SetNum(event.Status, 200)
			d.Apply(&detectors.Context{Event: &e, Time: start + i*hour, Watermark: math.MinInt64, Own: s}, new(detectors.Firing))
			if _, ok := d.Fit(bytes.Clone(s.b)); s.b != nil && !ok {
				t.Fatalf("room for %d: % x", most, s.b)
			}
		}
	}
}

func TestFirstSeenAllocatesNothing(t *testing.T) {
	var events []string
	for i := range 11 {
		events = append(events, fmt.Sprintf("device=d%d country=DE os=android", i))
	}
	allocatesNothing(t, "first_seen:\n  values: [device, os, country]\n  learn: status == 0\n  learn_visits: 1\n  cooldown: 1s\n  tiers: [{at: 1, weight: 30}]\n", 900, events...)
}

func BenchmarkFirstSeen(b *testing.B) {
	const rule = "first_seen:\n  values: [device, country, ja4]\n  learn: status == 0\n  judge: method == \"POST\"\n  tiers: [{at: 2, with: [device], weight: 30}]\n"
	b.Run("at home", func(b *testing.B) {
		benchmark(b, rule, "device=d1 country=DE ja4=t13d1516h2_8daaf6152771_b186095e22b6")
	})
	b.Run("many", func(b *testing.B) {
		var all []string
		for i := range 40 {
			all = append(all, fmt.Sprintf("device=d%d country=C%d ja4=j%d method=POST", i%7, i%8, i%10))
		}
		benchmark(b, rule, all...)
	})
}
