package client

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/rules"
)

// parseDecision reads a decision. The form in which gates write it is read here, because
// encoding/json takes as long as the whole exchange with the gate. Anything else is left
// to encoding/json: blanks, escapes, letters beyond ASCII, unknown or repeated members.
func parseDecision(b []byte, d *gate.Decision) error {
	var read gate.Decision
	p := plain{rest: string(b)}
	if p.decision(&read) && strings.TrimSuffix(p.rest, "\n") == "" {
		*d = read
		return nil
	}
	return json.Unmarshal(b, d)
}

// plain reads JSON without blanks and escapes. Methods report false if something else
// comes.
type plain struct{ rest string }

// is takes what comes, if it is s.
func (p *plain) is(s string) (ok bool) {
	p.rest, ok = strings.CutPrefix(p.rest, s)
	return ok
}

func (p *plain) text() (s string, ok bool) {
	if !p.is(`"`) {
		return "", false
	}
	for i := range len(p.rest) {
		switch c := p.rest[i]; {
		case c == '"':
			s, p.rest = p.rest[:i], p.rest[i+1:]
			return s, true
		case c < ' ' || c > '~' || c == '\\':
			return "", false
		}
	}
	return "", false
}

func (p *plain) into(s *string) (ok bool) {
	*s, ok = p.text()
	return ok
}

// number reads an integer of at most nine digits that is not negative.
func (p *plain) number(into *int) bool {
	n, i := 0, 0
	for ; i < len(p.rest) && '0' <= p.rest[i] && p.rest[i] <= '9'; i++ {
		if n = n*10 + int(p.rest[i]-'0'); i == 9 || i == 1 && p.rest[0] == '0' {
			return false
		}
	}
	*into, p.rest = n, p.rest[i:]
	return i > 0
}

func (p *plain) yes(into *bool) bool {
	*into = p.is("true")
	return *into || p.is("false")
}

// name reads a text that parse knows.
func name[T any](p *plain, into *T, parse func(string) (T, error)) bool {
	s, ok := p.text()
	if !ok {
		return false
	}
	v, err := parse(s)
	*into = v
	return err == nil
}

// at reads a time, as strictly as encoding/json.
func (p *plain) at(into *time.Time) bool {
	s, ok := p.text()
	if !ok {
		return false
	}
	var t time.Time
	err := t.UnmarshalText([]byte(s))
	*into = t
	return err == nil
}

// object reads members, each of which may come once. member reads the value of one, and
// returns its number.
func (p *plain) object(member func(name string) (number int, ok bool)) bool {
	if !p.is("{") {
		return false
	}
	if p.is("}") {
		return true
	}
	for seen := uint64(0); ; {
		name, ok := p.text()
		if !ok || !p.is(":") {
			return false
		}
		n, ok := member(name)
		if !ok || seen&(1<<n) != 0 {
			return false
		}
		seen |= 1 << n
		if !p.is(",") {
			return p.is("}")
		}
	}
}

// list reads elements.
func (p *plain) list(element func() bool) bool {
	if !p.is("[") {
		return false
	}
	for first := true; !p.is("]"); first = false {
		if !first && !p.is(",") || !element() {
			return false
		}
	}
	return true
}

func (p *plain) decision(d *gate.Decision) bool {
	return p.object(func(member string) (int, bool) {
		switch member {
		case "decision_id":
			return 0, p.into(&d.ID)
		case "action":
			return 1, name(p, &d.Action, policy.ParseAction)
		case "score":
			return 2, p.number(&d.Score)
		case "observed_score":
			return 3, p.number(&d.ObservedScore)
		case "level":
			s, ok := p.text()
			d.Level = policy.Level(s)
			return 4, ok
		case "categories":
			return 5, p.categories(&d.Categories)
		case "reasons":
			d.Reasons = []gate.Reason{}
			return 6, p.list(func() bool {
				d.Reasons = append(d.Reasons, gate.Reason{})
				return p.reason(&d.Reasons[len(d.Reasons)-1])
			})
		case "switch":
			return 7, p.into(&d.Switch)
		case "policy":
			return 8, p.into(&d.Policy)
		case "policy_version":
			return 9, p.into(&d.PolicyVersion)
		case "mode":
			return 10, name(p, &d.Mode, rules.ParsePhase)
		case "would":
			return 11, name(p, &d.Would, policy.ParseAction)
		case "limits":
			d.Limits = []gate.Limit{}
			return 12, p.list(func() bool {
				d.Limits = append(d.Limits, gate.Limit{})
				return p.limit(&d.Limits[len(d.Limits)-1])
			})
		case "limited_by":
			return 13, p.into(&d.LimitedBy)
		case "degraded":
			return 14, p.yes(&d.Degraded)
		case "degraded_by":
			return 15, p.into(&d.DegradedBy)
		case "last_known_good":
			return 16, p.yes(&d.LastKnownGood)
		case "retry_after_s":
			return 17, p.number(&d.RetryAfter)
		case "expires_at":
			return 18, p.at(&d.ExpiresAt)
		}
		return 0, false
	})
}

// categories reads them in order of name.
func (p *plain) categories(c *gate.Categories) bool {
	i := -1
	return p.object(func(name string) (int, bool) {
		if i++; i >= 64 || i > 0 && name <= (*c)[i-1].Category {
			return 0, false
		}
		*c = append(*c, gate.CategoryPoints{Category: name})
		return i, p.number(&(*c)[i].Points)
	})
}

func (p *plain) reason(r *gate.Reason) bool {
	return p.object(func(member string) (int, bool) {
		switch member {
		case "rule":
			return 0, p.into(&r.Rule)
		case "reason":
			return 1, p.into(&r.Reason)
		case "category":
			return 2, p.into(&r.Category)
		case "weight":
			return 3, p.number(&r.Weight)
		case "lowers":
			return 4, p.yes(&r.Lowers)
		case "phase":
			return 5, name(p, &r.Phase, rules.ParsePhase)
		case "entity":
			return 6, p.into(&r.Entity)
		}
		return 0, false
	})
}

func (p *plain) limit(l *gate.Limit) bool {
	return p.object(func(member string) (int, bool) {
		switch member {
		case "id":
			return 0, p.into(&l.ID)
		case "quota":
			return 1, p.number(&l.Quota)
		case "window_s":
			return 2, p.number(&l.Window)
		case "remaining":
			return 3, p.number(&l.Remaining)
		case "reset_s":
			return 4, p.number(&l.Reset)
		case "exceeded":
			return 5, p.yes(&l.Exceeded)
		case "phase":
			return 6, name(p, &l.Phase, rules.ParsePhase)
		}
		return 0, false
	})
}
