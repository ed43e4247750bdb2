package chaos

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/go-faster/city"
)

// verdict is the result of the verifier.
type verdict struct {
	Sent       int64 // records that Kafka acknowledged
	Events     int64 // rows of events
	Physical   int64 // rows including those that FINAL merges
	Expected   int64 // good records that count
	Lost       int64
	Duplicated int64
	Different  int64
	Signals    int64
	Scores     int64
	Dead       int64
	Versions   int64 // rows of rule_versions
	Late       int64
	Switches   int64 // records of the facet log
	Watched    int64 // signals of shadow rules
	Members    int64 // group members told by loop-back
	Verdicts   int64 // verdicts on cohorts, read by loop-back
	Timed      int64 // signals of rules that set timers
	Controls   int64 // control records that count
	Held       int64 // signals that a label held back
	Repeats    int64 // gateway repeats, dropped by ingest
	Repeated   int64 // facets that were written again, and dropped
	Digests    map[string]string

	findings []string
	count    int
}

const (
	keptFindings     = 1000
	reportedFindings = 20
)

// first returns the findings that a report shows.
func (v *verdict) first() []string { return v.findings[:min(len(v.findings), reportedFindings)] }

// find adds a finding. All are counted; only the first are kept.
func (v *verdict) find(format string, args ...any) {
	v.count++
	if len(v.findings) < keptFindings {
		v.findings = append(v.findings, fmt.Sprintf(format, args...))
	}
}

// same compares two digests of the same thing.
func (v *verdict) same(what, stored, wanted string) {
	v.Digests[what] = stored
	if stored != wanted {
		v.find("digest of %s: %s, not %s", what, stored, wanted)
	}
}

// equal reports whether everything matches the seed.
func (v *verdict) equal() bool { return v.count == 0 }

// verify reads the data that the run has left and compares it with the expectation
// from the seed. It knows the plan, and the number of acknowledged records. It does
// not trust any statement of the workers except their ledgers, which must match.
func (r *run) verify(ctx context.Context) (*verdict, error) {
	v := &verdict{Sent: r.sender.acknowledged(), Digests: map[string]string{}}
	calm, err := newCalm(r.cluster.stack.Config, r.rulesets, r.plan.Partitions, r.facetPartitions)
	if err != nil {
		return nil, err
	}
	t, err := r.learn(ctx, calm)
	if err != nil {
		return nil, fmt.Errorf("read the raw log: %w", err)
	}
	v.Expected, v.Repeats = t.expected(), t.repeats
	if t.unacknowledged > 0 {
		v.Lost += t.unacknowledged
		v.find("%d acknowledged records are not in the raw log", t.unacknowledged)
	}
	if t.foreign > 0 {
		v.find("%d records of the raw log are not of this load, or out of order", t.foreign)
	}
	re, err := replay(ctx, r.cluster.stack, calm, t)
	if err != nil {
		v.find("the facet log cannot be replayed: %v", err)
		return v, nil
	}
	r.event("the raw log is what the seed says, and the facet log is replayed: %d records, %d frames", r.sender.acknowledged(), re.frames)
	v.Held = re.held
	v.Late, v.Repeated, v.Members, v.Verdicts, v.Timed = re.late, re.repeated, re.members, re.verdicts, re.timed
	v.checkFacets(t, re)
	v.checkLoopback(re)
	v.checkFindings(calm, re, r.rulesets)
	v.Switches = re.switches
	for _, err := range r.faults.unpushed {
		v.find("a push did not get through within %v: %v", pushTime, err)
	}
	return v, r.checkStores(ctx, t, re, v)
}

