package rules

import (
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

const (
	second = int64(time.Second / time.Millisecond)
	day    = 24 * 60 * 60 * second

	maxWindow   = 31 * day
	maxHalfLife = 30 * day
	maxTestSpan = 62 * day // of a test, from its first event to its last
	maxSeries   = 20_000   // events of a test
	maxEvents   = 200_000  // events of all tests of a file
	maxTierAt   = 1000     // events or values that a tier waits for: so many are counted exactly
)

// Categories lists what a signal may be about.
func Categories() []string {
	return []string{"account_takeover", "bot", "scraping", "enumeration", "fraud", "tampering"}
}

const idPattern = `^[a-z0-9][a-z0-9-]{0,63}$`

// grammar is everything that may stand in a rule file.
func grammar() key {
	return object("", required, "A file of Weir rules",
		list("rules", required, 1, maxRules, "the rules of this file", ruleKey()))
}

func ruleKey() key {
	prose := func(name, doc string) key {
		return list(name, optional, 0, 100, doc, text("", required, 2000, "one of them"))
	}
	return object("", required, "one rule",
		named("id", idPattern, "names the rule in signals, scores and metrics; another id is another rule, with windows of its own"),
		text("title", required, 120, "what has happened when the rule fires, in a few words"),
		text("description", optional, 4000, "what the rule looks for, and why"),
		choice("entity", required, kindNames(), "whom the rule counts for, and whom its signals are about"),
		conditional("when", required, "which events the detector sees"),
		slidingWindowKey(),
		object("members", optional, "the entity is a group: when the rule fires, those whom its counted events named get a signal too",
			choice("entity", required, memberNames(), "who the members are; of those that the window's counted events named, the 32 that came last, each once"),
			count("weight", required, 1, 100, "how sure a member's signal is, in percent")),
		signalKey(),
		choice("phase", required, phaseNames[:], "observe: reported, never acts; soft: acts up to asking for more proof; enforce: acts fully"),
		prose("references", "addresses of what explains the abuse"),
		prose("false_positives", "innocent behaviour that may look like this"),
		text("owner", optional, 200, "who answers for the rule"),
		list("tests", optional, 0, 200, "what must make the rule fire, and what must not", testKey()),
	)
}

func slidingWindowKey() key {
	return object("sliding_window", required, "the detector: counts the entity's events inside a window of event time that ends at the latest one",
		duration("window", required, second, maxWindow, "length of the window"),
		conditional("count", optional, "which of the events that match when are counted; all of them where it is absent"),
		choice("distinct", optional, distinctNames(), "count the distinct values of this field, not events; events that lack it are not counted"),
		count("min_share", optional, 1, 100, "percent of the matching events inside the window that must be counted ones; needs count"),
		duration("cooldown", optional, second, maxWindow, "time until the same tier may fire again for the entity; the window's length where it is absent"),
		list("tiers", required, 1, 8, "the steps of the answer, from the mildest", object("", required, "one step",
			count("at", required, 1, maxTierAt, "fires when so many are counted inside the window"),
			count("weight", required, 1, 100, "how sure the signal is, in percent"))))
}

func signalKey() key {
	return object("signal", required, "what is said when the rule fires",
		choice("category", required, Categories(), "what kind of abuse it is"),
		named("reason", `^[a-z0-9_]{1,64}$`, "reason code, as gateways and support see it"),
		duration("half_life", required, second, maxHalfLife, "time in which the signal's weight halves; whole seconds"))
}

// testsGrammar is everything that may stand in a file of tests.
func testsGrammar() key {
	of := testKey()
	of.members = append([]key{named("rule", idPattern, "id of the rule that is tested")}, of.members...)
	return object("", required, "A file of tests of Weir rules",
		list("tests", required, 1, 1000, "the tests of this file", of))
}

func testKey() key {
	return object("", required, "one test",
		text("name", required, 200, "a sentence that says what happens"),
		list("events", required, 1, 1000, "what happens", object("", required, "one event, or a series of equal ones",
			duration("at", required, 0, maxTestSpan, "when, since the start of the test"),
			duration("every", optional, 0, maxTestSpan, "time between the events of the series"),
			count("repeat", optional, 1, maxSeries, "how many events; 1 where it is absent"),
			key{name: "set", form: valuesForm, required: required, doc: "the event's fields; in texts {n} stands for the number of the event in its series, from 1, {n%7} for its rest by 7, and {{} for a bracket where {n} itself is meant"})),
		list("expect", required, 0, 1000, "the entities that the rule must fire for, and no others; [] where it must not fire", object("", required, "one entity",
			text("entity", required, 1000, "key of the entity: the account, the address, …"),
			count("weight", required, 1, 100, "weight of the heaviest of its signals"),
			count("signals", optional, 1, maxSeries, "how many signals; any number where it is absent"))))
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

// distinctNames lists the fields whose values can be counted.
func distinctNames() []string {
	var all []string
	for _, s := range event.Fields() {
		if s.Kind == event.KindText || s.Kind == event.KindAddress || s.Kind == event.KindInt {
			all = append(all, s.Name)
		}
	}
	return all
}
