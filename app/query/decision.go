package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/printable"
	"github.com/weirdev/weir/internal/problem"
	"github.com/weirdev/weir/sink/clickhouse"
)

// ErrNoDecision means that nothing is stored about an id.
var ErrNoDecision = errors.New("no decision is stored")

// most limits the decisions, and the events of one, that are shown: a client may use
// a request id for many requests.
const most = 10

// span is how far events and signals of a decision may be from it. Its time is by the
// gate's clock, which may be wrong; the time at which a worker received it is not.
const span = time.Hour

// report is everything that is known of one decision.
type report struct {
	Decision row      `json:"decision"`
	Reasons  []reason `json:"reasons"`
	Events   []row    `json:"events"` // those that name the decision
	Next     []string `json:"next"`   // what one may do

	id       string
	tenant   string
	from, to time.Time // events and signals of it lie in between
	entities map[string]string
}

// reason is a reason of a decision, with the signals behind it.
type reason struct {
	decision.Reason
	Key      string          `json:"key"` // of the entity
	Signals  uint64          `json:"signals"`
	First    string          `json:"first,omitempty"`
	Last     string          `json:"last,omitempty"`
	Evidence json.RawMessage `json:"evidence,omitempty"` // of the last signal
}

// Decision writes everything that is known about the decision with the given id, or
// about those on the request with that id: for people, or with the output json as
// one JSON object in a line. It is [ErrNoDecision] if there are none.
func Decision(ctx context.Context, o Options, id string, out io.Writer, log *slog.Logger) (err error) {
	conn, stop, err := o.connect(log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	found, err := fetch(ctx, conn, fmt.Sprintf("SELECT * FROM %s WHERE id = ? OR request_id = ? ORDER BY id = ? DESC, time DESC, id LIMIT %d", clickhouse.DecisionsByID(), most), id, id, id, id, id)
	if err != nil {
		return o.explain(err)
	}
	if len(found) == 0 || id == "" { // many decisions are on requests without an id
		return fmt.Errorf(`%w with the id %q, and none on a request with that id.
(Decisions are there some seconds after they were made, for as long as clickhouse.retention says. Gates write them with gate.decisions, workers store them in the stage decisions; weir_gate_dropped_total counts those that a gate could not write.)`, ErrNoDecision, id)
	}
	if found[0].text("id") == id {
		found = found[:1]
	}
	for i, d := range found {
		r, err := about(ctx, conn, d)
		if err != nil {
			return o.explain(err)
		}
		if err := r.write(out, o.Output, i); err != nil {
			return err
		}
	}
	return nil
}

// about gathers what is known of a decision.
func about(ctx context.Context, conn driver.Conn, d row) (*report, error) {
	r := &report{Decision: d, id: d.text("id"), tenant: d.text("tenant"), Reasons: []reason{}}
	made, _ := d.raw("time").(time.Time)
	received, _ := d.raw("received").(time.Time)
	r.from, r.to = made.Add(-span), received.Add(span)
	if received.Before(made) {
		r.from, r.to = received.Add(-span), made.Add(span)
	}
	r.entities, _ = d.raw("entities").(map[string]string)
	var stored []decision.Reason
	if err := json.Unmarshal([]byte(d.text("reasons")), &stored); err != nil {
		return nil, fmt.Errorf("reasons of decision %s: %w", r.id, err)
	}
	r.Decision = slices.DeleteFunc(slices.Clone(d), func(c cell) bool { return c.name == "reasons" }) // they are shown with their signals
	for _, s := range stored {
		why := reason{Reason: s, Key: r.entities[s.Entity]}
		if err := r.signals(ctx, conn, &why); err != nil {
			return nil, err
		}
		r.Reasons = append(r.Reasons, why)
	}
	var err error
	r.Events, err = fetch(ctx, conn, fmt.Sprintf("SELECT * FROM %s WHERE decision = ? AND time BETWEEN fromUnixTimestamp64Milli(toInt64(?)) AND fromUnixTimestamp64Milli(toInt64(?)) ORDER BY time LIMIT %d", clickhouse.EventsByID(), most),
		r.id, r.id, r.id, r.from.UnixMilli(), r.to.UnixMilli())
	r.Next = r.next()
	return r, err
}

// signals adds the signals behind a reason, up to the decision.
func (r *report) signals(ctx context.Context, conn driver.Conn, why *reason) error {
	rows, err := fetch(ctx, conn, `SELECT count() AS signals, min(s.time) AS first, max(s.time) AS last, argMax(s.evidence, s.time) AS evidence FROM v_signals AS s
WHERE s.tenant = ? AND s.rule = ? AND s.entity_kind = ? AND s.entity = ? AND s.time <= fromUnixTimestamp64Milli(toInt64(?))`,
		r.tenant, why.Rule, why.Entity, why.Key, r.to.UnixMilli())
	if err != nil || len(rows) == 0 {
		return err
	}
	if why.Signals, _ = rows[0].raw("signals").(uint64); why.Signals == 0 {
		return nil
	}
	why.First, why.Last = rows[0].text("first"), rows[0].text("last")
	if evidence := rows[0].text("evidence"); json.Valid([]byte(evidence)) {
		why.Evidence = json.RawMessage(evidence)
	}
	return nil
}

// next suggests what to do.
func (r *report) next() (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	d := r.Decision
	if s := d.text("switch"); s != "" {
		add("%s decided, before any policy: `weir switch list` says who set it and why", s)
	}
	if action, would := d.text("action"), d.text("would"); action != would && d.text("switch") == "" {
		add("in phase enforce it would have been %s: the phase of the policy %s, or gate.phase, is %s", would, d.text("policy"), d.text("phase"))
	}
	if by := d.text("limited_by"); by != "" {
		add("the limit %s decided: it stands in the file of policies (gate.policy), see docs/policy.md", by)
	}
	if by := d.text("degraded_by"); by != "" {
		add("it was made without all that should be known (%s): see docs/gate.md, and weir_gate_lookup_errors_total", by)
	}
	for _, why := range r.Reasons {
		if why.Lowers {
			continue
		}
		if column := columnOf(why.Entity); column != "" {
			add("what %s %s did: weir query %s", why.Entity, shell(why.Key), shell(fmt.Sprintf("SELECT time, method, path, status, auth FROM v_events WHERE %s = %s ORDER BY time DESC LIMIT 50", column, nested(why.Key))))
		}
		if refuses(d.text("action")) {
			tenant := ""
			if r.tenant != "" {
				tenant = " -tenant " + shell(r.tenant)
			}
			add("if it is wrong about them: weir switch set release %s %s%s -for 24h -reason …", why.Entity, shell(why.Key), tenant)
			add("if the rule is wrong: weir switch set rule %s -for 24h -reason …", shell(why.Rule))
		}
		break // the others are alike
	}
	if len(r.Events) == 0 {
		add("no event names this decision yet: gateways put its id into their events as `decision`, or the gate writes events (gate.events)")
	}
	return all
}

// columnOf returns the column of events that holds a kind of entity; "" if none does.
func columnOf(kind string) string {
	k, ok := facet.ParseKind(kind)
	if !ok || k == facet.Net16 {
		return ""
	}
	return facet.Names(k)[0].String()
}

// refuses reports whether an action keeps a request from being served as usual.
func refuses(action string) bool { return action != "allow" && action != "tag" }

// shell quotes a text for a shell, if needed.
func shell(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._:@/-", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// unsaid lists the columns of a decision that stand elsewhere in what people read, or
// that only repeat others.
var unsaid = []string{"id", "time", "stream", "incarnation", "src_partition", "src_offset", "received", "rules", "reason_codes"}

func (r *report) write(out io.Writer, output string, number int) error {
	if output == "json" {
		b, err := encode(r)
		if err != nil {
			return err
		}
		_, err = out.Write(append(b, '\n'))
		return err
	}
	w := &lines{out: out}
	if number > 0 {
		w.line("")
	}
	w.line("Decision %s, %s UTC", r.id, r.Decision.text("time"))
	w.row(r.Decision, unsaid)
	if len(r.Reasons) > 0 {
		w.line("\nReasons")
	}
	for _, why := range r.Reasons {
		w.reason(why)
	}
	for _, e := range r.Events {
		w.line("\nEvent %s, %s UTC", e.text("id"), e.text("time"))
		w.row(e, []string{"id", "time", "stream", "incarnation", "owner", "received", "decision"})
	}
	w.line("\nNext")
	for _, n := range r.Next {
		w.line("  - %s", n)
	}
	return w.err
}

// lines writes for people. What a client wrote cannot affect the terminal.
type lines struct {
	out io.Writer
	err error
}

func (w *lines) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	lead := text[:len(text)-len(strings.TrimLeft(text, "\n"))]
	if _, err := io.WriteString(w.out, lead+printable.Text(text[len(lead):])+"\n"); err != nil && w.err == nil {
		w.err = err
	}
}

func (w *lines) row(r row, without []string) {
	widest := 0
	for _, f := range r {
		if !f.empty() && !slices.Contains(without, f.name) {
			widest = max(widest, len(f.name))
		}
	}
	for _, f := range r {
		if !f.empty() && !slices.Contains(without, f.name) {
			w.line("  %-*s  %s", widest, f.name, f.text())
		}
	}
}

func (w *lines) reason(why reason) {
	sign := ""
	if why.Lowers {
		sign = "−"
	}
	w.line("  %s%d  %s: %s (%s, %s), about %s %s", sign, why.Weight, why.Rule, why.Reason.Reason, why.Category, why.Phase, why.Entity, why.Key)
	if why.Signals == 0 {
		w.line("      no signal of it is stored")
		return
	}
	w.line("      %s, from %s to %s UTC", problem.Plural(int(min(why.Signals, 1<<31)), "signal"), why.First, why.Last)
	if why.Evidence != nil {
		w.line("      last evidence %s", why.Evidence)
	}
}

// row is a row of a table, in the order of columns.
type row []cell

type cell struct {
	name, kind string
	value      any
}

func (c cell) text() string { return text(c.value, c.kind) }

// empty reports whether the value is the zero of its type, which is how absent values
// are stored.
func (c cell) empty() bool {
	switch c.text() {
	case "", "0", "[]", "{}", "NULL", "false", "1970-01-01 00:00:00.000":
		return true
	}
	return false
}

func (r row) cell(name string) cell {
	for _, c := range r {
		if c.name == name {
			return c
		}
	}
	return cell{}
}

func (r row) raw(name string) any     { return r.cell(name).value }
func (r row) text(name string) string { return r.cell(name).text() }

// MarshalJSON writes the columns that are not empty, in order.
func (r row) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for _, c := range r {
		if c.empty() {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		name, err := encode(c.name)
		if err != nil {
			return nil, err
		}
		value, err := encode(plain(c.value, c.kind))
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.name, err)
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	return append(b, '}'), nil
}

// fetch returns the rows of a query.
func fetch(ctx context.Context, conn driver.Conn, sql string, args ...any) (all []row, err error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	p := &printer{names: rows.Columns(), types: rows.ColumnTypes()}
	for rows.Next() {
		values, err := p.scan(rows)
		if err != nil {
			return nil, err
		}
		one := make(row, len(values))
		for i := range values {
			one[i] = cell{p.names[i], p.types[i].DatabaseTypeName(), values[i]}
		}
		all = append(all, one)
	}
	return all, rows.Err()
}
