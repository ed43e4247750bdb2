package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/weirdev/weir/app/explain"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

const (
	mostExplanations = 2    // at the same time
	mostReplayed     = 3000 // events of one explanation
	replayedBefore   = 24 * time.Hour
)

// whyView explains a signal by running the rule again.
type whyView struct {
	Signal   part[signal]
	Entity   facet.Entity
	Findings part[*finding]
	Around   span
}

// finding is what the rule did when it was run again.
type finding struct {
	explain.Finding
	Read     int // events
	Cut      bool
	Firing   *explain.Firing // the last one
	Places   []place         // of the events, by record
	Differs  bool            // the rules are not those that gave the signal
	Withouts []place         // the events that were needed
}

func (s *Server) why(v *visit) {
	var page whyView
	p := v.parts()
	get(p, inClickHouse, &page.Signal, func(ctx context.Context) (signal, error) { return s.signalOf(ctx, v.r.URL.Query()) })
	p.wait()
	switch lack := page.Signal.Lack; {
	case lack == nil:
	case lack.Detail == "": // ClickHouse answers
		v.fail(http.StatusNotFound, "The signal is not known", lack.Advice)
		return
	default:
		v.fail(http.StatusBadGateway, lack.Title, lack.Detail+". "+lack.Advice)
		return
	}
	one := page.Signal.V
	kind, _ := facet.ParseKind(one.Kind)
	page.Entity, page.Around = facet.Entity{Kind: kind, Tenant: one.Tenant, Key: one.Key}, around(one.Time, 12)
	if one.GroupKind != "" { // the rule saw the group
		kind, _ := facet.ParseKind(one.GroupKind)
		page.Entity.Kind, page.Entity.Key = kind, one.GroupKey
	}
	get(p, inClickHouse, &page.Findings, func(ctx context.Context) (*finding, error) { return s.again(ctx, one, page.Entity) })
	p.wait()
	v.show("why", "Why "+shorten(one.Rule, 60)+" fired", "", page)
}

// Errors that mean that an explanation is impossible.
var (
	errNoRule   = unsaid("The rule is not among the console's rules (setting rules), so it cannot be run again.")
	errNoEvents = unsaid("No event of the entity is stored, or events do not name entities of this kind.")
)

// again runs the rule on the stored events of the entity up to the signal.
func (s *Server) again(ctx context.Context, sig signal, e facet.Entity) (*finding, error) {
	set := s.deps.Rules.Current()
	if set.Rule(sig.Rule) == nil {
		return nil, errNoRule
	}
	from, ok := eventsOf(e)
	if !ok {
		return nil, errNoEvents
	}
	select {
	case s.running <- struct{}{}:
		defer func() { <-s.running }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	records, places, err := s.records(ctx, from, sig)
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, errNoEvents
	}
	in := s.deps.Explain.Ingest
	in.Format, in.Mapping, in.Pattern = "weir", nil, ""
	x, err := explain.New(explain.Options{
		Rules: set, Ingest: in, Places: s.deps.Explain.Places, Detect: s.deps.Explain.Detect,
		Entity: rules.Subject{Kind: e.Kind, Key: e.Key}, Only: func(rule string, _ facet.Entity) bool { return rule == sig.Rule },
	})
	if err != nil {
		return nil, err
	}
	defer x.Close()
	for _, r := range records {
		if err := errors.Join(ctx.Err(), x.Record(r)); err != nil {
			return nil, err
		}
	}
	report, err := x.Report()
	if err != nil {
		return nil, err
	}
	f := &finding{Read: len(records), Cut: len(records) == mostReplayed, Places: places, Differs: set.Version != sig.RulesVersion}
	for _, one := range report.Findings {
		if one.Rule == sig.Rule {
			f.Finding = one
		}
	}
	f.choose(sig)
	return f, nil
}

// choose selects the firing that gave the signal; else the last one.
func (f *finding) choose(sig signal) {
	for i := range f.Firings {
		one := &f.Firings[i]
		f.Firing = one
		if p, ok := f.at(one.Record); ok && p == sig.Event() {
			break
		}
	}
	if f.Firing == nil || f.Firing.Without == nil {
		return
	}
	for _, r := range f.Firing.Without.Records {
		if p, ok := f.at(r); ok {
			f.Withouts = append(f.Withouts, p)
		}
	}
}

