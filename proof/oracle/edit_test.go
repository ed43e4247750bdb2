package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/internal/facet"
)

// ruleText is a rule as written in a file.
type ruleText struct {
	id, entity, when   string
	window             int64 // ms
	count, distinct    string
	share              int64
	cooldown, halfLife int64 // ms, s
	tiers              []detectors.Tier
	members            string
	memberWeight       int
	memberWithin       int64 // ms; 0: not given
	memberCancel       string
	category, phase    string
	except             string
	exceptUntil        int64 // Unix ms

	measure string // the measure as written in the file: "sum: response_bytes"
	gap     bool   // the window is the gap between sessions
	by      string
	values  int64
	cancel  string
	lowers  bool
	asks    string
}

func (r *ruleText) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  - id: %s\n    title: A rule\n    entity: %s\n    when: %s\n", r.id, r.entity, r.when)
	span := "window"
	if r.gap {
		span = "session_gap"
	}
	fmt.Fprintf(&b, "    sliding_window:\n      %s: %dms\n", span, r.window)
	if r.measure != "" {
		fmt.Fprintf(&b, "      %s\n", r.measure)
	}
	if r.by != "" {
		fmt.Fprintf(&b, "      by: [%s]\n      values: %d\n", r.by, r.values)
	}
	if r.cancel != "" {
		fmt.Fprintf(&b, "      cancel: %s\n", r.cancel)
	}
	if r.count != "" {
		fmt.Fprintf(&b, "      count: %s\n", r.count)
	}
	if r.share > 0 {
		fmt.Fprintf(&b, "      min_share: %d\n", r.share)
	}
	if r.distinct != "" {
		fmt.Fprintf(&b, "      distinct: %s\n", r.distinct)
	}
	if r.cooldown > 0 {
		fmt.Fprintf(&b, "      cooldown: %dms\n", r.cooldown)
	}
	b.WriteString("      tiers:\n")
	for _, t := range r.tiers {
		fmt.Fprintf(&b, "        - {at: %d, weight: %d}\n", t.At, t.Weight)
	}
	if r.members != "" {
		within := ""
		if r.memberWithin > 0 {
			within = fmt.Sprintf(", within: %dms", r.memberWithin)
		}
		if r.memberCancel != "" {
			within += fmt.Sprintf(", cancel: '%s'", r.memberCancel)
		}
		fmt.Fprintf(&b, "    members: {entity: %s, weight: %d%s}\n", r.members, r.memberWeight, within)
	}
	if r.except != "" {
		fmt.Fprintf(&b, "    exceptions: [{when: %s, owner: o, reason: r, expires: %s}]\n", r.except, time.UnixMilli(r.exceptUntil).UTC().Format(time.RFC3339Nano))
	}
	fmt.Fprintf(&b, "    signal: {category: %s, reason: r, half_life: %ds", r.category, r.halfLife)
	if r.lowers {
		b.WriteString(", effect: lowers")
	}
	if r.asks != "" {
		fmt.Fprintf(&b, ", asks: [%s]", r.asks)
	}
	fmt.Fprintf(&b, "}\n    phase: %s\n", r.phase)
	return b.String()
}

func texts(rules []ruleText) (all []string) {
	for i := range rules {
		all = append(all, rules[i].String())
	}
	return all
}

// texts does the same, and includes the rules of proof detectors.
func (m *maker) texts(rules []ruleText) []string {
	all := texts(rules)
	for i := range m.absences {
		all = append(all, m.absences[i].String())
	}
	for i := range m.outliers {
		all = append(all, m.outliers[i].String())
	}
	return all
}

