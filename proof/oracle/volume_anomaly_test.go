package oracle

import (
	"fmt"
	"slices"
	"testing"

	"github.com/weirdev/weir/event"
)

// volume returns a rule that learns fast, and fires early.
func (m *sequencer) volume(id string) string {
	s := fmt.Sprintf("    volume_anomaly:\n      by: [%s]\n      learn: %d\n      quantile: %d\n      session_gap: %dms\n      cooldown: %dms\n      tiers:\n",
		m.pick("app_version", "country, app_version"), m.oneOf(1, 3, 10), m.oneOf(50, 50, 60, 75), m.oneOf(1_000, 2_000, 5_000), m.oneOf(1_000, 5_000))
	weight := int64(0)
	for range 1 + m.IntN(3) {
		weight += m.oneOf(1, 20)
		s += fmt.Sprintf("        - {percent: %d, least: %d, weight: %d}\n", m.oneOf(101, 150, 200, 300), m.oneOf(1, 2, 3, 5), weight)
	}
	if m.IntN(3) == 0 {
		s += "    members: {entity: device, weight: 40}\n"
	}
	return "  - id: " + id + "\n    title: A rule\n    entity: account\n    when: status >= 0\n" + s + "    signal: {category: bot, reason: r, half_life: 5s}\n    phase: soft\n"
}

func volumes(seed uint64, events int) (history, *sequencer) {
	m := newMaker(seed)
	m.spans = append(m.spans, 1_000, 2_000, 5_000)
	h := m.history(events)
	sq := newSequencer(seed)
	h.rules = h.rules[:min(len(h.rules), 9)]
	for _, id := range []string{"v0", "v1"}[:1+sq.IntN(2)] {
		h.rules = append(h.rules, sq.volume(id))
	}
	kinds := []int{1, 2, 3, 80}[sq.IntN(4)]
	for _, p := range m.sources {
		for _, r := range p.log {
			r.values = append(r.values, value{event.Method, fmt.Sprintf("M%d", sq.IntN(1+sq.IntN(kinds))), 0})
			if sq.IntN(12) > 0 {
				r.values = append(r.values, value{event.AppVersion, sq.pick("1", "1", "1", "1", "1", "1", "2"), 0})
			}
			if sq.IntN(3) == 0 {
				r.values = append(r.values, value{event.Country, "DE", 0})
			}
		}
	}
	return h, sq
}

func volumeHistory(seed uint64, events int) history {
	h, _ := volumes(seed, events)
	return h
}

// editedVolumeHistory creates a history in which the numbers of these rules change.
func editedVolumeHistory(seed uint64, events int) history {
	h, sq := volumes(seed, events)
	for n := range 1 + sq.IntN(3) {
		edited := slices.Clone(h.rules)
		for i, r := range edited {
			if id := ruleID.FindStringSubmatch(r)[1]; id[0] == 'v' {
				edited[i] = sq.volume(id)
			}
		}
		r := record{edit: edited, by: lane(max(0, sq.IntN(4)-1)), number: uint64(n + 1)}
		h.records = slices.Insert(h.records, n+(len(h.records)-n)*(n+2)/6, r)
	}
	return h
}

func TestTheEngineAgreesWithTheOracleOnVolumes(t *testing.T) {
	if n, histories := agree(t, volumeHistory); histories >= 100 && n.volumes < 3*int(histories) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}

func TestTheEngineAgreesWithTheOracleOnEditedVolumes(t *testing.T) {
	if n, histories := agree(t, editedVolumeHistory); histories >= 100 && n.volumes < 2*int(histories) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}
