package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/weirdev/weir/condition"
)

// canonical writes everything that affects a rule's behaviour, and nothing else: no
// title, no documentation, no tests.
func canonical(r *Rule, when *condition.Condition) string {
	s := fmt.Sprintf("rule %q entity %d when %q %s %q", r.ID, r.Entity, when.Canonical, r.Detector, r.Spec.Canonical())
	if m := r.Members; m != nil {
		s += fmt.Sprintf(" members %d %d", m.Entity, m.Weight)
		if m.Within > 0 {
			s += fmt.Sprintf(" within %d", m.Within.Milliseconds())
		}
		if m.Cancel != nil {
			s += fmt.Sprintf(" cancel %q", m.Cancel.Canonical)
		}
	}
	s += r.canonicalExceptions()
	s += fmt.Sprintf(" signal %q %q %d phase %d", r.Category, r.Reason, int64(r.HalfLife.Seconds()), r.Phase)
	if r.Lowers {
		s += " lowers"
	}
	if r.Asks != 0 {
		s += " asks " + r.Asks.String()
	}
	return s + "\n"
}

// version identifies the content of a set, given the canonical text of its rules in
// order of id.
func version(rules []built) string {
	h := sha256.New()
	h.Write([]byte("weir rules 2\n"))
	for _, b := range rules {
		h.Write([]byte(b.canonical))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// memberSlot names a group's state of its members.
func memberSlot(r *Rule) uint32 {
	sum := sha256.Sum256(fmt.Appendf(nil, "weir members 1 %q %d %d", r.ID, r.Entity, r.Members.Entity))
	return binary.BigEndian.Uint32(sum[:])
}

// slot names a rule's state.
func slot(r *Rule) uint32 {
	name := fmt.Appendf(nil, "weir slot 2 %q %d %s %s", r.ID, r.Entity, r.Detector, r.Spec.State())
	if r.Lowers {
		name = append(name, " lowers"...)
	}
	sum := sha256.Sum256(name)
	return binary.BigEndian.Uint32(sum[:])
}
