package dashboards_test

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/dashboards"
)

// TestEveryQueryFindsWhatItAsksFor is one test, because it needs a world.
func TestEveryQueryFindsWhatItAsksFor(t *testing.T) {
	w := newWorld(t)
	w.choose(w.attackers(stuffing)[1])
	t.Run("panels", func(t *testing.T) { runPanels(t, w) })
	t.Run("controls", func(t *testing.T) { runControls(t, w) })
	t.Run("answers", func(t *testing.T) { runAnswers(t, w) })
	t.Run("campaigns", func(t *testing.T) { runCampaigns(t, w) })
	t.Run("quiet metrics", func(t *testing.T) { runQuiet(t, w) })
	t.Run("names that break out", func(t *testing.T) { runNames(t, w) })
	t.Run("documentation", func(t *testing.T) { runDocumentation(t, w) })
	t.Run("score", func(t *testing.T) { runScore(t, w) })
}

// quiet lists the metrics without series in a run without faults.
func quiet() []dashboards.Quiet {
	return []dashboards.Quiet{
		{"weir_clickhouse_retries_total", "no insert fails"},
		{"weir_detect_exception_hits_total", "the built-in rules have no exceptions"},
		{"weir_gate_envoy_errors_total", "no Envoy asks"},
		{"weir_notices_sent_total", "the run has no notices"},
		{"weir_notices_failures_total", "the same"},
		{"weir_notices_given_up_total", "the same"},
		{"weir_notices_pending", "the same"},
		{"weir_notices_lag_records", "the same"},
		{"weir_canary_attacks_total", "no canary runs"},
		{"weir_detect_evicted_entities", "the state has room for all"},
		{"weir_detect_refused_facets", "the same"},
		{"weir_detect_snapshot_failures_total", "no snapshot fails"},
	}
}

// choose selects an entity.
func (w *world) choose(e facet.Entity) {
	w.runner.Chosen = dashboards.Values{"kind": {Text: e.Kind.String()}, "entity": {Text: e.Key}}
}

func runPanels(t *testing.T, w *world) {
	for _, d := range read(t) {
		for _, f := range w.runner.Dashboard(t.Context(), &d) {
			t.Error(f)
		}
	}
}

// runQuiet keeps the list of quiet metrics short.
func runQuiet(t *testing.T, w *world) {
	for _, q := range quiet() {
		if is, err := w.runner.Exported(t.Context(), q.Metric); err != nil || is {
			t.Errorf("%s is on the list of quiet metrics, because %s: %v, %v", q.Metric, q.Why, is, err)
		}
	}
	if is, err := w.runner.Exported(t.Context(), "weir_ingest_events_total"); err != nil || !is {
		t.Errorf("a metric that is exported is not found: %v", err)
	}
}

