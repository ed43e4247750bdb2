package oracle

import "fmt"

// outlierText is an outlier rule as written in a file.
type outlierText struct {
	id, entity, fails, by string
	stretch, usual, every int64 // ms
	times                 int64
	weight                int
	members               string
}

func (r *outlierText) String() string {
	s := fmt.Sprintf("  - id: %s\n    title: A rule\n    entity: %s\n    when: status >= 0\n    outlier: {fails: '%s', by: %s, stretch: %dms, usual: %dms, every: %dms, times: %d, weight: %d}\n",
		r.id, r.entity, r.fails, r.by, r.stretch, r.usual, r.every, r.times, r.weight)
	if r.members != "" {
		s += fmt.Sprintf("    members: {entity: %s, weight: 40}\n", r.members)
	}
	return s + "    signal: {category: bot, reason: r, half_life: 5s}\n    phase: soft\n"
}

func (m *maker) outlier(id string) (r outlierText) {
	r = outlierText{
		id: id, entity: m.pick("account", "account", "device"), fails: m.pick(`auth == "failure"`, "status >= 400"), by: m.pick("build", "route", "asn", "country"),
		stretch: m.span(1_000, 5_000), usual: m.span(2_000, 10_000, 60_000), every: m.span(1, 500, 1_000, 3_000), times: m.oneOf(1, 2, 3), weight: 1 + m.IntN(100),
	}
	if m.IntN(3) == 0 {
		r.members = map[string]string{"account": "device", "device": "account"}[r.entity]
	}
	return r
}

func (m *maker) editOutlier(r *outlierText) {
	switch m.IntN(5) {
	case 0:
		r.every = m.oneOf(1, 500, 3_000)
	case 1:
		r.times = m.oneOf(1, 2, 3)
	case 2:
		r.usual = m.oneOf(2_000, 10_000, 60_000)
	case 3:
		r.by = m.pick("build", "route", "asn", "country")
	case 4:
		r.weight = 1 + m.IntN(100)
	}
}
