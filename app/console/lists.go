package console

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/weirdev/weir/app/dead"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/rules"
)

type rulesView struct {
	Rules  []ruleRow
	Counts part[[]abused]
	Shadow part[[]shadow]
	Labels part[map[string]precision]
}

// ruleRow is a rule with what it found.
type ruleRow struct {
	ID       string
	Rule     *rules.Rule // nil: it is not among the console's rules
	Found    abused
	Shadowed uint64
	Labels   precision
}

type shadow struct {
	Rule    string `ch:"rule"`
	Signals uint64 `ch:"signals"`
}

func (s *Server) rules(v *visit) {
	var page rulesView
	p := v.parts()
	get(p, inClickHouse, &page.Counts, func(ctx context.Context) ([]abused, error) { return s.abused(ctx, v.span, mostRules) })
	get(p, inClickHouse, &page.Shadow, func(ctx context.Context) (all []shadow, err error) {
		err = s.rows(ctx, &all, fmt.Sprintf("SELECT rule, count() AS signals FROM v_shadow_signals WHERE %s GROUP BY rule ORDER BY rule LIMIT %d", within, mostRules), v.span.args()...)
		return all, err
	})
	get(p, inClickHouse, &page.Labels, func(ctx context.Context) (map[string]precision, error) { return s.precisions(ctx, v.span) })
	p.wait()
	byID := map[string]int{}
	row := func(id string) *ruleRow {
		at, ok := byID[id]
		if !ok {
			at = len(page.Rules)
			byID[id], page.Rules = at, append(page.Rules, ruleRow{ID: id, Rule: s.ruleOf(id)})
		}
		return &page.Rules[at]
	}
	for _, a := range page.Counts.V {
		row(a.Rule).Found = a
	}
	for _, x := range page.Shadow.V {
		row(x.Rule).Shadowed = x.Signals
	}
	for _, r := range s.deps.Rules.Current().Rules {
		row(r.ID)
	}
	for i := range page.Rules {
		page.Rules[i].Labels = page.Labels.V[page.Rules[i].ID]
	}
	v.showSpan("rules", "Rules", "rules", page)
}

type ruleView struct {
	ID       string
	Rule     *rules.Rule
	Chart    part[*chart]
	Entities part[[]suspect]
	Scores   part[[]current]
	Signals  part[[]signal]
	Overlap  part[[]overlap]
	Shadow   part[[]shadow]
	InForce  part[[]switches.Object]
	Labels   part[precision]
	Spoken   part[[]spokenRow]
}

// overlap is another rule that found some of the same entities.
type overlap struct {
	Rule     string `ch:"rule"`
	Entities uint64 `ch:"entities"`
}

func (s *Server) rule(v *visit) {
	id := v.r.URL.Query().Get("id")
	page := ruleView{ID: id, Rule: s.ruleOf(id)}
	inSpan := append(v.span.args(), id)
	p := v.parts()
	get(p, inClickHouse, &page.Chart, func(ctx context.Context) (*chart, error) {
		list, err := s.buckets(ctx, "v_named_signals", v.span, ofRule, id)
		return barChart(v.span, 110, "signals", "alarm", list), err
	})
	get(p, inClickHouse, &page.Entities, func(ctx context.Context) ([]suspect, error) {
		return s.suspects(ctx, "v_named_signals", within+" AND "+ofRule, mostEntities, inSpan...)
	})
	get(p, inClickHouse, &page.Signals, func(ctx context.Context) ([]signal, error) {
		return s.signals(ctx, "v_named_signals", within+" AND "+ofRule+" AND group_kind = '' ORDER BY time DESC, facet_partition, facet_offset DESC", 20, inSpan...)
	})
	get(p, inClickHouse, &page.Overlap, func(ctx context.Context) (all []overlap, err error) {
		err = s.rows(ctx, &all, fmt.Sprintf(`SELECT rule, uniqExact(tenant, entity_kind, entity) AS entities FROM v_signals
WHERE %[1]s AND rule != ? AND (tenant, entity_kind, entity) IN (SELECT tenant, entity_kind, entity FROM v_named_signals WHERE %[1]s AND %[2]s)
GROUP BY rule ORDER BY entities DESC, rule LIMIT 20`, within, ofRule), append(append(v.span.args(), id), inSpan...)...)
		return all, err
	})
	get(p, inClickHouse, &page.Shadow, func(ctx context.Context) (all []shadow, err error) {
		err = s.rows(ctx, &all, "SELECT rule, count() AS signals FROM v_shadow_signals WHERE "+within+" AND rule = ? GROUP BY rule LIMIT 1", inSpan...)
		return all, err
	})
	get(p, inClickHouse, &page.Labels, func(ctx context.Context) (precision, error) {
		all, err := s.precisions(ctx, v.span)
		return all[id], err
	})
	get(p, inClickHouse, &page.Spoken, func(ctx context.Context) ([]spokenRow, error) {
		return s.spoken(ctx, within+" AND rule = ? ORDER BY time DESC", 20, inSpan...)
	})
	get(p, inRedis, &page.InForce, func(ctx context.Context) (of []switches.Object, err error) {
		if s.deps.Switches == nil {
			return nil, errAway
		}
		all, err := s.deps.Switches.List(ctx)
		for _, o := range all {
			if o.Scope == switches.Rule && o.Name == id || page.Rule != nil && o.Scope == switches.Detector && o.Name == page.Rule.Detector {
				of = append(of, o)
			}
		}
		return of, err
	})
	p.wait()
	s.withScores(v, page.Entities.V, &page.Scores)
	v.showSpan("rule", "Rule "+shorten(id, 60), "rules", page)
}