// at returns the place of a record, which count from 1.
func (f *finding) at(record int) (place, bool) {
	if record < 1 || record > len(f.Places) {
		return place{}, false
	}
	return f.Places[record-1], true
}

// Place is [finding.at] for templates.
func (f *finding) Place(record int) place { p, _ := f.at(record); return p }

// Other lists the numbers under which the rule would not have fired.
func (f *finding) Other() (all []string) {
	if f.Firing == nil {
		return nil
	}
	for _, r := range f.Firing.Raised {
		text := fmt.Sprintf("If it asked for %s %d instead of %d, it would not have fired here", spoken(r.Name), r.Here, r.Now)
		switch {
		case r.Ever == r.Here:
			text += ", nor at any other event"
		case r.Ever > 0:
			text += fmt.Sprintf("; with %d, at no event", r.Ever)
		}
		all = append(all, text+".")
	}
	return all
}

// records reads the newest events of an entity up to a signal as records of Weir's
// own format, the oldest first.
func (s *Server) records(ctx context.Context, from source, sig signal) (records [][]byte, places []place, err error) {
	if s.deps.ClickHouse == nil {
		return nil, nil, errAway
	}
	fields := event.Fields()
	names := make([]string, 0, len(fields))
	for _, f := range fields {
		if !f.Derived {
			names = append(names, f.Name)
		}
	}
	until := span{From: sig.Time.Add(-replayedBefore), To: sig.Time.Add(time.Millisecond)}
	const newest = "ORDER BY time DESC, src_partition DESC, src_offset DESC"
	position := "stream, incarnation, src_partition, src_offset"
	chosen := fmt.Sprintf("FROM %s WHERE %s AND %s AND stream = ? AND incarnation = ? %s LIMIT %d", from.from, from.condition, within, newest, mostReplayed)
	if from.isCopy {
		chosen = fmt.Sprintf("FROM v_events WHERE (%s) IN (SELECT %s %s) %s", position, position, chosen, newest)
	}
	sql := fmt.Sprintf("SELECT %s, %s %s", position, strings.Join(names, ", "), chosen)
	args := append(append(slices.Clone(from.args), until.args()...), sig.Stream, sig.Incarnation)
	rows, err := s.deps.ClickHouse.Query(ch.Context(ctx, ch.WithSettings(settings())), sql, args...)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	types := rows.ColumnTypes()
	for rows.Next() {
		into := make([]any, len(types))
		for i, t := range types {
			into[i] = reflect.New(t.ScanType()).Interface()
		}
		if err := rows.Scan(into...); err != nil {
			return nil, nil, err
		}
		var e event.Event
		for i, name := range names {
			set(&e, name, reflect.ValueOf(into[4+i]).Elem().Interface())
		}
		var p place
		p.Stream, _ = reflect.ValueOf(into[0]).Elem().Interface().(string)
		p.Incarnation, _ = reflect.ValueOf(into[1]).Elem().Interface().(uint32)
		p.Partition, _ = reflect.ValueOf(into[2]).Elem().Interface().(uint32)
		p.Offset, _ = reflect.ValueOf(into[3]).Elem().Interface().(uint64)
		records, places = append(records, e.AppendJSON(nil)), append(places, p)
	}
	for i, j := 0, len(records)-1; i < j; i, j = i+1, j-1 {
		records[i], records[j] = records[j], records[i]
		places[i], places[j] = places[j], places[i]
	}
	return records, places, rows.Err()
}

// set gives a field the value of a column. The zero of a type is how an absent value
// is stored.
func set(e *event.Event, name string, value any) {
	spec, ok := event.Lookup(name)
	if !ok {
		return
	}
	switch x := value.(type) {
	case string:
		if x != "" {
			e.SetText(spec.Field, x)
		}
	case int64:
		if x != 0 {
			e.SetNum(spec.Field, x)
		}
	case uint8:
		if x != 0 {
			e.SetNum(spec.Field, int64(x))
		}
	case time.Time:
		if ms := x.UnixMilli(); ms != 0 {
			e.SetNum(spec.Field, ms)
		}
	}
}
