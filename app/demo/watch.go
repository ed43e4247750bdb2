package demo

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/population"
	"github.com/weirdev/weir/sink/clickhouse"
)

const (
	showEvery = 2 * time.Second
	askEvery  = 500 * time.Millisecond
	topShown  = 3
)

// watch shows what happens, and asks the gate about attackers and innocents.
type watch struct {
	d      *demo
	people *population.Population
	ask    *asker
	conn   driver.Conn

	begin, shown, asked time.Time
	lastFetched         int64
	facets, late        int64 // the most that was seen
	lastTop             string
	firstDeny           map[int]time.Time // by campaign
	innocents, denied   int
}

func newWatch(d *demo, people *population.Population, ask *asker) *watch {
	now := time.Now()
	w := &watch{d: d, people: people, ask: ask, begin: now, shown: now, asked: now, firstDeny: map[int]time.Time{}}
	if conn, err := clickhouse.Open(d.stack.Config.ClickHouse); err == nil {
		w.conn = conn
	}
	return w
}

func (w *watch) close() {
	if w.conn != nil {
		_ = w.conn.Close()
	}
}

func (w *watch) turn(ctx context.Context, now time.Time) {
	if now.Sub(w.asked) >= askEvery {
		w.asked = now
		w.askAll(ctx)
	}
	if now.Sub(w.shown) >= showEvery {
		w.show(ctx, now)
		w.shown = now
	}
}

// askAll asks the gate about the attackers of campaigns that nobody has denied
// yet.
func (w *watch) askAll(ctx context.Context) {
	now := time.Now()
	for i, c := range w.people.Campaigns() {
		if _, caught := w.firstDeny[i]; caught || now.UnixMilli() < c.Start {
			continue
		}
		for _, e := range c.Attackers {
			a, err := w.ask.decide(ctx, e)
			if err == nil && a.Action == "deny" {
				w.firstDeny[i] = now
				w.d.say("    >> CAUGHT: %s, %.1f s after its start. The gate is asked about %s %s and says %s (score %d): %s\n",
					c.Kind, now.Sub(time.UnixMilli(c.Start)).Seconds(), e.Kind, e.Key, a.Action, a.Score, a.why())
				w.showInnocent(ctx)
				break
			}
		}
	}
}

// showInnocent asks about somebody innocent, for comparison.
func (w *watch) showInnocent(ctx context.Context) {
	for _, e := range w.people.Innocents() {
		if e.Kind == facet.IP {
			if a, err := w.ask.decide(ctx, e); err == nil {
				w.d.say("    >> and about the innocent %s %s it says %s (score %d): %s\n", e.Kind, e.Key, a.Action, a.Score, a.why())
			}
			return
		}
	}
}

// show prints a few lines on where things stand.
func (w *watch) show(ctx context.Context, now time.Time) {
	b, err := w.d.stack.Books(ctx)
	if err != nil {
		w.d.say("%4.0fs  the ledger cannot be read: %v", now.Sub(w.begin).Seconds(), err)
		return
	}
	rate := float64(b.Ingest.Fetched-w.lastFetched) / now.Sub(w.shown).Seconds()
	w.lastFetched = b.Ingest.Fetched
	restarts := ""
	if n := w.d.stack.Worker.Restarts(); n > 0 {
		restarts = fmt.Sprintf("  worker restarted %d times", n)
	}
	// A commit of outputs that are behind what was read says nothing of the ledger.
	w.facets, w.late = max(w.facets, b.Detect.Applied), max(w.late, b.Detect.Late)
	w.d.say("%4.0fs  events %d (%.0f/s)  not committed %d  facets %d  late %d%s",
		now.Sub(w.begin).Seconds(), b.Ingest.Fetched, rate, b.Waiting, w.facets, w.late, restarts)
	// Repeated only when something has changed: the eye finds what is new.
	if top := strings.Join(w.top(ctx), "\n       "); top != w.lastTop {
		w.lastTop = top
		w.d.say("       riskiest:\n       %s", top)
	}
}

const topQuery = `SELECT entity_kind, entity, max(weight), argMax(rule, weight), argMax(evidence, weight)
FROM %s.signals FINAL WHERE stream = {stream:String} AND time > now64(3) - INTERVAL 10 MINUTE
GROUP BY entity_kind, entity ORDER BY max(weight) DESC, max(time) DESC LIMIT %d`

// top lists the riskiest entities and why.
func (w *watch) top(ctx context.Context) (lines []string) {
	if w.conn == nil {
		return nil
	}
	rows, err := w.conn.Query(withParameter(ctx, "stream", w.d.stack.Config.Stream.Name), fmt.Sprintf(topQuery, w.d.stack.Config.ClickHouse.Database, topShown))
	if err != nil {
		return []string{"ClickHouse does not answer: " + err.Error()}
	}
	defer rows.Close()
	for rows.Next() {
		var kind, entity, rule, evidence string
		var weight uint8
		if err := rows.Scan(&kind, &entity, &weight, &rule, &evidence); err != nil {
			return append(lines, err.Error())
		}
		lines = append(lines, fmt.Sprintf("%3d  %s %s  %s  %s", weight, kind, entity, rule, brief(evidence)))
	}
	return lines
}

// brief keeps the first figures of the evidence.
func brief(evidence string) string {
	parts := strings.Split(strings.Trim(evidence, "{}"), ",")
	return strings.ReplaceAll(strings.Join(parts[:min(len(parts), 4)], " "), `"`, "")
}

// mostInnocents is how many innocents the gate is asked about at the end.
const mostInnocents = 500

// judgeInnocents asks the gate about innocents, evenly picked.
func (w *watch) judgeInnocents(ctx context.Context) {
	all := w.people.Innocents()
	sort.Slice(all, func(i, j int) bool {
		return all[i].Kind < all[j].Kind || all[i].Kind == all[j].Kind && all[i].Key < all[j].Key
	})
	every := max(1, len(all)/mostInnocents)
	for i := 0; i < len(all); i += every {
		a, err := w.ask.decide(ctx, all[i])
		if err != nil {
			continue
		}
		w.innocents++
		if a.Action == "deny" {
			w.denied++
			w.d.say("    >> WRONG: the innocent %s %s is denied: %s", all[i].Kind, all[i].Key, a.why())
		}
	}
}
