package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/app/query"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/printable"
)

// term is how long an action holds.
type term struct {
	Name, Title string
	lasts       time.Duration
}

func terms() []term {
	return []term{
		{"1h", "an hour", time.Hour}, {"4h", "4 hours", 4 * time.Hour}, {"24h", "a day", 24 * time.Hour},
		{"72h", "3 days", 72 * time.Hour}, {"168h", "a week", 7 * 24 * time.Hour}, {"720h", "30 days", 30 * 24 * time.Hour},
	}
}

func termOf(name string) (time.Duration, error) {
	for _, t := range terms() {
		if t.Name == name {
			return t.lasts, nil
		}
	}
	return 0, fmt.Errorf("for how long: %q is not one of the choices", name)
}

// put sets or clears an object, tells the visitor, and goes to a page. Gates log it,
// and so does the console.
func (v *visit) put(o switches.Object, lasts time.Duration, to, what string) {
	o.Owner, o.Reason = v.session.user.Name, strings.TrimSpace(v.r.PostFormValue("reason"))
	o.Set, o.Expires = v.now.UnixMilli(), v.now.Add(lasts).UnixMilli()
	added, err := switches.Added{}, o.Check()
	if err == nil {
		added, err = v.putNow(o)
	}
	v.s.acted(nameOf(o), err)
	if err != nil {
		v.s.log.Warn("console: an action failed", "user", v.session.user.Name, "id", o.ID(), "action", o.Action, "error", err)
		v.back(to, note{Bad: true, Title: "Nothing was changed", Text: err.Error()})
		return
	}
	v.s.log.Warn("console: a switch, block or release was set", "user", v.session.user.Name, "role", v.session.user.Role.String(), "id", o.ID(), "action", o.Action, "cleared", o.Cleared, "reason", o.Reason, "expires", time.UnixMilli(added.Expires).UTC())
	text := "Gates go by it within a second."
	if !o.Cleared {
		text += " It ends at " + moment(added.Expires) + "."
	}
	if added.Warning != "" {
		text += " But: " + added.Warning + "."
	}
	v.back(to, note{Title: what, Text: text})
}

// nameOf names what is done with an object, for metrics.
func nameOf(o switches.Object) string {
	switch {
	case o.Cleared:
		return "clear"
	case o.Scope != switches.Entity:
		return "switch"
	case o.Action == policy.Allow.String():
		return "release"
	}
	return "block"
}

func (v *visit) putNow(o switches.Object) (switches.Added, error) {
	if v.s.deps.Switches == nil {
		return switches.Added{}, errors.New("the console has no Redis")
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), queryTime)
	defer cancel()
	return v.s.deps.Switches.Put(ctx, o)
}

// isBroad reports whether entities of a kind stand for many people. A block of one may
// shut everybody out, and a release lets everybody in, as a kill switch does.
func isBroad(k facet.Kind) bool {
	switch k {
	case facet.Tenant, facet.Route, facet.Country, facet.ASN, facet.Build, facet.JA4:
		return true
	}
	return false
}

// mayTouch reports whether the visitor may set or end blocks and releases of a kind. If
// not, the page says so.
func (v *visit) mayTouch(k facet.Kind) bool {
	if isBroad(k) && v.session.user.Role < Admin {
		v.fail(http.StatusForbidden, "You may not do this", "A "+k.String()+" stands for many people at once: blocks and releases of it are an admin's.")
		return false
	}
	return true
}

// setEntity blocks or releases an entity.
func (s *Server) setEntity(v *visit) {
	form := v.r.PostForm
	e, err := entityOf(form)
	if err != nil {
		v.fail(http.StatusBadRequest, "There is no such entity", err.Error())
		return
	}
	if !v.mayTouch(e.Kind) {
		return
	}
	to := entityPage(v.span, e)
	lasts, err := termOf(form.Get("lasts"))
	if err == nil {
		_, err = policy.ParseAction(form.Get("action"))
	}
	if err != nil {
		v.back(to, note{Bad: true, Title: "Nothing was changed", Text: err.Error()})
		return
	}
	what := "Blocked: requests of " + e.Kind.String() + " " + e.Key + " get " + form.Get("action")
	if form.Get("action") == policy.Allow.String() {
		what = "Released: requests of " + e.Kind.String() + " " + e.Key + " are served, whatever the score"
	}
	v.put(switches.Object{Scope: switches.Entity, Kind: e.Kind.String(), Tenant: e.Tenant, Name: e.Key, Action: form.Get("action")}, lasts, to, what)
}

// setRule turns a rule off in the gates.
func (s *Server) setRule(v *visit) {
	id := v.r.PostFormValue("rule")
	to := link("/rule", v.span, "id", id)
	lasts, err := termOf(v.r.PostFormValue("lasts"))
	if err != nil {
		v.back(to, note{Bad: true, Title: "Nothing was changed", Text: err.Error()})
		return
	}
	v.put(switches.Object{Scope: switches.Rule, Name: id}, lasts, to, "Turned off: signals of "+id+" count for nothing")
}

