package rules

import (
	"math"
	"regexp"
	"slices"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

const (
	day = 24 * time.Hour

	maxHalfLife = 30 * day
	maxTestSpan = 62 * day // of a test, from its first event to its last
	maxSeries   = 20_000   // events of a test
	maxEvents   = 200_000  // events of all tests of a file
)

// AnyCategory is the category of a signal that lowers all categories.
const AnyCategory = "any"

// Categories lists the categories of signals.
func Categories() []string {
	return []string{"account_takeover", "bot", "scraping", "enumeration", "fraud", "tampering"}
}

// severities, ascending.
var severities = [...]string{"info", "low", "medium", "high", "critical"}

// tagPattern is a namespace and a name. The names of OWASP and MITRE are written as
// they write them; any other prefix is the operator's own.
const tagPattern = `^(owasp:api([1-9]|10)|attack:T[0-9]{4}(\.[0-9]{3})?|x-[a-z0-9-]{1,20}:[a-z0-9_.-]{1,40})$`

const idPattern = `^[a-z0-9][a-z0-9-]{0,63}$`

// grammar describes everything that a rule file may contain.
func grammar(kinds []Kind) Key {
	k := wordsGrammar()
	k.members = append(k.members, ListKey("rules", Optional, 1, maxRules, "the rules of this file", ruleKey(kinds)))
	k.anyOfKeys = k.names()
	return k
}

// wordsGrammar describes what a rule file may contain besides rules: the words of
// conditions.
func wordsGrammar() Key {
	return ObjectKey("", Required, "A file of Weir rules",
		ListKey("lists", Optional, 0, maxLists, "lists of values that the conditions of any file ask by name", listKey()),
		ListKey("routes", Optional, 0, 100, "what requests do, by their routes: route_class in the conditions of any file", routesKey()))
}

func ruleKey(kinds []Kind) Key {
	prose := func(name, doc string) Key {
		return ListKey(name, Optional, 0, 100, doc, TextKey("", Required, 2000, "one of them"))
	}
	k := ObjectKey("", Required, "one rule",
		NamedKey("id", idPattern, "names the rule in signals, scores and metrics; another id is another rule, with its own windows"),
		TextKey("title", Required, 120, "what it means when the rule fires, in a few words"),
		TextKey("description", Optional, 4000, "what the rule looks for, and why"),
		ChoiceKey("entity", Required, kindNames(), "what the rule counts for, and what its signals are about"),
		ConditionKey("when", Required, "which events the detector sees"),
		ObjectKey("members", Optional, "the entity is a group: when the rule fires, its members, named by its counted events, get a signal too",
			ChoiceKey("entity", Required, memberNames(), "the kind of the members: the 32 that the window's counted events named last, each once"),
			WeightKey("weight", "confidence of a member's signal, in percent"),
			DurationKey("within", Optional, time.Millisecond, maxHalfLife, "members named longer ago than this are not told; default: what the detector remembers, which is also the most"),
			ConditionKey("cancel", Optional, "which of the matching events withdraw the member that they name, such as a successful sign-in: it is not told unless it is named again")),
		signalKey(),
		ChoiceKey("phase", Required, phaseNames[:], "observe: reported, never acts; soft: acts up to asking for more proof; enforce: acts fully"),
		ChoiceKey("severity", Optional, severities[:], "how bad the abuse is if the rule is right"),
		ListKey("tags", Optional, 0, 20, "standard classifications: owasp:api1 to owasp:api10 (API Security Top 10 of 2023), attack:T1110.003 (MITRE ATT&CK); and names of your own",
			Key{name: "tags", form: textForm, max: 64, pattern: regexp.MustCompile(tagPattern), doc: "a tag"}),
		exceptionsKey(),
		prose("references", "addresses of what explains the abuse"),
		prose("false_positives", "innocent behaviour that may look like this"),
		TextKey("owner", Optional, 200, "who is responsible for the rule"),
		ListKey("tests", Optional, 0, 200, "what must make the rule fire, and what must not", testKey()),
	)
	return k.withDetectors(kinds)
}

// withDetectors adds the keys of detectors, of which a rule has one, after when.
func (k Key) withDetectors(kinds []Kind) Key {
	var of []Key
	for _, kind := range kinds {
		of = append(of, ObjectKey(kind.Name, Optional, "the detector: "+kind.Doc, kind.Keys...))
		k.oneOfKeys = append(k.oneOfKeys, kind.Name)
	}
	at := slices.IndexFunc(k.members, func(m Key) bool { return m.name == "when" }) + 1
	k.members = slices.Insert(k.members, at, of...)
	return k
}

func signalKey() Key {
	return ObjectKey("signal", Required, "what is said when the rule fires",
		ChoiceKey("category", Required, append(Categories(), AnyCategory), "kind of abuse; any: every kind, for signals that lower"),
		NamedKey("reason", `^[a-z0-9_]{1,64}$`, "reason code, as gateways and support see it"),
		DurationKey("half_life", Required, time.Second, maxHalfLife, "time in which the signal's weight halves; whole seconds"),
		ChoiceKey("effect", Optional, []string{"raises", "lowers"}, "effect of the weight on the score; lowers: the signal speaks for the entity, in its category; default raises"),
		ListKey("asks", Optional, 1, int64(len(askNames)), "requested actions, in addition to the weight", ChoiceKey("asks", Required, askNames[:],
			"revoke: end the token family, the session, or the account's credentials; notify: tell operators")))
}

// testsGrammar describes everything that a file of tests may contain.
func testsGrammar() Key {
	of := testKey()
	of.members = append([]Key{NamedKey("rule", idPattern, "id of the rule that is tested")}, of.members...)
	return ObjectKey("", Required, "A file of tests of Weir rules",
		ListKey("tests", Optional, 1, 1000, "tests of single rules", of),
		ListKey("scenarios", Optional, 1, 1000, "tests of all rules together", scenarioKey()))
}

func testKey() Key {
	return ObjectKey("", Required, "one test",
		TextKey("name", Required, 200, "a sentence that says what happens"),
		eventsKey(),
		ListKey("expect", Required, 0, 1000, "the entities that the rule must fire for, and no others; [] if it must not fire", ObjectKey("", Required, "one entity",
			TextKey("entity", Required, 1000, "key of the entity: the account, the address, …"),
			CountKey("weight", Required, 0, 100, "weight of the heaviest of its signals"),
			CountKey("signals", Optional, 1, maxSeries, "number of signals; default: any"))))
}

func eventsKey() Key {
	return ListKey("events", Required, 1, 1000, "what happens", ObjectKey("", Required, "one event, or a series of equal ones",
		DurationKey("at", Required, 0, maxTestSpan, "when, since the start of the test"),
		DurationKey("every", Optional, 0, maxTestSpan, "time between the events of the series"),
		DurationKey("delay", Optional, 0, maxTestSpan, "delay until each event arrives; default: none"),
		CountKey("repeat", Optional, 1, maxSeries, "number of events; default 1"),
		Key{name: "set", form: valuesForm, required: Required, doc: "the event's fields; in texts {n} stands for the number of the event in its series, from 1, {n%7} for that number modulo 7, and {{} for a literal brace before n}"}))
}

func kindNames() []string {
	var all []string
	for _, k := range facet.Kinds() {
		all = append(all, k.String())
	}
	return all
}

// memberNames lists the kinds of entities that can be members of a group.
func memberNames() []string {
	var all []string
	for _, k := range facet.Kinds() {
		if k <= facet.IP {
			all = append(all, k.String())
		}
	}
	return all
}

// Measurable lists the fields that are amounts: unbounded numbers that can be added
// and compared.
func Measurable() []string {
	var all []string
	for _, s := range event.Fields() {
		if s.Kind == event.KindInt && s.Min == 0 && s.Max > math.MaxUint32 {
			all = append(all, s.Name)
		}
	}
	return all
}

// Countable lists the fields whose values can be distinguished and counted.
func Countable() []string {
	var all []string
	for _, s := range event.Fields() {
		if s.Kind == event.KindText || s.Kind == event.KindAddress || s.Kind == event.KindInt {
			all = append(all, s.Name)
		}
	}
	return all
}
