package app

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/weirdev/weir/audit"
	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/sink/clickhouse"
)

// versionOf returns what this process says of rules or policies that it has put in
// force: all but their content.
func versionOf(program, kind, source string) decision.RuleVersion {
	v := decision.RuleVersion{Time: time.Now().UnixMilli(), Kind: kind, Program: program, Source: source}
	host, _ := os.Hostname() // "" where it has none
	v.Instance = fmt.Sprintf("%s/%d", host, os.Getpid())
	if u, err := user.Current(); err == nil {
		v.Who = u.Username
	}
	return v
}

// rulesPatience is how long the row of the rules may take before the log says so.
const rulesPatience = 2 * time.Second

// keepRules stores which rules are in force, and closes stored when that is
// acknowledged. Signals wait for it, so no stored signal is older than the row of its
// rules. Detection does not wait: ClickHouse may take no rows for hours.
func (w *Worker) keepRules(ctx context.Context, stored chan<- struct{}) error {
	v := versionOf("weir-worker", decision.Rules, w.cfg.Rules)
	v.Version, v.Count, v.Text = w.rules.Version, len(w.rules.Rules), w.rules.Text()
	if p, set, err := w.pushed.InForce(ctx); err != nil {
		return nil // told to stop
	} else if p != nil && set != nil {
		v.Version, v.Count, v.Text, v.Source = set.Version, len(set.Rules), set.Text(), p.From()
	}
	track := w.versions.Open(0)
	if err := track.AppendVersion(ctx, 0, v.Time, &v); err != nil {
		return err
	}
	soon, cancel := context.WithTimeout(ctx, rulesPatience)
	defer cancel()
	if track.Drain(soon) != nil {
		if ctx.Err() == nil {
			w.log.Warn("clickhouse does not take the version of the rules; detection goes on, and signals are stored after it", "rules", v.Version)
		}
		if track.Drain(ctx) != nil {
			return nil // told to stop: the writer tries once more, and says what is lost
		}
		w.log.Info("the version of the rules is stored", "rules", v.Version)
	}
	close(stored)
	return nil
}

// tellPushed says which rules are in force, if they were pushed.
func (w *Worker) tellPushed(ctx context.Context) error {
	p, set, err := w.pushed.InForce(ctx)
	if err != nil || p == nil {
		return err
	}
	log := w.log.With("number", p.Number, "rules", p.Version, "who", p.Who)
	if set.Version == w.rules.Version {
		log.Info("rules that were pushed are in force")
		return nil
	}
	log.Warn("rules that were pushed are in force, and not those of the setting rules; `weir rules push` changes them", "setting", w.cfg.Rules, "rules_of_setting", w.rules.Version)
	return nil
}

// What rule_versions says of rules that were pushed.
const (
	pusherName  = "weir rules push"
	shadowRules = "shadow_rules" // a kind beside [decision.Rules]
)

// pushedSink stores which rules a partition has changed to. All partitions write the
// same row, and rows are named by their content.
type pushedSink struct{ *clickhouse.VersionTrack }

// Write implements [engine.Sink].
func (s pushedSink) Write(ctx context.Context, offset int64, out *engine.Output) error {
	for i := range out.Rules {
		v := pushedVersion(&out.Rules[i])
		if err := s.AppendVersion(ctx, offset, v.Time, &v); err != nil {
			return err
		}
	}
	return nil
}

func pushedVersion(c *engine.RuleChange) decision.RuleVersion {
	v := decision.RuleVersion{
		Time: c.Time, Kind: decision.Rules, Version: "none", Program: pusherName, Instance: fmt.Sprintf("push %d", c.Number), Who: c.Who, Source: c.Source,
	}
	if c.Lane == facet.Shadow {
		v.Kind = shadowRules
	}
	if c.Rules != nil {
		v.Version, v.Count, v.Text = c.Rules.Version, len(c.Rules.Rules), c.Rules.Text()
	}
	return v
}

// Flush implements [engine.Sink].
func (pushedSink) Flush(context.Context) error { return nil }

// Close implements [engine.Sink].
func (pushedSink) Close() {}

// decidedTrack stores what gates say in one partition of their topic.
type decidedTrack struct {
	*clickhouse.DecisionTrack
	versions *clickhouse.VersionTrack
}

func (w *Worker) decidedTrack(p int32) audit.Track {
	return decidedTrack{w.decided.Open(p), w.versions.Open(p)}
}

func (t decidedTrack) AppendVersion(ctx context.Context, offset, received int64, v *decision.RuleVersion) error {
	return t.versions.AppendVersion(ctx, offset, received, v)
}

func (t decidedTrack) Stored() int64 { return min(t.DecisionTrack.Stored(), t.versions.Stored()) }

func (t decidedTrack) Drain(ctx context.Context) error {
	if err := t.DecisionTrack.Drain(ctx); err != nil {
		return err
	}
	return t.versions.Drain(ctx)
}

// tellPolicies writes which policies are in force, now and whenever they change.
func (g *Gate) tellPolicies() {
	g.policies.Taken(func(set *policy.Set, text []byte) {
		v := versionOf("weir-gate", decision.Policies, g.cfg.Policy)
		v.Version, v.Count, v.Text = set.Version, len(set.Policies), string(text)
		g.emitter.Version(&v)
	})
}
