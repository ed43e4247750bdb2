package gate

import (
	"strconv"
	"time"

	"github.com/weirdev/weir/event"
)

// decisionRoom is enough for the JSON of most decisions.
const decisionRoom = 1024

// MarshalJSON is [Decision.AppendJSON] for [encoding/json].
func (d Decision) MarshalJSON() ([]byte, error) {
	return d.AppendJSON(make([]byte, 0, decisionRoom)), nil
}

// AppendJSON appends a decision as [encoding/json] would write it, in a fraction of
// the time: each answer has one.
func (d *Decision) AppendJSON(b []byte) []byte {
	b = member(append(b, '{'), "decision_id", d.ID)
	b = member(b, "action", d.Action.String())
	b = number(b, "score", d.Score)
	b = number(b, "observed_score", d.ObservedScore)
	b = member(b, "level", string(d.Level))
	b = d.Categories.append(name(b, "categories"))
	b = append(name(b, "reasons"), '[')
	for i := range d.Reasons {
		if i > 0 {
			b = append(b, ',')
		}
		b = d.Reasons[i].append(b)
	}
	b = optional(append(b, ']'), "switch", d.Switch)
	b = member(b, "policy", d.Policy)
	b = member(b, "policy_version", d.PolicyVersion)
	b = member(b, "mode", d.Mode.String())
	b = member(b, "would", d.Would.String())
	if len(d.Limits) > 0 {
		b = append(name(b, "limits"), '[')
		for i := range d.Limits {
			if i > 0 {
				b = append(b, ',')
			}
			b = d.Limits[i].append(b)
		}
		b = append(b, ']')
	}
	b = optional(b, "limited_by", d.LimitedBy)
	b = strconv.AppendBool(name(b, "degraded"), d.Degraded)
	b = optional(b, "degraded_by", d.DegradedBy)
	b = ifTrue(b, "last_known_good", d.LastKnownGood)
	if d.RetryAfter != 0 {
		b = number(b, "retry_after_s", d.RetryAfter)
	}
	b = append(name(b, "expires_at"), '"')
	return append(d.ExpiresAt.AppendFormat(b, time.RFC3339Nano), `"}`...)
}

func (c Categories) append(b []byte) []byte {
	b = append(b, '{')
	for i, one := range c {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(append(event.AppendText(b, one.Category), ':'), int64(one.Points), 10)
	}
	return append(b, '}')
}

func (r *Reason) append(b []byte) []byte {
	b = member(append(b, '{'), "rule", r.Rule)
	b = member(b, "reason", r.Reason)
	b = member(b, "category", r.Category)
	b = number(b, "weight", r.Weight)
	b = ifTrue(b, "lowers", r.Lowers)
	b = member(b, "phase", r.Phase.String())
	return append(member(b, "entity", r.Entity), '}')
}

func (l *Limit) append(b []byte) []byte {
	b = member(append(b, '{'), "id", l.ID)
	b = number(b, "quota", l.Quota)
	b = number(b, "window_s", l.Window)
	b = number(b, "remaining", l.Remaining)
	b = number(b, "reset_s", l.Reset)
	b = ifTrue(b, "exceeded", l.Exceeded)
	return append(member(b, "phase", l.Phase.String()), '}')
}

// name begins a member of an object, by a name that needs no escaping.
func name(b []byte, of string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(append(append(b, '"'), of...), `":`...)
}

func member(b []byte, of, v string) []byte { return event.AppendText(name(b, of), v) }

func number(b []byte, of string, v int) []byte { return strconv.AppendInt(name(b, of), int64(v), 10) }

// optional leaves a member without a value out.
func optional(b []byte, of, v string) []byte {
	if v == "" {
		return b
	}
	return member(b, of, v)
}

// ifTrue leaves a member that is false out.
func ifTrue(b []byte, of string, v bool) []byte {
	if !v {
		return b
	}
	return append(name(b, of), "true"...)
}
