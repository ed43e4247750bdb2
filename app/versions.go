package app

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/weirdev/weir/audit"
	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/gate/policy"
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

// keepRules stores which rules are in force, before anything follows from them.
func (w *Worker) keepRules(ctx context.Context) error {
	v := versionOf("weir-worker", decision.Rules, w.cfg.Rules)
	v.Version, v.Count, v.Text = w.rules.Version, len(w.rules.Rules), w.rules.Text()
	return w.versions.Put(ctx, &v)
}

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
