package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/facet"
)

type entityView struct {
	Kind, Key, Tenant string
	Score             part[current]
	Chart             part[*chart]
	Signals           part[[]signal]
	Members           part[[]suspect] // told because they belong to this entity
	Scores            part[[]current] // of the members
	Decisions         part[[]decisionRow]
	Events            part[[]eventRow]
	Neighbours        part[[]neighbour]
	InForce           part[[]switches.Object]
	Spoken            part[[]spokenRow]
	Hidden            bool // events do not name entities of this kind
	Actions           []policy.Action
	Newest            part[time.Time] // of the signals about it, where the span holds none
	Elsewhere         span
}

// neighbour is another entity in the same events.
type neighbour struct {
	Kind   string    `ch:"kind"`
	Key    string    `ch:"key"`
	Events uint64    `ch:"events"`
	First  time.Time `ch:"first"`
	Last   time.Time `ch:"last"`
}

// entityOf reads the parameters kind, key and tenant.
func entityOf(q url.Values) (facet.Entity, error) {
	kind, ok := facet.ParseKind(q.Get("kind"))
	if !ok {
		return facet.Entity{}, fmt.Errorf("%q is no kind of entity", q.Get("kind"))
	}
	e, _, ok := gate.Resolve(kind, q.Get("tenant"), q.Get("key"))
	if !ok {
		return e, fmt.Errorf("%q is no key of kind %s", q.Get("key"), kind)
	}
	return e, nil
}

func entityPage(of span, e facet.Entity) string {
	return link("/entity", of, "kind", e.Kind.String(), "key", e.Key, "tenant", e.Tenant)
}

const ofEntity = "entity_kind = ? AND entity = ? AND tenant = ?"

func (s *Server) entity(v *visit) {
	e, err := entityOf(v.r.URL.Query())
	if err != nil {
		v.fail(http.StatusBadRequest, "There is no such entity", err.Error()+". Search for it.")
		return
	}
	page := entityView{Kind: e.Kind.String(), Key: e.Key, Tenant: e.Tenant, Actions: policy.Actions()[1:]}
	named := []any{e.Kind.String(), e.Key, e.Tenant}
	inSpan := append(v.span.args(), named...)
	p := v.parts()
	get(p, inRedis, &page.Score, func(ctx context.Context) (current, error) {
		all, err := s.scores(ctx, []facet.Entity{e}, v.now)
		if err != nil {
			return current{}, err
		}
		return all[0], nil
	})
	get(p, inClickHouse, &page.Spoken, func(ctx context.Context) ([]spokenRow, error) {
		return s.spoken(ctx, ofEntity+" ORDER BY time DESC", mostSpoken, named...)
	})
	get(p, inRedis, &page.InForce, func(ctx context.Context) ([]switches.Object, error) { return s.inForce(ctx, e) })
	get(p, inClickHouse, &page.Chart, func(ctx context.Context) (*chart, error) {
		// A weight of 100 is less than a point after seven half-lives.
		all, err := s.signals(ctx, "v_named_signals", "time + toIntervalSecond(7 * half_life_s) >= fromUnixTimestamp64Milli(toInt64(?)) AND time < fromUnixTimestamp64Milli(toInt64(?)) AND "+byEntity+" ORDER BY time DESC, facet_offset DESC, facet_index DESC", mostCurve, inSpan...)
		if err != nil {
			return nil, err
		}
		said, err := s.spoken(ctx, ofEntity+" ORDER BY time DESC", mostCurve, named...)
		slices.Reverse(all)
		slices.Reverse(said)
		return scoreChart(v.span, all, said), err
	})
	get(p, inClickHouse, &page.Signals, func(ctx context.Context) ([]signal, error) {
		return s.signals(ctx, "v_named_signals", within+" AND "+byEntity+" ORDER BY time DESC, facet_offset DESC, rule", mostSignals, inSpan...)
	})
	get(p, inClickHouse, &page.Members, func(ctx context.Context) ([]suspect, error) {
		return s.suspects(ctx, "v_named_signals", within+" AND "+byGroup, mostMembers, inSpan...)
	})
	get(p, inClickHouse, &page.Decisions, func(ctx context.Context) ([]decisionRow, error) {
		return s.decisionsWith(ctx, e.Key, within+" AND entities[?] = ? AND tenant = ? ORDER BY time DESC, id", mostDecisions, append(v.span.args(), e.Kind.String(), e.Key, e.Tenant)...)
	})
	if from, ok := eventsOf(e); ok {
		get(p, inClickHouse, &page.Events, func(ctx context.Context) ([]eventRow, error) { return s.newestOf(ctx, from, v.span, mostEvents) })
		get(p, inClickHouse, &page.Neighbours, func(ctx context.Context) ([]neighbour, error) { return s.neighbours(ctx, e, from, v.span) })
	} else {
		page.Hidden = true
	}
	p.wait()
	s.withScores(v, page.Members.V, &page.Scores)
	if page.Signals.Lack == nil && len(page.Signals.V) == 0 {
		get(p, inClickHouse, &page.Newest, func(ctx context.Context) (time.Time, error) {
			all, err := s.signals(ctx, "v_named_signals", byEntity+" ORDER BY time DESC", 1, named...)
			if err != nil || len(all) == 0 {
				return time.Time{}, err
			}
			return all[0].Time, nil
		})
		p.wait()
		page.Elsewhere = around(page.Newest.V, 12)
	}
	v.showSpan("entity", e.Kind.String()+" "+shorten(e.Key, 60), "", page)
}

// mostRead limits the newest events in which neighbours are looked for.
const mostRead = 20_000

// neighbours returns the entities that an entity's newest events name, too.
func (s *Server) neighbours(ctx context.Context, e facet.Entity, from source, of span) (all []neighbour, err error) {
	names := "('account', account), ('device', device), ('ip', client_ip), ('build', build)"
	columns := "account, device, client_ip, build"
	if !from.isCopy {
		names += ", ('token', if(token_family != '', token_family, token)), ('session', session), ('net', net), ('key', key_id)"
		columns += ", token, token_family, session, net, key_id"
	}
	args := append(append(slices.Clone(from.args), of.args()...), e.Kind.String(), e.Key)
	err = s.rows(ctx, &all, fmt.Sprintf(`SELECT who.1 AS kind, who.2 AS key, count() AS events, min(time) AS first, max(time) AS last
FROM
(
    SELECT time, arrayJoin([%s]) AS who
    FROM (SELECT time, %s FROM %s WHERE %s AND %s ORDER BY time DESC LIMIT %d)
)
WHERE who.2 != '' AND (who.1, who.2) != (?, ?)
GROUP BY kind, key ORDER BY kind, events DESC, last DESC LIMIT %d BY kind LIMIT 200`, names, columns, from.from, from.condition, within, mostRead, mostNeighbours), args...)
	return all, err
}

// inForce returns the blocks and releases of an entity that hold now.
func (s *Server) inForce(ctx context.Context, e facet.Entity) (of []switches.Object, err error) {
	if s.deps.Switches == nil {
		return nil, errAway
	}
	all, err := s.deps.Switches.List(ctx)
	for _, o := range all {
		if o.Scope == switches.Entity && o.Entity() == e {
			of = append(of, o)
		}
	}
	return of, err
}
