package gate

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/rules"
)

// plain has the members of a decision, and encoding/json's own way to write them.
type plain Decision

// TestDecisionsAreWrittenAsEncodingJSONWould: the same members, with the same values.
func TestDecisionsAreWrittenAsEncodingJSONWould(t *testing.T) {
	phase := rapid.SampledFrom([]rules.Phase{rules.Observe, rules.Soft, rules.Enforce})
	action := rapid.SampledFrom(policy.Actions())
	number := rapid.IntRange(0, 100)
	reason := rapid.Custom(func(t *rapid.T) Reason {
		return Reason{
			Rule: rapid.String().Draw(t, "rule"), Reason: rapid.String().Draw(t, "reason"), Category: rapid.String().Draw(t, "category"),
			Weight: number.Draw(t, "weight"), Lowers: rapid.Bool().Draw(t, "lowers"), Phase: phase.Draw(t, "phase"), Entity: rapid.String().Draw(t, "entity"),
		}
	})
	limit := rapid.Custom(func(t *rapid.T) Limit {
		return Limit{
			ID: rapid.String().Draw(t, "id"), Quota: number.Draw(t, "quota"), Window: number.Draw(t, "window"), Remaining: number.Draw(t, "remaining"),
			Reset: number.Draw(t, "reset"), Exceeded: rapid.Bool().Draw(t, "exceeded"), Phase: phase.Draw(t, "phase"),
		}
	})
	categories := rapid.Custom(func(t *rapid.T) (all Categories) {
		for _, name := range rapid.SliceOfNDistinct(rapid.String(), 0, 3, rapid.ID).Draw(t, "names") {
			all = append(all, CategoryPoints{name, number.Draw(t, "points")})
		}
		return all
	})
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.SampledFrom([]string{"", "x", "\"<&>\\\n\u2028é"})
		d := Decision{
			ID: some.Draw(t, "id"), Action: action.Draw(t, "action"), Score: number.Draw(t, "score"), ObservedScore: number.Draw(t, "observed"),
			Level: policy.Low, Categories: categories.Draw(t, "categories"),
			Reasons: rapid.SliceOfN(reason, 0, 3).Draw(t, "reasons"), Switch: some.Draw(t, "switch"), Policy: some.Draw(t, "policy"), PolicyVersion: some.Draw(t, "version"),
			Mode: phase.Draw(t, "mode"), Would: action.Draw(t, "would"), Limits: rapid.SliceOfN(limit, 0, 3).Draw(t, "limits"), LimitedBy: some.Draw(t, "by"),
			Degraded: rapid.Bool().Draw(t, "degraded"), DegradedBy: some.Draw(t, "degraded by"), LastKnownGood: rapid.Bool().Draw(t, "good"),
			RetryAfter: number.Draw(t, "retry"), ExpiresAt: time.UnixMilli(rapid.Int64Range(0, 1<<41).Draw(t, "expires")).UTC(),
		}
		want, err := json.Marshal(plain(d))
		if err != nil {
			t.Fatal(err)
		}
		got := d.AppendJSON(nil)
		var members [2]any
		for i, text := range [][]byte{got, want} {
			if err := json.Unmarshal(text, &members[i]); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
		}
		if !reflect.DeepEqual(members[0], members[1]) {
			t.Errorf("%s\nwant %s", got, want)
		}
		var again Decision
		if err := json.Unmarshal(got, &again); err != nil {
			t.Fatal(err)
		}
		for _, c := range d.Categories {
			if again.Categories.Of(c.Category) != c.Points || again.Categories.Of("none") != d.Categories.Of("none") {
				t.Errorf("%v are read as %v", d.Categories, again.Categories)
			}
		}
	})
}

// TestADecisionWithoutRiskHasEmptyLists, which clients may count.
func TestADecisionWithoutRiskHasEmptyLists(t *testing.T) {
	got, err := json.Marshal(Decision{})
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(got, &members); err != nil {
		t.Fatal(err)
	}
	if string(members["categories"]) != "{}" || string(members["reasons"]) != "[]" {
		t.Errorf("%s", got)
	}
}