// clearSwitch ends a switch, block or release.
func (s *Server) clearSwitch(v *visit) {
	form := v.r.PostForm
	o := switches.Object{Scope: switches.Scope(form.Get("scope")), Tenant: form.Get("tenant"), Kind: form.Get("kind"), Name: form.Get("name"), Cleared: true}
	if o.Scope == switches.Entity {
		o.Action = policy.Allow.String()
		if kind, _ := facet.ParseKind(o.Kind); !v.mayTouch(kind) {
			return
		}
	} else if v.session.user.Role < Admin {
		v.fail(http.StatusForbidden, "You may not do this", "Switches that concern more than one entity are ended by an admin.")
		return
	}
	v.put(o, switches.Longest, localPath(form.Get("to")), "Ended: "+o.ID())
}

type exceptView struct {
	Signal  part[signal]
	Rule    string
	When    string
	Reason  string
	Lasts   string
	Choices []narrowing
	YAML    string
	Problem string
}

// narrowing is a field of the event that the exception may ask for, too.
type narrowing struct {
	Field, Value string
	On           bool
}

// narrowed lists the fields that an exception is commonly limited to.
func narrowed() []event.Field {
	return []event.Field{event.Route, event.Method, event.AppVersion, event.DeviceModel, event.UserAgent, event.Account, event.ClientIP, event.Net, event.ASN, event.Country, event.Gateway}
}

// except proposes an exception of a rule for what made it fire. It changes nothing.
func (s *Server) except(v *visit) {
	q := v.r.URL.Query()
	page := exceptView{Rule: q.Get("rule"), Reason: printable.Text(strings.TrimSpace(q.Get("reason"))), Lasts: q.Get("lasts")}
	if page.Lasts == "" {
		page.Lasts = "720h"
	}
	var row []query.Column
	p := v.parts()
	get(p, inClickHouse, &page.Signal, func(ctx context.Context) (signal, error) {
		one, err := s.signalOf(ctx, q)
		if err != nil {
			return one, err
		}
		rows, err := s.columns(ctx, "SELECT * FROM v_events WHERE "+atPlace+" LIMIT 1", one.Event().args()...)
		if len(rows) > 0 {
			row = rows[0]
		}
		return one, err
	})
	p.wait()
	if page.Signal.Lack != nil {
		v.show("except", "Propose an exception", "", page)
		return
	}
	one := page.Signal.V
	conditions := []string{}
	if c := conditionOn(one); c != "" {
		conditions = append(conditions, c)
	}
	for _, f := range narrowed() {
		value := column(row, f.String())
		if value == "" || len(conditions) > 0 && strings.HasPrefix(conditions[0], f.String()+" ") {
			continue
		}
		n := narrowing{Field: f.String(), Value: value, On: q.Get("with_"+f.String()) != ""}
		page.Choices = append(page.Choices, n)
		if n.On {
			conditions = append(conditions, f.String()+" == "+literal(f, value))
		}
	}
	page.When = strings.Join(conditions, " && ")
	lasts, err := termOf(page.Lasts)
	switch {
	case err != nil:
		page.Problem = err.Error()
	case page.When == "":
		page.Problem = "Choose what the exception is about, or it would be about everybody."
	default:
		page.YAML, err = exceptionYAML(page.When, v.session.user.Name, page.Reason, v.now.Add(lasts))
		if err != nil {
			page.Problem = err.Error()
		}
	}
	v.show("except", "Propose an exception", "", page)
}

// conditionOn is the condition that an event is about the entity of a signal.
func conditionOn(s signal) string {
	kind, ok := facet.ParseKind(s.Kind)
	if !ok || kind == facet.Net16 {
		return ""
	}
	f := facet.Names(kind)[0]
	return f.String() + " == " + literal(f, s.Key)
}

// literal writes a value as conditions do.
func literal(f event.Field, value string) string {
	if f.Numeric() {
		return value
	}
	return strconv.Quote(value)
}

// exceptionYAML writes an exception as it stands in a file of rules.
func exceptionYAML(when, owner, reason string, expires time.Time) (string, error) {
	if reason == "" {
		reason = "say why"
	}
	type exception struct {
		When    string `yaml:"when"`
		Owner   string `yaml:"owner"`
		Reason  string `yaml:"reason"`
		Expires string `yaml:"expires"`
	}
	text, err := yaml.Dump(map[string][]exception{"exceptions": {{when, owner, reason, expires.UTC().Format(time.DateOnly)}}})
	if err != nil {
		return "", fmt.Errorf("write the exception: %w", err)
	}
	lines := strings.SplitAfter(strings.TrimRight(string(text), "\n"), "\n")
	return "    " + strings.Join(lines, "    ") + "\n", nil
}

// Query returns the parameters of the signal that the exception is about.
func (x exceptView) Query() url.Values { return x.Signal.V.query() }

// Terms lists how long it may hold.
func (x exceptView) Terms() []term { return terms() }