// withEdits changes the rules of a history a few times.
func (m *maker) withEdits(h history) history {
	present := slices.Clone(m.rules)
	at := make([]int, 1+m.IntN(5))
	for i := range at {
		at[i] = m.IntN(len(h.records) + 1)
	}
	slices.Sort(at)
	for n, i := range at {
		for range 1 + m.IntN(3) {
			i := m.IntN(len(present))
			if !m.forms {
				m.edit(&present[i])
				continue
			}
			former := present[i]
			if m.editForm(&present[i]); !fit(present) {
				present[i] = former
			}
		}
		for i := range m.outliers {
			m.editOutlier(&m.outliers[i])
		}
		for i := range m.absences {
			m.editAbsence(&m.absences[i])
		}
		edited := m.texts(present)
		for j := range edited {
			if m.IntN(12) == 0 {
				edited[j] = "" // removed for now
			}
		}
		r := record{edit: edited, by: lane(max(0, m.IntN(4)-1)), number: uint64(n + 1)}
		if m.IntN(10) == 0 {
			r.number = uint64(m.IntN(n+2)) + 1 // possibly an earlier one
		}
		h.records = slices.Insert(h.records, i+n, r)
	}
	return h
}

// edit changes something in a rule: usually its tiers.
func (m *maker) edit(r *ruleText) {
	switch m.IntN(16) {
	case 0:
		r.window = m.oneOf(1_000, 2_000, 5_000, 20_000, 60_000)
	case 1:
		r.cooldown = m.oneOf(0, 1_000, 10_000, 60_000)
	case 2:
		r.halfLife = m.oneOf(1, 2, 30, 3_600)
	case 3:
		r.count, r.share = m.pick("", `auth == "failure"`, "status >= 400"), 0
	case 4:
		if r.count != "" {
			r.share = m.oneOf(0, 30, 66, 100)
		}
	case 5:
		r.distinct = m.pick("", "object", "status")
	case 6:
		r.when = m.pick("status >= 0", `"true"`, `auth != ""`)
	case 7:
		r.category, r.phase, r.lowers = m.pick("bot", "fraud"), m.pick("observe", "soft", "enforce"), m.IntN(4) == 0
	case 8:
		r.memberWeight, r.memberWithin = 1+m.IntN(100), m.oneOf(0, 0, 1_000, 5_000)
	default:
		r.tiers = m.otherTiers(r.tiers)
	}
}

// editForm changes something in a rule with another measure.
func (m *maker) editForm(r *ruleText) {
	switch m.IntN(12) {
	case 0:
		r.window = m.oneOf(1_000, 2_000, 5_000, 20_000, 60_000)
	case 1:
		r.cooldown = m.oneOf(0, 1, 500, 1_000, 10_000)
	case 2:
		r.count = m.pick(`auth == "failure"`, "status >= 400")
	case 3:
		r.values = 1 + m.Int64N(5)
	case 4:
		r.cancel = m.pick("", `auth == "success"`, "status == 404")
	case 5:
		r.by = m.pick("", "object", "status, device")
	case 6:
		m.form(r)
	default:
		m.tiersOf(r, 2+m.IntN(2))
	}
}

// form gives a rule another measure.
func (m *maker) form(r *ruleText) {
	r.gap, r.measure, r.share, r.distinct = m.IntN(4) == 0, "", 0, ""
	switch m.IntN(7) {
	case 0, 1:
		r.share = m.oneOf(0, 0, 30, 66)
	case 2:
		r.distinct = m.pick("object", "response_bytes", "status")
	case 3:
		r.measure, r.share = "sum: response_bytes", m.oneOf(0, 0, 50)
	case 4, 5:
		r.measure = fmt.Sprintf("percentile: {of: response_bytes, p: %d, min_events: %d}", m.oneOf(1, 50, 75, 90, 99, 100), m.oneOf(1, 3, 6))
	case 6:
		r.measure = fmt.Sprintf("share: {min_events: %d}", m.oneOf(1, 3, 6))
	}
	if r.count == "" && (r.share > 0 || strings.HasPrefix(r.measure, "share")) {
		r.count = m.pick(`auth == "failure"`, "status >= 400")
	}
	m.tiersOf(r, 2+m.IntN(2))
}

