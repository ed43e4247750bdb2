// Package draft proposes rules from events: the usual order of a session's
// operations before it changes something, as sequence rules, and the usual number
// of calls, as limits. For each proposal it states what it was learned from, and
// what it would have found in the same events.
package draft

import (
	"archive/zip"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/app/dryrun"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/printable"
	"github.com/weirdev/weir/internal/problem"
	"github.com/weirdev/weir/rules"
)

// Options configure a draft.
type Options struct {
	Ingest ingest.Config
	Places ingest.Places // nil: no geographic data
	Detect engine.Config
	Gap    time.Duration // minimum time between two sessions of an account
	Least  int           // minimum number of sessions with an operation for a draft about it
}

const (
	// MostBytes limits the total size of the records, because they are kept in
	// memory.
	MostBytes = 256 << 20

	mostOperations = 200
	oneIn          = 200 // sessions with an operation, one of which may lack the preceding one
	shownNext      = 3   // following operations that are shown
)

// ErrTooMuch means that the records exceed MostBytes.
var ErrTooMuch = fmt.Errorf("the events are more than %d MiB: take fewer days, or one app", MostBytes>>20)

// ErrNoSessions means that nothing could be learned.
var ErrNoSessions = errors.New("no event names an account that is signed in, and a route")

// Drafter collects records. It is not safe for concurrent use.
type Drafter struct {
	o      Options
	reader *ingest.Reader

	records     [][]byte
	bytes       int
	events      int // events that were learned from
	first, last int64

	open       map[account]*session
	operations map[operation]*learned
	sessions   int
}

// account identifies the owner of sessions.
type account struct{ tenant, name string }

// operation is a call of an API.
type operation struct{ method, route string }

// String names the operation in comments and titles. Clients choose it: a line separator
// in it would end a comment.
func (o operation) String() string { return printable.Text(o.method + " " + o.route) }

// changes reports whether an operation does more than read.
func (o operation) changes() bool {
	return !slices.Contains([]string{"GET", "HEAD", "OPTIONS"}, o.method)
}

// session is a session in progress.
type session struct {
	last   int64
	before operation
	calls  map[operation]int
	seen   map[operation]int64 // time of the latest call
}

// learned holds what was learned about an operation.
type learned struct {
	calls    []int // per session with the operation
	next     map[operation]int
	followed int
	preceded map[operation]*precedence
}

// precedence describes how another operation precedes an operation.
type precedence struct {
	sessions int
	longest  int64 // ms from its latest call to any call of the operation
}

// New returns an empty drafter.
func New(o Options) (*Drafter, error) {
	reader, err := ingest.NewReader(o.Ingest, dryrun.PlacesOr(o.Places))
	if err != nil {
		return nil, err
	}
	return &Drafter{
		o: o, reader: reader, first: math.MaxInt64, last: math.MinInt64,
		open: map[account]*session{}, operations: map[operation]*learned{},
	}, nil
}

// Record adds the next record. Records that are not events are skipped.
func (d *Drafter) Record(record []byte) error {
	if d.bytes += len(record); d.bytes > MostBytes {
		return ErrTooMuch
	}
	d.records = append(d.records, bytes.Clone(record))
	var e event.Event
	if _, err := d.reader.Read(0, &kafka.Record{Offset: int64(len(d.records) - 1), Value: record}, &e); err != nil {
		return nil
	}
	if learns(&e) {
		d.see(&e)
	}
	return nil
}

// learns reports whether drafted rules look at an event; their conditions are
// equivalent.
func learns(e *event.Event) bool {
	status := e.Num(event.Status)
	return e.Text(event.Account) != "" && e.Text(event.Route) != "" && e.Num(event.Tried) == 0 && status > 0 && status < 400
}

func (d *Drafter) see(e *event.Event) {
	t := e.Num(event.Time)
	d.events++
	d.first, d.last = min(d.first, t), max(d.last, t)
	who := account{strings.Clone(e.Text(event.Tenant)), strings.Clone(e.Text(event.Account))}
	s := d.open[who]
	if s == nil || t-s.last >= d.o.Gap.Milliseconds() {
		d.end(s)
		s = &session{calls: map[operation]int{}, seen: map[operation]int64{}}
		d.open[who] = s
	}
	op := operation{strings.Clone(e.Text(event.Method)), strings.Clone(e.Text(event.Route))}
	of, before := d.operations[op], d.operations[s.before]
	s.last, s.before = max(s.last, t), op
	if of == nil && len(d.operations) == mostOperations {
		return
	}
	if of == nil {
		of = &learned{next: map[operation]int{}, preceded: map[operation]*precedence{}}
		d.operations[op] = of
	}
	if op.changes() {
		of.follow(op, s, t)
	}
	if before != nil {
		before.next[op]++
		before.followed++
	}
	s.calls[op]++
	s.seen[op] = t
}

