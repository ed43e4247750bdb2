package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/weirdev/weir/internal/printable"
)

// visit is one request of somebody who is signed in.
type visit struct {
	s       *Server
	w       http.ResponseWriter
	r       *http.Request
	session *session
	now     time.Time
	span    span
}

// view is what the frame of every page shows.
type view struct {
	Title string
	Tab   string
	User  *User
	CSRF  string
	Notes []note
	Span  span
	Spans bool // the page is about a stretch of time, which can be chosen
	Here  string
	Now   time.Time
	Page  any
}

// Hidden lists the parameters of the page that a choice of another time keeps.
func (v *view) Hidden() (all [][2]string) {
	u, err := url.Parse(v.Here)
	if err != nil {
		return nil
	}
	for name, values := range u.Query() {
		if name != "for" && name != "from" && name != "to" {
			all = append(all, [2]string{name, values[0]})
		}
	}
	return all
}

// Path is the page without its parameters.
func (v *view) Path() string {
	u, err := url.Parse(v.Here)
	if err != nil {
		return "/"
	}
	return u.Path
}

// May reports whether the visitor has a role.
func (v *view) May(role string) bool { return v.User != nil && v.User.Role >= roleNames[role] }

func (v *visit) view(title, tab string, page any) *view {
	return &view{
		Title: title, Tab: tab, User: &v.session.user, CSRF: v.session.csrf, Span: v.span, Here: v.r.URL.RequestURI(), Now: v.now, Page: page,
	}
}

// show writes a page.
func (v *visit) show(name, title, tab string, page any) { v.showView(name, v.view(title, tab, page)) }

// showSpan writes a page about a stretch of time.
func (v *visit) showSpan(name, title, tab string, page any) {
	all := v.view(title, tab, page)
	all.Spans = true
	v.showView(name, all)
}

func (v *visit) showView(name string, all *view) {
	all.Notes = v.session.said()
	v.s.render(v.w, http.StatusOK, name, all)
}

// failure is a page that only says what is wrong.
type failure struct{ Title, Text string }

func (v *visit) fail(status int, title, text string) {
	v.s.render(v.w, status, "error", v.view(title, "", failure{title, text}))
}

// plain writes the same for nobody in particular.
func (s *Server) plain(w http.ResponseWriter, status int, title, text string) {
	s.render(w, status, "error", &view{Title: title, Page: failure{title, text}})
}

