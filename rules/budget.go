package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/state"
)

// MostMemberBytes limits the members' names in a group's record.
const MostMemberBytes = 4 << 10

// TimerBytes is the size of a rule's timer in a record.
const TimerBytes = 24

// EngineBytes is what the engine keeps in a record in addition to the slots of
// rules: the score, the entity's name, and the head of its timers.
const EngineBytes = 2 << 10

// MostVerdicts is the number of facet partitions whose verdicts a cohort keeps.
const MostVerdicts = 64

// VerdictBytes is the maximum size of a rule's verdicts in a cohort's record.
const VerdictBytes = 16 + 16*MostVerdicts

// verdictBit distinguishes the slot of a rule's verdicts from that of its payload.
const verdictBit = 1 << 31

// VerdictSlot returns the slot of a rule's verdicts in a cohort's record, given the
// slot of the rule's state, and the reverse.
func VerdictSlot(slot uint32) uint32 { return slot ^ verdictBit }

// cohortBudget returns the maximum bytes that a rule keeps of a cohort, headers
// included.
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
// field forms it.
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

// budget returns the maximum bytes that a rule keeps of an entity, headers
// included.
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

// largest lists the five rules of a kind that keep the most.
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
