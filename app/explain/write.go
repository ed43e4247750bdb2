package explain

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/printable"
	"github.com/weirdev/weir/internal/problem"
)

// WriteJSON writes the report as one indented JSON object.
func (r *Report) WriteJSON(out io.Writer) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Write writes the report for people. all says that rules whose condition no event of
// the entity meets are named, too, not only counted.
func (r *Report) Write(out io.Writer, all bool) {
	w := &writer{out}
	w.records(r)
	quiet := 0
	for i := range r.Findings {
		if f := &r.Findings[i]; all || f.Matching > 0 {
			w.finding(f)
		} else {
			quiet++
		}
	}
	if quiet > 0 {
		w.line("\nnone of its events meets the condition of %s; -all names them", count(quiet, "other rule"))
	}
	if r.LeftOut > 0 {
		w.line("\n%s more are left out; -entity KIND:KEY shows everything about one entity", count(r.LeftOut, "finding"))
	}
	w.told(r)
	w.scores(r)
}

type writer struct{ out io.Writer }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(w.out, format+"\n", args...) }

func (w *writer) records(r *Report) {
	c := r.Records
	text := count(c.Events, "event")
	if c.First != "" {
		text += " from " + clock(c.First) + " to " + clock(c.Last) + " UTC"
	}
	for _, n := range []struct {
		n    int
		what string
	}{
		{c.Dead, "dead: no event, see below"},
		{c.Filtered, "passed over: the format is not about them"},
		{c.Repeated, "sent before by their gateway: they count once"},
		{c.Refused, "refused by Weir's own decision: they feed no rule"},
	} {
		if n.n > 0 {
			text += fmt.Sprintf("; %d %s", n.n, n.what)
		}
	}
	w.line("%s", text)
	switch {
	case r.From != "" && r.To != "":
		w.line("shown is what happened from %s to %s", clock(r.From), clock(r.To))
	case r.From != "":
		w.line("shown is what happened from %s on", clock(r.From))
	case r.To != "":
		w.line("shown is what happened before %s", clock(r.To))
	}
	for i := range r.unread {
		w.line("record %d", r.unread[i].Line)
		r.unread[i].WriteRefusal(w.out)
	}
	switch {
	case r.About == nil:
	case *r.About > 0:
		w.line("%s: %s", printable.Text(r.Entity), count(*r.About, "event"))
	case len(r.Others) == 0:
		w.line("%s: no event is about any entity of this kind", printable.Text(r.Entity))
	default:
		w.line("%s: no event is about it; of its kind there are %s", printable.Text(r.Entity), printable.Text(strings.Join(r.Others, ", ")))
	}
	if len(r.Findings) == 0 && r.About == nil {
		where := ""
		if r.From != "" || r.To != "" {
			where = " in that time"
		}
		w.line("no event meets the condition of any rule%s", where)
	}
}

func (w *writer) finding(f *Finding) {
	verb := "FIRED"
	if f.Fired == 0 {
		verb = "did not fire"
	}
	w.line("\n%s (%s) %s for %s: %s", f.Rule, f.Phase, verb, printable.Text(f.Entity), f.Title)
	if f.Tenant != "" {
		w.line("  tenant %s", printable.Text(f.Tenant))
	}
	if f.Matching == 0 {
		w.line("  none of its events meets the condition (when)")
		if len(f.Empty) > 0 {
			w.line("  empty in all of them: %s", strings.Join(f.Empty, ", "))
		}
		return
	}
	if f.Beyond > 0 {
		w.line("  %s met the condition, of which the last %d are only counted", count(f.Matching, "event"), f.Beyond)
	}
	for i := range f.Firings {
		w.firing(&f.Firings[i])
	}
	if more := f.Fired - len(f.Firings); more > 0 {
		w.line("  and fired %s more", count(more, "time"))
	}
	for i := range f.HeldBack {
		w.heldBack(&f.HeldBack[i])
	}
	for i := range f.NotFired {
		n := &f.NotFired[i]
		w.line("  tier %d (weight %d) did not fire; it came nearest with record %d, %s", n.Tier, n.Weight, n.Record, clock(n.Time))
		w.numbers(n.Numbers)
	}
	if f.Fired == 0 && len(f.NotFired) == 0 && len(f.HeldBack) == 0 {
		w.line("  %s of it met the condition", count(f.Matching, "event"))
	}
}

func (w *writer) numbers(list []Number) {
	for _, n := range list {
		short := ""
		if !n.Met {
			short = fmt.Sprintf(", %d short", n.Need-n.Have)
		}
		w.line("    %-14s %d of %d%s", n.Name, n.Have, n.Need, short)
	}
}