func (s *Server) render(w http.ResponseWriter, status int, name string, all *view) {
	var b bytes.Buffer
	if err := s.pages[name].ExecuteTemplate(&b, "page", all); err != nil {
		s.log.Error("console: a page cannot be drawn", "page", name, "error", err)
		http.Error(w, "This page cannot be drawn; the log of the console says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the reader may be gone
}

// back goes to a page after an action.
func (v *visit) back(to string, n note) {
	v.session.say(n)
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
}

// trouble says why a part of a page is missing.
type trouble struct{ Title, Advice, Detail string }

// part is a part of a page, or why it is missing.
type part[T any] struct {
	V    T
	Lack *trouble
}

// unsaid is an error that says why something cannot be said, though all stores
// answer.
type unsaid string

func (u unsaid) Error() string { return string(u) }

// errAway means that the console was started without a store.
var errAway = errors.New("it is not configured")

// parts loads the parts of a page at the same time.
type parts struct {
	v  *visit
	wg sync.WaitGroup
}

// queryTime limits each question to a store.
const queryTime = 10 * time.Second

func (v *visit) parts() *parts { return &parts{v: v} }

// get loads one part.
func get[T any](p *parts, store string, into *part[T], load func(ctx context.Context) (T, error)) {
	p.wg.Go(func() {
		ctx, cancel := context.WithTimeout(p.v.r.Context(), queryTime)
		defer cancel()
		v, err := load(ctx)
		into.V = v
		if err != nil {
			into.Lack = p.v.s.trouble(store, err)
		}
	})
}

func (p *parts) wait() { p.wg.Wait() }

// The stores of a console.
const (
	inClickHouse = "ClickHouse"
	inRedis      = "Redis"
	inKafka      = "Kafka"
)

// trouble says what to do about an error of a store.
func (s *Server) trouble(store string, err error) *trouble {
	if why := unsaid(""); errors.As(err, &why) {
		return &trouble{Title: "This cannot be said", Advice: string(why)}
	}
	t := &trouble{Title: store + " does not answer", Detail: printable.Text(err.Error())}
	switch store {
	case inRedis:
		t.Advice = "Scores and switches are unknown until it does. The settings redis.… name it; gates go by what they know."
	case inKafka:
		t.Advice = "Dead letters are unknown until it does. The setting kafka.brokers names it."
	default:
		t.Advice = "The setting clickhouse.addrs names it. What does not come from it is shown all the same."
	}
	var e *ch.Exception
	if errors.As(err, &e) {
		t.Title = "ClickHouse refuses the question"
		switch e.Code {
		case 60, 81:
			t.Title, t.Advice = "The tables are not there", "`weir migrate` makes them."
		case 47, 16:
			t.Title, t.Advice = "The tables are of an older version", "`weir migrate` brings them up to date."
		case 159, 160, 158, 307, 396:
			t.Title, t.Advice = "The question took too long", "Choose a shorter time."
		case 192, 193, 194, 497, 516:
			t.Advice = "The console's user may not read the views: see clickhouse.user."
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		t.Title = store + " takes too long"
		if store == inClickHouse {
			t.Advice = "Choose a shorter time."
		}
	}
	s.metrics.lacks.WithLabelValues(store).Inc()
	s.log.Warn("console: a part of a page is missing", "store", store, "error", err)
	return t
}

// span is the stretch of time that a page is about.
type span struct {
	From, To time.Time
	Name     string // of a choice; "": From and To were given
}

// choice is a stretch of time up to now.
type choice struct {
	Name, Title string
	lasts       time.Duration
}

func choices() []choice {
	return []choice{
		{"15m", "last 15 minutes", 15 * time.Minute}, {"1h", "last hour", time.Hour}, {"6h", "last 6 hours", 6 * time.Hour}, {"24h", "last 24 hours", 24 * time.Hour},
		{"7d", "last 7 days", 7 * 24 * time.Hour}, {"30d", "last 30 days", 30 * 24 * time.Hour},
	}
}

const (
	usualSpan   = "24h"
	longestSpan = 92 * 24 * time.Hour
	momentForm  = "2006-01-02T15:04"
)

// parseSpan reads the parameters for, or from and to.
func parseSpan(q url.Values, now time.Time) (span, error) {
	from, to := q.Get("from"), q.Get("to")
	if from != "" || to != "" {
		return parseMoments(from, to)
	}
	name := q.Get("for")
	if name == "" {
		name = usualSpan
	}
	for _, c := range choices() {
		if c.Name == name {
			return span{now.Add(-c.lasts), now, name}, nil
		}
	}
	return span{}, fmt.Errorf("%q is none of 15m, 1h, 6h, 24h, 7d and 30d", name)
}

func parseMoments(from, to string) (s span, err error) {
	if s.From, err = parseMoment(from); err == nil {
		s.To, err = parseMoment(to)
	}
	switch {
	case err != nil:
		return s, err
	case !s.From.Before(s.To):
		return s, errors.New("the end is not after the beginning")
	case s.To.Sub(s.From) > longestSpan:
		return s, fmt.Errorf("at most %d days can be looked at together", longestSpan/(24*time.Hour))
	}
	return s, nil
}

// parseMoment reads what a browser sends for a moment, in UTC.
func parseMoment(text string) (time.Time, error) {
	for _, form := range []string{momentForm, "2006-01-02T15:04:05", time.RFC3339} {
		if t, err := time.Parse(form, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no moment such as 2026-11-29T18:30, in UTC", text)
}

// Query returns the parameters that mean the span.
func (s span) Query() url.Values {
	if s.Name != "" {
		return url.Values{"for": {s.Name}}
	}
	return url.Values{"from": {s.From.Format("2006-01-02T15:04:05")}, "to": {s.To.Format("2006-01-02T15:04:05")}}
}

// Title describes the span.
func (s span) Title() string {
	for _, c := range choices() {
		if c.Name == s.Name {
			return c.Title
		}
	}
	return s.From.UTC().Format("2006-01-02 15:04") + " to " + s.To.UTC().Format("2006-01-02 15:04") + " UTC"
}

// Start and End are the ends as forms of browsers take them.
func (s span) Start() string { return s.From.UTC().Format(momentForm) }

// End is the other one.
func (s span) End() string { return s.To.UTC().Format(momentForm) }

// around returns the hours around a moment.
func around(t time.Time, hours int) span {
	d := time.Duration(hours) * time.Hour
	return span{From: t.Add(-d).UTC().Truncate(time.Minute), To: t.Add(d).UTC().Truncate(time.Minute)}
}

// number reads a parameter that is a number from 0.
func number(q url.Values, name string) (uint64, bool) {
	n, err := strconv.ParseUint(q.Get(name), 10, 63)
	return n, err == nil
}