// follow learns which operations preceded a call in its session.
func (l *learned) follow(op operation, s *session, t int64) {
	for other, at := range s.seen {
		if other == op {
			continue
		}
		p := l.preceded[other]
		if p == nil {
			p = &precedence{}
			l.preceded[other] = p
		}
		if s.calls[op] == 0 {
			p.sessions++
		}
		p.longest = max(p.longest, t-at)
	}
}

// end learns the number of calls of each operation from a session that has ended.
func (d *Drafter) end(s *session) {
	if s == nil {
		return
	}
	d.sessions++
	for op, n := range s.calls {
		d.operations[op].calls = append(d.operations[op].calls, n)
	}
}

// proposal is a proposed rule.
type proposal struct {
	id, title string
	comments  []string
	text      string // text of the rule, starting with when
}

// hits is what a rule finds in the events that it was learned from.
type hits struct {
	signals  int
	entities map[facet.Entity]bool
	heaviest uint8
}

// Rules returns the text of a rule file.
func (d *Drafter) Rules() (string, error) {
	for _, s := range d.open {
		d.end(s)
	}
	clear(d.open)
	if d.sessions == 0 {
		return "", ErrNoSessions
	}
	proposals := append(d.orders(), d.limits()...)
	if len(proposals) == 0 {
		return d.head() + "#\n# Nothing is drafted: these events show no rule. Take more of them, or a lower -least.\n", nil
	}
	found, err := d.predict(d.file(proposals, nil))
	if err != nil {
		return "", err
	}
	return d.file(proposals, found), nil
}

// names returns the operations with enough sessions, in order.
func (d *Drafter) names() (all []operation) {
	for op, of := range d.operations {
		if len(of.calls) >= d.o.Least {
			all = append(all, op)
		}
	}
	slices.SortFunc(all, func(a, b operation) int {
		return cmp.Or(cmp.Compare(a.route, b.route), cmp.Compare(a.method, b.method))
	})
	return all
}

// orders proposes the required predecessor of each operation that changes
// something.
func (d *Drafter) orders() (all []proposal) {
	for _, op := range d.names() {
		if !op.changes() {
			continue
		}
		of := d.operations[op]
		before, p := d.needed(of)
		if p == nil {
			continue
		}
		n := len(of.calls)
		within := max((time.Duration(p.longest)*time.Millisecond).Truncate(time.Hour)+time.Hour, time.Hour)
		all = append(all, proposal{
			id:    "draft-order-" + slug(op.String()),
			title: cut(op.String()+" without "+before.String(), 120),
			comments: []string{
				fmt.Sprintf("Learned: of %d sessions with %s, %d had %s before it,", n, op, p.sessions, before),
				fmt.Sprintf("%s before at most.", (time.Duration(p.longest) * time.Millisecond).Round(time.Second)),
			},
			text: fmt.Sprintf("    when: %s\n    sequence:\n      within: 1h\n      newcomers: judged\n      steps:\n        - {not: %s, within: %s}\n        - {event: %s}\n      cooldown: 6h\n      weight: 40\n",
				quoted("!account_tried && status > 0 && status < 400"), quoted(is(before)), hours(within), quoted(is(op))) +
				"    signal: {category: bot, reason: step_left_out, half_life: 2h}\n",
		})
	}
	return all
}

// needed returns the operation that precedes another one in all but one of many
// sessions. Among several it returns the one that the fewest sessions have, because
// it says most, and among equals the nearest.
func (d *Drafter) needed(of *learned) (before operation, p *precedence) {
	fewest := math.MaxInt
	for _, other := range d.names() {
		q := of.preceded[other]
		if q == nil || (len(of.calls)-q.sessions)*oneIn > len(of.calls) {
			continue
		}
		if n := len(d.operations[other].calls); n < fewest || n == fewest && q.longest < p.longest {
			before, p, fewest = other, q, n
		}
	}
	return before, p
}

// limits proposes a maximum number of calls of each operation per session.
func (d *Drafter) limits() (all []proposal) {
	for _, op := range d.names() {
		calls := d.operations[op].calls
		slices.Sort(calls)
		quantile, bound := upperBound(calls)
		if quantile == 0 {
			continue
		}
		first := max((3*bound+1)/2, bound+5)
		all = append(all, proposal{
			id:    "draft-limit-" + slug(op.String()),
			title: cut("Very many calls of "+op.String()+" in a session", 120),
			comments: []string{
				fmt.Sprintf("Learned: in %d sessions with %s, half called it up to %d times, 90 percent %d,", len(calls), op, at(calls, 50), at(calls, 90)),
				fmt.Sprintf("the most %d. With 95 percent confidence, %d percent call it up to %d times.", calls[len(calls)-1], quantile, bound),
				"The limits are half as many again and three times as many, or a little more where they are few.",
			},
			text: fmt.Sprintf("    when: %s\n    sliding_window:\n      session_gap: %s\n      tiers:\n        - {at: %d, weight: 30}\n        - {at: %d, weight: 60}\n",
				quoted("!account_tried && status > 0 && status < 400 && "+is(op)), seconds(d.o.Gap), first, max(3*bound, 2*first)) +
				"    signal: {category: bot, reason: many_calls, half_life: 2h}\n",
		})
	}
	return all
}

