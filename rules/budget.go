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

// MostVerdicts is of how many facet partitions a cohort keeps the verdict.
const MostVerdicts = 64

// VerdictBytes is what a cohort's record holds of a rule's verdicts, at most.
const VerdictBytes = 16 + 16*MostVerdicts

// verdictBit tells the slot of a rule's verdicts from that of its payload.
const verdictBit = 1 << 31

// VerdictSlot names what a cohort's record holds of the rule's verdicts; of such a
// name it is the name of the rule's state.
func VerdictSlot(slot uint32) uint32 { return slot ^ verdictBit }

// cohortBudget is the most bytes that a rule keeps of a cohort, headers included.
func (r *Rule) cohortBudget() (n int) {
	k := r.Spec.Keeps().Cohort
	if k.Reach > 0 {
		n = state.SlotHeader + k.Bytes
	}
	if k.Verdicts > 0 {
		n += state.SlotHeader + VerdictBytes
	}
	return n
}

// cohortBudgets checks that all rules fit into the record of one cohort, whatever
// they share it by.
func (l *loader) cohortBudgets() {
	sum, first := 0, -1
	for i, b := range l.built {
		if n := b.rule.cohortBudget(); n > 0 {
			if sum += n; first < 0 {
				first = i
			}
		}
	}
	if sum > state.MostPayload {
		b := l.built[first]
		b.file.node(b.id.node, fmt.Sprintf("the rules keep up to %d bytes of a cohort, and a record has room for %d", sum, state.MostPayload),
			"take away some of the rules that compare entities with their cohorts")
	}
}

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
