package evaluate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/weirdev/weir/internal/printable"
	"github.com/weirdev/weir/internal/problem"
)

// WriteJSON writes the report as one JSON object.
func (r *Report) WriteJSON(to io.Writer) error {
	enc := json.NewEncoder(to)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(r)
}

// Table selects the parts of the table.
type Table struct {
	Variants bool // one line per variant
	Misses   bool // one line per missed campaign

	Innocents bool // one line per innocent entity acted on
}

// Write writes the report for people. Of several sets of rules, the first is written
// in full; of the others, an arrow leads to what differs from it.
func (r *Report) Write(to io.Writer, how Table) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	p := printer{w: w, results: r.Results}
	fmt.Fprintf(w, "%d events from %s to %s, %d of them clean; %d campaigns\n", r.Events, stamp(r.From), stamp(r.To), r.Clean, r.Campaigns)
	if r.Unread > 0 {
		fmt.Fprintf(w, "%d records are no events: weir try shows why\n", r.Unread)
	}
	r.Unseen.write(w)
	for i := range r.Results {
		r.Results[i].unclassed(w, len(r.Results) > 1)
	}
	p.overall()
	p.kinds(how)
	p.foundBy()
	if err := p.rules(to); err != nil {
		return err
	}
	p.causes()
	if how.Innocents {
		p.innocents()
	}
	p.incidents()
	if how.Misses {
		p.misses()
	}
	return w.Flush()
}

func stamp(t time.Time) string { return t.Format("2006-01-02 15:04") }

// mostUnclassed is the share of writing requests without a class from which on the
// table says so: most rules ask for classes.
const mostUnclassed = 0.1

// unclassed says how many writing requests no class is known of.
func (r *Result) unclassed(to io.Writer, several bool) {
	if float64(r.Unclassed) <= mostUnclassed*float64(r.Writes) {
		return
	}
	with := ""
	if several {
		with = " with " + r.Name
	}
	fmt.Fprintf(to, "%.0f %% of writing requests (POST, PUT, PATCH, DELETE) are on routes without a class%s; weir rules routes shows them\n", 100*float64(r.Unclassed)/float64(r.Writes), with)
}

// printer prints the numbers of several results, one below the other.
type printer struct {
	w       *tabwriter.Writer
	results []Result
}

// arrow stands before what differs in a further set of rules.
const arrow = "→"

func (p *printer) line(cells ...string) { fmt.Fprintln(p.w, strings.Join(cells, "\t")) }

// rows prints a row of the first result, and for each other one that differs a row
// with the cells that do.
func (p *printer) rows(name string, of func(*Result) []string) {
	first := of(&p.results[0])
	p.line(append([]string{name}, first...)...)
	for i := range p.results[1:] {
		other := of(&p.results[i+1])
		if slices.Equal(first, other) {
			continue
		}
		for c := range other {
			if other[c] == first[c] {
				other[c] = ""
			}
		}
		indent := name[:len(name)-len(strings.TrimLeft(name, " "))]
		p.line(append([]string{indent + arrow}, other...)...)
	}
}

func (p *printer) overall() {
	line := func(name string, f func(*Result) string) {
		p.rows(name, func(r *Result) []string { return []string{f(r)} })
	}
	p.line("")
	line("rules", func(r *Result) string { return r.Name })
	line("campaigns caught", func(r *Result) string {
		return fmt.Sprintf("%d of %d (%s), %d with the attacker, %d with victims alone", r.Caught, r.Campaigns, percent(&r.Recall), r.Named, r.VictimOnly)
	})
	line("campaigns acted on", func(r *Result) string {
		return fmt.Sprintf("%d, %d on the attacker; strong evidence on the attacker in %d", r.Acted, r.ActedOn, r.Strong)
	})
	line("signals", func(r *Result) string { return fmt.Sprintf("%d, precision %s", r.Signals, percent(r.Precision)) })
	line("false signals", func(r *Result) string {
		return fmt.Sprintf("%d, %.1f per million clean events", r.False, r.FalsePerM)
	})
	line("innocent entities acted on", func(r *Result) string {
		return fmt.Sprintf("%d, %.1f per million clean events; %d in phase enforce", r.Wrong, r.WrongPerM, r.WrongEnforced)
	})
	line("cost", func(r *Result) string {
		return fmt.Sprintf("%.0f ns an event (ingest %.0f, detect %.0f); %d entities of %.0f bytes", r.NanosAnEvent, r.IngestNanos, r.DetectNanos, r.Entities, r.BytesAnEntity)
	})
}

