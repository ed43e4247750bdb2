package oracle

import "fmt"

// absenceText is an absence rule as written in a file.
type absenceText struct {
	id, entity, starts, ends string
	within, again            int64 // ms, times
	moves                    bool
	members                  string
	weight                   int
	halfLife                 int64 // s
}

func (r *absenceText) String() string {
	s := fmt.Sprintf("  - id: %s\n    title: A rule\n    entity: %s\n    when: auth != \"\"\n    absence:\n      starts: %s\n      ends: %s\n      within: %dms\n      weight: %d\n",
		r.id, r.entity, r.starts, r.ends, r.within, r.weight)
	if r.again > 0 {
		s += fmt.Sprintf("      again: %d\n", r.again)
	}
	if r.moves {
		s += "      moves: 1\n"
	}
	if r.members != "" {
		s += fmt.Sprintf("    members: {entity: %s, weight: 40}\n", r.members)
	}
	return s + fmt.Sprintf("    signal: {category: bot, reason: r, half_life: %ds}\n    phase: soft\n", r.halfLife)
}

func (m *maker) absence(id string) (r absenceText) {
	r = absenceText{
		id: id, entity: m.pick("account", "account", "device"), starts: `auth == "failure"`, ends: m.pick(`auth == "success"`, "status >= 0", "status == 404"),
		within: m.span(500, 1_000, 3_000, 20_000), again: m.oneOf(0, 0, 1, 3), moves: m.IntN(2) == 0, weight: 1 + m.IntN(100),
		halfLife: m.oneOf(1, 5, 60, 3_600),
	}
	if m.IntN(2) == 0 {
		r.members = map[string]string{"account": "device", "device": "account"}[r.entity]
	}
	return r
}

func (m *maker) editAbsence(r *absenceText) {
	switch m.IntN(4) {
	case 0:
		r.within = m.oneOf(500, 1_000, 3_000, 20_000)
	case 1:
		r.again = m.oneOf(0, 1, 3)
	case 2:
		r.moves = !r.moves
	case 3:
		r.weight = 1 + m.IntN(100)
	}
}
