package dashboards

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Runner runs the queries of dashboards as Grafana would.
type Runner struct {
	ClickHouse driver.Conn // that may read, and nothing else
	Prometheus string      // base URL
	Scrapes    time.Duration

	Range  Range   // of the data
	Before Range   // without data, before it
	After  Range   // the same after it
	Quiet  []Quiet // metrics that the run does not have
	Chosen Values  // what a user selects; other variables have their initial value
}

// Quiet is a metric without series, and why the run has none.
type Quiet struct{ Metric, Why string }

// Dashboard returns what is wrong with a dashboard when its queries are run.
func (r *Runner) Dashboard(ctx context.Context, d *Dashboard) (found []Finding) {
	values, found := r.values(ctx, d)
	for _, a := range d.Annotations.List {
		found = append(found, r.annotation(ctx, d, a, values)...)
	}
	for _, p := range d.Panels {
		if p.Type != "row" {
			found = append(found, r.panel(ctx, d, p, values)...)
		}
	}
	return found
}

// Panel returns what is wrong with one panel.
func (r *Runner) Panel(ctx context.Context, d *Dashboard, id int) (found []Finding) {
	values, found := r.values(ctx, d)
	for _, p := range d.Panels {
		if p.ID == id {
			found = append(found, r.panel(ctx, d, p, values)...)
		}
	}
	return found
}

// Annotations returns what is wrong with the annotations of a name.
func (r *Runner) Annotations(ctx context.Context, d *Dashboard, name string) (found []Finding) {
	values, found := r.values(ctx, d)
	for _, a := range d.Annotations.List {
		if a.Name == name {
			found = append(found, r.annotation(ctx, d, a, values)...)
		}
	}
	return found
}

