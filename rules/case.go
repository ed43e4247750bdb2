package rules

import (
	"fmt"
	"io/fs"
)

// Case is a test of a rule, with where it stands.
type Case struct {
	Rule string // id
	File string
	Test *Test
}

// Cases lists the tests that stand with their rules, in the order of the set.
func (s *Set) Cases() (all []Case) {
	for _, r := range s.Rules {
		for i := range r.Tests {
			all = append(all, Case{r.ID, r.File, &r.Tests[i]})
		}
	}
	return all
}

// Rule finds a rule by its id; nil where the set has none of it.
func (s *Set) Rule(id string) *Rule {
	for _, r := range s.Rules {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// LoadTests reads tests of the rules of a set, of all *.yaml below fsys, in order
// of file: apart from their rules, with the key rule. Tests of rules that the set
// does not have are among them. Where files are wrong the error is a [*Problems].
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
	for _, v := range r.read(root, &t.grammar).get("tests").list() {
		c := Case{Rule: v.get("rule").str(), File: f.name}
		rule := t.set.Rule(c.Rule)
		if rule == nil {
			rule = new(Rule) // of no kind: what it expects cannot be checked
		}
		test := r.test(v, rule.Entity)
		c.Test = &test
		t.once(r, v, c)
		t.cases = append(t.cases, c)
	}
}

// once reports a second test of one name.
func (t *testLoader) once(r *reader, v *value, c Case) {
	n, name := caseName{c.Rule, c.Test.Name}, v.get("name")
	if name == nil {
		return
	}
	if first, taken := t.named[n]; taken {
		r.node(name.node, "another test of this rule has the same name", fmt.Sprintf("name it after what is different; the first is in %s, line %d", first.File, first.Test.Line))
		return
	}
	t.named[n] = c
}
