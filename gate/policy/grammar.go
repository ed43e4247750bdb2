package policy

import (
	"time"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

const (
	mostPolicies = 200
	mostTests    = 1000

	// MaxBudget is the highest time limit for looking up risk that a policy may
	// set.
	MaxBudget     = 10 * time.Second
	defaultBudget = 25 * time.Millisecond
	defaultRetry  = 10 * time.Second
)

// grammar describes the keys of a policy file.
func grammar() rules.Key {
	return rules.ObjectKey("the policies", rules.Required, "A file of Weir policies",
		rules.ListKey("policies", rules.Required, 1, mostPolicies, "in order: the first whose when holds, and in whose share the request is, decides; the last has neither, and is for all other requests", policyKey()),
		rules.ListKey("limits", rules.Optional, 0, mostLimits, "how many requests are served in a time; all that apply to a request hold", limitKey()),
		rules.ListKey("tests", rules.Optional, 0, mostTests, "what must become of some requests", testKey()))
}

func policyKey() rules.Key {
	return rules.ObjectKey("", rules.Required, "one policy",
		rules.NamedKey("id", rules.NamePattern, "names the policy in decisions and metrics, and picks who is in its share"),
		rules.TextKey("title", rules.Optional, 120, "what the policy is for, in a few words"),
		rules.ConditionKey("when", rules.Optional, "which requests it is for; default: all"),
		rules.ObjectKey("share", rules.Optional, "it is for a part of the entities only; the others go on to the next policy",
			rules.CountKey("percent", rules.Required, 0, wholeShare, "how much of them; raised, it only adds entities"),
			rules.ChoiceKey("of", rules.Required, kinds(), "whose; a request without one is in no share")),
		rules.ChoiceKey("phase", rules.Optional, phases(), "how far it may go, whatever the rules say: observe (always allow), soft (at most step_up) or enforce, which is so where it is absent"),
		thresholdsKey("score", rules.Optional, "the lowest score, over all categories, of each action; those that are absent do not follow from it"),
		rules.ObjectKey("categories", rules.Optional, "the same of the score in one category", categoryKeys()...),
		rules.ChoiceKey("always", rules.Optional, actionNames, "the mildest action, whatever the score; allow where it is absent"),
		rules.ChoiceKey("failure", rules.Required, failureNames[:], "where risk cannot be looked up: open (as if nothing were known), closed (failure_action, or what little is known calls for, if that is stricter), last_known_good (by what was known last; failure_action where nothing was)"),
		rules.ChoiceKey("failure_action", rules.Optional, actionNames, "see failure; deny with closed, allow with last_known_good where it is absent"),
		rules.DurationKey("budget", rules.Optional, time.Millisecond, MaxBudget, "longest time to look risk up; 25ms where it is absent"),
		rules.DurationKey("retry_after", rules.Optional, time.Second, time.Hour, "how long a throttled client is told to wait, whole seconds; 10s where it is absent"),
	)
}

func thresholdsKey(name string, need bool, doc string) rules.Key {
	of := func(a Action, doc string) rules.Key {
		return rules.CountKey(a.String(), rules.Optional, 1, never-1, "score from which "+doc)
	}
	return rules.ObjectKey(name, need, doc,
		of(Tag, "the upstream is told"), of(Throttle, "the client is slowed down"), of(Challenge, "proof of a human is asked for"),
		of(StepUp, "stronger authentication is asked for"), of(Deny, "the request is refused"))
}

func categoryKeys() (all []rules.Key) {
	for _, c := range rules.Categories() {
		all = append(all, thresholdsKey(c, rules.Optional, "thresholds of the score in "+c))
	}
	return all
}

// Knowledge of risk in a test.
const (
	knownAll     = "all"
	knownEarlier = "earlier"
	knownNothing = "nothing"
)

func testKey() rules.Key {
	return rules.ObjectKey("", rules.Required, "one test",
		rules.TextKey("name", rules.Required, 200, "a sentence that says what happens"),
		rules.ValuesKey("request", rules.Optional, "fields of the request, as events have them"),
		rules.ListKey("risk", rules.Optional, 0, 8, "what rules say of one of its entities; nothing where it is absent", rules.ObjectKey("", rules.Required, "one signal",
			rules.ChoiceKey("category", rules.Required, rules.Categories(), "kind of abuse"),
			rules.CountKey("weight", rules.Required, 1, 100, "what the signal is worth now, in points"),
			rules.ChoiceKey("phase", rules.Optional, phases(), "phase of its rule; enforce where it is absent"))),
		rules.ChoiceKey("known", rules.Optional, []string{knownAll, knownEarlier, knownNothing}, "what could be looked up: all (where it is absent); earlier: nothing, but risk was known before; nothing"),
		rules.ListKey("outside", rules.Optional, 0, mostPolicies, "ids of policies in whose share the request is not; it is in all others", rules.TextKey("", rules.Required, 64, "id of a policy")),
		rules.ListKey("exceeded", rules.Optional, 0, mostLimits, "ids of limits that the request exceeds; they must apply to it", rules.TextKey("", rules.Required, 64, "id of a limit")),
		rules.ObjectKey("expect", rules.Required, "what must become of it",
			rules.ChoiceKey("action", rules.Required, actionNames, "the action"),
			rules.TextKey("policy", rules.Optional, 64, "id of the policy that decides"),
			rules.ChoiceKey("would", rules.Optional, actionNames, "the action if every phase were enforce"),
			rules.ListKey("limits", rules.Optional, 0, mostLimits, "ids of all limits that apply to the request, in any order", rules.TextKey("", rules.Required, 64, "id of a limit")),
			rules.TextKey("limited_by", rules.Optional, 64, "id of the limit that refuses it")))
}

func kinds() (all []string) {
	for _, k := range facet.Kinds() {
		all = append(all, k.String())
	}
	return all
}

func phases() []string {
	return []string{rules.Observe.String(), rules.Soft.String(), rules.Enforce.String()}
}

// Schema returns the JSON Schema (draft 7) of policy files, for editors.
func Schema() []byte { return rules.SchemaOf("Weir policies", grammar()) }

// Reference returns a list of all keys of policy files, in Markdown.
func Reference() string { return rules.ReferenceOf(grammar()) }
