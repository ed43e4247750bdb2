package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/population"
	"github.com/weirdev/weir/rules"
)

// attack describes a campaign of the demonstration.
type attack struct {
	kind     string        // of the population
	title    string        // for people
	detector string        // its rules should catch the campaign
	does     string        // what the attackers do
	starts   time.Duration // after the start of live traffic; negative: in the history
	sources  int
	rate     float64 // requests a second
}

// attacks lists the campaigns that are launched, one per detector. Signature mismatch
// begins in the history, because a device is only judged once other devices of its
// build have signed well in a later pane of the window.
func attacks() []attack {
	return []attack{
		{"signature_mismatch", "signature mismatch", "signature_mismatch", "a script pretends to be a phone of a known build, and its signatures do not verify", -19 * time.Minute, 1, 0.02},
		{"sequence_anomaly", "sequence anomaly", "sequence_anomaly", "a bot makes the calls of the app, but in another order", 2 * time.Second, 1, 3},
		{"impossible_travel", "impossible travel", "impossible_travel", "somebody far away reads the orders of an account while its owner uses the app", 6 * time.Second, 1, 1},
		{"credential_stuffing", "credential stuffing", "sliding_window", "leaked passwords are tried from a data centre", 10 * time.Second, 8, 32},
	}
}

// campaign is a running attack and its outcome.
type campaign struct {
	attack
	start  time.Time
	entity facet.Entity // the attacker that the gate stopped
	first  time.Time    // when the gate first stopped it; zero: not yet
	deny   time.Time    // when the gate first denied it
	answer answer       // the latest, about entity
	rule   string       // the one that caught it
	cause  *cause       // nil: not explained

	beside      facet.Entity // an innocent entity
	like        string       // what it has in common with the attacker
	besideSays  answer
	besideAsked bool

	frontStatus       int  // of nginx's answer to the attacker; 0: none
	frontStatusBeside int  // and to the innocent
	frontServes       bool // nginx serves the attacker, whom the gate stops
}

func (c *campaign) caught() bool { return !c.first.IsZero() }

// launch launches the attacks that which selects. Their starts are relative to begin.
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

// launchEarlier launches the attacks that begin in the history. If an earlier run has
// written it, they would have no events there, and could not be caught in time.
func (w *watch) launchEarlier(now time.Time, again bool) {
	earlier := func(a attack) bool { return a.starts < 0 }
	if !again {
		w.launch(now, earlier)
		return
	}
	for _, a := range attacks() {
		if earlier(a) {
			w.d.say("the history is that of an earlier run, so the attack that begins in it is not launched again: %s", a.title)
		}
	}
}

// stops reports whether a gateway that obeys the answer does not serve the request.
func (a answer) stops() bool {
	return a.Action == "challenge" || a.Action == "step_up" || a.Action == "deny"
}

// stopWeight is the weight from which a single signal makes the gate stop an entity.
const stopWeight = 60

// ruleOf returns the heaviest rule of a detector that looks at entities of a kind,
// among the reasons of an answer.
func (a answer) ruleOf(set *rules.Set, detector string, kind facet.Kind) (string, bool) {
	for _, why := range a.Reasons {
		if slices.ContainsFunc(set.Rules, detects(why.Rule, detector, kind)) {
			return why.Rule, true
		}
	}
	return "", false
}

// detects returns a test for a rule with an id, a detector and a kind of entity.
func detects(id, detector string, kind facet.Kind) func(*rules.Rule) bool {
	return func(r *rules.Rule) bool { return r.ID == id && r.Detector == detector && r.Entity == kind }
}

// look asks the gate about the attackers of a campaign.
func (w *watch) look(ctx context.Context, i int, c *campaign) {
	for _, e := range w.people.Campaigns()[i].Attackers {
		a, err := w.ask.decide(ctx, e)
		if err != nil {
			continue
		}
		rule, by := a.ruleOf(w.rules, c.detector, e.Kind)
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

// announce reports that a campaign was caught, and asks about an innocent entity.
func (w *watch) announce(ctx context.Context, i int, c *campaign) {
	w.d.say("    >> CAUGHT %s, %s after its start: %s", c.title, short(c.first.Sub(c.start)), c.does)
	w.d.say("       The gate says %s (score %d) about %s %s, by rule %s.", c.answer.Action, c.answer.Score, c.entity.Kind, c.entity.Key, c.rule)
	w.askBeside(ctx, i, c)
	if c.besideAsked {
		w.d.say("       It says %s (score %d) about %s %s, %s.", c.besideSays.Action, c.besideSays.Score, c.beside.Kind, c.beside.Key, c.like)
	}
	if w.passFront(ctx, c); c.frontStatus != 0 {
		w.d.say("       nginx answers %d %s to a request of the attacker%s.", c.frontStatus, http.StatusText(c.frontStatus), besideStatus(c))
	}
}

func besideStatus(c *campaign) string {
	if c.frontStatusBeside == 0 {
		return ""
	}
	return fmt.Sprintf(", and %d %s to one of the other", c.frontStatusBeside, http.StatusText(c.frontStatusBeside))
}

// passFront sends requests of the attacker and of the innocent beside it through
// nginx.
func (w *watch) passFront(ctx context.Context, c *campaign) {
	if w.front == nil || !c.caught() {
		return
	}
	now, err := w.ask.decide(ctx, c.entity) // a score decays
	if status, failed := w.front.status(ctx, c.entity); errors.Join(err, failed) == nil {
		c.frontStatus, c.frontServes = status, status == http.StatusOK && now.stops()
	}
	if !c.besideAsked {
		return
	}
	if status, err := w.front.status(ctx, c.beside); err == nil {
		c.frontStatusBeside = status
	}
}

// askBeside asks about an innocent entity that resembles the attacker.
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

// short formats a duration.
func short(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// enough is how long a campaign must run to be judged: twice the time to the slowest
// catch.
const enough = 25 * time.Second

// missed lists campaigns that were not caught in time, and innocents that were stopped.
func missed(all []*campaign, stopped time.Time) (complaints []string) {
	for _, c := range all {
		if !c.caught() && stopped.Sub(c.start) >= enough {
			complaints = append(complaints, fmt.Sprintf("%s was not caught within %s: no rule of the detector %s made the gate stop its attackers", c.title, short(time.Since(c.start)), c.detector))
		}
		if c.frontServes {
			complaints = append(complaints, fmt.Sprintf("nginx serves the attacker %s %s, whom the gate stops: %s", c.entity.Kind, c.entity.Key, c.answer.Action))
		}
		if c.besideAsked && c.frontStatusBeside != 0 && c.frontStatusBeside != http.StatusOK && !c.besideSays.stops() {
			complaints = append(complaints, fmt.Sprintf("nginx answers %d to the innocent %s %s, %s", c.frontStatusBeside, c.beside.Kind, c.beside.Key, c.like))
		}
		if c.besideAsked && c.besideSays.stops() {
			complaints = append(complaints, fmt.Sprintf("the innocent %s %s, %s, is stopped: %s, %s", c.beside.Kind, c.beside.Key, c.like, c.besideSays.Action, c.besideSays.why()))
		}
	}
	return complaints
}
