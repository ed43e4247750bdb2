package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

type searchView struct {
	Query     string
	Entities  part[[]hit]
	Decisions part[[]decisionRow]
	Events    part[[]eventRow]
	Kinds     []facet.Entity // what the text may name, though nothing is stored about it
	Nothing   bool
}

// hit is an entity that something is stored about.
type hit struct {
	Tenant  string `ch:"tenant"`
	Kind    string `ch:"kind"`
	Key     string `ch:"key"`
	Signals uint64 `ch:"signals"`
	Events  uint64 `ch:"events"`
}

const mostHits = 20

func (s *Server) search(v *visit) {
	q := strings.TrimSpace(v.r.URL.Query().Get("q"))
	if q == "" {
		v.showSpan("search", "Search", "", searchView{})
		return
	}
	if named, ok := rules.ParseSubject(q); ok {
		if e, _, ok := gate.Resolve(named.Kind, "", named.Key); ok {
			http.Redirect(v.w, v.r, entityPage(v.span, e), http.StatusSeeOther)
			return
		}
	}
	page := searchView{Query: q, Kinds: candidates(q)}
	p := v.parts()
	found := make([]part[[]hit], len(page.Kinds))
	for i, e := range page.Kinds {
		if isSearched(e.Kind) {
			get(p, inClickHouse, &found[i], func(ctx context.Context) ([]hit, error) { return s.inEvents(ctx, v.span, e) })
		}
	}
	get(p, inClickHouse, &page.Entities, func(ctx context.Context) ([]hit, error) { return s.withSignals(ctx, page.Kinds) })
	get(p, inClickHouse, &page.Decisions, func(ctx context.Context) ([]decisionRow, error) {
		return s.decisionsWith(ctx, q, "(id = ? OR request_id = ? OR trace_id = ?) ORDER BY time DESC, id", mostHits, q, q, q)
	})
	get(p, inClickHouse, &page.Events, func(ctx context.Context) ([]eventRow, error) {
		return s.eventsWith(ctx, q, "(id = ? OR request_id = ? OR trace_id = ?) ORDER BY time DESC", mostHits, q, q, q)
	})
	p.wait()
	lists := [][]hit{page.Entities.V}
	for i := range found {
		lists = append(lists, found[i].V)
		if found[i].Lack != nil {
			page.Entities.Lack = found[i].Lack
		}
	}
	page.Entities.V = gather(lists...)
	lacks := page.Entities.Lack != nil || page.Decisions.Lack != nil || page.Events.Lack != nil
	entities, decisions, events := len(page.Entities.V), len(page.Decisions.V), len(page.Events.V)
	page.Nothing = !lacks && entities+decisions+events == 0
	if to := page.only(v.span); !lacks && to != "" {
		http.Redirect(v.w, v.r, to, http.StatusSeeOther)
		return
	}
	v.showSpan("search", "Search", "", page)
}

// only returns the page of the one thing that was found; "" if it is not one.
func (x *searchView) only(of span) string {
	switch {
	case len(x.Entities.V)+len(x.Decisions.V)+len(x.Events.V) != 1:
		return ""
	case len(x.Entities.V) == 1:
		h := x.Entities.V[0]
		return link("/entity", of, "kind", h.Kind, "key", h.Key, "tenant", h.Tenant)
	case len(x.Decisions.V) == 1:
		return "/decision?" + url.Values{"id": {x.Decisions.V[0].ID}}.Encode()
	}
	return "/event?" + x.Events.V[0].Place().query().Encode()
}

// candidates lists the entities that a text may name.
func candidates(text string) (all []facet.Entity) {
	for _, k := range facet.Kinds() {
		switch k {
		case facet.Tenant, facet.Country, facet.Build:
			continue // they are too coarse to be looked for without their kind
		}
		key, _, ok := facet.KeyOf(k, text)
		isAddress := k == facet.IP || k == facet.Net || k == facet.Net16
		if !ok || k == facet.Route && !strings.HasPrefix(text, "/") || isAddress && !strings.ContainsAny(text, ".:") {
			continue
		}
		all = append(all, facet.Entity{Kind: k, Key: key})
	}
	return all
}

// isSearched reports whether entities of a kind are looked for in events, where they
// are found fast.
func isSearched(k facet.Kind) bool {
	return inEntityEvents(k) || k == facet.Token || k == facet.Session || k == facet.Key
}

// withSignals returns which candidates have signals.
func (s *Server) withSignals(ctx context.Context, list []facet.Entity) (all []hit, err error) {
	if len(list) == 0 {
		return nil, nil
	}
	pairs := make([]string, len(list))
	var args []any
	for i, e := range list {
		pairs[i] = "(?, ?)"
		args = append(args, e.Kind.String(), e.Key)
	}
	err = s.rows(ctx, &all, "SELECT tenant, entity_kind AS kind, entity AS key, count() AS signals, toUInt64(0) AS events FROM v_named_signals WHERE found_by = 'entity' AND (name_kind, name) IN ("+
		strings.Join(pairs, ", ")+") GROUP BY tenant, kind, key ORDER BY signals DESC LIMIT 20", args...)
	return all, err
}

// inEvents returns under which tenants an entity occurs in the events of a span.
func (s *Server) inEvents(ctx context.Context, of span, e facet.Entity) (all []hit, err error) {
	from, ok := eventsOf(e)
	if !ok {
		return nil, nil
	}
	condition := strings.TrimSuffix(from.condition, " AND tenant = ?") // of every tenant
	args := append(append([]any{e.Kind.String(), e.Key}, from.args[:len(from.args)-1]...), of.args()...)
	err = s.rows(ctx, &all, fmt.Sprintf("SELECT tenant, ? AS kind, ? AS key, toUInt64(0) AS signals, count() AS events FROM %s WHERE %s AND %s GROUP BY tenant ORDER BY events DESC LIMIT %d",
		from.from, condition, within, mostHits), args...)
	return all, err
}

// gather adds up what was found about the same entity.
func gather(lists ...[]hit) (all []hit) {
	at := map[[3]string]int{}
	for _, list := range lists {
		for _, h := range list {
			key := [3]string{h.Tenant, h.Kind, h.Key}
			i, ok := at[key]
			if !ok {
				i = len(all)
				at[key], all = i, append(all, hit{Tenant: h.Tenant, Kind: h.Kind, Key: h.Key})
			}
			all[i].Signals, all[i].Events = all[i].Signals+h.Signals, all[i].Events+h.Events
		}
	}
	slices.SortStableFunc(all, func(a, b hit) int { return cmp.Or(cmp.Compare(b.Signals, a.Signals), cmp.Compare(b.Events, a.Events)) })
	return all[:min(len(all), mostHits)]
}
