package dashboards

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	oldestSchema, newestSchema = 36, 41 // of Grafana 10 to 13
	shortestRefresh            = 30 * time.Second
	clickhouseType             = "grafana-clickhouse-datasource"
	prometheusType             = "prometheus"
)

// Lint returns what is wrong with dashboards by their text alone. repository is the root
// of the repository, for links to its documentation.
func Lint(all []Dashboard, repository fs.FS) (found []Finding) {
	uids := map[string]*Dashboard{}
	for i := range all {
		d := &all[i]
		if uids[d.UID] != nil {
			found = append(found, Finding{d.UID, d.Title, "another dashboard has the same uid"})
		}
		uids[d.UID] = d
	}
	for i := range all {
		l := linter{d: &all[i], all: uids, repository: repository}
		l.dashboard()
		l.variables()
		l.annotations()
		l.panels()
		found = append(found, l.found...)
	}
	return found
}

type linter struct {
	d          *Dashboard
	all        map[string]*Dashboard
	repository fs.FS
	found      []Finding
}

func (l *linter) say(where, format string, args ...any) {
	l.found = append(l.found, Finding{l.d.UID, where, fmt.Sprintf(format, args...)})
}

func (l *linter) dashboard() {
	d := l.d
	if d.UID == "" || d.Title == "" || d.Description == "" {
		l.say("dashboard", "a uid, title or description is missing")
	}
	if d.SchemaVersion < oldestSchema || d.SchemaVersion > newestSchema {
		l.say("dashboard", "schema version %d is outside %d … %d", d.SchemaVersion, oldestSchema, newestSchema)
	}
	if d.Editable || d.Time.From != "now-6h" || d.Time.To != "now" {
		l.say("dashboard", "it must not be editable, and show the last six hours")
	}
	for _, interval := range append([]string{d.Refresh}, d.Timepicker.Intervals...) {
		if every, err := time.ParseDuration(interval); interval != "" && (err != nil || every < shortestRefresh) {
			l.say("dashboard", "it refreshes every %s, more often than every %v", interval, shortestRefresh)
		}
	}
	back := false
	for _, link := range d.Links {
		back = back || link.Type == "dashboards" && slices.ContainsFunc(link.Tags, func(tag string) bool { return slices.Contains(d.Tags, tag) })
		if link.Type == "link" {
			l.link("dashboard", link.URL)
		}
	}
	if !back {
		l.say("dashboard", "no menu leads to the other dashboards with its tag")
	}
	l.pages("dashboard", d.Description)
}

func (l *linter) variables() {
	seen := map[string]bool{}
	for _, v := range l.d.Templating.List {
		if seen[v.Name] {
			l.say("variable "+v.Name, "there is another one of this name")
		}
		seen[v.Name] = true
		switch v.Type {
		case "query":
			l.source("variable "+v.Name, v.Datasource)
			l.uses("variable "+v.Name, v.text())
			if v.Datasource.Type == clickhouseType {
				l.statement("variable "+v.Name, v.text())
			}
		case "datasource", "constant", "custom", "textbox":
		default:
			l.say("variable "+v.Name, "type %q is not known", v.Type)
		}
	}
	for _, kind := range []string{clickhouseType, prometheusType} {
		if !slices.ContainsFunc(l.d.Templating.List, func(v Variable) bool { return v.Type == "datasource" && v.text() == kind }) {
			l.say("dashboard", "no variable selects a data source of type %s", kind)
		}
	}
}

func (l *linter) annotations() {
	for _, a := range l.d.Annotations.List {
		if a.BuiltIn == 1 {
			continue
		}
		where := "annotation " + a.Name
		l.source(where, a.Datasource)
		l.target(where, a.Target, a.Datasource)
	}
}

