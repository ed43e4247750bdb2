package rules_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
)

var update = flag.Bool("update", false, "rewrite golden files")

// golden compares got with a file, or rewrites it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (go test -update rewrites it):\n%s", name, got)
	}
}

func TestWhatIsWrongInAFileIsShown(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			// One detector, so that others change no text.
			_, err = rules.Load(fstest.MapFS{filepath.Base(name): {Data: data}}, []rules.Kind{testrules.Counting()})
			var problems *rules.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("error is %v", err)
			}
			for _, p := range problems.List {
				if p.What == "" || p.Do == "" || p.File != filepath.Base(name) {
					t.Errorf("%+v lacks something", p)
				}
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

const smallRule = `
  - id: %s
    title: x
    entity: account
    when: auth == "failure"
    counting: {window: 10m, count: status == 401, distinct: object, min_share: 50, tiers: [{at: 5, weight: 50}]}
    signal: {category: bot, reason: x, half_life: 1h}
    phase: soft
`

// small is a file with rules of the given ids.
func small(ids ...string) string {
	s := "rules:\n"
	for _, id := range ids {
		s += fmt.Sprintf(smallRule, id)
	}
	return s
}

func loadText(t testing.TB, files map[string]string) (*rules.Set, error) {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return rules.Load(fsys, testrules.Kinds())
}

// signIn is a sign-in that fails.
func signIn() *event.Event {
	e := new(event.Event)
	e.SetText(event.Auth, "failure")
	e.SetText(event.Account, "ann")
	e.SetNum(event.Status, 401)
	return e
}

func TestALoadedRuleHoldsWhatTheFileSays(t *testing.T) {
	set, err := loadText(t, map[string]string{"a.yaml": small("b", "a"), "sub/c.yaml": small("c"), ".git/x.yaml": "nonsense", "README.md": "nonsense"})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Rules) != 3 || set.Rules[0].ID != "a" || set.Rules[1].ID != "b" || set.Rules[2].ID != "c" {
		t.Fatalf("rules %v", set.Rules)
	}
	r := set.Rules[0]
	if r.Entity != facet.Account || r.Phase != rules.Soft || r.Category != "bot" || r.Reason != "x" || r.HalfLife != time.Hour || r.Title != "x" {
		t.Errorf("rule %+v", r)
	}
	if r.Detector != "counting" || !slices.Equal(r.Spec.Fields(), []event.Field{event.Status, event.Object}) {
		t.Errorf("detector %s, which reads %v", r.Detector, r.Spec.Fields())
	}
	if !r.When(signIn()) {
		t.Error("the condition does not hold of a failed sign-in")
	}
}

func TestTheVersionNamesWhatRulesDo(t *testing.T) {
	version := func(files map[string]string) string {
		t.Helper()
		set, err := loadText(t, files)
		if err != nil {
			t.Fatal(err)
		}
		return set.Version
	}
	base := version(map[string]string{"a.yaml": small("a", "b")})
	if len(base) != 16 || strings.Trim(base, "0123456789abcdef") != "" {
		t.Errorf("version %q", base)
	}
	one := small("a")
	for what, files := range map[string]map[string]string{
		"files and their order":       {"z.yaml": small("a"), "b.yaml": small("b")},
		"order of rules":              {"a.yaml": small("b", "a")},
		"comments":                    {"a.yaml": "# a comment\n" + small("a", "b")},
		"titles and documentation":    {"a.yaml": strings.ReplaceAll(small("a", "b"), "title: x", "title: other\n    description: much\n    owner: me\n    references: [y]\n    false_positives: [z]")},
		"tests":                       {"a.yaml": small("a", "b") + "    tests: [{name: n, events: [{at: 0s, set: {account: a}}], expect: []}]\n"},
		"blanks in conditions":        {"a.yaml": strings.ReplaceAll(small("a", "b"), `auth == "failure"`, `auth=='failure'`)},
		"an effect that is the same":  {"a.yaml": strings.ReplaceAll(small("a", "b"), "half_life: 1h", "half_life: 1h, effect: raises")},
		"a cooldown that is the same": {"a.yaml": strings.ReplaceAll(small("a", "b"), "tiers", "cooldown: 600s, tiers")},
	} {
		if got := version(files); got != base {
			t.Errorf("the version depends on %s", what)
		}
	}
	seen := map[string]string{base: "two rules"}
	for what, change := range map[string][2]string{
		"nothing":      {"", ""},
		"id":           {"id: a", "id: z"},
		"entity":       {"entity: account", "entity: device"},
		"when":         {`auth == "failure"`, `auth == "success"`},
		"count":        {"status == 401", "status == 403"},
		"no count":     {"count: status == 401, distinct: object, min_share: 50", "distinct: object"},
		"window":       {"window: 10m", "window: 11m"},
		"distinct":     {"distinct: object", "distinct: path"},
		"min_share":    {"min_share: 50", "min_share: 51"},
		"cooldown":     {"tiers:", "cooldown: 1m, tiers:"},
		"at":           {"at: 5", "at: 6"},
		"weight":       {"weight: 50", "weight: 51"},
		"another tier": {"weight: 50}", "weight: 50}, {at: 6, weight: 51}"},
		"category":     {"category: bot", "category: fraud"},
		"reason":       {"reason: x", "reason: y"},
		"half life":    {"half_life: 1h", "half_life: 2h"},
		"phase":        {"phase: soft", "phase: enforce"},
		"effect":       {"half_life: 1h", "half_life: 1h, effect: lowers"},
		"asks":         {"half_life: 1h", "half_life: 1h, asks: [notify]"},
		"more asks":    {"half_life: 1h", "half_life: 1h, asks: [notify, revoke]"},
		"members":      {"phase: soft", "phase: soft\n    members: {entity: device, weight: 5}"},
		"less sure":    {"phase: soft", "phase: soft\n    members: {entity: device, weight: 4}"},
		"others":       {"phase: soft", "phase: soft\n    members: {entity: session, weight: 5}"},
	} {
		v := version(map[string]string{"a.yaml": strings.Replace(one, change[0], change[1], 1)})
		if other, taken := seen[v]; taken {
			t.Errorf("%s gives the version of %s", what, other)
		}
		seen[v] = what
	}
}

