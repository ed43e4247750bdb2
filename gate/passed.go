package gate

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/facet"
)

// mostCategories is how many categories a passed challenge may lower.
const mostCategories = 8

func checkCategories(list []string) error {
	if len(list) == 0 || len(list) > mostCategories {
		return fmt.Errorf("%d categories; name 1 to %d", len(list), mostCategories)
	}
	for _, c := range list {
		if c == "" || len(c) > control.MaxText {
			return fmt.Errorf("%.40q is no category of a rule", c)
		}
	}
	return nil
}

// Passed says that a client passed what a decision asked for.
type Passed struct {
	DecisionID string        // of the decision that asked for it
	Challenge  policy.Action // Challenge or StepUp
	Gateway    string        // who verified it; "" if that is not said
	Entities   []facet.Entity
	Trace      emit.Trace
}

// ofOneClient are the kinds of entities whose score a passed challenge may lower. All
// others are shared: one client of an address must not speak for the rest.
var ofOneClient = []facet.Kind{facet.Account, facet.Session, facet.Token, facet.Device}

// ParsePassed reads the body of a passed challenge: one JSON object with decision_id,
// challenge (challenge or step_up), entities, and optionally tenant and gateway. It is
// read as strictly as a question. Entities that cannot be are errors here, because
// the gateway has verified them.
func ParsePassed(body []byte) (Passed, error) {
	var p Passed
	r, err := format.NewReader(body)
	if err != nil {
		return p, malformed(err)
	}
	var of string
	var given [facet.MaxKind]string
	err = eachMember(r, func(name string) (err error) {
		switch name {
		case "decision_id":
			p.DecisionID, err = text(r)
		case "challenge":
			p.Challenge, err = challenge(r)
		case "tenant":
			of, err = tenant(r)
		case "gateway":
			p.Gateway, err = text(r)
			p.Gateway, _, _ = event.Keep(event.Gateway, p.Gateway)
		case "entities":
			err = entities(r, &given)
		default:
			err = errors.New("unknown member")
		}
		return err
	})
	switch {
	case err != nil:
		return p, err
	case r.End() != nil:
		return p, errors.New("something follows the object")
	case p.Challenge == policy.Allow:
		return p, errors.New("\"challenge\" is missing")
	}
	if kept, whole, refused := event.Keep(event.Decision, p.DecisionID); kept == "" || !whole || refused != 0 {
		return p, fmt.Errorf("\"decision_id\": %.64q is no id of a decision", p.DecisionID)
	}
	return p, p.resolve(of, &given)
}

func challenge(r *format.Reader) (policy.Action, error) {
	s, err := text(r)
	if err != nil {
		return policy.Allow, err
	}
	for _, a := range []policy.Action{policy.Challenge, policy.StepUp} {
		if s == a.String() {
			return a, nil
		}
	}
	return policy.Allow, fmt.Errorf("%.32q is neither challenge nor step_up", s)
}

func (p *Passed) resolve(tenant string, given *[facet.MaxKind]string) error {
	for _, kind := range facet.Kinds() {
		name := given[kind]
		if name == "" {
			continue
		}
		if !slices.Contains(ofOneClient, kind) {
			return fmt.Errorf("\"entities\": %s: several clients may share it; name accounts, sessions, tokens and devices", kind)
		}
		e, _, ok := Resolve(kind, tenant, name)
		if !ok {
			return fmt.Errorf("\"entities\": %.64q is no %s", name, kind)
		}
		p.Entities = append(p.Entities, e)
	}
	if len(p.Entities) == 0 {
		return errors.New("\"entities\": name the account, session, token or device that passed")
	}
	return nil
}

// Pass writes that a challenge was passed, in the background. It returns how many
// records wait for Kafka, and false if there was no room for all. Then the call may be
// repeated: of the records about one decision, entity and category, the first counts.
func (g *Gate) Pass(p Passed) (taken int, ok bool) {
	categories := g.cfg.ChallengeLowers
	if p.Challenge == policy.StepUp {
		categories = g.cfg.StepUpLowers
	}
	now, ok := g.nowOr(time.Now()).UnixMilli(), true
	for _, e := range p.Entities {
		for _, c := range categories {
			if g.emitter.Control(p.record(e, c, now), p.Trace) {
				taken++
			} else {
				ok = false
			}
		}
	}
	return taken, ok
}

// record returns what is said about one entity and category.
func (p *Passed) record(e facet.Entity, category string, now int64) control.Record {
	who := "gate"
	if p.Gateway != "" {
		who += " of " + p.Gateway
	}
	return control.Record{
		Version: control.Version, ID: passedID(p, e, category), Action: facet.Passed.String(), Time: now, Tenant: e.Tenant, Kind: e.Kind.String(), Key: e.Key, Category: category, Origin: control.FromGate,
		Who: who, Reason: fmt.Sprintf("%s passed, asked for by decision %s", p.Challenge, p.DecisionID),
	}
}

// passedID is the id of a control record. It is the same for every gate that is told.
func passedID(p *Passed, e facet.Entity, category string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{p.DecisionID, p.Challenge.String(), e.Tenant, e.Kind.String(), e.Key, category}, "\x00")))
	return "g-" + hex.EncodeToString(sum[:20])
}

// servePassed takes a challenge that was passed.
func (g *Gate) servePassed(w http.ResponseWriter, r *http.Request) {
	if !g.emitter.Controls() {
		g.refuse(w, http.StatusNotFound, "controls-off", "This gate writes no control records", "set gate.controls: on, and let it write to the topic of controls")
		return
	}
	body, ok := g.readJSON(w, r)
	if !ok {
		return
	}
	p, err := ParsePassed(body)
	if err != nil {
		g.refuse(w, http.StatusBadRequest, "malformed-request", "The passed challenge was not understood", err.Error())
		return
	}
	p.Trace = traceOf(r)
	n, ok := g.Pass(p)
	if !ok {
		w.Header().Set("Retry-After", "1")
		g.refuse(w, http.StatusServiceUnavailable, "no-room", "Kafka takes too few records", "tell it once more: what is told twice counts once")
		return
	}
	send(w, http.StatusAccepted, map[string]int{"records": n})
}
