package evaluate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
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

// Write writes the report for people. With several sets of rules, each cell has one
// number per set.
func (r *Report) Write(to io.Writer, how Table) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	p := printer{w: w, results: r.Results}
	fmt.Fprintf(w, "%d events from %s to %s, %d of them clean; %d campaigns\n", r.Events, stamp(r.From), stamp(r.To), r.Clean, r.Campaigns)
	if r.Unread > 0 {
		fmt.Fprintf(w, "%d records are no events: weir try shows why\n", r.Unread)
	}
	r.Unseen.write(w)
	p.overall()
	p.kinds(how)
	p.rules()
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

// printer prints the numbers of several results side by side.
type printer struct {
	w       *tabwriter.Writer
	results []Result
}

// each returns a cell with f of each result in order, or only once if all agree.
func (p *printer) each(f func(*Result) string) string {
	var parts []string
	for i := range p.results {
		parts = append(parts, f(&p.results[i]))
	}
	if len(slices.Compact(slices.Clone(parts))) == 1 {
		return parts[0]
	}
	return strings.Join(parts, " → ")
}

func (p *printer) line(cells ...string) { fmt.Fprintln(p.w, strings.Join(cells, "\t")) }

func (p *printer) overall() {
	line := func(name string, f func(*Result) string) { p.line(name, p.each(f)) }
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
	p.line("campaigns", "n", "recall", "attacker", "victim only", "acted", "strong", "precision", "1st signal", "1st action", "found by")
	for i := range p.results[0].Kinds {
		of := func(r *Result) *Kind { return &r.Kinds[i] } // the truth is the same for all
		k := of(&p.results[0])
		p.measures(k.Kind, func(r *Result) *Measure { return &of(r).Measure }, p.each(func(r *Result) string { return topCounts(of(r).ByRule) }))
		if !how.Variants {
			continue
		}
		for v := range k.Variants {
			p.measures("  "+k.Variants[v].Variant, func(r *Result) *Measure { return &of(r).Variants[v].Measure }, "")
		}
	}
}

func (p *printer) measures(name string, of func(*Result) *Measure, by string) {
	cell := func(f func(m *Measure) string) string {
		return p.each(func(r *Result) string { return f(of(r)) })
	}
	p.line(name, strconv.Itoa(of(&p.results[0]).Campaigns),
		cell(func(m *Measure) string { return percent(&m.Recall) }),
		cell(func(m *Measure) string { return strconv.Itoa(m.Named) }),
		cell(func(m *Measure) string { return strconv.Itoa(m.VictimOnly) }),
		cell(func(m *Measure) string { return strconv.Itoa(m.Acted) }),
		cell(func(m *Measure) string { return strconv.Itoa(m.Strong) }),
		cell(func(m *Measure) string { return percent(m.Precision) }),
		cell(func(m *Measure) string { return duration(m.FirstSignal) }),
		cell(func(m *Measure) string { return duration(m.FirstAction) }), by)
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

func (p *printer) rules() {
	for i := range p.results {
		r := &p.results[i]
		p.line("")
		p.line("rules of "+r.Name, "phase", "signals", "attackers", "victims", "groups", "incidents", "false", "per million", "precision", "found", "first")
		for _, x := range r.Rules {
			p.line(x.Rule, x.Phase, strconv.Itoa(x.Signals), strconv.Itoa(x.Attackers), strconv.Itoa(x.Victims), strconv.Itoa(x.Others),
				strconv.Itoa(x.Incidents), strconv.Itoa(x.False), fmt.Sprintf("%.1f", x.FalsePerM), percent(x.Precision), strconv.Itoa(x.Found), strconv.Itoa(x.First))
		}
	}
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
			p.line(c.Rule, c.Entity, cmp.Or(c.Why, "-"), strconv.Itoa(c.Signals), strconv.Itoa(c.Entities), c.Example)
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
		p.line(t.Kind, p.each(func(r *Result) string { return strconv.Itoa(r.Incidents[i].Signals) }),
			p.each(func(r *Result) string { return topCounts(r.Incidents[i].ByRule) }))
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
	var names []string
	for _, e := range u.First[:min(len(u.First), mostUnseenLines)] {
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
		names = append(names, name)
	}
	fmt.Fprintf(to, "warning: no event has %s of the truth: %s%s\n", entities(u.Entities), strings.Join(names, ", "), more(u.Entities, len(names)))
	if u.Campaigns > 0 {
		names = nil
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
