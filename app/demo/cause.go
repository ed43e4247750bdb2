package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/weirdev/weir/app/explain"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/printable"
	"github.com/weirdev/weir/sink/clickhouse"
)

// cause explains a catch: the heaviest stored signal, and the firing as
// `weir rules explain` explains it.
type cause struct {
	weight   int
	evidence json.RawMessage // of the stored signal, an object
	firing   *explain.Firing // nil: the kept records do not reproduce it
	title    string
}

// mostKept limits the records that are kept for explanations, in bytes.
const mostKept = explain.MostBytes - 4<<20

// explain explains how each campaign was caught. The signal comes from ClickHouse. The
// numbers next to their thresholds, and the counterfactuals, come from a second run of
// the sent records through the code of both stages.
func (d *demo) explain(ctx context.Context, w *watch, records [][]byte) error {
	for _, c := range w.campaigns {
		if !c.caught() {
			continue
		}
		c.cause = &cause{}
		if err := w.readSignal(ctx, c); err != nil {
			return err
		}
	}
	places, err := geo.Open(d.stack.Config.Geo, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return err
	}
	x, err := explain.New(explain.Options{
		Rules: w.rules, Ingest: d.stack.Config.Ingest, Places: places.Current(), Detect: d.stack.Config.Detect.Config,
		Only: func(rule string, e facet.Entity) bool {
			return slices.ContainsFunc(w.campaigns, func(c *campaign) bool {
				return c.caught() && c.rule == rule && c.entity.Kind == e.Kind && c.entity.Key == e.Key
			})
		},
	})
	if err != nil {
		return err
	}
	for _, r := range records {
		if err := x.Record(r); err != nil {
			return err
		}
	}
	report, err := x.Report()
	if err != nil {
		return err
	}
	for _, f := range report.Findings {
		for _, c := range w.campaigns {
			if !c.caught() || f.Rule != c.rule || f.Entity != named(c.entity) {
				continue
			}
			c.cause.title = f.Title
			for i := range f.Firings {
				if f.Firings[i].Weight == c.cause.weight && c.cause.firing == nil {
					c.cause.firing = &f.Firings[i]
				}
			}
		}
	}
	return nil
}

const signalQuery = `SELECT weight, evidence FROM %s.signals FINAL
WHERE stream = {stream:String} AND rule = {rule:String} AND entity_kind = {kind:String} AND entity = {entity:String}
ORDER BY weight DESC, time LIMIT 1`

// readSignal reads the first of the heaviest signals of a campaign.
func (w *watch) readSignal(ctx context.Context, c *campaign) error {
	conn, err := clickhouse.Open(w.d.stack.Config.ClickHouse)
	if err != nil {
		return err
	}
	defer conn.Close()
	var weight uint8
	var evidence string
	ctx = ch.Context(ctx, ch.WithParameters(ch.Parameters{
		"stream": w.d.stack.Config.Stream.Name, "rule": c.rule, "kind": c.entity.Kind.String(), "entity": c.entity.Key,
	}))
	err = conn.QueryRow(ctx, fmt.Sprintf(signalQuery, w.d.stack.Config.ClickHouse.Database)).Scan(&weight, &evidence)
	if err != nil {
		return fmt.Errorf("ask clickhouse for the signal of %s: %w", c.rule, err)
	}
	c.cause.weight, c.cause.evidence = int(weight), json.RawMessage(evidence)
	return nil
}

func named(e facet.Entity) string { return e.Kind.String() + ":" + e.Key }

// printCauses prints an explanation for each caught campaign.
func (d *demo) printCauses(all []*campaign) {
	for _, c := range all {
		if !c.caught() {
			continue
		}
		d.say("\n  WHY %s: %s", c.title, c.does)
		d.printCause(c)
		d.say("      the gate   %s (score %d) for %s %s", c.answer.Action, c.answer.Score, c.entity.Kind, c.entity.Key)
		if c.besideAsked {
			d.say("      beside it  %s (score %d) for %s %s, %s", c.besideSays.Action, c.besideSays.Score, c.beside.Kind, c.beside.Key, c.like)
		}
	}
}

