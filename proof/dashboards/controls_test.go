package dashboards_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weirdev/weir/proof/dashboards"
)

// mistake breaks the dashboard Overview in one way, which must be found.
type mistake struct {
	name   string
	breaks func(d *dashboards.Dashboard, p *dashboards.Panel) // p is the panel Rules that fire, which has links
	says   string
}

// seen lists what can be seen without running a query.
func seen() []mistake {
	return []mistake{
		{"a uid that is used twice", func(d *dashboards.Dashboard, _ *dashboards.Panel) { d.UID = "weir-entity" }, "the same uid"},
		{"no description of the dashboard", func(d *dashboards.Dashboard, _ *dashboards.Panel) { d.Description = "" }, "description is missing"},
		{"a format that Grafana 11 does not know", func(d *dashboards.Dashboard, _ *dashboards.Panel) { d.SchemaVersion = 42 }, "schema version"},
		{"a dashboard that users may edit", func(d *dashboards.Dashboard, _ *dashboards.Panel) { d.Editable = true }, "not be editable"},
		{"a refresh every five seconds", func(d *dashboards.Dashboard, _ *dashboards.Panel) { d.Refresh = "5s" }, "more often"},
		{"a choice to refresh every five seconds", func(d *dashboards.Dashboard, _ *dashboards.Panel) { d.Timepicker.Intervals = []string{"5s"} }, "more often"},
		{"no way back", func(d *dashboards.Dashboard, _ *dashboards.Panel) { d.Links = nil }, "no menu"},
		{"an id that is used twice", func(d *dashboards.Dashboard, p *dashboards.Panel) { p.ID = d.Panels[0].ID }, "not its own"},
		{"panels that lie over each other", func(d *dashboards.Dashboard, p *dashboards.Panel) { p.GridPos = d.Panels[2].GridPos }, "it lies over"},
		{"a panel outside the grid", func(_ *dashboards.Dashboard, p *dashboards.Panel) { p.GridPos.X = 20 }, "outside the grid"},
		{"no title", func(_ *dashboards.Dashboard, p *dashboards.Panel) { p.Title = "" }, "no title"},
		{"a title that is used twice", func(d *dashboards.Dashboard, p *dashboards.Panel) { p.Title = d.Panels[1].Title }, "the same title"},
		{"no description", func(_ *dashboards.Dashboard, p *dashboards.Panel) { p.Description = "" }, "no description"},
		{"no unit", func(_ *dashboards.Dashboard, p *dashboards.Panel) { p.FieldConfig.Defaults.Unit = "" }, "no unit"},
		{"no query", func(_ *dashboards.Dashboard, p *dashboards.Panel) { p.Targets = nil }, "no query"},
		{"two queries of one name", func(_ *dashboards.Dashboard, p *dashboards.Panel) { p.Targets = append(p.Targets, p.Targets[0]) }, "not its own"},
		{"a data source by its uid", func(_ *dashboards.Dashboard, p *dashboards.Panel) { p.Datasource.UID = "clickhouse" }, "no variable selects its data source"},
		{"a data source of the other type", func(_ *dashboards.Dashboard, p *dashboards.Panel) { p.Targets[0].Datasource.UID = "${ds_prometheus}" }, "no variable selects its data source"},
		{"a variable that is not there", rewrite("clears = 0", "rule = $rule"), "no variable rule"},
		{"a misspelt macro", rewrite("$__timeFilter", "$__timeFilters"), "no variable __timeFilters"},
		{"no bound on time", rewrite("$__timeFilter(s.time)", "1 = 1"), "bounds the time of 0"},
		{"no bound on the time of one view of two", func(d *dashboards.Dashboard, _ *dashboards.Panel) {
			p := titled(d, "Routes under attack")
			p.Targets[0].RawSQL = strings.Replace(p.Targets[0].RawSQL, "AND $__timeFilter(e.time)", "", 1)
		}, "bounds the time of 1"},
		{"no bound on time within parentheses", func(d *dashboards.Dashboard, _ *dashboards.Panel) {
			p := titled(d, "Networks they come from")
			p.Targets[0].RawSQL = strings.Replace(p.Targets[0].RawSQL, "WHERE $__timeFilter(s.time) AND", "WHERE", 1)
		}, "bounds the time of 0"},
		{"a table instead of a view", rewrite("${database}.v_signals", "weir.signals"), "and not a view"},
		{"a view without its database", rewrite("${database}.v_signals", "v_signals"), "and not a view"},
		{"what users type, in quotes", func(d *dashboards.Dashboard, p *dashboards.Panel) {
			d.Templating.List = append(d.Templating.List, dashboards.Variable{Type: "textbox", Name: "who"})
			p.Targets[0].RawSQL += " -- '${who:singlequote}'"
		}, "without :percentencode"},
		{"a link to no dashboard", links("weir-attack", "weir-attacks"), "which is not there"},
		{"a link out of Grafana", links("/d/weir-attack", "/explore"), "leads to no dashboard"},
		{"a link that sets no variable of its target", links("var-rule", "var-rules"), "does not have"},
		{"a link with a raw value", links(":percentencode", ""), "no encoded column"},
		{"a link with a part that sets nothing", links("${__url_time_range}", "from=now-1h"), "sets nothing"},
		{"panels that are hidden in a row", func(d *dashboards.Dashboard, p *dashboards.Panel) { d.Panels[0].Panels = []dashboards.Panel{*p} }, "hides panels"},
		{"an empty query", rewriteAll(""), "the query is empty"},
		{"an empty query of Prometheus", expr(""), "is empty"},
		{"a variable that is there twice", func(d *dashboards.Dashboard, _ *dashboards.Panel) {
			d.Templating.List = append(d.Templating.List, d.Templating.List[0])
		}, "another one of this name"},
		{"a variable of an unknown type", func(d *dashboards.Dashboard, _ *dashboards.Panel) { d.Templating.List[2].Type = "constnt" }, "is not known"},
		{"a page that is not there", func(_ *dashboards.Dashboard, p *dashboards.Panel) { p.Description += " docs/rule.md says more." }, "names the page docs/rule.md"},
	}
}

