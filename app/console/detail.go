package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/weirdev/weir/app/query"
	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/sink/clickhouse"
)

// columns asks ClickHouse for rows with all their columns.
func (s *Server) columns(ctx context.Context, sql string, args ...any) ([][]query.Column, error) {
	if s.deps.ClickHouse == nil {
		return nil, errAway
	}
	return query.Rows(ch.Context(ctx, ch.WithSettings(settings())), s.deps.ClickHouse, sql, args...)
}

func column(row []query.Column, name string) string {
	for _, c := range row {
		if c.Name == name {
			return c.Text
		}
	}
	return ""
}

type eventView struct {
	Place    place
	Event    part[[]query.Column]
	Entities []facet.Entity
	Signals  part[[]signal]
	Around   span
}

// placeOf reads the parameters that name an event.
func placeOf(q url.Values) (p place, ok bool) {
	incarnation, ok1 := number(q, "incarnation")
	partition, ok2 := number(q, "partition")
	offset, ok3 := number(q, "offset")
	if !ok1 || !ok2 || !ok3 || incarnation >= 1<<32 || partition >= 1<<32 || q.Get("stream") == "" {
		return p, false
	}
	return place{q.Get("stream"), uint32(incarnation), uint32(partition), offset}, true
}

const atPlace = "stream = ? AND incarnation = ? AND src_partition = ? AND src_offset = ?"

func (p place) args() []any { return []any{p.Stream, p.Incarnation, p.Partition, p.Offset} }

func (s *Server) event(v *visit) {
	where, ok := placeOf(v.r.URL.Query())
	if !ok {
		v.fail(http.StatusBadRequest, "There is no such event", "An event is named by its stream, incarnation, partition and offset. Search for its id.")
		return
	}
	page := eventView{Place: where}
	p := v.parts()
	get(p, inClickHouse, &page.Event, func(ctx context.Context) ([]query.Column, error) {
		rows, err := s.columns(ctx, "SELECT * FROM v_events WHERE "+atPlace+" LIMIT 1", where.args()...)
		if err != nil || len(rows) == 0 {
			return nil, err
		}
		return rows[0], nil
	})
	p.wait()
	if page.Event.Lack == nil && page.Event.V == nil {
		v.missing("The event is not stored", "It has aged out (clickhouse.retention), or was erased.")
		return
	}
	page.Entities = entitiesOf(page.Event.V)
	when, _ := time.Parse("2006-01-02 15:04:05.000", column(page.Event.V, "time"))
	page.Around = around(when, 1)
	page.Around.To = page.Around.To.Add(time.Minute)
	get(p, inClickHouse, &page.Signals, func(ctx context.Context) ([]signal, error) {
		return s.signals(ctx, "v_signals", atPlace+" AND "+within+" ORDER BY group_kind, weight DESC, rule", mostSignals, append(where.args(), page.Around.args()...)...)
	})
	p.wait()
	v.show("event", "Event "+shorten(column(page.Event.V, "id"), 60), "", page)
}

// entitiesOf returns the entities that an event names.
func entitiesOf(row []query.Column) (all []facet.Entity) {
	var e event.Event
	for _, c := range row {
		spec, ok := event.Lookup(c.Name)
		switch {
		case !ok:
		case !spec.Kind.Numeric():
			e.SetText(spec.Field, c.Text)
		case spec.Kind == event.KindInt:
			if n, err := strconv.ParseInt(c.Text, 10, 64); err == nil {
				e.SetNum(spec.Field, n)
			}
		}
	}
	for _, k := range facet.Kinds() {
		if one, ok := facet.EntityOf(k, &e, make([]byte, 0, 64)); ok && k != facet.Tenant {
			all = append(all, one)
		}
	}
	return all
}

type decisionView struct {
	Decision part[[]query.Column]
	ID       string
	Action   string
	Would    string
	Tenant   string
	Reasons  []reason
	Entities []facet.Entity
	Events   part[[]eventRow]
	Around   span
}

// reason is a reason of a decision.
type reason struct {
	decision.Reason
	Key   string // of the entity
	Title string // of the rule
}

func (s *Server) decision(v *visit) {
	id := v.r.URL.Query().Get("id")
	page := decisionView{ID: id}
	var entities map[string]string
	p := v.parts()
	get(p, inClickHouse, &page.Decision, func(ctx context.Context) ([]query.Column, error) {
		rows, err := s.columns(ctx, "SELECT *, toJSONString(entities) AS keys FROM "+clickhouse.DecisionsByID()+" WHERE id = ? ORDER BY time DESC LIMIT 1", id, id, id)
		if err != nil || len(rows) == 0 || id == "" {
			return nil, err
		}
		return rows[0], nil
	})
	p.wait()
	row := page.Decision.V
	if page.Decision.Lack == nil && row == nil {
		v.missing("The decision is not stored", "Decisions are there some seconds after they were made, for as long as clickhouse.retention says. weir_gate_dropped_total counts those that a gate could not write.")
		return
	}
	page.Action, page.Would, page.Tenant = column(row, "action"), column(row, "would"), column(row, "tenant")
	_ = json.Unmarshal([]byte(column(row, "keys")), &entities)
	for _, k := range facet.Kinds() {
		if key := entities[k.String()]; key != "" {
			page.Entities = append(page.Entities, facet.Entity{Kind: k, Tenant: page.Tenant, Key: key})
		}
	}
	var stored []decision.Reason
	_ = json.Unmarshal([]byte(column(row, "reasons")), &stored)
	for _, r := range stored {
		one := reason{Reason: r, Key: entities[r.Entity]}
		if known := s.ruleOf(r.Rule); known != nil {
			one.Title = known.Title
		}
		page.Reasons = append(page.Reasons, one)
	}
	page.Decision.V = without(row, "keys", "reasons", "entities", "rules", "reason_codes", "owner")
	made, _ := time.Parse("2006-01-02 15:04:05.000", column(row, "time"))
	page.Around = around(made, 12)
	get(p, inClickHouse, &page.Events, func(ctx context.Context) ([]eventRow, error) {
		return s.eventsWith(ctx, id, "decision = ? ORDER BY time", mostHits, id)
	})
	p.wait()
	v.show("decision", "Decision "+shorten(id, 60), "", page)
}

func without(row []query.Column, names ...string) (rest []query.Column) {
	left := " " + strings.Join(names, " ") + " "
	for _, c := range row {
		if !strings.Contains(left, " "+c.Name+" ") {
			rest = append(rest, c)
		}
	}
	return rest
}

// query returns the parameters that name the signal.
func (s signal) query() url.Values {
	return url.Values{
		"stream": {s.Stream}, "incarnation": {fmt.Sprint(s.Incarnation)}, "partition": {fmt.Sprint(s.Partition)},
		"offset": {fmt.Sprint(s.Offset)}, "index": {fmt.Sprint(s.Index)}, "rule": {s.Rule},
	}
}

// signalOf loads the signal that the parameters name.
func (s *Server) signalOf(ctx context.Context, q url.Values) (signal, error) {
	p, ok := placeOf(q)
	index, ok2 := number(q, "index")
	if !ok || !ok2 || index >= 1<<32 {
		return signal{}, errNone
	}
	all, err := s.signals(ctx, "v_signals", "stream = ? AND incarnation = ? AND facet_partition = ? AND facet_offset = ? AND facet_index = ? AND rule = ?", 1,
		p.Stream, p.Incarnation, p.Partition, p.Offset, uint32(index), q.Get("rule"))
	if err == nil && len(all) == 0 {
		err = errNone
	}
	if err != nil {
		return signal{}, err
	}
	return all[0], nil
}
