// Package canary attacks a stream on purpose, on a tenant of its own, and tells
// whether the attack was found. It shows that everything between a gateway's record
// and a signal works, for each detector.
package canary

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/app/dryrun"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Attack is the test of a rule that is played to a detector.
type Attack struct {
	Detector string
	Rule     string
	Name     string        // of the test
	Span     time.Duration // from the first event to the last
	Events   int
	Why      string // why it cannot be played; "": it can

	test   *rules.Test
	places map[place]netip.Addr // where the test says that events come from
}

// place is where a test puts an event; ingest finds it by the address.
type place struct{ latitude, longitude int64 }

// Options choose attacks.
type Options struct {
	Rules   *rules.Set
	Ingest  ingest.Config
	Places  ingest.Places // nil: nothing is known of addresses
	Detect  engine.Config
	Longest time.Duration // of an attack
	From    []netip.Addr  // addresses far from one another, for attacks that need places
}

// Choose returns one attack for each detector that a live rule uses, in order of
// detectors: the shortest that works, by a dry run with the same settings. Where
// there is none, Why says so.
func Choose(o Options) ([]Attack, error) {
	byDetector := map[string][]Attack{}
	for _, r := range o.Rules.Rules {
		byDetector[r.Detector] = append(byDetector[r.Detector], candidates(r)...)
	}
	var all []Attack
	for name, list := range byDetector {
		slices.SortStableFunc(list, func(a, b Attack) int {
			return cmp.Or(cmp.Compare(a.cost(), b.cost()), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Name, b.Name))
		})
		one, err := first(o, name, list)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Attack) int { return cmp.Compare(a.Detector, b.Detector) })
	return all, nil
}

// cost weighs the time of an attack against its events.
func (a *Attack) cost() int64 { return int64(a.Span/time.Second) + int64(a.Events) }

// candidates lists the tests of a rule that expect something of it.
func candidates(r *rules.Rule) (all []Attack) {
	for i := range r.Tests {
		t := &r.Tests[i]
		events := t.Expand()
		if len(t.Expect) == 0 || len(events) == 0 || slices.ContainsFunc(events, func(e rules.TestEvent) bool { return e.Event.Has(event.Tenant) }) {
			continue
		}
		all = append(all, Attack{Detector: r.Detector, Rule: r.ID, Name: t.Name, Span: last(events), Events: len(events), test: t})
	}
	return all
}

// last returns when the last event is.
func last(events []rules.TestEvent) (at time.Duration) {
	for _, e := range events {
		at = max(at, e.At)
	}
	return at
}

// first returns the first attack that works.
func first(o Options, detector string, list []Attack) (Attack, error) {
	a := Attack{Detector: detector, Why: "no rule of the detector has a test that expects a signal"}
	for _, one := range list {
		if one.Span > o.Longest {
			if a.test == nil {
				a.Why = fmt.Sprintf("the shortest attack, of %s, takes %v; -longest %v allows it", one.Rule, one.Span, one.Span)
			}
			break
		}
		works, err := one.try(o)
		if err != nil {
			return a, err
		}
		if works {
			return one, nil
		}
		a.test = one.test
		a.Why = "no attack of at most " + o.Longest.String() + " is found with these settings; its tests may need geographic databases, other routes or other trusted proxies"
	}
	a.test = nil
	return a, nil
}

// try plays the attack to a dry run.
func (a *Attack) try(o Options) (bool, error) {
	a.settle(o.From)
	options := dryrun.Options{Rules: o.Rules, Ingest: o.Ingest, Places: o.Places, Detect: o.Detect}
	run, err := dryrun.New(options)
	if err != nil {
		return false, err
	}
	p := a.play("dry", time.UnixMilli(rules.TestStart))
	for _, r := range p.records {
		_, _, refusal, err := run.Record(r.value)
		if err != nil {
			return false, err
		}
		if refusal != nil {
			return false, nil
		}
	}
	for i := range run.Signals {
		p.see(&run.Signals[i])
	}
	return len(p.missing) == 0, nil
}

// settle gives each place of the test an address.
func (a *Attack) settle(from []netip.Addr) {
	a.places = map[place]netip.Addr{}
	for _, e := range a.test.Expand() {
		at := place{e.Event.Num(event.Latitude), e.Event.Num(event.Longitude)}
		if _, known := a.places[at]; !known && e.Event.Has(event.Latitude) && len(a.places) < len(from) {
			a.places[at] = from[len(a.places)]
		}
	}
}

// play is one attack under way.
type play struct {
	attack  *Attack
	tenant  string
	records []record
	missing map[wanted]bool // what was not found yet
}

type record struct {
	at    time.Time
	key   []byte
	value []byte
}

// wanted is a signal that must come.
type wanted struct {
	kind facet.Kind
	key  string
}

// play makes the records of an attack that begins at start. Each run has a tenant of
// its own, so that nothing of an earlier run is left.
func (a *Attack) play(run string, start time.Time) *play {
	p := &play{attack: a, tenant: event.CanaryTenant + "-" + run, missing: map[wanted]bool{}}
	shift := start.UnixMilli() - rules.TestStart
	for i, e := range a.test.Expand() {
		a.amend(e.Event, shift)
		e.Event.SetText(event.Tenant, p.tenant)
		if !e.Event.Has(event.ID) {
			e.Event.SetText(event.ID, fmt.Sprintf("%s-%d", p.tenant, i+1))
		}
		p.records = append(p.records, record{start.Add(e.At), []byte(e.Event.Text(event.ID)), e.Event.AppendJSON(nil)})
	}
	for _, x := range a.test.Expect {
		p.missing[wanted{x.Kind, x.Key}] = true
	}
	return p
}

// amend turns the event of a test into one that a gateway may write at another time.
func (a *Attack) amend(e *event.Event, shift int64) {
	for _, s := range event.Fields() {
		if s.Kind == event.KindTime && !s.Derived && e.Has(s.Field) {
			e.SetNum(s.Field, e.Num(s.Field)+shift)
		}
	}
	if e.Has(event.ClientIP) && !e.Has(event.IP) {
		e.SetText(event.IP, e.Text(event.ClientIP))
	}
	if from, ok := a.places[place{e.Num(event.Latitude), e.Num(event.Longitude)}]; ok && e.Has(event.Latitude) {
		e.SetText(event.IP, from.String())
	}
}

// see takes a signal. It reports whether the last one that was missing came.
func (p *play) see(s *score.Signal) bool {
	if s.Entity.Tenant != p.tenant || s.Rule != p.attack.Rule || s.Lowers || len(p.missing) == 0 {
		return false
	}
	delete(p.missing, wanted{s.Entity.Kind, s.Entity.Key})
	return len(p.missing) == 0
}

// ParseAddresses reads addresses.
func ParseAddresses(texts []string) (all []netip.Addr, err error) {
	var errs []error
	for _, t := range texts {
		a, err := netip.ParseAddr(strings.TrimSpace(t))
		errs = append(errs, err)
		all = append(all, a)
	}
	return all, errors.Join(errs...)
}
