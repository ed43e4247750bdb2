package detectors_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/rules"
)

// asks sends requests "object status", one per second, and returns the greatest
// weight.
func (l *line) asks(requests ...string) (most uint8) {
	l.t.Helper()
	for _, r := range requests {
		object, status, _ := strings.Cut(r, " ")
		most = max(most, l.see(withToken{at: start + l.n*1000, values: map[event.Field]string{event.Object: object, event.Status: status, event.Account: "ann"}}))
	}
	return most
}

// held returns a value from the explanation.
func (l *line) held(name string) int64 {
	for _, e := range l.d.Explain(l.s.payload, start).Held {
		if e.Name == name {
			return e.Values[0]
		}
	}
	return 0
}

const anyObjects = "id_enumeration:\n  tiers: [{objects: 2, weight: 30}]\n"

// TestTheExampleOfEnumeration checks the table on the page.
func TestTheExampleOfEnumeration(t *testing.T) {
	page, err := os.ReadFile("../docs/detectors/id_enumeration.md")
	if err != nil {
		t.Fatal(err)
	}
	l, rows := newLine(t, "id_enumeration:\n  tiers:\n    - {objects: 6, refused: 3, regular_percent: 60, interval: 1s, weight: 50}\n"), 0
	for row := range strings.Lines(string(page)) {
		cells := strings.Split(row, "|")
		if len(cells) < 10 || !strings.HasPrefix(row, "| 10:") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		var m, s int64
		if _, err := fmt.Sscanf(cells[1], "10:%d:%d", &m, &s); err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(cells[2], "-")
		got := l.see(withToken{at: start + m*60_000 + s*1000, values: fields(t, fmt.Sprintf("object=%s status=%s object_type=%s", cells[2], cells[3], kind))})
		if want := map[bool]uint8{cells[9] == "50": 50}[true]; got != want {
			t.Errorf("%s: weight %d, want %s", cells[1], got, cells[9])
		}
		held := fmt.Sprint(l.held("objects"), l.held("refused"), l.held("regular_percent"), l.held("new_percent"), l.held("interval_ms")/1000)
		if want := strings.Join(cells[4:9], " "); held != want {
			t.Errorf("%s: %s, want %s", cells[1], held, want)
		}
		rows++
	}
	if rows != 9 {
		t.Errorf("%d rows, want 9", rows)
	}
}

// numbered returns requests for ids with these numbers.
func numbered(form string, numbers ...int) (all []string) {
	for _, n := range numbers {
		all = append(all, fmt.Sprintf(form, n)+" 200")
	}
	return all
}