// run lists what shows only when the queries are run.
func run() []mistake {
	return []mistake{
		{"a column that is not there", rewrite("max(weight)", "max(weigth)"), "weigth"},
		{"broken SQL", rewrite("GROUP BY", "GROUP"), "Syntax error"},
		{"a condition that never holds", rewrite("clears = 0", "clears = 7"), "finds nothing"},
		{"a misspelt value", rewrite("clears = 0", "category = 'acount_takeover'"), "finds nothing"},
		{"rows from before the range", rewrite("$__timeFilter(s.time)", "s.time >= $__fromTime - INTERVAL 90 DAY"), "more than its range"},
		{"rows from after the range", rewrite("$__timeFilter(s.time)", "s.time >= $__fromTime"), "more than its range"},
		{"a column with a unit that is gone", func(_ *dashboards.Dashboard, p *dashboards.Panel) {
			p.Targets[0].RawSQL = strings.ReplaceAll(p.Targets[0].RawSQL, "heaviest", "strongest")
		}, "changes the column heaviest"},
		{"a link whose column is gone", rewrite("SELECT rule,", "SELECT rule AS id,"), "a link needs the column rule"},
		{"series named by a column that is gone", func(_ *dashboards.Dashboard, p *dashboards.Panel) {
			p.FieldConfig.Defaults.DisplayName = "${__field.labels.tenant}"
		}, "named by the column tenant"},
		{"a series in no order of time", func(d *dashboards.Dashboard, p *dashboards.Panel) {
			*p = *titled(d, "Signals by category")
			p.Targets = slices.Clone(p.Targets)
			p.Targets[0].RawSQL += " DESC"
		}, "not in order of time"},
		{"a series without a time", func(_ *dashboards.Dashboard, p *dashboards.Panel) {
			p.Type = "timeseries"
			p.Targets[0].RawSQL = "SELECT count() AS n FROM ${database}.v_signals AS s WHERE $__timeFilter(s.time) HAVING n > 0"
		}, "no series"},
		{"a map without a place", func(_ *dashboards.Dashboard, p *dashboards.Panel) { p.Type = "geomap" }, "a map needs the column latitude"},
		{"a metric that nobody exports", expr("sum(weir_ingest_event_total)"), "finds nothing"},
		{"a label that the metric does not have", expr(`weir_ingest_events_total{table="events"}`), "finds nothing"},
		{"an annotation without a text", func(d *dashboards.Dashboard, _ *dashboards.Panel) {
			a := annotated(d, changed)
			a.Target.RawSQL = strings.ReplaceAll(a.Target.RawSQL, "AS text", "AS words")
		}, "no column text"},
		{"an annotation that finds nothing", func(d *dashboards.Dashboard, _ *dashboards.Panel) {
			annotated(d, changed).Target.RawSQL += " AND 1 = 2"
		}, "finds nothing"},
		{"broken PromQL", expr("sum(weir_ingest_events_total"), "parse error"},
		{"a variable of SQL that finds nothing", func(d *dashboards.Dashboard, _ *dashboards.Panel) {
			d.Templating.List = append(d.Templating.List, ofQuery("${ds_clickhouse}", "grafana-clickhouse-datasource", "SELECT rule FROM ${database}.v_signals AS s WHERE $__timeFilter(s.time) AND rule = 'none'"))
		}, "no value to select"},
		{"a variable of Prometheus that finds nothing", func(d *dashboards.Dashboard, _ *dashboards.Panel) {
			d.Templating.List = append(d.Templating.List, ofQuery("${ds_prometheus}", "prometheus", "label_values(weir_worker_stuck, instance)"))
		}, "no value to select"},
		{"a variable of Prometheus that is no question", func(d *dashboards.Dashboard, _ *dashboards.Panel) {
			d.Templating.List = append(d.Templating.List, ofQuery("${ds_prometheus}", "prometheus", "weir_worker_stuck_total"))
		}, "is not label_values"},
	}
}

