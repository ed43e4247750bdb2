package demo

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/internal/population"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/sink/clickhouse"
)

const (
	showEvery = 2 * time.Second
	askEvery  = 500 * time.Millisecond
	topShown  = 3
)

// watch reports the progress, and asks the gate about attackers and innocents.
type watch struct {
	d      *demo
	people *population.Population
	rules  *rules.Set
	ask    *asker
	front  *front // nil: there is no nginx
	conn   driver.Conn

	begin, shown, asked time.Time
	stopped             time.Time // end of the traffic
	lastFetched         int64
	facets, late        int64 // highest values seen
	lastTop             string
	campaigns           []*campaign // in the order of people.Campaigns
	innocents, denied   int
}

// open starts the watch.
func (w *watch) open(ask *asker) {
	now := time.Now()
	w.ask, w.begin, w.shown, w.asked = ask, now, now, now
	if conn, err := clickhouse.Open(w.d.stack.Config.ClickHouse); err == nil {
		w.conn = conn
	}
}

func (w *watch) close() {
	if w.conn != nil {
		_ = w.conn.Close()
	}
	if err := w.front.close(); err != nil {
		w.d.say("nginx: %v", err)
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

// askAll asks the gate about attackers.
func (w *watch) askAll(ctx context.Context) {
	now := time.Now()
	for i, c := range w.campaigns {
		if c.deny.IsZero() && !now.Before(c.start) {
			w.look(ctx, i, c)
		}
	}
}

// settled reports whether every campaign was caught a while ago, so that their signals
// no longer change.
func (w *watch) settled(now time.Time) bool {
	return !slices.ContainsFunc(w.campaigns, func(c *campaign) bool { return !c.caught() || now.Sub(c.first) < 15*time.Second })
}

// last asks until every campaign is caught or the last event is judged, and then asks
// about innocents.
func (w *watch) last(ctx context.Context) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	begun := slices.DeleteFunc(slices.Clone(w.campaigns), func(c *campaign) bool { return c.start.After(w.stopped) })
	for until := time.Now().Add(w.d.opts.Settings.Detect.Lateness + 5*time.Second); time.Now().Before(until); <-tick.C {
		w.askAll(ctx)
		if !slices.ContainsFunc(begun, func(c *campaign) bool { return !c.caught() }) {
			break
		}
	}
	for i, c := range w.campaigns {
		w.askBeside(ctx, i, c)
		w.passFront(ctx, c)
	}
	w.judgeInnocents(ctx)
}

// show prints a few lines about the current state.
func (w *watch) show(ctx context.Context, now time.Time) {
	b, err := w.d.stack.Books(ctx)
	if err != nil {
		w.d.say("%4.0fs  the ledger cannot be read: %v", now.Sub(w.begin).Seconds(), err)
		return
	}
	for _, sentence := range w.d.viewer.ended() {
		w.d.say("       %s", sentence)
	}
	rate := float64(b.Ingest.Fetched-w.lastFetched) / now.Sub(w.shown).Seconds()
	w.lastFetched = b.Ingest.Fetched
	restarts := ""
	if n := w.d.stack.Worker.Restarts(); n > 0 {
		restarts = fmt.Sprintf("  worker restarted %d times", n)
	}
	// A commit whose outputs lag behind what was read does not add to the ledger.
	w.facets, w.late = max(w.facets, b.Detect.Applied), max(w.late, b.Detect.Late)
	if left := w.d.earlier - b.Ingest.Fetched; left > 0 {
		w.d.say("%4.0fs  %d events of the history are not processed yet", now.Sub(w.begin).Seconds(), left)
		return
	}
	w.d.say("%4.0fs  events %d (%.0f/s)  not committed %d  facets %d  late %d%s",
		now.Sub(w.begin).Seconds(), b.Ingest.Fetched, rate, b.Waiting, w.facets, w.late, restarts)
	// Printed again only if it has changed, so that news stands out.
	if top := strings.Join(w.top(ctx), "\n       "); top != w.lastTop {
		w.lastTop = top
		w.d.say("       riskiest:\n       %s", top)
	}
}

const topQuery = `SELECT entity_kind, entity, max(weight), argMax(rule, weight), argMax(evidence, weight)
FROM %s.signals FINAL WHERE stream = {stream:String} AND time > now64(3) - INTERVAL 10 MINUTE
GROUP BY entity_kind, entity ORDER BY max(weight) DESC, max(time) DESC LIMIT %d`

// top lists the entities with the highest risk, with reasons.
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

// brief returns the first figures of the evidence.
func brief(evidence string) string {
	parts := strings.Split(strings.Trim(evidence, "{}"), ",")
	return strings.ReplaceAll(strings.Join(parts[:min(len(parts), 4)], " "), `"`, "")
}

// mostInnocents is the number of innocents that the gate is asked about at the end.
const mostInnocents = 500

// judgeInnocents asks the gate about evenly selected innocents.
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