func TestARuleSaysWhatItsSignalsDo(t *testing.T) {
	const text = `rules:
  - id: a
    title: x
    entity: ip
    when: auth == "failure"
    counting: {window: 10m, tiers: [{at: 1, weight: 0}, {at: 5, weight: 100}]}
    members: {entity: account, weight: 0}
    signal: {category: any, reason: x, half_life: 1h, effect: lowers, asks: [notify, revoke]}
    phase: soft
`
	set, err := loadText(t, map[string]string{"a.yaml": text})
	if err != nil {
		t.Fatal(err)
	}
	r := set.Rules[0]
	if !r.Lowers || r.Category != rules.AnyCategory || r.Asks.String() != "revoke,notify" || r.Members.Weight != 0 {
		t.Errorf("rule %+v", r)
	}
	if group, member := r.AsksOf(facet.IP), r.AsksOf(facet.Account); group != rules.Notify || member != rules.Revoke {
		t.Errorf("the group's signal asks for %q, a member's for %q", group, member)
	}
}

func TestTheSlotSurvivesWhatKeepsTheCount(t *testing.T) {
	slotOf := func(change ...string) uint32 {
		t.Helper()
		set, err := loadText(t, map[string]string{"a.yaml": strings.NewReplacer(change...).Replace(small("a"))})
		if err != nil {
			t.Fatal(err)
		}
		return set.Rules[0].Slot
	}
	base := slotOf()
	for _, same := range [][]string{
		{"window: 10m", "window: 20m"}, {"at: 5", "at: 7"}, {"weight: 50", "weight: 70"}, {"phase: soft", "phase: enforce"},
		{"min_share: 50", "min_share: 60"}, {"half_life: 1h", "half_life: 2h"}, {"reason: x", "reason: y"},
		{"half_life: 1h", "half_life: 1h, asks: [notify]"},
	} {
		if slotOf(same...) != base {
			t.Errorf("%v starts the count again", same)
		}
	}
	for _, other := range [][]string{{"id: a", "id: b"}, {"entity: account", "entity: device"}, {"distinct: object", "distinct: path"}, {"half_life: 1h", "half_life: 1h, effect: lowers"}} {
		if slotOf(other...) == base {
			t.Errorf("%v keeps a count of something else", other)
		}
	}
}

func TestFilesThatCannotBeRules(t *testing.T) {
	many := make([]string, rules.MaxRules/2+1)
	for i := range many {
		many[i] = fmt.Sprintf("r%d", i)
	}
	for what, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no file":             {map[string]string{"README": ""}, "there is no file whose name ends in .yaml"},
		"another ending":      {map[string]string{"a.yaml": small("a"), "b.yml": small("b")}, "b.yml: this file would not be read"},
		"a file too long":     {map[string]string{"a.yaml": small("a") + strings.Repeat("#\n", rules.MaxFileBytes/2)}, "a.yaml: is longer than 256 KiB"},
		"too many rules":      {map[string]string{"a.yaml": small(many...), "b.yaml": small(many...)}, "at most 1000 are loaded"},
		"an id in two files":  {map[string]string{"a.yaml": small("a"), "b.yaml": small("a")}, "the first is in a.yaml, line 3"},
		"problems everywhere": {map[string]string{"a.yaml": "rules: 1", "b.yaml": "rules: 2"}, "b.yaml:1:8"},
	} {
		_, err := loadText(t, c.files)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something with %q", what, err, c.want)
		}
	}
}