// upperBound returns the highest quantile for which sorted values give an upper
// bound; 0 if there are too few values.
func upperBound(sorted []int) (quantile, bound int) {
	for _, q := range []int{99, 95, 90} {
		if r := detectors.UpperRank(int64(len(sorted)), q); r <= int64(len(sorted)) {
			return q, sorted[r-1]
		}
	}
	return 0, 0
}

// at returns a quantile of sorted values.
func at(sorted []int, percent int) int { return sorted[(len(sorted)*percent+99)/100-1] }

// head returns the beginning of the file.
func (d *Drafter) head() string {
	var b strings.Builder
	moment := func(t int64) string { return time.UnixMilli(t).UTC().Format("2006-01-02 15:04") }
	fmt.Fprintf(&b, "# Drafted from %d events of %d sessions of accounts, %s to %s UTC.\n", d.events, d.sessions, moment(d.first), moment(d.last))
	fmt.Fprintf(&b, "# A session ends with a pause of %s. Nothing is drafted about operations in fewer than\n# %d sessions. Read each rule, write tests, and only then raise its phase.\n#\n# What follows what:\n", d.o.Gap, d.o.Least)
	for _, op := range d.names() {
		fmt.Fprintf(&b, "#   %s: %s\n", op, d.operations[op].followers())
	}
	return b.String()
}

// followers lists the operations that follow.
func (l *learned) followers() string {
	var all []operation
	for op := range l.next {
		all = append(all, op)
	}
	slices.SortFunc(all, func(a, b operation) int {
		return cmp.Or(cmp.Compare(l.next[b], l.next[a]), cmp.Compare(a.String(), b.String()))
	})
	var parts []string
	for _, op := range all[:min(len(all), shownNext)] {
		parts = append(parts, fmt.Sprintf("%s %d %%", op, (100*l.next[op]+l.followed/2)/l.followed))
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// file returns the text of the rules; found is nil before the prediction.
func (d *Drafter) file(proposals []proposal, found map[string]*hits) string {
	var b strings.Builder
	b.WriteString(d.head())
	b.WriteString("rules:\n")
	used := map[string]bool{}
	for _, p := range proposals {
		id := p.id
		for n := 2; used[id]; n++ {
			id = fmt.Sprintf("%s-%d", p.id, n)
		}
		used[id] = true
		for _, c := range p.comments {
			b.WriteString("  # " + c + "\n")
		}
		if h := found[id]; h != nil {
			fmt.Fprintf(&b, "  # In these events: %s, about %s, with a weight of up to %d.\n",
				problem.Plural(h.signals, "signal"), problem.Plural(len(h.entities), "account"), h.heaviest)
		} else {
			b.WriteString("  # In these events: no signal.\n")
		}
		fmt.Fprintf(&b, "  - id: %s\n    title: %s\n    entity: account\n%s    phase: observe\n\n", id, quoted(p.title), p.text)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// predict runs rules on the events that they were learned from.
func (d *Drafter) predict(file string) (map[string]*hits, error) {
	set, err := load(file)
	if err != nil {
		return nil, fmt.Errorf("what was drafted is no rule: %w", err)
	}
	found := map[string]*hits{}
	run, err := dryrun.New(dryrun.Options{Rules: set, Ingest: d.o.Ingest, Places: d.o.Places, Detect: d.o.Detect, Output: func(out *engine.Output) {
		for _, s := range out.Signals {
			h := found[s.Rule]
			if h == nil {
				h = &hits{entities: map[facet.Entity]bool{}}
				found[s.Rule] = h
			}
			h.signals++
			h.entities[s.Entity] = true
			h.heaviest = max(h.heaviest, s.Weight)
		}
	}})
	if err != nil {
		return nil, err
	}
	for i, r := range d.records {
		if _, _, _, err := run.Record(r); err != nil {
			return nil, fmt.Errorf("record %d: %w", i+1, err)
		}
	}
	return found, run.Pass(run.Latest() + 2*d.o.Detect.Lateness.Milliseconds())
}

// load reads a rule file.
func load(file string) (*rules.Set, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("draft.yaml")
	if err != nil {
		return nil, err
	}
	if _, err := w.Write([]byte(file)); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	files, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		return nil, err
	}
	return rules.Load(files, detectors.All())
}

// is returns a condition for the events of an operation.
func is(op operation) string { return fmt.Sprintf("method == %q && route == %q", op.method, op.route) }

// quoted returns a text in YAML single quotes.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// hours formats a duration of whole hours for rules.
func hours(d time.Duration) string { return fmt.Sprintf("%dh", int(d.Hours())) }

// seconds formats a duration of whole seconds for rules.
func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Seconds())) }

func cut(text string, most int) string {
	r := []rune(text)
	return string(r[:min(len(r), most)])
}

// slug returns a text as part of an id.
func slug(text string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(text) {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	s := b.String()
	return strings.TrimSuffix(s[:min(len(s), 40)], "-")
}