// runAnswers looks for what is known of the world in the panels that must show it.
func runAnswers(t *testing.T, w *world) {
	all := read(t)
	rows := func(uid, title string) []map[string]string {
		t.Helper()
		d := &all[slices.IndexFunc(all, func(d dashboards.Dashboard) bool { return d.UID == uid })]
		rows, err := w.runner.Rows(t.Context(), d, title)
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	has := func(uid, title string, want map[string]string) {
		t.Helper()
		found := rows(uid, title)
		if !slices.ContainsFunc(found, func(row map[string]string) bool {
			for column, value := range want {
				if !strings.Contains(row[column], value) {
					return false
				}
			}
			return true
		}) {
			t.Errorf("%s: %s has no row with %v:\n%v", uid, title, want, found)
		}
	}
	for _, a := range w.attackers(stuffing)[3:] { // others are released, or were no attackers
		has("weir-overview", "Riskiest entities", map[string]string{"kind": "ip", "entity": a.Key, "rules": "credential-stuffing"})
	}
	thief := w.attackers(travelling)[0]
	has("weir-travel", "Trips", map[string]string{"kind": "account", "entity": thief.Key, "distance": "165"})
	has("weir-travel", "Ends of impossible trips", map[string]string{"country": "AU", "latitude": "-33.87", "longitude": "151.21"})
	has("weir-travel", "Ends of impossible trips", map[string]string{"country": "DE"})
	has("weir-travel", "Accounts in several countries", map[string]string{"entity": thief.Key, "names": "AU, DE"})
	has("weir-overview", "Networks they come from", map[string]string{"asn": "64499", "organisation": "Example Hosting", "anonymiser": "hosting"})
	has("weir-gate", "Switches that decided", map[string]string{"switch": blocked, "actions": "deny"})
	has("weir-gate", "Limits that decided", map[string]string{"limit": "search", "decides": "1", "action": "throttle"})
	has("weir-gate", "Why decisions were degraded", map[string]string{"cause": "partial"})
	has("weir-gate", "Policies", map[string]string{"policy": "watched", "phase": "observe"})
	has("weir-rules", "Shadow against live", map[string]string{"rule": "credential-stuffing-ip", "version": "shadow", "signals": "13", "entities": "13"})
	has("weir-rules", "Entities that only shadow rules find", map[string]string{"entity": "198.18.0.9"})
	has("weir-rules", "Precision by labels", map[string]string{"rule": "credential-stuffing-ip", "true_positives": "1", "false_positives": "2", "precision": "0.33"})
	has("weir-rules", "What labels hide", map[string]string{"entity": w.attackers(beginning)[0].Key})
	has("weir-entity", "Labels and releases", map[string]string{"action": "false_positive", "who": "ann", "rule": "credential-stuffing-ip"})
	if found := rows("weir-travel", "Requests, accounts and failures by country"); slices.ContainsFunc(found, func(row map[string]string) bool { return row["country"] == "unknown" && row["requests"] != "2" }) {
		t.Errorf("requests of the canary are among those without a country: %v", found)
	}
	w.runner.Chosen["rule"] = dashboards.Value{Text: "credential-stuffing-ip"}
	defer delete(w.runner.Chosen, "rule")
	if found := rows("weir-attack", "Members, heaviest first"); len(found) < len(w.attackers(stuffing)) {
		t.Errorf("the attack has the members %v", found)
	}
	has("weir-attack", "What they have in common", map[string]string{"property": "ja4", "value": "t13d190900_9dc949149365_97f8aa674fd9"})
	has("weir-attack", "Sequences", map[string]string{"sequence": "POST /v1/login"})
	has("weir-attack", "Accounts that they got into", map[string]string{"entity": "user-"})
	if found := rows("weir-attack", "Accounts that they got into"); slices.ContainsFunc(found, func(row map[string]string) bool { return row["entity"] == "namesake" }) {
		t.Errorf("the attack has accounts of another tenant: %v", found)
	}
	has("weir-attack", "Map", map[string]string{"city": "Amsterdam", "latitude": "52.37"})
}

// runCampaigns chooses a rule, a group, both and neither, which are found in different
// ways. What the dashboards say of them must be what v_signals says.
func runCampaigns(t *testing.T, w *world) {
	all := read(t)
	rows := func(uid, title string) []map[string]string {
		t.Helper()
		d := &all[slices.IndexFunc(all, func(d dashboards.Dashboard) bool { return d.UID == uid })]
		rows, err := w.runner.Rows(t.Context(), d, title)
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	const from = " FROM weir.v_signals WHERE time >= fromUnixTimestamp64Milli(toInt64(?)) AND time <= fromUnixTimestamp64Milli(toInt64(?)) AND clears = 0 "
	ask := func(sql string, into []any, args ...any) {
		t.Helper()
		if err := w.runner.ClickHouse.QueryRow(t.Context(), sql, append([]any{w.runner.Range.From.Unix() * 1000, w.runner.Range.To.Unix() * 1000}, args...)...).Scan(into...); err != nil {
			t.Fatal(err)
		}
	}
	var rule, group string
	ask("SELECT rule, group_key"+from+"AND group_key != '' GROUP BY rule, group_key ORDER BY count() DESC, rule LIMIT 1", []any{&rule, &group})
	chosen := w.runner.Chosen
	defer func() { w.runner.Chosen = chosen }()
	for _, c := range [][2]string{{rule, ""}, {"", group}, {rule, group}, {"", ""}} {
		w.runner.Chosen = dashboards.Values{"rule": {Text: c[0], All: c[0] == ""}, "group": {Text: c[1]}}
		var members, signals, ofRule uint64
		const ofGroup = "AND (group_key = ? OR ? = '')"
		const one = "AND (rule = ? OR ? = '') "
		ask("SELECT uniqExact(entity_kind, entity, tenant), count()"+from+one+ofGroup, []any{&members, &signals}, c[0], c[0], c[1], c[1])
		ask("SELECT countIf(NOT startsWith(tenant, 'weir-canary'))"+from+one, []any{&ofRule}, c[0], c[0])
		for _, got := range []struct {
			uid, title, column string
			want               uint64
		}{{"weir-attack", "Members", "members", members}, {"weir-attack", "Signals", "signals", signals}, {"weir-attack", "Signals by rule", "signals", signals}, {"weir-rules", "Weights", "signals", ofRule}} {
			var sum uint64
			for _, row := range rows(got.uid, got.title) {
				n, err := strconv.ParseUint(row[got.column], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				sum += n
			}
			if sum != got.want || sum == 0 {
				t.Errorf("rule %q and group %q: %s says %d, v_signals %d", c[0], c[1], got.title, sum, got.want)
			}
		}
	}
	w.runner.Chosen = maps.Clone(chosen)
	w.runner.Chosen["rule"] = dashboards.Value{Text: "credential-stuffing-ip"}
	for _, d := range all {
		if d.UID == "weir-attack" || d.UID == "weir-rules" {
			for _, f := range w.runner.Dashboard(t.Context(), &d) {
				t.Error(f)
			}
		}
	}
}

// runNames chooses entities whose names would end a text of SQL. Nothing of that name is
// there, so nothing must be found, and nothing must fail.
func runNames(t *testing.T, w *world) {
	all := read(t)
	d := &all[slices.IndexFunc(all, func(d dashboards.Dashboard) bool { return d.UID == "weir-entity" })]
	chosen := w.runner.Chosen
	defer func() { w.runner.Chosen = chosen }()
	for _, name := range []string{`' OR 1=1 -- `, `\' OR 1=1 -- `, `\`, `%27 OR 1=1`, "a,b)) OR (1=1", "${kind}", "$__timeFilter(time)", "ü\"`; SELECT 1"} {
		w.choose(facet.Entity{Kind: facet.IP, Key: name})
		for _, title := range []string{"Events, newest first", "Decisions, newest first", "Neighbours"} {
			rows, err := w.runner.Rows(t.Context(), d, title)
			if err != nil || len(rows) > 0 {
				t.Errorf("%s: %s finds %d rows (%v)", name, title, len(rows), err)
			}
		}
	}
}
