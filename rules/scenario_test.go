package rules

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weirdev/weir/event"
)

func TestAVerdictNamesEveryDifference(t *testing.T) {
	test := Test{Expect: []Expect{{Entity: "a", Weight: 40}, {Entity: "b", Weight: 80, Signals: 2}, {Entity: "c", Weight: 10}, {Entity: "e", Weight: 5, Signals: 1}}}
	got := test.Verdict([]Fired{{"b", 80}, {"c", 10}, {"c", 20}, {"d", 30}, {"e", 5}})
	want := []string{
		"a: no signal, want one of weight 40",
		"b: 1 signal, want 2",
		"c: heaviest signal has weight 20, want 10",
		"d: 1 signal of weight up to 30, want none",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
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