func TestAFileThatCannotBeReadIsAProblem(t *testing.T) {
	fsys := brokenFS{fstest.MapFS{"a.yaml": {Data: []byte(small("a"))}, "b.yaml": {Data: []byte(small("b"))}}}
	_, err := rules.Load(fsys, testrules.Kinds())
	if err == nil || !strings.Contains(err.Error(), "b.yaml: cannot be read") {
		t.Errorf("error is %v", err)
	}
}

// brokenFS cannot open b.yaml.
type brokenFS struct{ fstest.MapFS }

func (f brokenFS) Open(name string) (fs.File, error) {
	if name == "b.yaml" {
		return nil, fs.ErrPermission
	}
	return f.MapFS.Open(name)
}

// Stat keeps the file visible.
func (f brokenFS) Stat(name string) (fs.FileInfo, error) { return f.MapFS.Stat(name) }

// FuzzLoad feeds arbitrary files: reading ends, and either gives a set whose
// rules hold what the engine relies on, or says for every problem what to do.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yaml", "default/*.yaml", "../detectors/testdata/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte(small("a", "b")))
	f.Add([]byte(someTests))
	f.Add([]byte(someScenarios))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzTests(t, data)
		set, err := rules.Load(fstest.MapFS{"fuzz.yaml": {Data: data}}, testrules.Kinds())
		if err != nil {
			var problems *rules.Problems
			if !errors.As(err, &problems) {
				t.Fatal(err)
			}
			for _, p := range problems.List {
				if p.What == "" || p.Do == "" {
					t.Errorf("%+v", p)
				}
			}
			if strings.ContainsAny(err.Error(), "\x1b\r\x00") {
				t.Errorf("control characters in %q", err)
			}
			return
		}
		e := signIn()
		for _, r := range set.Rules {
			checkRule(t, r)
			r.When(e)
		}
	})
}

// checkRule asserts what the engine takes for granted.
func checkRule(t *testing.T, r *rules.Rule) {
	t.Helper()
	if r.ID == "" || r.Entity == 0 || r.When == nil || r.Spec == nil || r.HalfLife < time.Second || r.HalfLife%time.Second != 0 {
		t.Fatalf("rule %+v", r)
	}
	if k := r.Spec.Keeps(); k.Reach < 0 || k.After < 0 || k.Bytes <= 0 || r.Detector == "" || r.Spec.State() == "" {
		t.Fatalf("%s keeps %+v", r.Detector, k)
	}
	for i := range r.Tests {
		if n := len(r.Tests[i].Expand()); n < 1 || n > rules.MaxSeries {
			t.Fatalf("a test of %d events", n)
		}
	}
}

// TestContentTellsWhatLoadReads: what Load does not read changes nothing.
func TestContentTellsWhatLoadReads(t *testing.T) {
	content := func(files fstest.MapFS) string {
		t.Helper()
		b, err := rules.Content(files)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	base := content(fstest.MapFS{"a.yaml": file("x"), "sub/b.yaml": file("y")})
	for name, files := range map[string]fstest.MapFS{
		"a note":             {"a.yaml": file("x"), "sub/b.yaml": file("y"), "README.md": file("z")},
		"a hidden directory": {"a.yaml": file("x"), "sub/b.yaml": file("y"), ".git/c.yaml": file("z")},
	} {
		if content(files) != base {
			t.Errorf("%s is a change", name)
		}
	}
	for name, files := range map[string]fstest.MapFS{
		"another text":     {"a.yaml": file("z"), "sub/b.yaml": file("y")},
		"another name":     {"b.yaml": file("x"), "sub/b.yaml": file("y")},
		"another file":     {"a.yaml": file("x"), "sub/b.yaml": file("y"), "c.yaml": file("")},
		"one less":         {"a.yaml": file("x")},
		"a misspelt name":  {"a.yaml": file("x"), "sub/b.yaml": file("y"), "c.yml": file("")},
		"texts that moved": {"a.yaml": file("x\n\"sub/b.yaml\" 1\ny")},
	} {
		if content(files) == base {
			t.Errorf("%s is no change", name)
		}
	}
	if _, err := rules.Content(os.DirFS(filepath.Join(t.TempDir(), "gone"))); err == nil {
		t.Error("a directory that is gone has a content")
	}
}