func (l *linter) panels() {
	ids, titles := map[int]bool{}, map[string]bool{}
	for i, p := range l.d.Panels {
		where := place(p)
		if ids[p.ID] || p.ID <= 0 {
			l.say(where, "its id %d is not its own", p.ID)
		}
		ids[p.ID] = true
		if p.GridPos.W <= 0 || p.GridPos.H <= 0 || p.GridPos.X < 0 || p.GridPos.X+p.GridPos.W > 24 {
			l.say(where, "its place is outside the grid")
		}
		for _, o := range l.d.Panels[:i] {
			if p.GridPos.overlaps(o.GridPos) {
				l.say(where, "it lies over the %s", place(o))
			}
		}
		if p.Title == "" {
			l.say(where, "it has no title")
		}
		if p.Type != "row" && titles[p.Title] {
			l.say(where, "another panel has the same title")
		}
		titles[p.Title] = titles[p.Title] || p.Type != "row"
		if len(p.Panels) > 0 {
			l.say(where, "it hides panels, which nothing checks")
		}
		if p.Type != "row" {
			l.panel(where, p)
		}
	}
}

func place(p Panel) string {
	if p.Type == "row" {
		return fmt.Sprintf("row %d %q", p.ID, p.Title)
	}
	return fmt.Sprintf("panel %d %q", p.ID, p.Title)
}

func (l *linter) panel(where string, p Panel) {
	if p.Description == "" {
		l.say(where, "it has no description")
	}
	if p.FieldConfig.Defaults.Unit == "" {
		l.say(where, "it has no unit")
	}
	l.pages(where, p.Description)
	l.source(where, p.Datasource)
	if len(p.Targets) == 0 {
		l.say(where, "it has no query")
	}
	refs := map[string]bool{}
	for _, t := range p.Targets {
		if refs[t.RefID] || t.RefID == "" {
			l.say(where, "the name %q of a query is not its own", t.RefID)
		}
		refs[t.RefID] = true
		l.target(where, t, t.Datasource)
	}
	for _, o := range p.FieldConfig.Overrides {
		for _, link := range o.links() {
			l.link(where, link.URL)
		}
	}
}

func (l *linter) target(where string, t Target, source Source) {
	l.source(where, source)
	switch source.Type {
	case clickhouseType:
		l.uses(where, t.RawSQL)
		l.statement(where, t.RawSQL)
	case prometheusType:
		l.uses(where, t.Expr)
		if t.Expr == "" {
			l.say(where, "query %s is empty", t.RefID)
		}
	}
}

// source requires that a variable selects the data source, so that the dashboard can be
// imported anywhere.
func (l *linter) source(where string, s Source) {
	name, ok := strings.CutPrefix(s.UID, "${")
	name = strings.TrimSuffix(name, "}")
	if !ok || !slices.ContainsFunc(l.d.Templating.List, func(v Variable) bool {
		return v.Name == name && v.Type == "datasource" && v.text() == s.Type
	}) {
		l.say(where, "no variable selects its data source %q of type %q", s.UID, s.Type)
	}
}

var (
	reference = regexp.MustCompile(`\$\{([A-Za-z_]\w*)(?::(\w+))?\}|\$([A-Za-z_]\w*)`)
	builtin   = regexp.MustCompile(`^__(timeFilter|timeInterval|fromTime|toTime|interval_s|conditionalAll|rate_interval|interval|range|range_s|from|to|url_time_range)$`)
)

// uses requires that every variable in a query is there. In SQL, what users type must be
// encoded: quotes alone do not keep a backslash from ending the text.
func (l *linter) uses(where, query string) {
	for _, m := range reference.FindAllStringSubmatch(query, -1) {
		name := m[1] + m[3]
		if builtin.MatchString(name) {
			continue
		}
		i := slices.IndexFunc(l.d.Templating.List, func(v Variable) bool { return v.Name == name })
		if i < 0 {
			l.say(where, "there is no variable %s", name)
			continue
		}
		v := l.d.Templating.List[i]
		inMacro := m[3] != "" && strings.Contains(query, ", $"+name+")") // the second argument of $__conditionalAll
		if strings.Contains(strings.ToUpper(query), "SELECT ") && v.Type != "constant" && v.Type != "datasource" && m[2] != "percentencode" && !inMacro {
			l.say(where, "the value of variable %s goes into SQL without :percentencode", name)
		}
	}
}

// timed are the views whose rows have a time.
var timed = regexp.MustCompile(`(?i)\b(?:FROM|JOIN)\s+\$\{database\}\.v_(?:events|signals|named_signals|dead_letters|rule_versions|shadow_signals|decisions|labels|audit|entity_events|event_minutes|entity_minutes)\b`)

