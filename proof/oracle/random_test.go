package oracle

import (
	"fmt"
	"math/rand/v2"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// maker creates random histories with few entities and tiny windows, so that edges
// are hit.
type maker struct {
	*rand.Rand
	apart    *rand.Rand // for exceptions, so that they do not change the rest of a seed's history
	said     *rand.Rand // for control records, for the same reason
	controls controlLog
	h        history
	rules    []ruleText
	now      int64
	spans    []int64 // ms: windows, cooldowns and the lateness of the history
	past     []int64 // times of events
	due      []int64 // times of the next events
	sources  []*rawPartition
	chains   [partitions]facet.Step // of loop-back, by source facet partition
	looped   []record               // that came by loop-back
	events   int
	people   int
	values   int

	timed     int           // requested number of rules with timers
	absences  []absenceText // the rules with timers
	comparing int           // requested number of rules with cohorts
	outliers  []outlierText // the rules with cohorts

	forms    bool // rules use any measure, may have values, and may be cancelled
	harmless bool
	far      bool // times are further apart than a window can remember, and the watermark does not help
}

// rawPartition is a raw log with the writers of its facets.
type rawPartition struct {
	id     int32
	log    []*raw
	end    int64
	owner  uint64
	open   writer
	zombie *writer
	last   *record // as sent
	silent bool
}

// writer is an owner of a raw partition, in ingest.
type writer struct {
	owner     uint64
	began     int   // events of the log that its predecessor has passed
	read      int   // events of the log that it has passed
	covered   int64 // raw offset
	watermark int64
}

func newMaker(seed uint64) *maker {
	return &maker{Rand: rand.New(rand.NewPCG(seed, 1)), apart: rand.New(rand.NewPCG(seed, 2)), said: rand.New(rand.NewPCG(seed, 3)), now: start}
}

// randomHistory creates the history of a seed.
func randomHistory(seed uint64, events int) history { return newMaker(seed).history(events) }

// calm creates a history without losses or damage.
func calm(seed uint64, events int) history {
	m := newMaker(seed)
	m.harmless, m.timed, m.comparing = true, int(seed%3), int(seed/3%3)
	return m.history(events)
}

func (m *maker) history(events int) history {
	m.h.lateness = m.oneOf(0, 500, 2_000, 2_000, 10_000, 60_000)
	m.h.sources = 1 + m.IntN(3)
	m.people, m.values = 1+m.IntN(6), 2+m.IntN(12)
	if m.IntN(8) == 0 {
		m.values = 100
	}
	m.far = m.IntN(12) == 0
	m.h.restore = int(m.oneOf(0, 0, 13, 50))
	m.spans = append(m.spans, m.h.lateness)
	m.makeRules()
	for i := range m.h.sources {
		from := int64(m.IntN(2) * m.IntN(1000))
		p := &rawPartition{id: int32(i), end: from, owner: uint64(m.IntN(3)), silent: m.IntN(12) == 0 || m.far && i == 0}
		p.open = writer{owner: p.owner, covered: from, watermark: facet.NoWatermark}
		m.sources = append(m.sources, p)
	}
	for m.events < events {
		p := m.sources[m.IntN(len(m.sources))]
		for range 1 + m.IntN(12) {
			m.event(p)
		}
		m.step(m.sources[m.IntN(len(m.sources))])
		if m.said.IntN(6) == 0 {
			m.control()
		}
	}
	for _, p := range m.sources {
		m.deliver(p, &p.open, len(p.log)-p.open.read)
	}
	if m.IntN(8) == 0 {
		for _, p := range m.sources {
			p.open.watermark = facet.EndWatermark
			m.deliver(p, &p.open, 0)
		}
	}
	return m.h
}

func (m *maker) oneOf(of ...int64) int64 { return of[m.IntN(len(of))] }

func (m *maker) pick(of ...string) string { return of[m.IntN(len(of))] }

func (m *maker) makeRules() {
	n := 1 + m.IntN(5)
	crowd := m.IntN(6) == 0 // more rules than fit in a score
	if crowd {
		n = 11
	}
	if m.forms {
		n, crowd = 1+m.IntN(4), false
	}
	for i := range n {
		m.rules = append(m.rules, m.rule(i, crowd))
		for m.forms && !fit(m.rules) {
			m.rules[i] = m.rule(i, crowd)
		}
	}
	for i := range m.timed {
		m.absences = append(m.absences, m.absence(fmt.Sprintf("t%02d", i)))
	}
	for i := range m.comparing {
		m.outliers = append(m.outliers, m.outlier(fmt.Sprintf("u%02d", i)))
	}
	m.h.rules = m.texts(m.rules)
}

// fit reports whether a record has room for the state of the rules.
func fit(rules []ruleText) bool {
	_, err := loadRules(texts(rules))
	return err == nil
}

func (m *maker) rule(i int, crowd bool) (r ruleText) {
	r.id, r.entity = fmt.Sprintf("r%02d", i), m.pick("account", "account", "device", "route")
	tiers := 1 + m.IntN(3)
	if crowd {
		r.entity, tiers = "account", 1+m.IntN(2)
	}
	r.window = m.span(1_000, 1_500, 2_000, 5_000, 10_000, 20_000)
	r.when = m.pick("status >= 0", `decision_action != "deny"`, `"true"`, "status != 404", `auth != ""`)
	if m.apart.IntN(6) == 0 {
		r.except = []string{"status == 404", `auth == "success"`, `account == "a1"`}[m.apart.IntN(3)]
		r.exceptUntil = start + []int64{1, 5_000, 60_000}[m.apart.IntN(3)]
	}
	if m.IntN(2) == 0 {
		r.count = m.pick(`auth == "failure"`, "status >= 400", `auth == "failure" && status != 404`)
		if m.IntN(2) == 0 {
			r.share = m.oneOf(1, 30, 50, 66, 67, 90, 100)
		}
	}
	if m.IntN(2) == 0 {
		r.distinct = m.pick("object", "object", "status", "response_bytes", "account", "device")
	}
	if m.IntN(2) == 0 {
		r.cooldown = m.span(1_000, 3_000, 10_000, 60_000)
	}
	r.tiers = m.tiers(tiers)
	r.halfLife = m.oneOf(1, 1, 2, 5, 30, 3_600)
	m.spans = append(m.spans, 1000*r.halfLife)
	if m.IntN(2) == 0 {
		r.members = map[string]string{"account": "device", "device": "account", "route": m.pick("account", "device", "token")}[r.entity]
		r.memberWeight, r.memberWithin = 1+m.IntN(100), m.oneOf(0, 0, 1_000, 5_000)
		if m.apart.IntN(2) == 0 {
			r.memberCancel = []string{`auth == "success"`, "status == 404"}[m.apart.IntN(2)]
		}
	}
	if m.forms {
		m.form(&r)
		if m.IntN(3) == 0 {
			r.by, r.values = m.pick("object", "status", "route, status", "device, object"), 1+m.Int64N(4)
		}
		if m.IntN(3) == 0 {
			r.cancel = m.pick(`auth == "success"`, "status == 404")
		}
		if m.IntN(4) == 0 {
			r.cooldown = m.span(1, 100, 500)
		}
	}
	r.category, r.phase = m.pick("bot", "fraud"), m.pick("observe", "soft", "enforce")
	if r.lowers = m.IntN(4) == 0; r.lowers && m.IntN(2) == 0 {
		r.category = "any"
	}
	if m.IntN(4) == 0 {
		r.asks = m.pick("notify", "notify", "revoke", "revoke, notify")
		if r.entity != "account" && r.members != "account" && r.members != "token" {
			r.asks = "notify"
		}
		if m.IntN(2) == 0 {
			r.tiers[0].Weight = 0
		}
		if m.IntN(4) == 0 {
			r.memberWeight = 0
		}
	}
	return r
}

func (m *maker) span(of ...int64) int64 {
	ms := m.oneOf(of...)
	m.spans = append(m.spans, ms)
	return ms
}

func (m *maker) tiers(n int) (tiers []detectors.Tier) {
	at, weight := 0, 1+m.IntN(25)
	for range n {
		at += 1 + m.IntN(3)
		tiers = append(tiers, detectors.Tier{At: at, Weight: uint8(weight)})
		// After a half-life the next tier is worth what this one is at first.
		if weight *= 2; m.IntN(2) == 0 {
			weight += 1 + m.IntN(25) - weight/2
		}
	}
	return tiers
}

// event appends an event to a raw log.
func (m *maker) event(p *rawPartition) {
	m.events++
	m.now += m.oneOf(0, 0, 1, 10, 100, 100, 500, 500, 2_000)
	if m.IntN(2_000) == 0 {
		m.now += m.oneOf(60_000, 3_600_000, 1<<32-1, 1<<32)
	}
	r := &raw{offset: p.end, time: m.time()}
	p.end += 1 + m.oneOf(0, 0, 0, 1, 5)
	m.past = append(m.past, r.time)
	add := func(odds int, f event.Field, text string, num int64) {
		if m.IntN(odds) > 0 {
			r.values = append(r.values, value{f, text, num})
		}
	}
	add(20, event.Account, fmt.Sprintf("a%d", m.IntN(m.people)), 0)
	add(5, event.Device, fmt.Sprintf("d%d", m.IntN(2)), 0)
	add(10, event.Route, "/x", 0)
	add(8, event.Object, fmt.Sprintf("o%d", m.IntN(m.values)), 0)
	add(8, event.Status, "", m.oneOf(0, 200, 200, 401, 404, 500))
	add(3, event.Auth, m.pick("failure", "failure", "success"), 0)
	amount := int64(m.IntN(m.values))
	if m.forms {
		amount *= m.oneOf(1, 1, 1, 7, 100)
	}
	add(3, event.ResponseBytes, "", amount)
	if m.comparing > 0 {
		add(8, event.Build, fmt.Sprintf("b%d", m.IntN(2)), 0)
		add(8, event.Country, m.pick("DE", "FR"), 0)
		add(8, event.ASN, "", m.oneOf(0, 64496, 64497))
	}
	if m.IntN(6) == 0 {
		add(100, event.Tenant, "t", 0)
	}
	if m.IntN(12) == 0 { // marked like an event that ingest found too late, or from the future
		add(4, event.Delayed, "", 1)
		add(2, event.Skewed, "", 1)
	}
	p.log = append(p.log, r)
}

// time draws an event's time: now, a little earlier, or exactly at an edge.
func (m *maker) time() int64 {
	if len(m.due) > 0 {
		t := m.due[0]
		m.due = m.due[1:]
		return t
	}
	switch m.IntN(8) {
	case 0, 1, 2:
		return m.now
	case 3, 4:
		return m.now - m.Int64N(m.h.lateness+1)
	case 5:
		return m.now - m.Int64N(2*m.h.lateness+1)
	}
	if len(m.past) == 0 {
		return m.now
	}
	from := m.past[len(m.past)-1-m.IntN(min(len(m.past), 40))]
	t := from + m.oneOf(-1, 0, 1) + m.oneOf(-1, 0, 0, 1)*m.spans[m.IntN(len(m.spans))]
	if m.far && m.IntN(4) == 0 {
		t = from + m.oneOf(-1<<32-1, -1<<32, -1<<32+1, 1<<32-1, 1<<32, 1<<32+1)
	}
	if t > m.now+20_000 && !m.far || t < 0 {
		return m.now
	}
	return t
}

// step makes the owner of a raw partition do something.
func (m *maker) step(p *rawPartition) {
	if p.silent && m.IntN(60) > 0 {
		return
	}
	w, unread := &p.open, len(p.log)-p.open.read
	switch n := m.IntN(40); {
	case n < 24:
		m.deliver(p, w, min(unread, 1+m.IntN(24)))
	case n < 26:
		m.tick(p)
	case n < 28:
		m.close()
	case n < 31 && p.last != nil:
		m.h.records = append(m.h.records, *p.last) // its arrival was uncertain
	case n < 34:
		m.takeOver(p)
	case n < 37 && p.zombie != nil:
		m.deliver(p, p.zombie, min(len(p.log)-p.zombie.read, 1+m.IntN(6)))
	case n < 38:
		m.together()
	case n == 38:
		m.loopBack()
	case n == 39 && !m.harmless && m.IntN(10) == 0:
		m.harm(p)
	}
}

// deliver writes the next n events of a raw log.
func (m *maker) deliver(p *rawPartition, w *writer, n int) {
	r := record{sections: []section{m.section(p, w, n)}}
	p.last = &r
	m.h.records = append(m.h.records, r)
}

func (m *maker) section(p *rawPartition, w *writer, n int) section {
	s := section{Section: facet.Section{Source: p.id, Owner: w.owner, From: w.covered}}
	s.before, s.events = p.log[w.began:w.read], p.log[w.read:w.read+n]
	w.read += n
	for _, e := range s.events {
		w.watermark = max(w.watermark, e.time)
	}
	w.covered = max(w.covered, p.end)
	if w.read < len(p.log) {
		w.covered = p.log[w.read].offset
		if n > 0 && m.IntN(2) == 0 {
			w.covered = s.events[n-1].offset + 1
		}
	}
	s.To, s.Watermark = w.covered, w.watermark
	return s
}

// tick announces the current time of an idle partition.
func (m *maker) tick(p *rawPartition) {
	n := len(p.log) - p.open.read
	p.open.watermark = max(p.open.watermark, m.now-m.oneOf(0, 1, 1_000, 5_000))
	m.deliver(p, &p.open, n)
}

// close makes all sources announce a time at which the state remembered since some
// event just ceases to count for events on time, or still just counts. It also sends
// the oldest event that is on time.
func (m *maker) close() {
	if len(m.past) == 0 {
		return
	}
	from := m.past[len(m.past)-1-m.IntN(min(len(m.past), 40))]
	edge := from + m.spans[m.IntN(len(m.spans))] + m.h.lateness + m.oneOf(-1, 0)
	if edge < m.now || edge > m.now+20_000 {
		return
	}
	m.now = edge
	for _, p := range m.sources {
		if !p.silent {
			p.open.watermark = max(p.open.watermark, edge)
			m.deliver(p, &p.open, len(p.log)-p.open.read)
		}
	}
	m.due = append(m.due, edge-m.h.lateness)
}

// takeOver lets a new owner start somewhere before the end of the covered range, and
// leaves the former one running.
func (m *maker) takeOver(p *rawPartition) {
	old := p.open
	p.zombie = &old
	p.owner += 1 + uint64(m.IntN(2))
	back := m.IntN(min(old.read, 30) + 1)
	w := writer{owner: p.owner, began: old.read - back, read: old.read - back, covered: old.covered, watermark: facet.NoWatermark}
	if back > 0 {
		w.covered = min(w.covered, p.log[w.read].offset)
	}
	for _, e := range p.log[:w.read] {
		w.watermark = max(w.watermark, e.time)
	}
	p.open = w
}

// together writes a record with a section of each raw partition.
func (m *maker) together() {
	var r record
	for _, p := range m.sources {
		if !p.silent {
			r.sections = append(r.sections, m.section(p, &p.open, min(len(p.log)-p.open.read, 1+m.IntN(10))))
		}
	}
	if len(r.sections) > 0 {
		m.h.records = append(m.h.records, r)
	}
}

// loopBack writes a finding about a group from another partition, or writes one
// again.
func (m *maker) loopBack() {
	if len(m.looped) > 0 && m.IntN(4) == 0 {
		m.h.records = append(m.h.records, m.looped[m.IntN(len(m.looped))])
		return
	}
	from := m.IntN(partitions - 1) // loop-back from the partition itself follows from the log
	l := &loop{Link: facet.Link{From: int32(from), Previous: m.chains[from]}}
	if l.Step = l.Previous; l.Step.Next > 0 && m.IntN(4) == 0 {
		l.Step.Part++
	} else {
		l.Step = facet.Step{Next: l.Step.Next + 1 + m.Int64N(9)}
	}
	m.chains[from] = l.Step
	if m.comparing > 0 && m.IntN(3) > 0 {
		m.verdicts(l)
		return
	}
	switch m.IntN(8) {
	case 0: // by a new owner
		l.Previous = facet.Step{}
	case 1: // by one that found other frames before it
		l.Previous.Next /= 2
	}
	for range 1 + m.IntN(3) {
		f := found{rule: m.IntN(len(m.h.rules) + 1), Finding: facet.Finding{
			Tier: uint8(m.IntN(3)), Weight: uint8(m.IntN(101)), Clears: m.IntN(5) == 0, Time: m.time(), Source: int32(m.IntN(m.h.sources)), Offset: m.Int64N(1000),
			Group: facet.Entity{Kind: facet.Route, Tenant: m.pick("", "", "t"), Key: "/x"},
		}}
		for range m.IntN(3) {
			f.Evidence = append(f.Evidence, facet.Number(m.pick("count", "first_ms"), m.Int64N(1000)-500))
		}
		for range 1 + m.IntN(4) {
			f.members = append(f.members, fmt.Sprintf("a%d", m.IntN(m.people)))
		}
		l.findings = append(l.findings, f)
	}
	r := record{loop: l}
	m.looped = append(m.looped, r)
	if m.harmless || m.IntN(100) > 0 { // otherwise it is lost
		m.h.records = append(m.h.records, r)
	}
}

// verdicts writes the verdicts of another facet partition on some cohorts.
func (m *maker) verdicts(l *loop) {
	for range 1 + m.IntN(3) {
		v := thought{rule: m.IntN(len(m.h.rules) + 1), Verdict: facet.Verdict{
			Level: uint8(m.oneOf(0, 1, 2, 3)), Time: m.time(), Tenant: m.pick("", "", "t"),
		}}
		if m.IntN(4) > 0 { // for a rule that has cohorts
			i := m.IntN(len(m.outliers))
			v.rule = len(m.h.rules) - len(m.outliers) + i
			by, _ := event.Lookup(m.outliers[i].by)
			v.By = by.Field
		} else {
			v.By = event.Build
		}
		v.Value = map[event.Field]string{event.Build: m.pick("b0", "b1"), event.Route: "/x", event.ASN: "64496", event.Country: m.pick("DE", "FR")}[v.By]
		l.verdicts = append(l.verdicts, v)
	}
	r := record{loop: l}
	m.looped = append(m.looped, r)
	m.h.records = append(m.h.records, r)
}

// harm does something that must stop a reader.
func (m *maker) harm(p *rawPartition) {
	r := record{sections: []section{m.section(p, &p.open, min(len(p.log)-p.open.read, 5))}}
	switch s := &r.sections[0]; m.IntN(6) {
	case 0:
		r.foreign = true
	case 1:
		r.damaged = true
	case 2:
		s.Source = int32(m.h.sources)
	case 3:
		return // lost
	case 4, 5: // one offset is lost
		s.From = min(s.From+1, s.To)
		if len(s.events) > 0 && s.events[0].offset < s.From {
			s.events = s.events[1:]
		}
	}
	m.h.records = append(m.h.records, r)
}
