package rules

import (
	"fmt"
	"io/fs"
)

// Case is a test with its place in the files.
type Case struct {
	File string
	Test *Test
}

// Cases lists the tests in the rules' own files, in the order of the set.
func (s *Set) Cases() (all []Case) {
	for _, r := range s.Rules {
		for i := range r.Tests {
			all = append(all, Case{r.File, &r.Tests[i]})
		}
	}
	return all
}

// Rule finds a rule by its id; nil if there is none.
func (s *Set) Rule(id string) *Rule {
	for _, r := range s.Rules {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// LoadTests reads tests of the rules of a set, and scenarios, from all *.yaml below
// fsys, in order of file. These tests are apart from their rules, with the key
// rule. The result includes tests of rules that are not in the set. If files have
// errors, the error is a [*Problems].
func LoadTests(fsys fs.FS, set *Set) ([]Case, error) {
	problems := &Problems{In: "the tests"}
	files, err := readFiles(fsys, problems)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 && len(problems.List) == 0 {
		return nil, fmt.Errorf("load tests: there is no file whose name ends in .yaml")
	}
	t := testLoader{grammar: testsGrammar(), set: set, named: map[caseName]Case{}}
	for _, f := range files {
		t.file(f)
	}
	if len(problems.List) > 0 {
		problems.Sort()
		return nil, problems
	}
	return t.cases, nil
}

type testLoader struct {
	grammar Key
	set     *Set
	named   map[caseName]Case
	cases   []Case
}

type caseName struct{ rule, test string }

func (t *testLoader) file(f *file) {
	root := f.parse("tests")
	if root == nil {
		return
	}
	if f.holds(root, "rules") && !f.holds(root, "tests") {
		f.whole("holds rules and no tests", "name the folder of the rules first: weir rules test RULES -tests FOLDER")
		return
	}
	r := &reader{file: f}
	v := r.read(root, &t.grammar)
	if v != nil && !v.has("tests") && !v.has("scenarios") {
		f.whole("holds no tests", "write a list of tests under the key tests, or of scenarios under the key scenarios")
	}
	for _, v := range v.get("tests").list() {
		rule := t.set.Rule(v.get("rule").str())
		if rule == nil {
			rule = &Rule{ID: v.get("rule").str()} // of no kind: what it expects cannot be checked
		}
		test := r.test(v, rule)
		t.add(r, v, &test)
	}
	for _, v := range v.get("scenarios").list() {
		test := r.scenario(v, t.set)
		t.add(r, v, &test)
	}
}

// add adds a test, and reports a duplicate name.
func (t *testLoader) add(r *reader, v *value, test *Test) {
	c := Case{File: r.file.name, Test: test}
	t.cases = append(t.cases, c)
	n, name := caseName{test.Rule, test.Name}, v.get("name")
	if name == nil {
		return
	}
	if first, taken := t.named[n]; taken {
		what := "another test of this rule has the same name"
		if test.Rule == "" {
			what = "another scenario has the same name"
		}
		r.node(name.node, what, fmt.Sprintf("name it after what is different; the first is in %s, line %d", first.File, first.Test.Line))
		return
	}
	t.named[n] = c
}