func (p *printer) kinds(how Table) {
	p.line("")
	p.line("campaigns", "n", "recall", "attacker", "victim only", "acted", "strong", "precision", "1st signal", "1st action")
	for i := range p.results[0].Kinds {
		of := func(r *Result) *Kind { return &r.Kinds[i] } // the truth is the same for all
		k := of(&p.results[0])
		p.rows(k.Kind, func(r *Result) []string { return of(r).Measure.cells() })
		if !how.Variants {
			continue
		}
		for v := range k.Variants {
			p.rows("  "+k.Variants[v].Variant, func(r *Result) []string { return of(r).Variants[v].Measure.cells() })
		}
	}
}

// cells returns the cells of a row of the table of campaigns.
func (m *Measure) cells() []string {
	return []string{
		strconv.Itoa(m.Campaigns), percent(&m.Recall), strconv.Itoa(m.Named), strconv.Itoa(m.VictimOnly), strconv.Itoa(m.Acted),
		strconv.Itoa(m.Strong), percent(m.Precision), duration(m.FirstSignal), duration(m.FirstAction),
	}
}

func (p *printer) foundBy() {
	p.line("")
	p.line("campaigns", "found by")
	for i := range p.results[0].Kinds {
		p.rows(p.results[0].Kinds[i].Kind, func(r *Result) []string { return []string{topCounts(r.Kinds[i].ByRule)} })
	}
}

func topCounts(list []Count) string {
	if len(list) == 0 {
		return "nothing"
	}
	var parts []string
	for i, c := range list {
		if i == 3 {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, c.Name+" "+strconv.Itoa(c.N))
	}
	return strings.Join(parts, ", ")
}

// rules prints the tables of rules: all of the first set, and of the others what
// differs from it. Their columns stand closer than others, to fit a terminal.
func (p *printer) rules(to io.Writer) error {
	if err := p.w.Flush(); err != nil {
		return err
	}
	narrow := printer{w: tabwriter.NewWriter(to, 0, 0, 1, ' ', 0), results: p.results}
	for i := range p.results {
		narrow.rulesOf(&p.results[i], &p.results[0])
	}
	return narrow.w.Flush()
}

func (p *printer) rulesOf(r, first *Result) {
	before := map[string]*Rule{}
	for i := range first.Rules {
		before[first.Rules[i].Rule] = &first.Rules[i]
	}
	p.line("")
	p.line("rules of "+r.Name, "phase", "signals", "attackers", "victims", "groups", "incidents", "false", "precision", "found", "first")
	var unmatched []string
	same := 0
	for i := range r.Rules {
		x := &r.Rules[i]
		other := before[x.Rule]
		delete(before, x.Rule)
		cells := x.cells(x)
		switch {
		case r == first || other == nil:
		case slices.Equal(cells, other.cells(other)):
			same++
			continue
		default:
			cells = x.cells(other)
		}
		if x.Matching == 0 && x.Signals == 0 && (r == first || other == nil) {
			unmatched = append(unmatched, x.Rule)
			continue
		}
		p.line(append([]string{x.Rule}, cells...)...)
	}
	if same > 0 {
		p.line(fmt.Sprintf("the same figures as in %s: %s", first.Name, problem.Plural(same, "rule")))
	}
	if r != first && len(before) > 0 {
		p.list(fmt.Sprintf("only in %s: ", first.Name), slices.Sorted(maps.Keys(before)))
	}
	if len(unmatched) > 0 {
		p.list(fmt.Sprintf("no event matched %s, of which this traffic says nothing: ", problem.Plural(len(unmatched), "rule")), unmatched)
	}
}

// cells returns the cells of a row of the table of rules, with the change from another
// set's rule in those of counts.
func (x *Rule) cells(from *Rule) []string {
	count := func(n, was int) string {
		if n == was {
			return strconv.Itoa(n)
		}
		return fmt.Sprintf("%d (%+d)", n, n-was)
	}
	return []string{
		x.Phase, count(x.Signals, from.Signals), count(x.Attackers, from.Attackers), count(x.Victims, from.Victims), count(x.Others, from.Others),
		count(x.Incidents, from.Incidents), count(x.False, from.False), percent(x.Precision), count(x.Found, from.Found), count(x.First, from.First),
	}
}

// listWidth is the width of lines with many names, in characters.
const listWidth = 118

// list prints names after a title, on as many lines as they need.
func (p *printer) list(title string, names []string) {
	text := title
	for i, name := range names {
		if i < len(names)-1 {
			name += ", "
		}
		if len(text)+len(name) > listWidth {
			p.line(strings.TrimRight(text, " "))
			text = "  "
		}
		text += name
	}
	p.line(text)
}

// mostCauses is the number of causes of false signals in the table; JSON has all.
const mostCauses = 20

