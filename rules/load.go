package rules

import (
	"cmp"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"weak"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/condition"
	"github.com/weirdev/weir/event"
	templates "github.com/weirdev/weir/event/route"
)

//go:embed default/*.yaml
var defaults embed.FS

// Default returns the built-in set, for the detectors of kinds.
func Default(kinds []Kind) (*Set, error) {
	sub, err := fs.Sub(defaults, "default")
	if err != nil {
		return nil, fmt.Errorf("open the built-in rules: %w", err)
	}
	return Load(sub, kinds)
}

// ErrNoFiles means that a directory holds no rules.
var ErrNoFiles = errors.New("there is no file whose name ends in .yaml")

// Load reads, checks and compiles all *.yaml below fsys, which must contain at
// least one rule, for the detectors of kinds. If files have errors, the error is a
// [*Problems] with all of them.
func Load(fsys fs.FS, kinds []Kind) (*Set, error) {
	problems := &Problems{In: "the rules"}
	files, err := readFiles(fsys, problems)
	if err != nil {
		return nil, err
	}
	l, err := newLoader(fsys, kinds, problems)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		l.words(f)
	}
	if err := l.speak(); err != nil {
		return nil, err
	}
	for _, f := range files {
		l.file(f)
		l.files = append(l.files, bundled{f.name, f.data})
	}
	if len(files) == 0 && len(problems.List) == 0 {
		return nil, ErrNoFiles
	}
	l.together()
	if l.seen == 0 && len(problems.List) == 0 {
		files[len(files)-1].whole("holds no rule, and neither does any other file", "write a list of rules under the key rules")
	}
	if len(problems.List) > 0 {
		problems.Sort()
		return nil, problems
	}
	return l.set(), nil
}

// built is a rule with its place in the files.
type built struct {
	rule      *Rule
	canonical string
	file      *file
	id        *value
	at        *value // the rule
}

type loader struct {
	kinds    []Kind
	grammar  Key
	language *condition.Language
	problems *Problems
	files    []bundled
	seen     int
	built    []built
	ids      []built // of all rules, built or not

	vocabulary condition.Vocabulary
	routes     routeClasses // of the built-in classes and all files
	builtIn    routeClasses
	routeWords *templates.Words
	routeClass func(*event.Event) string
	routed     map[endpoint]routed
	listed     map[string]string // by name of the list: where it stands
	expiring   []expiring
}

func newLoader(fsys fs.FS, kinds []Kind, problems *Problems) (*loader, error) {
	ours, err := builtInRoutes(fsys)
	if err != nil {
		return nil, err
	}
	k := grammar(kinds)
	k.member("rules").required = Required
	return &loader{kinds: kinds, files: ours.files, grammar: k, problems: problems, routes: ours.classes, routeWords: ours.words, builtIn: maps.Clone(ours.classes), routed: map[endpoint]routed{}, listed: map[string]string{}}, nil
}

// words reads the lists and routes of a file. All files are read before the first
// rule, which may use words from any file.
func (l *loader) words(f *file) {
	if f.parse("rules") == nil || f.root.Kind != yaml.MappingNode {
		return
	}
	k := wordsGrammar()
	r := &reader{file: f}
	v := r.read(f.only(false, k.names()...), &k)
	for _, one := range v.get("lists").list() {
		l.list(r, one)
	}
	for _, one := range v.get("routes").list() {
		l.routes.classes(r, one, l.builtIn, l.routed)
	}
}

// speak creates the language with the words of all files.
func (l *loader) speak() (err error) {
	word := l.routes.word(l.routeWords)
	l.routeClass, l.vocabulary.Words = word.Compute, append(condition.Fields(), word)
	if l.language, err = condition.NewLanguage(l.vocabulary); err != nil {
		return fmt.Errorf("prepare the language of conditions: %w", err)
	}
	return nil
}

func (l *loader) file(f *file) {
	if f.root == nil {
		return
	}
	if f.holds(f.root, "tests") && !f.holds(f.root, "rules") {
		f.whole("holds tests and no rules", "keep it in another folder, and name that: weir rules test RULES -tests FOLDER")
		return
	}
	words := wordsGrammar()
	rest := f.only(true, words.names()...)
	if rest != f.root && len(rest.Content) == 0 && len(f.root.Content) > 0 {
		return
	}
	r := &reader{file: f, kinds: l.kinds, language: l.language}
	list := r.read(rest, &l.grammar).get("rules").list()
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
	b := built{file: r.file, id: v.get("id"), at: v}
	if b.id != nil {
		l.ids = append(l.ids, b)
	}
	if b.rule = r.build(v); b.rule == nil {
		return
	}
	b.rule.File, b.rule.Line = r.file.name, v.node.Line
	b.canonical = canonical(b.rule, v.get("when").condition())
	l.exceptionsExpire(r, b.rule, v)
	l.built = append(l.built, b)
}

// together checks rules for conflicts with one another.
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
	l.cohortBudgets()
}

// slots returns the rule's slots in an entity's state.
func (b built) slots() []uint32 {
	slots := []uint32{b.rule.Slot}
	if m := b.rule.Members; m != nil {
		slots = append(slots, m.Slot)
	}
	if b.rule.Spec.Keeps().Cohort.Verdicts > 0 {
		slots = append(slots, VerdictSlot(b.rule.Slot))
	}
	return slots
}

func (l *loader) set() *Set {
	slices.SortFunc(l.built, func(a, b built) int { return cmp.Compare(a.rule.ID, b.rule.ID) })
	s := &Set{Version: version(l.built), kinds: l.kinds, files: l.files, language: l.language, built: l.built, expiring: l.expiring, routeClass: l.routeClass,
		opened: &opened{sets: map[[sha256.Size]byte]weak.Pointer[Set]{}}}
	for _, b := range l.built {
		s.Rules = append(s.Rules, b.rule)
	}
	return s
}