func (r *run) checkStores(ctx context.Context, t *truth, re *replayed, v *verdict) error {
	conn, err := r.openClickHouse()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := r.checkEvents(ctx, conn, t, v); err != nil {
		return err
	}
	if err := r.checkMade(ctx, conn, v); err != nil {
		return err
	}
	if err := r.checkSignals(ctx, conn, re, v); err != nil {
		return err
	}
	said, err := r.learnControls(ctx, v)
	if err != nil {
		return fmt.Errorf("read the topic of controls: %w", err)
	}
	if err := r.checkControls(ctx, conn, said, re, v); err != nil {
		return err
	}
	if err := r.checkDead(ctx, conn, t, said, v); err != nil {
		return err
	}
	if err := r.checkVersions(ctx, conn, re, v); err != nil {
		return err
	}
	if err := r.checkScores(ctx, re, v); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	books, err := r.cluster.stack.Books(ctx)
	if err != nil {
		return err
	}
	if books.Ingest.Repeat != t.repeats {
		v.find("the ledger does not balance: %d repeats were dropped, of %d in the raw log", books.Ingest.Repeat, t.repeats)
	}
	for _, complaint := range books.Imbalances(uint64(v.Events), v.Dead) {
		v.find("the ledger does not balance: %s", complaint)
	}
	return nil
}

// checkFacets compares the facets in the log, each once, with those that ingest must
// have made of the raw records.
func (v *verdict) checkFacets(t *truth, re *replayed) {
	var stored, wanted digest
	for p, part := range t.parts {
		for o, want := range part.facets {
			got := re.bundles[p][o]
			stored.add(got.sum)
			wanted.add(want.sum)
			switch {
			case got.n < want.n:
				v.Lost++
				v.find("%d of %d facets of record %d-%d are missing", want.n-got.n, want.n, p, o)
			case got.n > want.n:
				v.Duplicated++
				v.find("record %d-%d has %d facets, not %d", p, o, got.n, want.n)
			case got.sum != want.sum:
				v.Different++
				v.find("facets of record %d-%d are not what ingest must make of it", p, o)
			}
		}
	}
	v.same("facets", stored.String(), wanted.String())
}

// checkLoopback compares the notices to group members with those that follow from
// the facet log: frame by frame, in order.
func (v *verdict) checkLoopback(re *replayed) {
	var stored, wanted digest
	sum := func(d *digest, frames []string) {
		for _, f := range frames {
			d.add(city.CH64([]byte(f)))
		}
	}
	wires := map[wire]bool{}
	for _, m := range []map[wire][]string{re.looped, re.heard} {
		for w := range m {
			wires[w] = true
		}
	}
	for w := range wires {
		want, got := re.looped[w], re.heard[w]
		sum(&wanted, want)
		sum(&stored, got)
		if !slices.Equal(got, want) {
			v.Different++
			v.find("facet partition %d has told %d %d times of members of groups, and should have %d times", w.from, w.to, len(got), len(want))
		}
	}
	v.same("loop-back", stored.String(), wanted.String())
}

// checkFindings compares the findings, regardless of their position in the facet
// log, with those of an undisturbed run. It does not cover rules that depend more
// closely on the facet log; the model covers them.
func (v *verdict) checkFindings(calm *calm, re *replayed, s *rulesets) {
	other := func(f finding, _ int) bool { return s.followsLog(f.rule) }
	maps.DeleteFunc(calm.found, other)
	maps.DeleteFunc(re.found, other)
	for f, n := range calm.found {
		if re.found[f] != n {
			v.find("%s of %s %s/%s (tier %d, time %d) is found %d times, and %d times when nothing is disturbed",
				f.rule, f.entity.Kind, f.entity.Tenant, f.entity.Key, f.tier, f.time, re.found[f], n)
		}
	}
	for f, n := range re.found {
		if calm.found[f] == 0 {
			v.find("%s of %s %s/%s (tier %d, time %d) is found %d times, and never when nothing is disturbed",
				f.rule, f.entity.Kind, f.entity.Tenant, f.entity.Key, f.tier, f.time, n)
		}
	}
	v.same("undisturbed", fmt.Sprint(len(re.found)), fmt.Sprint(len(calm.found)))
}
