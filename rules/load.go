package rules

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"slices"

	"github.com/weirdev/weir/condition"
)

//go:embed default/*.yaml
var defaults embed.FS

// Default is the set that is built in, for the detectors of kinds.
func Default(kinds []Kind) (*Set, error) {
	sub, err := fs.Sub(defaults, "default")
	if err != nil {
		return nil, fmt.Errorf("open the built-in rules: %w", err)
	}
	return Load(sub, kinds)
}

// Load reads, checks and compiles all *.yaml below fsys, which must hold at
// least one rule, for the detectors of kinds. Where files are wrong the error is a
// [*Problems] with all that is wrong in any of them.
func Load(fsys fs.FS, kinds []Kind) (*Set, error) {
	problems := &Problems{In: "the rules"}
	files, err := readFiles(fsys, problems)
	if err != nil {
		return nil, err
	}
	l, err := newLoader(kinds, problems)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		l.file(f)
	}
	if len(files) == 0 && len(problems.List) == 0 {
		return nil, fmt.Errorf("load rules: there is no file whose name ends in .yaml")
	}
	l.together()
	if len(problems.List) > 0 {
		problems.Sort()
		return nil, problems
	}
	return l.set(), nil
}

// built is a rule with where it stands.
type built struct {
	rule      *Rule
	canonical string
	file      *file
	id        *value
}

type loader struct {
	kinds    []Kind
	grammar  Key
	language *condition.Language
	problems *Problems
	seen     int
	built    []built
	ids      []built // of all rules, built or not
}

func newLoader(kinds []Kind, problems *Problems) (*loader, error) {
	language, err := condition.NewLanguage(condition.Vocabulary{Words: condition.Fields()})
	if err != nil {
		return nil, fmt.Errorf("prepare the language of conditions: %w", err)
	}
	return &loader{kinds: kinds, grammar: grammar(kinds), language: language, problems: problems}, nil
}

func (l *loader) file(f *file) {
	root := f.parse("rules")
	if root == nil {
		return
	}
	if f.holds(root, "tests") && !f.holds(root, "rules") {
		f.whole("holds tests and no rules", "keep it in another folder, and name that: weir rules test RULES -tests FOLDER")
		return
	}
	r := &reader{file: f, kinds: l.kinds, language: l.language}
	list := r.read(root, &l.grammar).get("rules").list()
	for _, v := range list {
		l.rule(r, v)
	}
}

func (l *loader) rule(r *reader, v *value) {
	if l.seen++; l.seen > maxRules {
		if l.seen == maxRules+1 {
			r.node(v.node, "too many rules", fmt.Sprintf("at most %d are loaded, of all files together", maxRules))
		}
		return
	}
	b := built{file: r.file, id: v.get("id")}
	if b.id != nil {
		l.ids = append(l.ids, b)
	}
	if b.rule = r.build(v); b.rule == nil {
		return
	}
	b.rule.File, b.rule.Line = r.file.name, v.node.Line
	b.canonical = canonical(b.rule, v.get("when").condition())
	l.built = append(l.built, b)
}

// together checks what rules must not do to one another.
func (l *loader) together() {
	first := map[string]built{}
	for _, b := range l.ids {
		if other, taken := first[b.id.text]; taken {
			b.file.node(b.id.node, fmt.Sprintf("another rule has the id %q", b.id.text),
				fmt.Sprintf("rename one of the two; the first is in %s, line %d", other.file.name, other.id.node.Line))
			continue
		}
		first[b.id.text] = b
	}
	slots := map[uint32]built{}
	for _, b := range l.built {
		for _, slot := range b.slots() {
			other, taken := slots[slot]
			if taken && other.rule.ID != b.rule.ID {
				b.file.node(b.id.node, fmt.Sprintf("by chance, this id gives the same slot of state as %q", other.rule.ID), "change the id")
			}
			slots[slot] = b
		}
	}
	l.budgets()
}

// slots names the rule's parts of an entity's state.
func (b built) slots() []uint32 {
	if m := b.rule.Members; m != nil {
		return []uint32{b.rule.Slot, m.Slot}
	}
	return []uint32{b.rule.Slot}
}

func (l *loader) set() *Set {
	slices.SortFunc(l.built, func(a, b built) int { return cmp.Compare(a.rule.ID, b.rule.ID) })
	s := &Set{Version: version(l.built)}
	for _, b := range l.built {
		s.Rules = append(s.Rules, b.rule)
	}
	return s
}
