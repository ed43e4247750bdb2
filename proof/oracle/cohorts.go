package oracle

import (
	"slices"
	"strconv"
	"strings"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// cohortName identifies the entities that share a value of a field.
type cohortName struct {
	by            event.Field
	tenant, value string
}

// group is the state of a cohort, kept until the watermark reaches a moment.
type group struct {
	until int64
	of    map[string]*cohort // by rule
}

// cohort is the state of one rule for a cohort.
type cohort struct {
	memory   any // of the model; nil at first
	said     uint8
	saidAt   int64
	anything bool // whether anything was said
	opinions []opinion

	o    *Oracle
	rule *rules.Rule
	name cohortName
	now  int64 // time of the event
}

// opinion is the verdict of one facet partition.
type opinion struct {
	from  int32
	level uint8
	until int64
}

// groupOf returns the state of a cohort in use. It is kept until no event before a
// moment is on time.
func (o *Oracle) groupOf(name cohortName, until int64) *group {
	g := o.cohorts[name]
	if g == nil || g.until <= o.watermark {
		g = &group{of: map[string]*cohort{}, until: until + o.lateness}
		o.cohorts[name] = g
	}
	g.until = max(g.until, until+o.lateness)
	return g
}

func (g *group) rule(r *rules.Rule) *cohort {
	if g.of[r.ID] == nil {
		g.of[r.ID] = &cohort{}
	}
	return g.of[r.ID]
}

// cohortsOf returns the lookup of cohorts for the current facet.
func (o *Oracle) cohortsOf(c counter, r *rules.Rule) func(event.Field) *cohort {
	e, now := &o.facet.Fields, o.facet.Time
	return func(by event.Field) *cohort {
		value := strings.Clone(e.Text(by))
		if by == event.ASN {
			value = strconv.FormatInt(e.Num(by), 10)
		}
		if value == "" || by == event.ASN && value == "0" {
			return nil
		}
		name := cohortName{by, c.entity.Tenant, value}
		h := o.groupOf(name, now+r.Spec.Keeps().Cohort.Reach.Milliseconds()).rule(r)
		h.o, h.rule, h.name, h.now = o, r, name, now
		return h
	}
}

// recaller returns the lookup of cohorts by name, without an event of theirs.
func (o *Oracle) recaller(r *rules.Rule) func(cohortName) *cohort {
	return func(name cohortName) *cohort {
		g := o.cohorts[name]
		if g == nil || g.until <= o.watermark || g.of[r.ID] == nil {
			return nil
		}
		h := g.of[r.ID]
		h.o = o
		return h
	}
}

// say sends a verdict to all partitions if it changes, or if half of the time for
// which it is remembered has passed. Two verdicts keep a minimum interval.
func (h *cohort) say(level uint8) {
	k := h.rule.Spec.Keeps().Cohort
	since := h.now - h.saidAt
	changed := level != h.said
	due := level > 0 && since >= k.Reach.Milliseconds()/2
	soon := h.anything && since < k.Verdicts.Milliseconds()
	if !h.anything && level == 0 || h.anything && !changed && !due || soon {
		return
	}
	h.said, h.saidAt, h.anything = level, h.now, true
	h.o.verdicts = append(h.o.verdicts, facet.Verdict{
		Slot: h.rule.Slot, Level: level, By: h.name.by, Time: h.now, Tenant: h.name.tenant, Value: h.name.value,
	})
	h.o.loopback.Said += int64(h.o.partitions)
}

// thinking returns how many partitions have at least this level.
func (h *cohort) thinking(level uint8) (n int) {
	for _, p := range h.opinions {
		if p.level >= level && p.until > h.o.watermark {
			n++
		}
	}
	return n
}

// hearVerdicts reads a partition's verdicts on cohorts.
func (o *Oracle) hearVerdicts(frame []byte, from int32, known bool) {
	var r facet.LoopbackReader
	if r.Reset(frame) != nil || known {
		return
	}
	for {
		var v facet.Verdict
		if ok, err := r.Verdict(&v); err != nil || !ok {
			return
		}
		o.loopback.Noted++
		i := slices.IndexFunc(o.set.Rules, func(r *rules.Rule) bool { return r.Slot == v.Slot })
		if i < 0 || o.set.Rules[i].Spec.Keeps().Cohort.Verdicts == 0 {
			continue
		}
		rule, name := o.set.Rules[i], cohortName{v.By, strings.Clone(v.Tenant), strings.Clone(v.Value)}
		until := v.Time + rule.Spec.Keeps().Cohort.Reach.Milliseconds()
		over := v.Level == 0 || until <= o.watermark
		if g := o.cohorts[name]; over && (g == nil || g.until <= o.watermark) {
			continue
		}
		if over {
			until = o.cohorts[name].until - o.lateness
		}
		h := o.groupOf(name, until).rule(rule)
		h.opinions = slices.DeleteFunc(h.opinions, func(p opinion) bool { return p.from == from || p.until <= o.watermark })
		if !over && len(h.opinions) < 64 {
			h.opinions = append(h.opinions, opinion{from, v.Level, until})
		}
	}
}

// changeCohorts continues under other rules.
func (o *Oracle) changeCohorts(was, set *rules.Set) {
	for _, g := range o.cohorts {
		for id := range g.of {
			if before, now := was.Rule(id), set.Rule(id); now == nil || now.Slot != before.Slot {
				delete(g.of, id)
			}
		}
	}
}