var (
	anyTable = regexp.MustCompile(`(?i)\b(?:FROM|JOIN)\s+(\$?\{?[a-z_][\w.}]*)`)
	bound    = regexp.MustCompile(`\$__timeFilter\([\w.]+\)|\b[\w.]*(?:time|received|minute)\s*>=\s*\$__fromTime`)
)

// statement requires that a query reads views, and each of them within the range of
// time.
func (l *linter) statement(where, sql string) {
	if strings.TrimSpace(sql) == "" {
		l.say(where, "the query is empty")
		return
	}
	for _, m := range anyTable.FindAllStringSubmatch(sql, -1) {
		// A name without a dot is that of a common table expression.
		if name := m[1]; (strings.Contains(name, ".") || strings.HasPrefix(name, "v_")) && !strings.HasPrefix(name, "${database}.v_") {
			l.say(where, "it reads %s, and not a view of ${database}", name)
		}
	}
	for _, scope := range scopes(sql) {
		if reads, bounds := len(timed.FindAllString(scope, -1)), len(bound.FindAllString(scope, -1)); reads > bounds {
			l.say(where, "it reads %d views with times, and bounds the time of %d, in: %s", reads, bounds, strings.Join(strings.Fields(scope), " "))
		}
	}
}

// scopes splits a query into its parts by parentheses, each without those inside it.
// Parentheses of functions go with what is around them.
func scopes(sql string) (all []string) {
	open := []*strings.Builder{{}}
	function := []bool{false}
	var before rune
	for _, r := range sql {
		top := open[len(open)-1]
		switch {
		case r == '(' && (before == '_' || before >= 'a' && before <= 'z' || before >= 'A' && before <= 'Z' || before >= '0' && before <= '9'):
			top.WriteRune(r)
			open, function = append(open, top), append(function, true)
		case r == '(':
			top.WriteString("()")
			open, function = append(open, &strings.Builder{}), append(function, false)
		case r == ')' && len(open) > 1:
			if function[len(function)-1] {
				top.WriteRune(r)
			} else {
				all = append(all, top.String())
			}
			open, function = open[:len(open)-1], function[:len(function)-1]
		default:
			top.WriteRune(r)
		}
		before = r
	}
	return append(all, open[0].String())
}

var (
	toDashboard = regexp.MustCompile(`^/d/([\w-]+)\?(.*)$`)
	page        = regexp.MustCompile(`\b(docs/[\w./-]+\.(?:md|yaml))(#[\w-]+)?`)
	field       = regexp.MustCompile(`\$\{__data\.fields\.(\w+)(?::(\w+))?\}`)
)

// link requires that a link leads to a dashboard that there is, and sets variables that
// it has.
func (l *linter) link(where, url string) {
	m := toDashboard.FindStringSubmatch(url)
	if m == nil {
		l.say(where, "the link %q leads to no dashboard", url)
		return
	}
	to := l.all[m[1]]
	if to == nil {
		l.say(where, "a link leads to the dashboard %s, which is not there", m[1])
		return
	}
	has := func(name string) bool {
		return slices.ContainsFunc(to.Templating.List, func(v Variable) bool { return v.Name == name })
	}
	for part := range strings.SplitSeq(m[2], "&") {
		name, value, _ := strings.Cut(part, "=")
		variable, ok := strings.CutPrefix(name, "var-")
		if !ok {
			if m := reference.FindStringSubmatch(part); m == nil || m[1] != "__url_time_range" && (m[2] != "queryparam" || !has(m[1])) {
				l.say(where, "the part %q of a link sets nothing", part)
			}
			continue
		}
		if !has(variable) {
			l.say(where, "a link sets the variable %s, which %s does not have", variable, to.UID)
		}
		if f := field.FindStringSubmatch(value); f == nil || f[2] != "percentencode" {
			l.say(where, "the value %q of a link is no encoded column", value)
		}
	}
}

// pages requires that the pages of the documentation which a text names are there.
func (l *linter) pages(where, text string) {
	for _, m := range page.FindAllStringSubmatch(text, -1) {
		if _, err := fs.Stat(l.repository, m[1]); err != nil {
			l.say(where, "it names the page %s: %v", m[1], err)
		}
	}
}
