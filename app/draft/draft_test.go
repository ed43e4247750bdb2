package draft_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/app/draft"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/rules"
)

// stream builds events, one line per call of an account.
type stream struct {
	lines []string
	now   time.Time
}

func newStream() *stream {
	return &stream{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func (s *stream) call(account, operation string, status int) {
	s.now = s.now.Add(2 * time.Second)
	method, route, _ := strings.Cut(operation, " ")
	s.lines = append(s.lines, fmt.Sprintf(`{"id":"%d","time":%q,"account":%q,"method":%q,"path":"/x","route":%q,"status":%d}`,
		len(s.lines), s.now.Format(time.RFC3339), account, method, route, status))
}

// shop returns 300 visits. In each, one to three items are looked at and one is
// bought. Then mallory pays at once, and reads an item forty times.
func shop() []string {
	s := newStream()
	for n := range 300 {
		who := fmt.Sprint("u", n)
		s.call(who, "GET /config", 200)
		for range 1 + n%3 {
			s.call(who, "GET /items/{id}", 200)
		}
		s.call(who, "GET /cart", 404) // a failure, from which nothing is learned
		s.call(who, "POST /cart", 201)
		s.call(who, "POST /payments", 201)
	}
	s.now = s.now.Add(2 * time.Hour)
	s.call("mallory", "POST /payments", 201)
	for range 40 {
		s.call("mallory", "GET /items/{id}", 200)
	}
	return s.lines
}

func options() draft.Options {
	return draft.Options{Ingest: ingest.Defaults(), Detect: engine.Defaults(), Gap: 30 * time.Minute, Least: 100}
}

func drafted(t *testing.T, o draft.Options, lines []string) (string, error) {
	t.Helper()
	d, err := draft.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if err := d.Record([]byte(l)); err != nil {
			t.Fatal(err)
		}
	}
	return d.Rules()
}

func TestWhatAShopTeaches(t *testing.T) {
	text, err := drafted(t, options(), shop())
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(fstest.MapFS{"draft.yaml": {Data: []byte(text)}}, detectors.All())
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	ids := ""
	for _, r := range set.Rules {
		ids += r.ID + " "
		if r.Phase != rules.Observe {
			t.Errorf("%s is in phase %s", r.ID, r.Phase)
		}
	}
	if want := "draft-limit-get-config draft-limit-get-items-id draft-limit-post-cart draft-limit-post-payments draft-order-post-cart draft-order-post-payments "; ids != want {
		t.Errorf("rules %s", ids)
	}
	for _, part := range []string{
		"# Drafted from 1541 events of 301 sessions of accounts, 2026-01-01 00:00 to 2026-01-01 ",
		"#   GET /config: GET /items/{id} 100 %\n",
		"#   POST /cart: POST /payments 100 %\n",
		// One of 301 payments is mallory's. The cart is the rarest operation before
		// all the others, and also the nearest.
		"  # Learned: of 301 sessions with POST /payments, 300 had POST /cart before it,\n  # 2s before at most.\n  # In these events: 1 signal, about 1 account, with a weight of up to 40.\n  - id: draft-order-post-payments\n",
		"  # Learned: in 301 sessions with GET /items/{id}, half called it up to 2 times, 90 percent 3,\n  # the most 40. With 95 percent confidence, 99 percent call it up to 40 times.\n",
		"  # Learned: in 301 sessions with POST /payments, half called it up to 1 times, 90 percent 1,\n  # the most 1. With 95 percent confidence, 99 percent call it up to 1 times.\n",
		"        - {at: 6, weight: 30}\n        - {at: 12, weight: 60}\n",
		"  # In these events: no signal.\n",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("it lacks %q", part)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestNamesOfClientsAreText: what a client puts in a route ends no comment, stops no
// draft, and is still what the rule is about. A line separator ends a line of YAML, and
// editors do not show it.
func TestNamesOfClientsAreText(t *testing.T) {
	const route = "/a\u2028rules:\u2028  - id: evil\u009b\u0085x"
	s := newStream()
	for n := range 300 {
		who := fmt.Sprint("u", n)
		s.call(who, "GET "+route, 200)
		s.call(who, "POST "+route, 201)
	}
	text, err := drafted(t, options(), s.lines)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(text, "\u2028\u009b\u0085") {
		t.Errorf("it is not escaped:\n%q", text)
	}
	set, err := rules.Load(fstest.MapFS{"draft.yaml": {Data: []byte(text)}}, detectors.All())
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var e event.Event
	e.SetText(event.Method, "GET")
	e.SetText(event.Route, route)
	e.SetNum(event.Status, 200)
	e.SetText(event.Account, "u")
	if r := set.Rules[0]; len(set.Rules) != 3 || !r.Matches(&e) {
		t.Errorf("%d rules; the first is %s", len(set.Rules), r.ID)
	}
}

// TestEachRuleHasAnIDOfItsOwn, also where that of one operation looks like the second
// of another's.
func TestEachRuleHasAnIDOfItsOwn(t *testing.T) {
	s := newStream()
	for n := range 300 {
		for _, route := range []string{"/a-b", "/a/b", "/a/b/2"} {
			s.call(fmt.Sprint("u", n), "GET "+route, 200)
		}
	}
	text, err := drafted(t, options(), s.lines)
	if err != nil {
		t.Fatal(err)
	}
	if set, err := rules.Load(fstest.MapFS{"draft.yaml": {Data: []byte(text)}}, detectors.All()); err != nil || len(set.Rules) != 3 {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestALimitThatIsExceeded: a few accounts exceed the usual number of calls, and
// are counted.
func TestALimitThatIsExceeded(t *testing.T) {
	s := newStream()
	for n := range 600 {
		s.call(fmt.Sprint("u", n), "GET /items/{id}", 200)
	}
	s.now = s.now.Add(2 * time.Hour)
	for range 20 {
		s.call("mallory", "GET /items/{id}", 200)
	}
	text, err := drafted(t, options(), s.lines)
	if err != nil || !strings.Contains(text, "up to 1 times.\n") || !strings.Contains(text, "  # In these events: 2 signals, about 1 account, with a weight of up to 60.\n  - id: draft-limit-get-items-id\n") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestTheOrderOfSessionsMakesNoDifference(t *testing.T) {
	a, err := drafted(t, options(), shop())
	for range 5 {
		if b, again := drafted(t, options(), shop()); a != b || err != nil || again != nil {
			t.Fatal("another text from the same events")
		}
	}
}

func TestTooLittleToLearnFrom(t *testing.T) {
	if _, err := drafted(t, options(), []string{`{"id":"1","time":"2026-01-01T00:00:00Z","path":"/x"}`, "no event"}); !errors.Is(err, draft.ErrNoSessions) {
		t.Errorf("%v", err)
	}
	o := options()
	o.Least = 1000
	text, err := drafted(t, o, shop())
	if err != nil || strings.Contains(text, "rules:") || !strings.Contains(text, "fewer than\n# 1000 sessions") || !strings.Contains(text, "# Nothing is drafted: ") {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestNamesThatNeedQuotes: routes contain untrusted text.
func TestNamesThatNeedQuotes(t *testing.T) {
	s := newStream()
	for n := range 120 {
		s.call(fmt.Sprint("u", n), `GET /it's/"so": #1\d`, 200)
		s.call(fmt.Sprint("u", n), "PUT /äöü/"+strings.Repeat("x", 200), 200)
		s.call(fmt.Sprint("u", n), "PUT /"+strings.Repeat("x", 300), 200)
	}
	text, err := drafted(t, options(), s.lines)
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(fstest.MapFS{"draft.yaml": {Data: []byte(text)}}, detectors.All())
	if err != nil || len(set.Rules) != 5 {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestCallsBeyondTheMostOperationsAreOfTheirSession: an app may call more operations
// than are learned from, and its session goes on all the same.
func TestCallsBeyondTheMostOperationsAreOfTheirSession(t *testing.T) {
	s := newStream()
	for n := range 200 {
		s.call("crawler", fmt.Sprintf("GET /page%d", n), 200)
	}
	for n := range 150 {
		who := fmt.Sprint("u", n)
		s.call(who, "GET /page0", 200)
		for range 20 {
			s.now = s.now.Add(8 * time.Minute)
			s.call(who, "GET /late", 200)
		}
		s.call(who, "GET /page0", 200)
	}
	text, err := drafted(t, options(), s.lines)
	if err != nil {
		t.Fatal(err)
	}
	if want := " 151 sessions"; !strings.Contains(text, want) {
		t.Errorf("not learned from%s:\n%s", want, text)
	}
}
