package demo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/population"
	"github.com/weirdev/weir/rules"
)

// attack is a campaign of the demonstration.
type attack struct {
	kind     string        // of the population
	title    string        // for people
	detector string        // whose rules are to catch it
	does     string        // what attackers do
	starts   time.Duration // after the traffic of the demonstration has begun; negative: in the history
	sources  int
	rate     float64 // requests a second
}

// attacks are what is launched, one for each of the ways in which rules look.
//
// A device whose signatures fail is judged when others of its build have signed well
// in a later minute, so that campaign begins in the history.
func attacks() []attack {
	return []attack{
		{"signature_mismatch", "signature mismatch", "signature_mismatch", "a script sends requests as a phone of a known build, with signatures that do not verify", -75 * time.Second, 1, 0.25},
		{"sequence_anomaly", "sequence anomaly", "sequence_anomaly", "a bot calls what the app calls, in an order in which the app does not", 2 * time.Second, 1, 3},
		{"impossible_travel", "impossible travel", "impossible_travel", "somebody far away reads the orders of an account whose owner uses the app", 6 * time.Second, 1, 1},
		{"credential_stuffing", "credential stuffing", "sliding_window", "leaked passwords are tried from a data centre", 10 * time.Second, 8, 32},
	}
}

// campaign is an attack under way, and what became of it.
type campaign struct {
	attack
	start  time.Time
	entity facet.Entity // that the gate stopped
	first  time.Time    // when the gate stopped it first; zero: it has not
	deny   time.Time    // when it was denied first
	answer answer       // the last one, about entity
	rule   string       // that caught it
	cause  *cause       // nil: not explained

	beside      facet.Entity // somebody innocent
	like        string       // what the two have in common
	besideSays  answer
	besideAsked bool
}

func (c *campaign) caught() bool { return !c.first.IsZero() }

// launch launches those attacks that which picks, at a moment from which their starts
// are counted.
func (w *watch) launch(begin time.Time, which func(attack) bool) {
	for _, a := range attacks() {
		if !which(a) {
			continue
		}
		start := begin.Add(a.starts)
		w.people.Launch(population.Campaign{Kind: a.kind, Start: start.UnixMilli(), Duration: time.Hour, Addresses: a.sources, Rate: a.rate})
		w.campaigns = append(w.campaigns, &campaign{attack: a, start: start})
	}
}

// stops reports whether a gateway that heeds the answer holds the request back.
func (a answer) stops() bool {
	return a.Action == "challenge" || a.Action == "step_up" || a.Action == "deny"
}

// stopWeight is a weight with which the gate stops somebody by itself.
const stopWeight = 60

// ruleOf is the heaviest rule of a detector among the reasons of an answer.
func (a answer) ruleOf(set *rules.Set, detector string) (string, bool) {
	for _, why := range a.Reasons {
		if slices.ContainsFunc(set.Rules, detects(why.Rule, detector)) {
			return why.Rule, true
		}
	}
	return "", false
}

// detects reports whether a rule has an id and a detector.
func detects(id, detector string) func(*rules.Rule) bool {
	return func(r *rules.Rule) bool { return r.ID == id && r.Detector == detector }
}

// look asks about the attackers of a campaign that is not denied yet.
func (w *watch) look(ctx context.Context, i int, c *campaign) {
	for _, e := range w.people.Campaigns()[i].Attackers {
		a, err := w.ask.decide(ctx, e)
		if err != nil {
			continue
		}
		rule, by := a.ruleOf(w.rules, c.detector)
		if !by || !a.stops() || c.caught() && e != c.entity {
			continue
		}
		if !c.caught() {
			c.first, c.entity, c.rule = time.Now(), e, rule
			c.answer = a
			w.announce(ctx, i, c)
		}
		if c.answer = a; a.Action == "deny" && c.deny.IsZero() {
			c.deny = time.Now()
		}
	}
}

// announce says that a campaign was caught, and asks about somebody innocent.
func (w *watch) announce(ctx context.Context, i int, c *campaign) {
	w.d.say("    >> CAUGHT %s, %s after its start: %s", c.title, short(c.first.Sub(c.start)), c.does)
	w.d.say("       The gate says %s (score %d) about %s %s, by rule %s.", c.answer.Action, c.answer.Score, c.entity.Kind, c.entity.Key, c.rule)
	w.askBeside(ctx, i, c)
	if c.besideAsked {
		w.d.say("       It says %s (score %d) about %s %s, %s.", c.besideSays.Action, c.besideSays.Score, c.beside.Kind, c.beside.Key, c.like)
	}
}

// askBeside asks about somebody innocent who is like the attacker.
func (w *watch) askBeside(ctx context.Context, i int, c *campaign) {
	if !c.besideAsked {
		var ok bool
		if c.beside, c.like, ok = w.people.Beside(i); !ok {
			return
		}
	}
	if a, err := w.ask.decide(ctx, c.beside); err == nil {
		c.besideSays, c.besideAsked = a, true
	}
}

// short is a duration as people read it.
func short(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// enough is how long a campaign must have run to be judged: those that are caught last
// take half of it.
const enough = 25 * time.Second

// missed complains of campaigns that nobody caught although there was time.
func missed(all []*campaign, stopped time.Time) (complaints []string) {
	for _, c := range all {
		if !c.caught() && stopped.Sub(c.start) >= enough {
			complaints = append(complaints, fmt.Sprintf("%s was not caught within %s: no rule of the detector %s had the gate stop its attackers", c.title, short(time.Since(c.start)), c.detector))
		}
		if c.besideAsked && c.besideSays.stops() {
			complaints = append(complaints, fmt.Sprintf("the innocent %s %s, %s, is not served: %s, %s", c.beside.Kind, c.beside.Key, c.like, c.besideSays.Action, c.besideSays.why()))
		}
	}
	return complaints
}