func (p *printer) causes() {
	for i := range p.results {
		r := &p.results[i]
		if len(r.Causes) == 0 {
			continue
		}
		p.line("")
		p.line("false signals of "+r.Name, "about", "who", "signals", "entities", "such as")
		for _, c := range r.Causes[:min(len(r.Causes), mostCauses)] {
			p.line(c.Rule, c.Entity, cmp.Or(c.Why, "-"), strconv.Itoa(c.Signals), strconv.Itoa(c.Entities), printable.Text(c.Example))
		}
	}
}

func (p *printer) innocents() {
	for i := range p.results {
		r := &p.results[i]
		if r.Wrong == 0 {
			continue
		}
		p.line("")
		p.line("innocents acted on by "+r.Name, "since", "action", "enforced", "who", "rules")
		for _, x := range r.Innocents {
			enforced := "no"
			if x.Enforced {
				enforced = "yes"
			}
			p.line(printable.Text(x.Entity), stamp(x.Time), x.Action, enforced, cmp.Or(x.Why, "-"), strings.Join(x.Rules, ", "))
		}
		if left := r.Wrong - len(r.Innocents); left > 0 {
			p.line(fmt.Sprintf("and %d more", left))
		}
	}
}

func (p *printer) incidents() {
	if len(p.results[0].Incidents) == 0 {
		return
	}
	p.line("")
	p.line("incidents", "signals", "told by")
	for i, t := range p.results[0].Incidents {
		p.rows(t.Kind, func(r *Result) []string {
			return []string{strconv.Itoa(r.Incidents[i].Signals), topCounts(r.Incidents[i].ByRule)}
		})
	}
}

func (p *printer) misses() {
	for i := range p.results {
		r := &p.results[i]
		p.line("")
		p.line("missed by "+r.Name, "variant", "from", "lasted", "events", "")
		for _, m := range r.Missed {
			group := ""
			if n := len(m.Groups); n > 0 {
				group = fmt.Sprintf("only %s by %s", printable.Text(m.Groups[0].Entity), m.Groups[0].Rule) + more(n, 1)
			}
			p.line(m.Campaign, m.Variant, stamp(m.From), m.To.Sub(m.From).Round(time.Second).String(), strconv.Itoa(m.Events), group)
		}
	}
}

func percent(v *float64) string {
	if v == nil {
		return "-"
	}
	return strconv.FormatFloat(100**v, 'f', 1, 64) + " %"
}

// duration formats seconds.
func duration(s *float64) string {
	if s == nil {
		return "-"
	}
	d := time.Duration(*s * float64(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%.1fm", d.Minutes())
	}
	return fmt.Sprintf("%.1fh", d.Hours())
}

// mostUnseenLines limits the entities and the campaigns that are named in the table.
const mostUnseenLines = 5

// write warns about what no event has.
func (u *Unseen) write(to io.Writer) {
	if u == nil {
		return
	}
	fmt.Fprintf(to, "warning: no event has %s of the truth\n", entities(u.Entities))
	shown := u.First[:min(len(u.First), mostUnseenLines)]
	for _, e := range shown {
		name := printable.Text(e.Entity)
		switch {
		case e.Family:
			name += " (events name its family, which is the entity)"
		case e.Other != nil && *e.Other == "":
			name += fmt.Sprintf(" (tenant %s; events have it without a tenant)", printable.Text(e.Tenant))
		case e.Other != nil && e.Tenant == "":
			name += fmt.Sprintf(" (no tenant; events have it in tenant %s)", printable.Text(*e.Other))
		case e.Other != nil:
			name += fmt.Sprintf(" (tenant %s; events have it in tenant %s)", printable.Text(e.Tenant), printable.Text(*e.Other))
		}
		fmt.Fprintf(to, "  %s\n", name)
	}
	if left := u.Entities - len(shown); left > 0 {
		fmt.Fprintf(to, "  and %d more\n", left)
	}
	if u.Campaigns > 0 {
		var names []string
		for _, name := range u.Names[:min(len(u.Names), mostUnseenLines)] {
			names = append(names, printable.Text(name))
		}
		fmt.Fprintf(to, "warning: no event has any entity of %s, counted as missed: %s%s\n",
			problem.Plural(u.Campaigns, "campaign"), strings.Join(names, ", "), more(u.Campaigns, len(names)))
	}
}

func entities(n int) string {
	if n == 1 {
		return "1 entity"
	}
	return strconv.Itoa(n) + " entities"
}

func more(n, named int) string {
	if n == named {
		return ""
	}
	return fmt.Sprintf(", and %d more", n-named)
}
