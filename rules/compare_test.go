package rules_test

import (
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
)

const compared = `
rules:
  - id: a
    title: Stays
    entity: ip
    when: status > 0
    counting: {window: 10m, count: status == 401, tiers: [{at: 10, weight: 10}]}
    signal: {category: bot, reason: r, half_life: 1m}
    phase: observe
  - id: b
    title: Changes
    entity: ip
    when: auth == "failure"
    counting: {window: 1m, tiers: [{at: 10, weight: 10}]}
    signal: {category: bot, reason: r, half_life: 1m}
    phase: observe
`

func TestCompareSaysWhatBehavesInAnotherWay(t *testing.T) {
	load := func(edits ...string) *rules.Set {
		t.Helper()
		set, err := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(strings.NewReplacer(edits...).Replace(compared))}}, testrules.Kinds())
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	was := load()
	for name, c := range map[string]struct {
		edits []string
		want  rules.Changes
	}{
		"a title":              {[]string{"title: Stays", "title: Is renamed"}, rules.Changes{Same: 2}},
		"an id":                {[]string{"id: a", "id: c"}, rules.Changes{Added: []string{"c"}, Removed: []string{"a"}, Same: 1}},
		"a phase":              {[]string{"phase: observe\n  - id: b", "phase: soft\n  - id: b"}, rules.Changes{Changed: []rules.Change{{ID: "a", What: []string{"phase observe is soft"}}}, Same: 1}},
		"a condition":          {[]string{`"failure"`, `"success"`}, rules.Changes{Changed: []rules.Change{{ID: "b", What: []string{"when"}}}, Same: 1}},
		"a weight":             {[]string{"weight: 10}]}\n    signal: {category: bot, reason: r, half_life: 1m}\n    phase: observe\n  - id: b", "weight: 20}]}\n    signal: {category: bot, reason: r, half_life: 1m}\n    phase: observe\n  - id: b"}, rules.Changes{Changed: []rules.Change{{ID: "a", What: []string{"counting"}}}, Same: 1}},
		"what the state is":    {[]string{"window: 1m", "distinct: account, window: 1m"}, rules.Changes{Changed: []rules.Change{{ID: "b", What: []string{"counting"}, Lost: true}}, Same: 1}},
		"an entity":            {[]string{"entity: ip\n    when: auth", "entity: net\n    when: auth"}, rules.Changes{Changed: []rules.Change{{ID: "b", What: []string{"entity ip is net"}, Lost: true}}, Same: 1}},
		"members":              {[]string{"entity: ip\n    when: auth", "entity: ip\n    members: {entity: account, weight: 5}\n    when: auth"}, rules.Changes{Changed: []rules.Change{{ID: "b", What: []string{"members"}}}, Same: 1}},
		"a half-life, and why": {[]string{"reason: r, half_life: 1m", "reason: s, half_life: 2m"}, rules.Changes{Changed: []rules.Change{{ID: "a", What: []string{"signal"}}, {ID: "b", What: []string{"signal"}}}}},
	} {
		if got := rules.Compare(was, load(c.edits...)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
