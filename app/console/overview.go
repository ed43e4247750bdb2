package console

import (
	"context"
	"fmt"
	"time"

	"github.com/weirdev/weir/internal/facet"
)

type overviewView struct {
	Events    part[*chart]
	Total     uint64
	Signals   part[*chart]
	Abused    part[[]abused]
	Routes    part[[]routeRow]
	Entities  part[[]suspect]
	Scores    part[[]current]
	Done      part[[]done]
	Newest    part[time.Time] // of the signals, where the span holds none
	Elsewhere span            // around it
}

// abused is a rule with its signals.
type abused struct {
	Rule     string    `ch:"rule"`
	Category string    `ch:"category"`
	Phase    string    `ch:"phase"`
	Signals  uint64    `ch:"signals"`
	Entities uint64    `ch:"entities"`
	Last     time.Time `ch:"last"`
	Title    string
}

type routeRow struct {
	Route   string `ch:"route"`
	Method  string `ch:"method"`
	Tenant  string `ch:"tenant"`
	Signals uint64 `ch:"signals"`
}

// suspect is an entity with its signals.
type suspect struct {
	Tenant   string    `ch:"tenant"`
	Kind     string    `ch:"entity_kind"`
	Key      string    `ch:"entity"`
	Rules    []string  `ch:"rules"`
	Heaviest uint8     `ch:"heaviest"`
	Signals  uint64    `ch:"signals"`
	First    time.Time `ch:"first"`
	Last     time.Time `ch:"last"`
	Score    *current
}

func (x suspect) entity() facet.Entity {
	kind, _ := facet.ParseKind(x.Kind)
	return facet.Entity{Kind: kind, Tenant: x.Tenant, Key: x.Key}
}

// done is what gates did.
type done struct {
	Action    string `ch:"action"`
	Would     string `ch:"would"`
	Decisions uint64 `ch:"decisions"`
	Entities  uint64 `ch:"entities"`
}

// mostShown limits the rules and the routes of the overview.
const mostShown = 8

// mostRouted limits the signals whose routes are counted.
const mostRouted = 2000

func (s *Server) overview(v *visit) {
	var page overviewView
	p := v.parts()
	get(p, inClickHouse, &page.Events, func(ctx context.Context) (*chart, error) {
		list, err := s.minutes(ctx, v.span)
		for _, b := range list {
			page.Total += b.Events
		}
		return barChart(v.span, 90, "events", "calm", list), err
	})
	get(p, inClickHouse, &page.Signals, func(ctx context.Context) (*chart, error) {
		list, err := s.buckets(ctx, "v_signals", v.span, "lowers = 0 AND clears = 0")
		return barChart(v.span, 90, "signals", "alarm", list), err
	})
	get(p, inClickHouse, &page.Abused, func(ctx context.Context) ([]abused, error) { return s.abused(ctx, v.span, mostShown) })
	get(p, inClickHouse, &page.Routes, func(ctx context.Context) (all []routeRow, err error) {
		err = s.rows(ctx, &all, fmt.Sprintf(`SELECT tenant, method, route, count() AS signals FROM v_events
WHERE (stream, incarnation, src_partition, src_offset) IN
    (SELECT stream, incarnation, src_partition, src_offset FROM v_signals WHERE %s AND lowers = 0 AND clears = 0 AND group_kind = '' ORDER BY time DESC LIMIT %d)
GROUP BY tenant, method, route ORDER BY signals DESC, route LIMIT %d`, within, mostRouted, mostShown), v.span.args()...)
		return all, err
	})
	get(p, inClickHouse, &page.Entities, func(ctx context.Context) ([]suspect, error) {
		return s.suspects(ctx, "v_signals", within, mostEntities, v.span.args()...)
	})
	get(p, inClickHouse, &page.Done, func(ctx context.Context) (all []done, err error) {
		err = s.rows(ctx, &all, "SELECT action, would, count() AS decisions, uniq(arraySort(mapValues(entities))) AS entities FROM v_decisions WHERE "+within+
			" GROUP BY action, would ORDER BY decisions DESC LIMIT 36", v.span.args()...)
		return all, err
	})
	p.wait()
	s.withScores(v, page.Entities.V, &page.Scores)
	if page.Abused.Lack == nil && len(page.Abused.V) == 0 {
		get(p, inClickHouse, &page.Newest, s.newest)
		p.wait()
		page.Elsewhere = around(page.Newest.V, 12)
	}
	v.showSpan("overview", "Overview", "overview", page)
}