// tiersOf gives a rule this many tiers that its measure can reach. For counts, the
// last tier may be reachable only with panes.
func (m *maker) tiersOf(r *ruleText, n int) {
	r.tiers = m.tiers(n)
	scale := 1
	switch {
	case strings.HasPrefix(r.measure, "sum"):
		scale = int(m.oneOf(1, 10, 300))
	case strings.HasPrefix(r.measure, "percentile"):
		scale = int(m.oneOf(1, 3, 100))
	case strings.HasPrefix(r.measure, "share"):
		scale = 10
	case m.IntN(2) == 0:
		r.tiers[n-1].At = 1001 + m.IntN(2000)
	}
	for i := range r.tiers {
		r.tiers[i].At *= scale
	}
	if m.IntN(3) == 0 && scale > 1 {
		r.tiers[0].At = max(1, r.tiers[0].At-m.IntN(scale))
	}
}

// otherTiers removes, inserts, raises or lowers tiers, or creates new ones, with
// many more or fewer events to remember.
func (m *maker) otherTiers(tiers []detectors.Tier) []detectors.Tier {
	tiers = slices.Clone(tiers)
	i := m.IntN(len(tiers))
	switch {
	case m.IntN(3) > 0 && len(tiers) > 1:
		return slices.Delete(tiers, i, i+1)
	case m.IntN(3) == 0 && len(tiers) < 8:
		return append(tiers, detectors.Tier{At: tiers[len(tiers)-1].At + 1 + m.IntN(60), Weight: tiers[len(tiers)-1].Weight + 1})
	case m.IntN(3) == 0:
		tiers[i].At = max(1, tiers[i].At+m.IntN(5)-2)
	case m.IntN(2) == 0:
		tiers[i].Weight = uint8(max(1, int(tiers[i].Weight)+m.IntN(21)-10))
	default:
		return m.tiers(1 + m.IntN(3))
	}
	for n := 1; n < len(tiers); n++ {
		if tiers[n].At <= tiers[n-1].At || tiers[n].Weight <= tiers[n-1].Weight {
			return tiers[i : i+1] // not a valid list of tiers
		}
	}
	return tiers
}

// editedHistory creates the history of a seed in which rules change.
func editedHistory(seed uint64, events int) history {
	m := newMaker(seed)
	h := m.history(events)
	m.Rand = rand.New(rand.NewPCG(seed, 2))
	return m.withEdits(h)
}

// lane is the way in which other rules arrive.
type lane int

const (
	byRestore lane = iota // a worker with other rules takes over
	byLive                // a switch record
	byShadow              // a switch record for shadow rules
)

// frame returns the switch record of an edit. If no rules are left, it ends the
// shadow rules.
func (r *record) frame() ([]byte, error) {
	s := facet.Switch{Incarnation: incarnation, Number: r.number}
	if r.by == byShadow {
		s.Lane = facet.Shadow
	}
	if text := strings.Join(r.edit, ""); text != "" || r.by == byLive {
		set, err := loadRules(r.edit)
		if err != nil {
			return nil, err
		}
		if s.Bundle, err = set.Bundle(); err != nil {
			return nil, err
		}
		s.Version = set.Version
	}
	return facet.AppendSwitch(nil, &s), nil
}

// formsHistory creates a history whose rules use every measure; with every second
// seed they change.
func formsHistory(seed uint64, events int) history {
	m := newMaker(seed)
	m.forms = true
	h := m.history(events)
	if seed%2 == 0 {
		return h
	}
	m.Rand = rand.New(rand.NewPCG(seed, 2))
	return m.withEdits(h)
}

// timedHistory creates the history of a seed, with rules that set timers; with every
// second seed they change.
func timedHistory(seed uint64, events int) history {
	m := newMaker(seed)
	m.timed = 1 + int(seed%3)
	h := m.history(events)
	if seed%2 == 1 {
		h = m.withEdits(h)
	}
	return h
}

// comparingHistory creates the history of a seed, with rules that compare entities
// with cohorts; with every second seed they change.
func comparingHistory(seed uint64, events int) history {
	m := newMaker(seed)
	m.comparing = 1 + int(seed%3)
	h := m.history(events)
	if seed%2 == 1 {
		h = m.withEdits(h)
	}
	return h
}

func (h *history) edited() bool {
	return slices.ContainsFunc(h.records, func(r record) bool { return r.edit != nil })
}