// Rows returns what the SQL queries of a panel find, as text by column. The panel is
// named by its title.
func (r *Runner) Rows(ctx context.Context, d *Dashboard, title string) (rows []map[string]string, err error) {
	values, found := r.values(ctx, d)
	if len(found) > 0 {
		return nil, fmt.Errorf("%s", found[0])
	}
	i := slices.IndexFunc(d.Panels, func(p Panel) bool { return p.Title == title && p.Type != "row" })
	if i < 0 {
		return nil, fmt.Errorf("%s has no panel %q", d.UID, title)
	}
	for _, t := range d.Panels[i].Targets {
		out, err := r.ask(ctx, t.RawSQL, values, r.Range)
		if err != nil {
			return nil, err
		}
		for _, line := range out.data {
			row := map[string]string{}
			for i, v := range line {
				row[out.names[i]] = fmt.Sprint(v)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// values selects a value of each variable. Variables with a query must find something.
func (r *Runner) values(ctx context.Context, d *Dashboard) (all Values, found []Finding) {
	all = Values{}
	for _, v := range d.Templating.List {
		var value Value
		switch {
		case v.Type == "query":
			options, err := r.options(ctx, v, all)
			if err == nil && len(options) == 0 {
				err = fmt.Errorf("it has no value to select")
			}
			if err != nil {
				found = append(found, Finding{d.UID, "variable " + v.Name, err.Error()})
				continue
			}
			value = Value{Text: options[0], All: v.IncludeAll, Options: options}
		default:
			text, _ := v.Current.Value.(string)
			value = Value{Text: text}
		}
		if chosen, ok := r.Chosen[v.Name]; ok {
			value = chosen
			if v.Type == "custom" && !slices.ContainsFunc(v.Options, func(o struct {
				Value string `json:"value"`
			}) bool {
				return o.Value == chosen.Text
			}) {
				found = append(found, Finding{d.UID, "variable " + v.Name, fmt.Sprintf("%q is no option", chosen.Text)})
			}
		}
		all[v.Name] = value
	}
	return all, found
}

var labelValues = regexp.MustCompile(`^label_values\((.+), *(\w+)\)$`)

// options returns what a variable's query finds.
func (r *Runner) options(ctx context.Context, v Variable, values Values) (all []string, err error) {
	if v.Datasource.Type == prometheusType {
		m := labelValues.FindStringSubmatch(v.text())
		if m == nil {
			return nil, fmt.Errorf("%q is not label_values(metric, label)", v.text())
		}
		err := r.get(ctx, "/api/v1/label/"+m[2]+"/values", url.Values{"match[]": {m[1]}}, &all)
		return all, err
	}
	rows, err := r.ask(ctx, v.text(), values, r.Range)
	for _, row := range rows.data {
		all = append(all, fmt.Sprint(row[0]))
	}
	return all, err
}

func (r *Runner) annotation(ctx context.Context, d *Dashboard, a Annotation, values Values) (found []Finding) {
	say := func(format string, args ...any) {
		found = append(found, Finding{d.UID, "annotation " + a.Name, fmt.Sprintf(format, args...)})
	}
	if a.BuiltIn == 1 {
		return nil
	}
	if a.Datasource.Type == prometheusType {
		for _, problem := range r.series(ctx, a.Target, values) {
			say("%s", problem)
		}
		return found
	}
	rows, problems := r.bounded(ctx, a.Target.RawSQL, values)
	for _, problem := range problems {
		say("%s", problem)
	}
	for _, name := range []string{"time", "text"} {
		if len(problems) == 0 && !slices.Contains(rows.names, name) {
			say("it has no column %s", name)
		}
	}
	return found
}

func (r *Runner) panel(ctx context.Context, d *Dashboard, p Panel, values Values) (found []Finding) {
	say := func(format string, args ...any) {
		found = append(found, Finding{d.UID, place(p), fmt.Sprintf(format, args...)})
	}
	var names []string
	for _, t := range p.Targets {
		if t.Datasource.Type == prometheusType {
			for _, problem := range r.series(ctx, t, values) {
				say("query %s: %s", t.RefID, problem)
			}
			continue
		}
		rows, problems := r.bounded(ctx, t.RawSQL, values)
		for _, problem := range problems {
			say("query %s: %s", t.RefID, problem)
		}
		if len(problems) > 0 {
			continue
		}
		names = append(names, rows.names...)
		switch p.Type {
		case "timeseries":
			if problem := rows.ordered(); problem != "" {
				say("query %s: %s", t.RefID, problem)
			}
		case "geomap":
			for _, name := range []string{"latitude", "longitude", "size", "weight"} {
				if !slices.Contains(rows.names, name) {
					say("query %s: a map needs the column %s", t.RefID, name)
				}
			}
		}
	}
	if len(found) > 0 || len(names) == 0 {
		return found
	}
	if m := label.FindStringSubmatch(p.FieldConfig.Defaults.DisplayName); m != nil && !slices.Contains(names, m[1]) {
		say("its series are named by the column %s, which its queries do not return", m[1])
	}
	for _, o := range p.FieldConfig.Overrides {
		if name, _ := o.Matcher.Options.(string); o.Matcher.ID == "byName" && !slices.Contains(names, name) {
			say("it changes the column %s, which its queries do not return", name)
		}
		for _, link := range o.links() {
			for _, m := range field.FindAllStringSubmatch(link.URL, -1) {
				if !slices.Contains(names, m[1]) {
					say("a link needs the column %s, which its queries do not return", m[1])
				}
			}
		}
	}
	return found
}

var label = regexp.MustCompile(`\$\{__field\.labels\.(\w+)\}`)

// bounded runs a query over the data, in which it must find something, and over ranges
// without data, in which it must not.
func (r *Runner) bounded(ctx context.Context, sql string, values Values) (rows result, problems []string) {
	rows, err := r.ask(ctx, sql, values, r.Range)
	if err != nil {
		return rows, []string{err.Error()}
	}
	if !rows.something() {
		return rows, []string{"it finds nothing in the range that has data"}
	}
	ranges := []Range{r.Before}
	if strings.Contains(sql, "INTERVAL") { // else it begins with the range, as Lint sees
		ranges = append(ranges, r.After)
	}
	for _, empty := range ranges {
		none, err := r.ask(ctx, sql, values, empty)
		if err != nil {
			return rows, []string{err.Error()}
		}
		if none.something() {
			problems = append(problems, fmt.Sprintf("it finds something from %s to %s, where nothing is: it reads more than its range of time", empty.From.UTC().Format(time.RFC3339), empty.To.UTC().Format(time.RFC3339)))
		}
	}
	return rows, problems
}

// result is what a query returned.
type result struct {
	names []string
	data  [][]any
}

func (r *Runner) ask(ctx context.Context, query string, values Values, in Range) (result, error) {
	sql, err := SQL(query, values, in)
	if err != nil {
		return result{}, err
	}
	return ask(ctx, r.ClickHouse, sql)
}

// ask runs one query and returns all of its rows.
func ask(ctx context.Context, conn driver.Conn, sql string) (out result, err error) {
	// The data is small: more threads take more time.
	rows, err := conn.Query(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_threads": 1})), sql)
	if err != nil {
		return out, err
	}
	defer rows.Close()
	out.names = rows.Columns()
	for rows.Next() {
		targets := make([]any, len(out.names))
		for i, t := range rows.ColumnTypes() {
			targets[i] = reflect.New(t.ScanType()).Interface()
		}
		if err := rows.Scan(targets...); err != nil {
			return out, err
		}
		row := make([]any, len(targets))
		for i, t := range targets {
			row[i] = reflect.ValueOf(t).Elem().Interface()
		}
		out.data = append(out.data, row)
	}
	return out, rows.Err()
}

// Count runs one query and returns the number of its rows.
func Count(ctx context.Context, conn driver.Conn, sql string) (int, error) {
	out, err := ask(ctx, conn, sql)
	return len(out.data), err
}

// something reports whether any row has a value other than its time.
func (r result) something() bool {
	for _, row := range r.data {
		for _, v := range row {
			if says(reflect.ValueOf(v)) {
				return true
			}
		}
	}
	return false
}

func says(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Float32, reflect.Float64:
		return v.Float() != 0 && !math.IsNaN(v.Float())
	case reflect.Pointer:
		return !v.IsNil() && says(v.Elem())
	case reflect.Slice, reflect.Map:
		return v.Len() > 0
	case reflect.Struct: // a time, which a series has for every step
		return false
	case reflect.Invalid:
		return false
	}
	return !v.IsZero()
}

// ordered says what keeps rows from being a series: Grafana needs a time and a number,
// in order of time.
func (r result) ordered() string {
	at, number := -1, false
	for i, v := range r.data[0] {
		if _, ok := v.(time.Time); ok && at < 0 {
			at = i
		}
		switch reflect.ValueOf(v).Kind() {
		case reflect.Float64, reflect.Float32, reflect.Uint64, reflect.Int64, reflect.Uint32, reflect.Int32, reflect.Uint8:
			number = true
		}
	}
	if at < 0 || !number {
		return fmt.Sprintf("the columns %v are no series: a time and a number are missing", r.names)
	}
	if !slices.IsSortedFunc(r.data, func(a, b []any) int { return a[at].(time.Time).Compare(b[at].(time.Time)) }) {
		return "its rows are not in order of time"
	}
	return ""
}

var metric = regexp.MustCompile(`\b(weir|go|process)_[a-z0-9_]+\b`)

// series runs a query of Prometheus over the data. It must find a number, unless a
// metric that it needs is one of those that the run does not have.
func (r *Runner) series(ctx context.Context, t Target, values Values) (problems []string) {
	expr := PromQL(t.Expr, values, r.Range, r.Scrapes)
	var out struct {
		Result []struct {
			Value  []any   `json:"value"`
			Values [][]any `json:"values"`
		} `json:"result"`
	}
	path, query := "/api/v1/query_range", url.Values{"query": {expr}, "start": {unix(r.Range.From)}, "end": {unix(r.Range.To)}, "step": {promDuration(r.interval())}}
	if t.Instant {
		path, query = "/api/v1/query", url.Values{"query": {expr}, "time": {unix(r.Range.To)}}
	}
	if err := r.get(ctx, path, query, &out); err != nil {
		return []string{err.Error()}
	}
	for _, s := range out.Result {
		for _, v := range append(s.Values, s.Value) {
			if len(v) == 2 && v[1] != "NaN" {
				return nil
			}
		}
	}
	for _, name := range metric.FindAllString(t.Expr, -1) {
		if slices.ContainsFunc(r.Quiet, func(q Quiet) bool { return q.Metric == name }) {
			return nil
		}
	}
	return []string{"it finds nothing in the range that has data: " + expr}
}

func (r *Runner) interval() time.Duration { return max(r.Range.interval(), r.Scrapes) }

func unix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

// Exported reports whether Prometheus has a series of a metric in the range of data.
func (r *Runner) Exported(ctx context.Context, name string) (bool, error) {
	var out []map[string]string
	err := r.get(ctx, "/api/v1/series", url.Values{"match[]": {name}, "start": {unix(r.Range.From)}, "end": {unix(r.Range.To)}}, &out)
	return len(out) > 0, err
}

// get asks Prometheus.
func (r *Runner) get(ctx context.Context, path string, query url.Values, data any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.Prometheus+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	var answer struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("prometheus answers %s: %.200s", res.Status, text)
	}
	if answer.Status != "success" {
		return fmt.Errorf("prometheus: %s", answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}
