package chaos

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/go-faster/city"

	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
)

// versionKey is what a row of rule_versions is named by, within a stream.
type versionKey struct {
	kind, version, program, instance string
	time                             int64
}

func (k versionKey) String() string {
	return fmt.Sprintf("%s %s of %s %s at %d", k.kind, k.version, k.program, k.instance, k.time)
}

// versionRow is a row without what names it.
type versionRow struct {
	count int
	text  uint64 // hash
}

// keyOf names the row that a switch record has.
func keyOf(s *facet.Switch) versionKey {
	k := versionKey{kind: decision.Rules, version: cmp.Or(strings.Clone(s.Version), "none"), program: pusher, instance: fmt.Sprintf("push %d", s.Number), time: s.Time}
	if s.Lane == facet.Shadow {
		k.kind = "shadow_rules"
	}
	return k
}

const pusher = "weir rules push"

// checkVersions compares the table rule_versions with what was in force: of gates with
// their records in the topic of decisions, of pushes with the switch records of the
// facet log, and of workers with the rules of their setting and those that were pushed
// before they started. A worker that is killed at its start may have no row; it has no
// second one, and those that ran until the end have theirs.
func (r *run) checkVersions(ctx context.Context, conn driver.Conn, re *replayed, v *verdict) error {
	stored, err := r.readVersions(ctx, conn)
	if err != nil {
		return fmt.Errorf("read rule_versions: %w", err)
	}
	v.Versions = int64(len(stored))
	owed, err := r.toldVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the topic of decisions: %w", err)
	}
	workers := map[string]int{} // rows by instance
	for key, row := range stored {
		want, ok := owed[key]
		if key.program == pusher {
			want, ok = re.switched[key]
		}
		if key.kind == decision.Rules && key.program == "weir-worker" {
			workers[key.instance]++
			want, ok = r.inForce(re, key)
		}
		switch {
		case !ok:
			v.Duplicated++
			v.find("rule_versions: %s was never in force", key)
		case row.count != want.count || row.text != want.text:
			v.Different++
			v.find("rule_versions: %s has other rules than were in force", key)
		}
	}
	for key := range owed {
		if _, ok := stored[key]; !ok {
			v.Lost++
			v.find("rule_versions: %s is in the topic, and not in the table", key)
		}
	}
	for key := range re.switched {
		if _, ok := stored[key]; !ok {
			v.Lost++
			v.find("rule_versions: %s was in force, and has no row", key)
		}
	}
	return v.checkStarts(workers, r.last)
}

// inForce returns the row of a worker with rules that may have been in force when it
// started.
func (r *run) inForce(re *replayed, worker versionKey) (versionRow, bool) {
	if set := r.rulesets.all[0]; worker.version == set.Version {
		return rowOf(set), true
	}
	for k, row := range re.switched {
		if k.kind == decision.Rules && k.version == worker.version && k.time <= worker.time {
			return row, true
		}
	}
	return versionRow{}, false
}

func rowOf(set *rules.Set) versionRow {
	return versionRow{count: len(set.Rules), text: city.CH64([]byte(set.Text()))}
}

// checkStarts finds workers with more than one row, and those without one that ran
// until the end.
func (v *verdict) checkStarts(workers map[string]int, last []int) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	for _, pid := range last {
		if instance := fmt.Sprintf("%s/%d", host, pid); workers[instance] == 0 {
			v.Lost++
			v.find("rule_versions: the worker %s has no row", instance)
		}
	}
	for instance, n := range workers {
		if n > 1 {
			v.Duplicated++
			v.find("rule_versions: the worker %s has %d rows", instance, n)
		}
	}
	return nil
}

func (r *run) readVersions(ctx context.Context, conn driver.Conn) (map[versionKey]versionRow, error) {
	rows, err := conn.Query(r.streamParameter(ctx), `SELECT kind, version, program, instance, toUnixTimestamp64Milli(time), count, text
FROM `+r.cluster.stack.Config.ClickHouse.Database+`.rule_versions FINAL WHERE stream = {stream:String}`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[versionKey]versionRow{}
	for rows.Next() {
		var k versionKey
		var count uint32
		var text string
		if err := rows.Scan(&k.kind, &k.version, &k.program, &k.instance, &k.time, &count, &text); err != nil {
			return nil, err
		}
		all[k] = versionRow{count: int(count), text: city.CH64([]byte(text))}
	}
	return all, rows.Err()
}

// toldVersions reads what gates have written to the topic of decisions.
func (r *run) toldVersions(ctx context.Context) (map[versionKey]versionRow, error) {
	all := map[versionKey]versionRow{}
	err := eachRecord(ctx, r.cluster.stack, "decisions", func(rec *kafka.Record) error {
		if !slices.ContainsFunc(rec.Headers, func(h kafka.Header) bool { return h.Key == decision.VersionHeader }) {
			return nil
		}
		told, err := decision.ParseRuleVersion(rec.Value)
		if err != nil {
			return err
		}
		k := versionKey{kind: told.Kind, version: told.Version, program: told.Program, instance: told.Instance, time: told.Time}
		all[k] = versionRow{count: told.Count, text: city.CH64([]byte(told.Text))}
		return nil
	})
	return all, err
}