func (w *writer) firing(f *Firing) {
	w.line("  record %d, %s: tier %d of %d, weight %d, reason %s", f.Record, clock(f.Time), f.Tier, f.Tiers, f.Weight, f.Reason)
	w.numbers(f.Numbers)
	w.evidence(f)
	if f.From != "" {
		w.line("    %s from %s to %s", count(len(f.Events)+f.LeftOut, "event"), clock(f.From), clock(f.To))
	}
	for i := range f.Events {
		if f.LeftOut > 0 && i == mostEvents/2 {
			w.line("      … %d more", f.LeftOut)
		}
		w.event(&f.Events[i])
	}
	if len(f.Members) > 0 {
		w.line("    told its members: %s", printable.Text(strings.Join(f.Members, ", ")))
	}
	w.otherwise(f)
}

// evidence writes the texts of the evidence; and its numbers beyond those of the tier
// if no counterfactual shows what they mean.
func (w *writer) evidence(f *Firing) {
	for _, v := range f.Evidence {
		switch {
		case v.Kind == facet.TextEvidence:
			w.line("    %-14s %s", v.Name, printable.Text(v.Text))
		case v.Kind == facet.NumberEvidence && f.Unexplored != "" && !slices.ContainsFunc(f.Numbers, func(n Number) bool { return n.Name == v.Name }):
			w.line("    %-14s %d", v.Name, v.Values[0])
		}
	}
}

func (w *writer) event(e *Event) {
	mark := ""
	if e.Role != "" {
		mark = " (" + e.Role + ")"
	}
	if !e.Counts {
		mark += " (not counted)"
	}
	w.line("      record %d, %s%s:%s", e.Record, clock(e.Time), mark, e.text)
}

// otherwise describes what would have prevented the firing.
func (w *writer) otherwise(f *Firing) {
	if f.Unexplored != "" {
		w.line("    what would have kept it from firing was not tried: %s", f.Unexplored)
		return
	}
	if o := f.Without; o != nil && len(o.Records) == 0 {
		w.line("    it fires whatever came before")
	} else if o != nil {
		but := ""
		if !o.Whole {
			but = ", or fewer"
		}
		w.line("    it would not have fired here without %s%s", recordList(o.Records), but)
	}
	for _, c := range f.Raised {
		ever := ""
		if c.Ever == c.Here {
			ever = ", nor at any other event"
		} else if c.Ever > 0 {
			ever = fmt.Sprintf("; with %d, at no event", c.Ever)
		}
		w.line("    it would not have fired here if it asked for %s %d instead of %d%s", c.Name, c.Here, c.Now, ever)
	}
}

func (w *writer) heldBack(h *HeldBack) {
	switch h.By {
	case "exception":
		w.line("  %s counted for nothing: excepted until %s (%s)", recordList(h.Records), clock(h.Until), h.Exception)
		return
	case "late":
		w.line("  %s came late, after the window had closed, and counted for nothing", recordList(h.Records))
		return
	case "not_kept":
		w.line("  %s counted for nothing: nothing is kept of the entity (detect.max_entities)", recordList(h.Records))
		return
	}
	until := ""
	if h.Until != "" {
		until = " until " + clock(h.Until)
	}
	nearest := ""
	if h.Nearest != nil {
		nearest = fmt.Sprintf("; it came nearest with %d of %d", h.Nearest.Have, h.Nearest.Need)
	}
	w.line("  tier %d was held back by %s%s at %s%s", h.Tier, h.By, until, recordList(h.Records), nearest)
	w.numbers(h.Numbers)
}

func (w *writer) told(r *Report) {
	if len(r.Told) == 0 || r.About == nil {
		return // findings name them
	}
	w.line("\ntold as members of a group")
	for _, t := range r.Told {
		w.line("  %s: weight %d, reason %s, by %s for %s at record %d", printable.Text(t.Entity), t.Weight, t.Reason, t.Rule, printable.Text(t.Group), t.Record)
	}
}

func (w *writer) scores(r *Report) {
	if len(r.Scores) == 0 {
		return
	}
	w.line("\nscores at %s", clock(r.Records.Last))
	for _, s := range r.Scores {
		tenant := ""
		if s.Tenant != "" {
			tenant = " (tenant " + printable.Text(s.Tenant) + ")"
		}
		w.line("  %s%s: %d %s", printable.Text(s.Entity), tenant, s.Points, strings.Join(s.Reasons, ", "))
	}
}

// recordList names records, with runs by their ends.
func recordList(list []int) string {
	var parts []string
	left := 0
	for i := 0; i < len(list); {
		end := i
		for end+1 < len(list) && list[end+1] == list[end]+1 {
			end++
		}
		switch {
		case len(parts) == mostHeldBack:
			left += end + 1 - i
		case end > i:
			parts = append(parts, fmt.Sprintf("%d–%d", list[i], list[end]))
		default:
			parts = append(parts, fmt.Sprint(list[i]))
		}
		i = end + 1
	}
	text := strings.Join(parts, ", ")
	if left > 0 {
		text += fmt.Sprintf(" and %d more", left)
	}
	if len(list) == 1 {
		return "record " + text
	}
	return "records " + text
}

// clock returns a moment as people read it.
func clock(moment string) string {
	return strings.TrimSuffix(strings.Replace(strings.TrimSuffix(moment, "Z"), "T", " ", 1), ".000")
}

func count(n int, what string) string { return problem.Plural(n, what) }