func TestIDsThatFollowOneAnother(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	shuffled := r.Perm(60)
	steps := make([]int, 40)
	for i := range steps {
		steps[i] = 1000 + 60*i
	}
	drawn := make([]int, 150)
	for i := range drawn {
		drawn[i] = 100_000 + r.IntN(9000)
	}
	var uuids []string
	for range 60 {
		uuids = append(uuids, fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x 200", r.Uint32(), r.Uint32N(1<<16), r.Uint32N(1<<12), r.Uint32N(1<<12), r.Uint64N(1<<48)))
	}
	for _, c := range []struct {
		name                string
		requests            []string
		regular, least, top int64 // percent; evenness
	}{
		{"one after the other", numbered("order-%d", 1, 2, 3, 4, 5, 6, 7, 8), 100, 57, 57},
		{"in any order", numbered("%d", shuffled...), 100, 80, 100},
		{"in large steps", numbered("%d-1", steps...), 100, 80, 100},
		{"drawn by chance", numbered("%d-1", drawn...), 8, 55, 100},
		{"drawn by chance, and without numbers", uuids, 0, 0, 0},
		{"two groups far apart", numbered("%d", 1, 20, 41, 63, 80, 99_000, 99_020, 99_047, 99_070, 99_099), 11, 0, 1},
		{"numbers with too many digits", numbered("1234567890%06d", 1, 2, 3, 4, 5, 6, 7, 8, 9), 0, 0, 0},
		{"of different forms", append(numbered("a%d", 1, 100, 220), numbered("b%d", 2, 102, 340)...), 20, 0, 0},
	} {
		l := newLine(t, strings.Replace(anyObjects, "tiers", "exact: 512\n  tiers", 1))
		l.asks(c.requests...)
		if got := l.held("regular_percent"); got != c.regular && (c.regular != 8 || got > 12) {
			t.Errorf("%s: %d percent follow another, want %d", c.name, got, c.regular)
		}
		if got := l.held("even_percent"); got < c.least || got > c.top {
			t.Errorf("%s: evenness %d, want %d to %d", c.name, got, c.least, c.top)
		}
	}
}

func TestTheNumberOfAnID(t *testing.T) {
	for _, c := range []struct {
		id   string
		want int64 // −1: none
	}{
		{"42", 42},
		{"order-42", 42},
		{"100017-2", 100017},
		{"2-100017", 100017},
		{"11-22", 22},
		{"ORD-2024-000123", 123},
		{"0", 0},
		{"x", -1},
		{"123456789012345", 123456789012345},
		{"1234567890123456", -1},
		{"1-2-3", 3},
		{"1-2-3-4", -1},
		{"é7é", 7},
	} {
		l := newLine(t, anyObjects)
		l.asks(c.id+" 200", "x 200")
		got := int64(-1)
		for _, e := range l.f.Evidence {
			if e.Name == "lowest" {
				got = e.Values[0]
			}
		}
		if got != c.want && c.id != "x" {
			t.Errorf("%s: %d, want %d", c.id, got, c.want)
		}
	}
}

func TestTheNumberOfAPage(t *testing.T) {
	for _, c := range []struct {
		path string
		want int64 // −1: none
	}{
		{"/rides?limit=100&page=7", 7},
		{"/rides?page=7&limit=100", 7},
		{"/v2/rides/2026/11?per_page=50&page_size=25&page=7", 7},
		{"/rides?offset=0&limit=1000", 0},
		{"/rides?year=2026&from=40&page=9", 40},
		{"/rides?cursor=abc&page=12345&limit=100", 12345},
		{"/rides?cursor=abc123&limit=10", 123},
		{"/rides?page=1234567890123456&n=5", -1},
		{"/rides?page=&limit=50", 50},
		{"/rides?page=2x&limit=50", 50},
		{"/rides?page&limit=50", 50},
		{"/rides?homepage=3&limit=50", 50},
		{"/rides?", -1},
		{"/rides/page=3/100", 100},
		{"?p=3", 3},
	} {
		l := newLine(t, strings.Replace(anyObjects, "tiers", "of: path\n  tiers", 1))
		got := int64(-1)
		for _, path := range []string{c.path, "/x"} {
			l.see(withToken{at: start + l.n*1000, values: map[event.Field]string{event.Path: path, event.Status: "200", event.Account: "ann"}})
		}
		for _, e := range l.f.Evidence {
			if e.Name == "lowest" {
				got = e.Values[0]
			}
		}
		if got != c.want {
			t.Errorf("%s: %d, want %d", c.path, got, c.want)
		}
	}
}

func TestOwnObjects(t *testing.T) {
	l := newLine(t, "id_enumeration:\n  tiers: [{objects: 3, weight: 30}]\n")
	see := func(account, object string) uint8 {
		return l.see(withToken{at: start + l.n*1000, values: map[event.Field]string{event.Object: object, event.Status: "200", event.Account: account}})
	}
	for i := range 50 {
		if see("u100123", fmt.Sprintf("100123-m%d", i)) != 0 {
			t.Fatal("own objects are counted")
		}
	}
	if l.s.payload != nil {
		t.Error("own objects are remembered")
	}
	if see("u123", "123-1") != 0 || see("u123", "123-2") != 0 || see("u100123", "100124-1") != 30 {
		t.Error("objects of others are not counted")
	}
}

func TestGrantedAndRefused(t *testing.T) {
	const rule = "id_enumeration:\n  cooldown: 1s\n  tiers: [{objects: 3, refused: 2, refused_percent: 60, weight: 30}]\n"
	for _, c := range []struct {
		name     string
		requests []string
		want     uint8
	}{
		{"two of three", []string{"a 403", "b 200", "c 404"}, 30},
		{"a redirection is neither", []string{"a 403", "b 302", "c 404"}, 30},
		{"two of four", []string{"a 403", "b 200", "d 200", "c 404"}, 0},
		{"one of them is granted later", []string{"a 403", "a 200", "b 200", "c 404"}, 0},
		{"one of them was granted before", []string{"a 200", "a 403", "b 200", "c 404"}, 0},
		{"the same one", []string{"a 403", "a 404", "b 200", "c 200"}, 0},
		{"credentials that are not right", []string{"a 401", "b 401", "c 401"}, 0},
	} {
		if got := newLine(t, rule).asks(c.requests...); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	l := newLine(t, "id_enumeration:\n  refused: status == 401\n  foreign: object == \"f1\" || object == \"f2\"\n  tiers: [{objects: 2, foreign: 2, weight: 30}, {objects: 3, refused: 3, weight: 40}]\n")
	if l.asks("a 401", "f1 401") != 0 || l.asks("f2 200") != 30 || l.asks("b 401") != 40 {
		t.Error("refused and foreign are not what the rule says")
	}
}

func TestOnlyRefusalsContributeWhereTiersAskForThem(t *testing.T) {
	for _, c := range []struct {
		tiers string
		want  bool
	}{{"{objects: 3, refused: 2, weight: 30}", false}, {"{objects: 3, refused: 2, weight: 30}, {objects: 9, weight: 31}", true}} {
		spec, err := specOf("id_enumeration:\n  tiers: [" + c.tiers + "]\n")
		if err != nil {
			t.Fatal(err)
		}
		d, s := newDetector(t, &rules.Rule{ID: "r", Spec: spec}), &slot{}
		for status, want := range map[int64]bool{200: c.want, 403: true} {
			var e event.Event
			e.SetText(event.Object, "a")
			e.SetNum(event.Status, status)
			x := detectors.Context{Event: &e, Time: start, Watermark: math.MinInt64, Own: s}
			if d.Apply(&x, new(detectors.Firing)); x.Counts != want {
				t.Errorf("%s, status %d: contributes %v", c.tiers, status, x.Counts)
			}
		}
	}
}

func TestKindsAreNotMixed(t *testing.T) {
	const rule = "id_enumeration:\n  tiers: [{objects: 3, weight: 30}]\n"
	newLine(t, rule).says("two of each", []uint8{0, 0, 0, 0}, "0: object=a object_type=x", "1: object=b object_type=y", "2: object=c object_type=x", "3: object=d object_type=y")
	newLine(t, rule).says("routes stand in", []uint8{0, 0, 0, 30}, "0: object=a route=/x", "1: object=b route=/y", "2: object=c object_type=/x route=/z", "3: object=d object_type=/x")
	l := newLine(t, rule)
	var seen []string
	for i := range 8 {
		seen = append(seen, fmt.Sprintf("%d: object=a object_type=k%d", i, i))
	}
	seen = append(seen, "8: object=b object_type=k0", "9: object=a object_type=k8", "10: object=c object_type=k0", "11: object=c object_type=k1", "12: object=d object_type=k1")
	l.says("the ninth pushes out k1", []uint8{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 30, 0, 0}, seen...)
}

func TestObjectsAreForgotten(t *testing.T) {
	const rule = "id_enumeration:\n  window: 10m\n  tiers: [{objects: 3, weight: 30}]\n"
	newLine(t, rule).says("within the window", []uint8{0, 0, 30}, "0: object=a", "5: object=b", "9.99: object=c")
	newLine(t, rule).says("beyond it", []uint8{0, 0, 0}, "0: object=a", "5: object=b", "10: object=c")
	newLine(t, rule).says("asked for again", []uint8{0, 0, 0, 30}, "0: object=a", "5: object=b", "6: object=a", "10: object=c")
	newLine(t, rule).says("out of order", []uint8{0, 0, 30, 0}, "9.99: object=c", "5: object=b", "0: object=a", "-1: object=d")
	l := newLine(t, rule)
	if l.see(withToken{at: start, watermark: start + lateness + 1, values: fields(t, "object=a")}) != 0 || l.s.payload != nil {
		t.Error("a late request is remembered")
	}
}

// TestSamplesOfManyObjects checks that estimates are as accurate as the page says.
func TestSamplesOfManyObjects(t *testing.T) {
	for _, c := range []struct{ exact, objects int }{{16, 300}, {128, 129}, {128, 1000}, {128, 20_000}, {512, 5000}} {
		l := newLine(t, fmt.Sprintf("id_enumeration:\n  exact: %d\n  cooldown: 100h\n  tiers: [{objects: 2, weight: 30}]\n", c.exact))
		for i := range c.objects {
			status := "200"
			if i%4 == 0 {
				status = "404"
			}
			l.asks(fmt.Sprintf("order-%d %s", 5000+i, status))
		}
		n, deviation := l.held("objects"), l.held("deviation_percent")
		if deviation == 0 || deviation > 100*10/int64(math.Sqrt(float64(50*c.exact)))+1 {
			t.Errorf("%d of %d: the deviation is said to be %d percent", c.exact, c.objects, deviation)
		}
		off := 100 * (n - int64(c.objects)) / int64(c.objects)
		if max(off, -off) > 3*deviation {
			t.Errorf("%d of %d: %d, off by %d percent, with a deviation of %d", c.exact, c.objects, n, off, deviation)
		}
		if share := 100 * l.held("refused") / n; c.exact > 16 && (share < 12 || share > 38) {
			t.Errorf("%d of %d: %d percent refused, want about 25", c.exact, c.objects, share)
		}
		if regular := l.held("regular_percent"); regular < 70 {
			t.Errorf("%d of %d: %d percent follow another, want most", c.exact, c.objects, regular)
		}
		if interval := l.held("interval_ms"); interval < 400 || interval > 1600 {
			t.Errorf("%d of %d: an interval of %d ms, want about 1000", c.exact, c.objects, interval)
		}
		if want := 152 + (c.exact+1)*36; len(l.s.payload) > want {
			t.Errorf("%d bytes, want %d at most", len(l.s.payload), want)
		}
	}
}

func TestASmallerBoundThinsOut(t *testing.T) {
	l := newLine(t, "id_enumeration:\n  exact: 512\n  tiers: [{objects: 2, weight: 30}]\n")
	for i := range 500 {
		l.asks(fmt.Sprintf("order-%d 200", i))
	}
	less := newLine(t, anyObjects)
	kept, ok := less.d.Fit(l.s.payload)
	if !ok || len(kept) > 152+128*36 {
		t.Fatalf("%d bytes are kept, %v", len(kept), ok)
	}
	less.s.payload = kept
	if n := less.held("objects"); n < 350 || n > 650 {
		t.Errorf("%d objects, want about 500", n)
	}
}

func TestParametersOfEnumeration(t *testing.T) {
	for _, c := range []struct{ name, parameters, want string }{
		{"no tiers", "id_enumeration: {window: 1h}", `the key "tiers" is missing`},
		{"one object", "id_enumeration: {tiers: [{objects: 1, weight: 1}]}", "1"},
		{"more refused than there are", "id_enumeration: {tiers: [{objects: 3, refused: 4, weight: 1}]}", "more objects are asked for"},
		{"foreign without a word", "id_enumeration: {tiers: [{objects: 3, foreign: 2, weight: 1}]}", "nothing says which"},
		{"too many accounts", "id_enumeration: {exact: 16, tiers: [{objects: 30, accounts: 17, weight: 1}]}", "never have so many accounts"},
		{"tiers out of order", "id_enumeration: {tiers: [{objects: 3, weight: 2}, {objects: 4, weight: 2}]}", "can never be seen"},
		{"a field without ids", "id_enumeration: {of: account, tiers: [{objects: 3, weight: 2}]}", "account"},
	} {
		if _, err := specOf(c.parameters); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	const plain = "id_enumeration:\n  tiers: [{objects: 4, weight: 2}]\n"
	eachChanges(t, plain, "  window: 2h", "  exact: 64", "  step: 5", "  cooldown: 2h", "  refused: status == 403", "  foreign: status == 403")
	seen := map[string]bool{}
	for _, part := range []string{"", "refused: 1, ", "refused_percent: 1, ", "regular_percent: 1, ", "even_percent: 1, ", "new_percent: 1, ", "accounts: 2, ", "interval: 1s, "} {
		s, err := specOf(strings.Replace(plain, "weight", part+"weight", 1))
		if err != nil || seen[s.Canonical()] {
			t.Errorf("%s: %v, or the same as another", part, err)
			continue
		}
		seen[s.Canonical()] = true
	}
	a, _ := specOf(plain)
	for _, other := range []string{"  of: path\n", "  by: [route]\n"} {
		if b, err := specOf(plain + other); err != nil || a.State() == b.State() {
			t.Errorf("with %s the state is the same", other)
		}
	}
}

func TestExplanationOfEnumeration(t *testing.T) {
	l := newLine(t, "id_enumeration:\n  tiers: [{objects: 3, refused: 1, regular_percent: 50, weight: 30}, {objects: 9, interval: 1s, new_percent: 70, weight: 40}]\n")
	if x := l.d.Explain(nil, start); len(x.Demands) != 6 || x.Demands[0].Met() || x.Last >= x.First || len(x.Held) != 0 {
		t.Errorf("of nothing: %+v", x)
	}
	if got := l.asks("order-1 200", "order-1 200", "order-2 200", "order-3 403"); got != 30 {
		t.Errorf("weight %d, want 30", got)
	}
	x := l.d.Explain(l.s.payload, start+3000)
	met := ""
	for _, d := range x.Demands {
		met += fmt.Sprint(d.Tier, " ", d.What, " ", d.Have, "/", d.Need, " ")
	}
	if want := "0 objects 3/3 0 refused 1/1 0 regular_percent 100/50 1 objects 3/9 1 new_percent 75/70 1 interval_ms 1000/1000 "; met != want {
		t.Errorf("%s", met)
	}
	if x.First != start || x.Last != start+3000 {
		t.Errorf("from %d to %d", x.First-start, x.Last-start)
	}
	if want := []detectors.HeldBack{{Tier: 0, By: "cooldown", Until: start + 3000 + hour}}; !slices.Equal(x.HeldBack, want) {
		t.Errorf("held back: %+v", x.HeldBack)
	}
}

const fewObjects = "id_enumeration:\n  exact: 16\n  tiers: [{objects: 3, weight: 30}, {objects: 20, refused: 2, even_percent: 10, weight: 40}]\n"

// manyObjects returns a payload after many events.
func manyObjects(t testing.TB) []byte {
	l := newLine(t, fewObjects)
	for i := range int64(40) {
		l.see(withToken{at: start + i*1000, values: fields(t, fmt.Sprintf("object=order-%d object_type=k%d account=a%d status=%d", i, i%3, i%4, 200+i%2*203))})
	}
	return l.s.payload
}

func TestObjectsOfAnyFormAreReadOrRefused(t *testing.T) {
	if n := damaged(t, fewObjects, manyObjects(t), "object=order-1 object_type=k1", "object=order-99 object_type=k9 status=403", "object=order-7 object_type=k0", "object=x"); n < 100 {
		t.Errorf("only %d were of the form", n)
	}
	kinds, level, of := make([]byte, 152), make([]byte, 152), make([]byte, 152+36)
	kinds[17], level[17], level[28], of[17], of[152+34] = 9, 1, 32, 1, 1
	for _, b := range [][]byte{nil, make([]byte, 151), make([]byte, 152+35), make([]byte, 152+513*36), kinds, level, of, bytes.Repeat([]byte{0x7f}, 152+36)} {
		if goOn(t, newLine(t, fewObjects), b) {
			t.Errorf("%d bytes are taken", len(b))
		}
	}
}

func FuzzIDEnumeration(f *testing.F) {
	f.Add(manyObjects(f))
	f.Add(make([]byte, 152))
	f.Fuzz(func(t *testing.T, b []byte) {
		goOn(t, newLine(t, fewObjects), b, "object=order-1 object_type=k1", "object=order-99 object_type=k9 status=403", "object=order-7 object_type=k0", "object=x")
	})
}

func TestIDEnumerationWithoutRoomBreaksNothing(t *testing.T) {
	spec, err := specOf(fewObjects)
	if err != nil {
		t.Fatal(err)
	}
	for most := range 152 + 18*36 {
		d, s := newDetector(t, &rules.Rule{ID: "r", Spec: spec}), &room{most: most}
		for i := range int64(40) {
			var e event.Event
			e.SetText(event.Object, fmt.Sprintf("order-%d", i))
			e.SetText(event.ObjectType, fmt.Sprintf("k%d", i%3))
			d.Apply(&detectors.Context{Event: &e, Time: start + i, Watermark: math.MinInt64, Own: s}, new(detectors.Firing))
			if _, ok := d.Fit(bytes.Clone(s.b)); s.b != nil && !ok {
				t.Fatalf("room for %d: % x", most, s.b)
			}
		}
	}
}

func TestIDEnumerationAllocatesNothing(t *testing.T) {
	allocatesNothing(t, "id_enumeration:\n  window: 1m\n  cooldown: 1s\n  tiers: [{objects: 3, weight: 30}]\n", 1, "object=order-1", "object=order-2", "object=order-3", "object=order-4")
}

func BenchmarkIDEnumeration(b *testing.B) {
	var few, many []string
	for i := range 200 {
		few, many = append(few, fmt.Sprintf("object=order-%d", i%10)), append(many, fmt.Sprintf("object=order-%d", i))
	}
	const rule = "id_enumeration:\n  window: 10m\n  cooldown: 1s\n  tiers: [{objects: 8, regular_percent: 100, even_percent: 100, weight: 30}]\n"
	b.Run("ten objects", func(b *testing.B) { benchmark(b, rule, few...) })
	b.Run("two hundred objects", func(b *testing.B) { benchmark(b, rule, many...) })
}
