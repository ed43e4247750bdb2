package rules

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

func TestAVerdictNamesEveryDifference(t *testing.T) {
	of := func(key string) Subject { return Subject{facet.Account, key} }
	want := func(key string, weight uint8, times int) Expect {
		return Expect{Subject: of(key), Score: Whatever, Signals: []ExpectSignal{{Rule: "r", Weight: weight, Times: times}}}
	}
	fired := func(key string, weight uint8) Fired { return Fired{Subject: of(key), Rule: "r", Weight: weight} }
	test := Test{Rule: "r", Kind: facet.Account, Expect: []Expect{want("a", 40, 0), want("b", 80, 2), want("c", 10, 0), want("e", 5, 1)}}
	got := test.Verdict(Outcome{Signals: []Fired{
		fired("b", 80), fired("c", 10), fired("c", 20), fired("d", 30), fired("e", 5),
		{Subject: of("f"), Rule: "another", Weight: 9}, {Subject: Subject{facet.IP, "g"}, Rule: "r", Weight: 9},
	}})
	equal(t, got,
		"a: no signal, want one of weight 40",
		"b: 1 signal, want 2",
		"c: heaviest signal has weight 20, want 10",
		"d: 1 signal of weight up to 30, want none")
}

func TestAVerdictOfAScenario(t *testing.T) {
	ann, bob, net := Subject{facet.Account, "ann"}, Subject{facet.Account, "bob"}, Subject{facet.Net, "n"}
	o := Outcome{
		Signals: []Fired{{ann, Subject{}, "r", 30}, {ann, net, "s", 20}, {bob, Subject{}, "r", 30}, {net, Subject{}, "s", 50}},
		Scores:  map[Subject]Scored{ann: {44, []string{"x", "y"}}},
	}
	right := Test{Only: []string{"r", "s"}, Expect: []Expect{
		{Subject: ann, Signals: []ExpectSignal{{"r", 30, 1, Subject{}}, {"s", 20, 0, net}}, Score: 44, Reasons: []string{"x", "y"}},
		{Subject: bob, Any: true, Score: 0}, {Subject: net, Any: true, Score: Whatever},
	}}
	equal(t, right.Verdict(o))
	wrong := Test{Expect: []Expect{
		{Subject: ann, Signals: []ExpectSignal{{"s", 20, 0, bob}}, Score: 45, Reasons: []string{"y", "x"}},
		{Subject: bob, Score: Whatever, Signals: []ExpectSignal{{"s", 1, 0, Subject{}}}},
	}}
	equal(t, wrong.Verdict(o),
		"account:ann: r: 1 signal of weight up to 30, want none",
		"account:ann: s: no signal as a member of account:bob",
		`account:ann: the reasons are ["x" "y"], want ["y" "x"]`,
		"account:ann: the score is 44, want 45",
		"account:bob: r: 1 signal of weight up to 30, want none",
		"account:bob: s: no signal, want one of weight 1",
		"net:n: s: 1 signal of weight up to 50, want none")
	only := Test{Only: []string{"t"}}
	equal(t, only.Verdict(o))
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEventsArriveAfterTheirDelay(t *testing.T) {
	test := Test{Events: []Step{
		{At: 0, Delay: 5 * time.Second, Repeat: 1, Line: 3, Values: []Value{{Field: event.Account, Text: "late"}}},
		{At: time.Second, Every: time.Second, Repeat: 2, Line: 4, Values: []Value{{Field: event.Account, Text: "u{n}"}}},
	}}
	var got []string
	for _, e := range test.Expand() {
		got = append(got, fmt.Sprintf("%s %s, line %d", e.At, e.Event.Text(event.Account), e.Line))
	}
	equal(t, got, "1s u1, line 4", "2s u2, line 4", "0s late, line 3")
}

func TestExpandedEventsAreInOrderOfTime(t *testing.T) {
	test := Test{Events: []Step{
		{At: time.Second, Every: 2 * time.Second, Repeat: 3, Values: []Value{{Field: event.Account, Text: "u{n}-{n%2}"}, {Field: event.Status, Num: 401}}},
		{At: 0, Repeat: 1, Values: []Value{{Field: event.Account, Text: "first"}}},
		{At: 3 * time.Second, Repeat: 1, Values: []Value{{Field: event.Rooted, Num: 1}}},
	}}
	var got []string
	for _, e := range test.Expand() {
		if e.Event.Num(event.Time) != TestStart+e.At.Milliseconds() {
			t.Errorf("the event at %s has the time %d", e.At, e.Event.Num(event.Time))
		}
		got = append(got, fmt.Sprintf("%s %s %d", e.At, e.Event.Text(event.Account), e.Event.Num(event.Status)))
	}
	want := []string{"0s first 0", "1s u1-1 401", "3s u2-0 401", "3s  0", "5s u3-1 401"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTextsOfTests(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"without brackets", "ann", "ann"},
		{"the number", "user-{n}", "user-12"},
		{"its rest", "user-{n%7}-{n%5}", "user-5-2"},
		{"a look-up that an attacker writes", "/?x=${jndi:ldap://h/a}", "/?x=${jndi:ldap://h/a}"},
		{"one within another, numbered", "${${lower:j}ndi:ldap://h/{n}}", "${${lower:j}ndi:ldap://h/12}"},
		{"a template that an attacker writes", "{{7*7}}", "{{7*7}}"},
		{"a route", "/users/{id}/orders/{order}", "/users/{id}/orders/{order}"},
		{"JSON", `{"a":{"b":[{}]}}`, `{"a":{"b":[{}]}}`},
		{"brackets that are not closed", "{{{ {n", "{{{ {n"},
		{"brackets that were not opened", "n} }", "n} }"},
		{"the number within brackets", "{{n}}", "{12}"},
		{"what is meant as it stands", "{{}n}", "{n}"},
		{"and the rest", "/users/{{}n%7}?{{}", "/users/{n%7}?{"},
	} {
		if got, err := numbered(c.text, 12); got != c.want || err != nil {
			t.Errorf("%s: %q becomes %q, %v, want %q", c.name, c.text, got, err, c.want)
		}
	}
	for _, text := range []string{"{n%0}", "{n%x}", "{n%}", "{n%-1}", "{n%+1}", "{n%99999999999999999999}"} {
		if got, err := numbered(text, 12); err == nil {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}
