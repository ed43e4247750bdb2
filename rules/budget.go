package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/state"
)

// MostMemberBytes bounds what a group's record holds of its members' names.
const MostMemberBytes = 4 << 10

// TimerBytes is what a record holds of a rule's timer.
const TimerBytes = 24

// EngineBytes is what the engine keeps in a record beside the slots of rules: the
// score, the entity's name, and the head of its timers.
const EngineBytes = 2 << 10

// budget is the most bytes that a rule keeps of an entity, headers included.
func (r *Rule) budget() int {
	n := state.SlotHeader + r.Spec.Keeps().Bytes
	if r.Spec.Keeps().Ahead > 0 {
		n += TimerBytes
	}
	if r.Members != nil {
		n += state.SlotHeader + MostMemberBytes
	}
	return n
}

// budgets checks that the rules of each kind fit into one record.
func (l *loader) budgets() {
	const room = state.MostPayload - EngineBytes
	sums := map[facet.Kind]int{}
	for _, b := range l.built {
		sums[b.rule.Entity] += b.rule.budget()
	}
	told := map[facet.Kind]bool{}
	for _, b := range l.built {
		k := b.rule.Entity
		if sums[k] <= room || told[k] {
			continue
		}
		told[k] = true
		b.file.node(b.id.node, fmt.Sprintf("the rules of entity %s keep up to %d bytes of each, and a record has room for %d: %s", k, sums[k], room, l.largest(k)),
			"lower the top tiers, or let some of these rules count for another entity")
	}
}

// largest lists the rules of a kind that keep most, the first five.
func (l *loader) largest(k facet.Kind) string {
	var of []*Rule
	for _, b := range l.built {
		if b.rule.Entity == k {
			of = append(of, b.rule)
		}
	}
	slices.SortFunc(of, func(a, b *Rule) int { return cmp.Or(cmp.Compare(b.budget(), a.budget()), cmp.Compare(a.ID, b.ID)) })
	var parts []string
	for i, r := range of {
		if i == 5 {
			parts = append(parts, fmt.Sprintf("and %d more", len(of)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%s %d", r.ID, r.budget()))
	}
	return strings.Join(parts, ", ")
}