func (d *demo) printCause(c *campaign) {
	title := ""
	if c.cause.title != "" {
		title = ": " + c.cause.title
	}
	d.say("      rule       %s%s", c.rule, title)
	said := map[string]bool{}
	if f := c.cause.firing; f != nil {
		said["threshold"] = true // of the first number
		for i, n := range f.Numbers {
			said[n.Name] = true
			d.say("      %-9s  %s %d, threshold %d", []string{"numbers", ""}[min(i, 1)], n.Name, n.Have, n.Need)
		}
	}
	for i, line := range lines80(evidence(c.cause.evidence, said)) {
		d.say("      %-9s  %s", []string{"evidence", ""}[min(i, 1)], line)
	}
	if f := c.cause.firing; f != nil {
		d.say("      weight     %d, by tier %d of %d", f.Weight, f.Tier, f.Tiers)
		for _, r := range f.Raised {
			d.say("      otherwise  it would not have fired here if it asked for %s %d instead of %d", r.Name, r.Here, r.Now)
		}
	}
}

// evidence lists the evidence of a signal in its order, except for the names in said.
func evidence(text json.RawMessage, said map[string]bool) (parts []string) {
	members := json.NewDecoder(bytes.NewReader(text))
	_, _ = members.Token() // the brace; anything but an object yields nothing
	for members.More() {
		var value any
		key, err := members.Token()
		if err != nil || members.Decode(&value) != nil {
			return parts
		}
		name, _ := key.(string)
		switch v := value.(type) {
		case float64:
			if !said[name] && !strings.HasSuffix(name, "_ms") || name == "elapsed_ms" {
				parts = append(parts, fmt.Sprintf("%s %.0f", name, v))
			}
		case string:
			parts = append(parts, name+" "+printable.Text(v))
		case map[string]any:
			latitude, ok1 := v["latitude_udeg"].(float64)
			longitude, ok2 := v["longitude_udeg"].(float64)
			if radius, ok3 := v["radius_km"].(float64); ok1 && ok2 && ok3 {
				parts = append(parts, fmt.Sprintf("%s %.2f, %.2f (give or take %.0f km)", name, latitude/1e6, longitude/1e6, radius))
			}
		}
	}
	return parts
}

// lines80 joins parts into lines that fit a terminal.
func lines80(parts []string) (all []string) {
	const width = 80 - 17
	for _, p := range parts {
		if last := len(all) - 1; last >= 0 && len(all[last])+2+len(p) <= width {
			all[last] += "; " + p
		} else {
			all = append(all, p)
		}
	}
	return all
}

// outcome returns the outcome of a campaign. begin is the start of live traffic.
func (c *campaign) outcome(begin time.Time) Outcome {
	o := Outcome{Campaign: c.kind, Detector: c.detector, LaunchedSeconds: c.start.Sub(begin).Seconds(), Caught: c.caught()}
	if c.besideAsked {
		o.Innocent = &Innocent{named(c.beside), c.like, c.besideSays.Action, c.besideSays.Score, c.frontStatusBeside}
	}
	if !o.Caught {
		return o
	}
	o.SecondsToCatch = c.first.Sub(c.start).Seconds()
	o.Entity, o.Action, o.Score, o.Rule, o.NginxStatus = named(c.entity), c.answer.Action, c.answer.Score, c.rule, c.frontStatus
	if c.cause != nil {
		o.Weight, o.Evidence = c.cause.weight, c.cause.evidence
		if f := c.cause.firing; f != nil {
			o.Tier, o.Numbers = f.Tier, f.Numbers
		}
	}
	return o
}

// printTable prints one line per campaign.
func (d *demo) printTable(all []Outcome) {
	d.say("  %-20s %9s  %12s  %5s  %-9s  %-8s  %s", "CAMPAIGN", "LAUNCHED", "CAUGHT AFTER", "SCORE", "ACTION", "INNOCENT", "BY RULE")
	for _, o := range all {
		after, points, innocent := "MISSED", "", "?"
		if o.Caught {
			after, points = fmt.Sprintf("%.1f s", o.SecondsToCatch), fmt.Sprint(o.Score)
		}
		if o.Innocent != nil {
			innocent = o.Innocent.Action
		}
		d.say("  %-20s %9s  %12s  %5s  %-9s  %-8s  %s", o.Campaign, fmt.Sprintf("%+.0f s", o.LaunchedSeconds), after, points, o.Action, innocent, o.Rule)
	}
	d.say("")
}
