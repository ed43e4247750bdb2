package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/weirdev/weir/app/push"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/problem"
	"github.com/weirdev/weir/rules"
)

// ruleNames are the rules that people may name.
type ruleNames struct {
	detectors map[string]string // by rule
	unread    error             // why the setting rules could not be read; nil if it was
	pushed    uint64            // the number of the push whose rules are in force; 0: the names of workers are not known
}

// namesOf returns the names of the setting rules.
func namesOf(dir string) ruleNames {
	n := ruleNames{detectors: map[string]string{}}
	set, err := LoadRules(dir)
	if n.unread = err; err == nil {
		n.add(set)
	}
	return n
}

func (n *ruleNames) add(set *rules.Set) { maps.Copy(n.detectors, detectorsOf(set)) }

// addPushed adds the rules that were pushed, which may be in force in some partitions
// only. Without any, n stays as it is.
func (n *ruleNames) addPushed(ctx context.Context, s StreamConfig, log push.Log) error {
	h, err := NewPusher(s, log, nil).History(ctx)
	if err != nil {
		return fmt.Errorf("the rules that were pushed: %w", err)
	}
	now := h.InForce(facet.Live)
	for _, p := range []*push.Push{now, h.Unfinished(facet.Live)} {
		if p == nil {
			continue
		}
		set, err := rules.OpenBundle(p.Bundle, detectors.All())
		if err != nil {
			return fmt.Errorf("the rules of push %d: %w", p.Number, err)
		}
		n.add(set)
	}
	if now != nil {
		n.pushed = now.Number
	}
	return nil
}

// has reports whether a switch of a scope may have a name.
func (n *ruleNames) has(scope switches.Scope, name string) bool {
	switch scope {
	case switches.Rule:
		return n.detectors[name] != ""
	case switches.Detector:
		return slices.Contains(slices.Collect(maps.Values(n.detectors)), name)
	}
	return true
}

// ErrNoRule means that a switch names a rule or detector that is not in force.
var ErrNoRule = errors.New("not among the rules")

// missing says that neither the rules that were pushed nor those here have a name.
func (n *ruleNames) missing(scope switches.Scope, name string) error {
	all := slices.Collect(maps.Keys(n.detectors))
	if scope == switches.Detector {
		all = slices.Collect(maps.Values(n.detectors))
	}
	slices.Sort(all)
	text := fmt.Sprintf("neither push %d, which is in force, nor the rules here have a %s %q", n.pushed, scope, name)
	if near := problem.Nearest(name, all); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	}
	return fmt.Errorf("%w: %s", ErrNoRule, text)
}
