package oracle

import (
	"math/big"
	"slices"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// visit is the state of one rule for the calls of one entity in a session, as
// described in docs/detectors/volume_anomaly.md.
type visit struct {
	rule *detectors.VolumeAnomaly

	open        bool
	begin, last int64
	cohort      cohortName
	calls       map[string]int64
	reached     bool // a tier was reached in this session

	fired  bool
	weight uint8
	lastAt int64
}

// crowd holds the sessions of a cohort: for each operation, how many sessions called
// it how often. Numbers of calls are rounded up to an edge.
type crowd struct {
	sessions map[string]map[int64]int64
}

// edges returns the upper bounds of the buckets of calls.
func edges() (all []int64) {
	all = []int64{1, 2, 3}
	for step := int64(1); len(all) < 48; step *= 2 {
		for range 4 {
			all = append(all, all[len(all)-1]+step)
		}
	}
	return all[:48]
}

func (c *crowd) learn(operation string, calls int64) {
	of, known := c.sessions[operation]
	if !known {
		return
	}
	e := edges()
	for _, edge := range e {
		if calls <= edge || edge == e[len(e)-1] {
			of[edge]++
			break
		}
	}
	if total(of) >= 20_000 {
		for edge := range of {
			of[edge] /= 2
		}
	}
}

func total(of map[int64]int64) (n int64) {
	for _, v := range of {
		n += v
	}
	return n
}

// limit returns the bound of the quantile; 0 if it is unknown.
func (c *crowd) limit(operation string, percent int64) int64 {
	of := c.sessions[operation]
	n := total(of)
	// ⌈(n·q + √(2.706·n·q·(100−q))) / 100⌉, the root rounded up.
	spread := n * percent * (100 - percent) * 2706 / 1000
	root := new(big.Int).Sqrt(big.NewInt(spread)).Int64()
	if root*root < spread {
		root++
	}
	rank := (n*percent + root) / 100
	if (n*percent+root)%100 > 0 {
		rank++
	}
	for _, edge := range edges() {
		if rank -= of[edge]; rank <= 0 {
			return edge
		}
	}
	return 0
}

func (v *visit) change(s rules.Spec) { v.rule = s.(*detectors.VolumeAnomaly) }

func (v *visit) arrive(a arrival) (*firing, bool) {
	if !a.event.Has(event.Route) {
		return nil, false
	}
	var c *cohort
	for _, f := range slices.Backward(v.rule.By) {
		if of := a.cohort(f); of != nil {
			c = of
		}
	}
	if c == nil {
		return nil, false
	}
	if c.memory == nil {
		c.memory = &crowd{sessions: map[string]map[int64]int64{}}
	}
	others := c.memory.(*crowd)
	gap := v.rule.Gap.Milliseconds()
	if v.open && v.cohort != c.name {
		v.end(nil)
	}
	if v.open && a.time > v.last+gap {
		v.end(others)
	}
	if v.open && a.time < v.begin-gap {
		return nil, false
	}
	if !v.open {
		v.open, v.begin, v.last, v.cohort, v.calls = true, a.time, a.time, c.name, map[string]int64{}
	}
	v.begin, v.last = min(v.begin, a.time), max(v.last, a.time)
	*a.timer = v.last + gap
	operation := a.event.Text(event.Method) + " " + a.event.Text(event.Route)
	if _, known := others.sessions[operation]; !known && len(others.sessions) < 46 {
		others.sessions[operation] = map[int64]int64{}
	}
	if _, known := v.calls[operation]; !known && len(v.calls) == 24 {
		return nil, true
	}
	v.calls[operation]++
	return v.judge(others, operation, a.time), true
}

func (v *visit) due(a arrival) *firing {
	if !v.open {
		return nil
	}
	c := a.recall(v.cohort)
	if c == nil || c.memory == nil {
		v.end(nil)
		return nil
	}
	v.end(c.memory.(*crowd))
	return nil
}

// end closes the session, and adds it to others.
func (v *visit) end(others *crowd) {
	if others != nil && !v.reached {
		for operation, calls := range v.calls {
			others.learn(operation, calls)
		}
	}
	v.open, v.reached = false, false
}

func (v *visit) judge(others *crowd, operation string, now int64) *firing {
	n := total(others.sessions[operation])
	limit := others.limit(operation, int64(v.rule.Quantile))
	if n < int64(v.rule.Learn) || limit == 0 {
		return nil
	}
	calls := v.calls[operation]
	for i, t := range slices.Backward(v.rule.Tiers) {
		if calls < int64(t.Least) || 100*calls < int64(t.Percent)*limit {
			continue
		}
		v.reached = true
		if v.fired && t.Weight <= v.weight && now < v.lastAt+v.rule.Cooldown.Milliseconds() {
			return nil
		}
		v.fired, v.weight, v.lastAt = true, t.Weight, now
		return &firing{tier: i, weight: t.Weight, evidence: []facet.Evidence{
			facet.Text("operation", operation), facet.Number("calls", calls), facet.Number("limit", limit), facet.Number("sessions", n),
			facet.Number("first_ms", v.begin), facet.Number("last_ms", v.last),
		}}
	}
	return nil
}