func rewrite(from, to string) func(*dashboards.Dashboard, *dashboards.Panel) {
	return func(_ *dashboards.Dashboard, p *dashboards.Panel) {
		p.Targets[0].RawSQL = strings.ReplaceAll(p.Targets[0].RawSQL, from, to)
	}
}

func rewriteAll(to string) func(*dashboards.Dashboard, *dashboards.Panel) {
	return func(_ *dashboards.Dashboard, p *dashboards.Panel) { p.Targets[0].RawSQL = to }
}

func links(from, to string) func(*dashboards.Dashboard, *dashboards.Panel) {
	return func(_ *dashboards.Dashboard, p *dashboards.Panel) {
		for _, o := range p.FieldConfig.Overrides {
			for i := range o.Properties {
				o.Properties[i].Value = json.RawMessage(strings.ReplaceAll(string(o.Properties[i].Value), from, to))
			}
		}
	}
}

func expr(text string) func(*dashboards.Dashboard, *dashboards.Panel) {
	return func(_ *dashboards.Dashboard, p *dashboards.Panel) {
		p.FieldConfig.Overrides = nil
		p.Targets = []dashboards.Target{{RefID: "A", Expr: text, Datasource: dashboards.Source{Type: "prometheus", UID: "${ds_prometheus}"}}}
	}
}

func ofQuery(uid, kind, query string) dashboards.Variable {
	text, _ := json.Marshal(query) // of a text, which cannot fail
	return dashboards.Variable{Type: "query", Name: "added", Query: text, Datasource: dashboards.Source{Type: kind, UID: uid}}
}

func titled(d *dashboards.Dashboard, title string) *dashboards.Panel {
	return &d.Panels[slices.IndexFunc(d.Panels, func(p dashboards.Panel) bool { return p.Title == title })]
}

// changed is the annotation that controls change.
const changed = "Policies"

func annotated(d *dashboards.Dashboard, name string) *dashboards.Annotation {
	return &d.Annotations.List[slices.IndexFunc(d.Annotations.List, func(a dashboards.Annotation) bool { return a.Name == name })]
}

// broken returns all dashboards with Overview broken, which is also returned with the
// id of its panel.
func broken(t *testing.T, c mistake) (all []dashboards.Dashboard, d *dashboards.Dashboard, id int) {
	t.Helper()
	all = read(t)
	d = &all[slices.IndexFunc(all, func(d dashboards.Dashboard) bool { return d.UID == "weir-overview" })]
	p := titled(d, "Rules that fire")
	before, _ := json.Marshal(d)
	c.breaks(d, p)
	if after, _ := json.Marshal(d); string(after) == string(before) {
		t.Fatal("nothing was broken")
	}
	return all, d, p.ID
}

func TestWhatIsBrokenIsSeen(t *testing.T) {
	for _, c := range seen() {
		t.Run(c.name, func(t *testing.T) {
			all, _, _ := broken(t, c)
			expect(t, dashboards.Lint(all, os.DirFS(root)), c.says)
		})
	}
}

func runControls(t *testing.T, w *world) {
	for _, c := range run() {
		t.Run(c.name, func(t *testing.T) {
			_, d, id := broken(t, c)
			expect(t, append(w.runner.Panel(t.Context(), d, id), w.runner.Annotations(t.Context(), d, changed)...), c.says)
		})
	}
}

func expect(t *testing.T, found []dashboards.Finding, says string) {
	t.Helper()
	for _, f := range found {
		if strings.Contains(f.Problem, says) {
			return
		}
	}
	t.Errorf("it is not found, only %v", found)
}