// newest returns the time of the newest signal; zero if there is none.
func (s *Server) newest(ctx context.Context) (time.Time, error) {
	var all []struct {
		Newest time.Time `ch:"newest"`
	}
	err := s.rows(ctx, &all, "SELECT max(time) AS newest FROM v_signals")
	if err != nil || len(all) == 0 || all[0].Newest.Unix() == 0 {
		return time.Time{}, err
	}
	return all[0].Newest.UTC(), nil
}

// buckets counts the rows of a view over time.
func (s *Server) buckets(ctx context.Context, view string, of span, condition string, args ...any) (all []bucket, err error) {
	err = s.rows(ctx, &all, fmt.Sprintf("SELECT toDateTime(intDiv(toUnixTimestamp(time), %[1]d) * %[1]d, 'UTC') AS start, count() AS events FROM %[2]s WHERE %[3]s AND %[4]s GROUP BY start ORDER BY start LIMIT 1000",
		of.step(), view, within, condition), append(of.args(), args...)...)
	return all, err
}

// minutes counts the events of a span over time, by minutes.
func (s *Server) minutes(ctx context.Context, of span) (all []bucket, err error) {
	step := of.step()
	err = s.rows(ctx, &all, fmt.Sprintf("SELECT toDateTime(intDiv(toUnixTimestamp(minute), %[1]d) * %[1]d, 'UTC') AS start, sum(events) AS events FROM v_event_minutes WHERE minute >= toDateTime(?) AND minute < toDateTime(?) GROUP BY start ORDER BY start LIMIT 1000", step),
		of.From.Truncate(time.Minute).Unix(), of.To.Unix())
	return all, err
}

// abused returns the rules with signals in a span, the most frequent first.
func (s *Server) abused(ctx context.Context, of span, limit int) (all []abused, err error) {
	err = s.rows(ctx, &all, fmt.Sprintf(`SELECT rule, any(category) AS category, argMax(phase, time) AS phase, count() AS signals, uniqExact(tenant, entity_kind, entity) AS entities, max(time) AS last
FROM v_signals WHERE %s AND lowers = 0 AND clears = 0 GROUP BY rule ORDER BY entities DESC, rule LIMIT %d`, within, limit), of.args()...)
	for i := range all {
		if r := s.ruleOf(all[i].Rule); r != nil {
			all[i].Title = r.Title
		}
	}
	return all, err
}

// suspects returns the entities with signals of a view that meet a condition, those with
// the heaviest first.
func (s *Server) suspects(ctx context.Context, view, condition string, limit int, args ...any) (all []suspect, err error) {
	err = s.rows(ctx, &all, fmt.Sprintf(`SELECT tenant, entity_kind, entity, arraySort(groupUniqArray(20)(rule)) AS rules, max(weight) AS heaviest, count() AS signals, min(time) AS first, max(time) AS last
FROM %s WHERE %s AND lowers = 0 AND clears = 0 GROUP BY tenant, entity_kind, entity ORDER BY heaviest DESC, length(rules) DESC, signals DESC, last DESC, entity LIMIT %d`, view, condition, limit), args...)
	return all, err
}

// withScores adds the scores of now to a list of entities.
func (s *Server) withScores(v *visit, list []suspect, into *part[[]current]) {
	if len(list) == 0 {
		return
	}
	entities := make([]facet.Entity, len(list))
	for i := range list {
		entities[i] = list[i].entity()
	}
	p := v.parts()
	get(p, inRedis, into, func(ctx context.Context) ([]current, error) { return s.scores(ctx, entities, v.now) })
	p.wait()
	for i := range into.V {
		list[i].Score = &into.V[i]
	}
}
