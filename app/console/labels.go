package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// Actions of control records.
const (
	falsePositive = "false_positive"
	truePositive  = "true_positive"
	release       = "release" // of the score
)

// Control is what somebody says about an entity, which workers take from the log.
type Control struct {
	Action string // false_positive, true_positive or release
	Entity facet.Entity
	Rule   string // of a label: the rule whose finding it is about
	Who    string
	Reason string
	Lasts  time.Duration // of a false positive: how long it holds the rule back
}

// Controls writes control records.
type Controls interface {
	// Write returns the record's id once the log has it.
	Write(ctx context.Context, c Control) (id string, err error)
}

// spokenRow is a row of v_audit: a control record.
type spokenRow struct {
	Time     time.Time `ch:"time"`
	Action   string    `ch:"action"`
	Tenant   string    `ch:"tenant"`
	Kind     string    `ch:"entity_kind"` // of a switch: what it switches
	Key      string    `ch:"entity"`      // "" if the entity was erased
	Rule     string    `ch:"rule"`
	Category string    `ch:"category"`
	Who      string    `ch:"who"`
	Reason   string    `ch:"reason"`
	Origin   string    `ch:"origin"`      // "" if it is not known
	Gate     string    `ch:"gate_action"` // of a block
	Expires  time.Time `ch:"expires"`
}

// Switch reports whether it is about no entity.
func (r spokenRow) Switch() bool { return r.Action == control.GateOff || r.Action == control.GateOn }

// Said tells what was done.
func (r spokenRow) Said() string {
	switch r.Action {
	case control.GateBlock:
		return "blocked at gates: " + spaced(r.Gate)
	case control.GateRelease:
		return "released at gates"
	case control.GateClear:
		return "block or release ended"
	case control.GateOff:
		return "switched off"
	case control.GateOn:
		return "switched on"
	case "challenge_passed":
		if r.Category != "" {
			return "challenge passed: " + spaced(r.Category)
		}
	case release:
		return "score cleared"
	}
	return spaced(r.Action)
}

// Ends is the time at which it no longer holds; zero if it has none.
func (r spokenRow) Ends() time.Time {
	if r.Expires.Unix() == 0 {
		return time.Time{}
	}
	return r.Expires
}

// applyTo changes a score's contributions as workers do.
func (r *spokenRow) applyTo(list []score.Contribution) []score.Contribution {
	switch r.Action {
	case falsePositive:
		return slices.DeleteFunc(slices.Clone(list), func(c score.Contribution) bool { return c.Rule == r.Rule || r.Rule == "" && !c.Lowers })
	case release, "erase":
		return nil
	case "challenge_passed":
		list = slices.Clone(list)
		for i := range list {
			if !list[i].Lowers && (r.Category == "" || r.Category == list[i].Category) {
				list[i].Weight /= 2
			}
		}
	}
	return list
}

const (
	mostSpoken   = 100
	unknownTable = 60
)

// spoken returns control records that meet a condition.
func (s *Server) spoken(ctx context.Context, condition string, limit int, args ...any) (all []spokenRow, err error) {
	err = s.rows(ctx, &all, fmt.Sprintf("SELECT time, action, tenant, entity_kind, entity, rule, category, who, reason, origin, gate_action, expires FROM v_audit WHERE %s LIMIT %d", condition, limit), args...)
	return all, withoutTable(err)
}

// withoutTable passes over the error that a table of a newer version is missing:
// nobody has labelled anything then.
func withoutTable(err error) error {
	var e *ch.Exception
	if errors.As(err, &e) && e.Code == unknownTable {
		return nil
	}
	return err
}

// precision is what labels say of a rule: of each entity, the last label counts.
type precision struct {
	Rule  string `ch:"rule"`
	Right uint64 `ch:"right"`
	Wrong uint64 `ch:"wrong"`
}

// Percent is the share of findings that were right, of those that were labelled.
func (p precision) Percent() uint64 {
	if p.Right+p.Wrong == 0 {
		return 0
	}
	return 100 * p.Right / (p.Right + p.Wrong)
}

// Labelled reports whether there is a label.
func (p precision) Labelled() bool { return p.Right+p.Wrong > 0 }

// precisions returns what labels of a span say, by rule.
func (s *Server) precisions(ctx context.Context, of span) (map[string]precision, error) {
	var list []precision
	err := s.rows(ctx, &list, fmt.Sprintf(`SELECT rule, countIf(last = 'true_positive') AS right, countIf(last = 'false_positive') AS wrong
FROM (SELECT rule, tenant, entity_kind, entity, argMax(label, time) AS last FROM v_labels WHERE %s AND rule != '' GROUP BY rule, tenant, entity_kind, entity)
GROUP BY rule LIMIT %d`, within, mostRules), of.args()...)
	all := make(map[string]precision, len(list))
	for _, p := range list {
		all[p.Rule] = p
	}
	return all, withoutTable(err)
}

// say writes a control record about an entity.
func (s *Server) say(v *visit) {
	form := v.r.PostForm
	e, err := entityOf(form)
	if err != nil {
		v.fail(http.StatusBadRequest, "There is no such entity", err.Error())
		return
	}
	c := Control{Action: form.Get("action"), Entity: e, Rule: form.Get("rule"), Who: v.session.user.Name, Reason: strings.TrimSpace(form.Get("reason"))}
	named := e.Kind.String() + " " + e.Key
	title := ""
	switch c.Action {
	case falsePositive:
		c.Lasts, err = termOf(form.Get("lasts"))
		title = "Marked as a false positive: " + c.Rule + " about " + named
	case truePositive:
		title = "Marked as a true positive: " + c.Rule + " about " + named
	case release:
		c.Rule = ""
		title = "The score is cleared: " + named
	default:
		err = fmt.Errorf("%q is no action", c.Action)
	}
	switch {
	case err != nil:
	case c.Reason == "":
		err = errors.New("reason: say why")
	case c.Action != release && c.Rule == "":
		err = errors.New("rule: say whose finding it is about")
	case s.deps.Controls == nil:
		err = errors.New("the console has no Kafka")
	}
	to := entityPage(v.span, e)
	if err == nil {
		var id string
		ctx, cancel := context.WithTimeout(v.r.Context(), queryTime)
		defer cancel()
		id, err = s.deps.Controls.Write(ctx, c)
		s.acted(c.Action, err)
		if err == nil {
			s.log.Warn("console: a control record was written", "user", c.Who, "role", v.session.user.Role.String(), "id", id, "action", c.Action, "kind", e.Kind.String(), "key", e.Key, "tenant", e.Tenant, "rule", c.Rule, "reason", c.Reason)
			text := "Workers take it from the log; the score follows within seconds."
			if c.Action == falsePositive {
				text += " Until " + moment(v.now.Add(c.Lasts).UnixMilli()) + " the rule finds nothing about it."
			}
			v.back(to, note{Title: title, Text: text})
			return
		}
	}
	s.log.Warn("console: an action failed", "user", c.Who, "action", c.Action, "kind", e.Kind.String(), "key", e.Key, "error", err)
	v.back(to, note{Bad: true, Title: "Nothing was changed", Text: err.Error()})
}

type auditView struct {
	Spoken part[[]spokenRow]
}

// audit lists the control records of a span.
func (s *Server) audit(v *visit) {
	var page auditView
	p := v.parts()
	get(p, inClickHouse, &page.Spoken, func(ctx context.Context) ([]spokenRow, error) {
		return s.spoken(ctx, within+" ORDER BY time DESC", mostSpoken, v.span.args()...)
	})
	p.wait()
	v.showSpan("audit", "Audit", "audit", page)
}