type campaignsView struct {
	Campaigns part[[]campaign]
}

// campaign is a group whose members were told.
type campaign struct {
	Tenant  string    `ch:"tenant"`
	Kind    string    `ch:"group_kind"`
	Key     string    `ch:"group_key"`
	Rules   []string  `ch:"rules"`
	Members uint64    `ch:"members"`
	First   time.Time `ch:"first"`
	Last    time.Time `ch:"last"`
}

func (s *Server) campaigns(v *visit) {
	var page campaignsView
	p := v.parts()
	get(p, inClickHouse, &page.Campaigns, func(ctx context.Context) (all []campaign, err error) {
		err = s.rows(ctx, &all, fmt.Sprintf(`SELECT tenant, group_kind, group_key, arraySort(groupUniqArray(20)(rule)) AS rules, uniqExact(entity_kind, entity) AS members, min(time) AS first, max(time) AS last
FROM v_signals WHERE %s AND group_kind != '' GROUP BY tenant, group_kind, group_key ORDER BY members DESC, last DESC, group_key LIMIT %d`, within, mostCampaigns), v.span.args()...)
		return all, err
	})
	p.wait()
	v.showSpan("campaigns", "Campaigns", "campaigns", page)
}

type deadView struct {
	Letters part[[]dead.Letter]
	Reasons part[[]reasonCount]
}

type reasonCount struct {
	Reason  string    `ch:"reason"`
	Letters uint64    `ch:"letters"`
	Last    time.Time `ch:"last"`
}

const mostLetters = 200

// dead shows the newest letters from Kafka, which has all of a record, and the counts of
// a span from ClickHouse, which has all letters.
func (s *Server) dead(v *visit) {
	var page deadView
	p := v.parts()
	get(p, inKafka, &page.Letters, func(ctx context.Context) ([]dead.Letter, error) {
		if s.deps.Letters == nil {
			return nil, errAway
		}
		return s.deps.Letters.Last(ctx, mostLetters)
	})
	get(p, inClickHouse, &page.Reasons, func(ctx context.Context) (all []reasonCount, err error) {
		err = s.rows(ctx, &all, "SELECT reason, count() AS letters, max(received) AS last FROM v_dead_letters WHERE "+received+" GROUP BY reason ORDER BY letters DESC, reason", v.span.args()...)
		return all, err
	})
	p.wait()
	page.Letters.V = page.Letters.V[:min(len(page.Letters.V), mostLetters)]
	v.showSpan("dead", "Dead letters", "dead", page)
}

type switchesView struct {
	InForce part[[]switches.Object]
}

func (s *Server) switches(v *visit) {
	var page switchesView
	p := v.parts()
	get(p, inRedis, &page.InForce, func(ctx context.Context) ([]switches.Object, error) {
		if s.deps.Switches == nil {
			return nil, errAway
		}
		return s.deps.Switches.List(ctx)
	})
	p.wait()
	v.show("switches", "Switches, blocks and releases", "switches", page)
}

// missing says that a page is about something that is not stored.
func (v *visit) missing(what, advice string) { v.fail(http.StatusNotFound, what, advice) }

var errNone = unsaid("Nothing is stored there; it may have aged out (clickhouse.retention).")
