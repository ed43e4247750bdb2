package gate

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/weirdev/weir/rules"
)

// Config holds the operator's settings for decisions.
type Config struct {
	Listen string `yaml:"listen" doc:"address that gateways ask"`
	Policy Policy `yaml:"policy"`

	Phase        string   `yaml:"phase" doc:"limit for decisions, whatever the rules say: observe (always allow), soft (at most step_up) or enforce"`
	OnUnknown    string   `yaml:"on_unknown" doc:"when risk cannot be looked up: open (allow) or closed"`
	ClosedRoutes []string `yaml:"closed_routes" doc:"routes that are closed when risk cannot be looked up, even if on_unknown is open"`
	ClosedAction string   `yaml:"closed_action" doc:"what closed means: throttle, challenge, step_up or deny"`

	Budget          time.Duration `yaml:"budget" doc:"time limit for looking up risk"`
	MaxLookups      int           `yaml:"max_lookups" doc:"most look-ups at once; further decisions are made without a look-up"`
	BreakerFailures int           `yaml:"breaker_failures" doc:"failed look-ups in a row after which the gate stops trying for a while"`
	BreakerPause    time.Duration `yaml:"breaker_pause" doc:"how long no look-up is tried"`

	CacheFor   time.Duration `yaml:"cache_for" doc:"how long a gateway may act on a decision"`
	RetryAfter time.Duration `yaml:"retry_after" doc:"how long a throttled client should wait, whole seconds"`
}

// Policy holds the lowest score for each action; 101 means never.
type Policy struct {
	Tag       int `yaml:"tag" doc:"score from which the upstream is informed"`
	Throttle  int `yaml:"throttle" doc:"score from which the client is slowed down"`
	Challenge int `yaml:"challenge" doc:"score from which the client must prove to be human"`
	StepUp    int `yaml:"step_up" doc:"score from which stronger authentication is required"`
	Deny      int `yaml:"deny" doc:"score from which the request is refused"`
}

// Defaults returns values that suit most installations.
func Defaults() Config {
	return Config{
		Listen: "127.0.0.1:8191",
		Policy: Policy{Tag: 20, Throttle: 40, Challenge: 55, StepUp: 70, Deny: 85},
		Phase:  rules.Enforce.String(), OnUnknown: "open", ClosedAction: Deny.String(),
		Budget: 25 * time.Millisecond, MaxLookups: 256, BreakerFailures: 5, BreakerPause: time.Second,
		CacheFor: time.Second, RetryAfter: 10 * time.Second,
	}
}

// never is a threshold that no score reaches.
const never = 101

// Validate reports all errors in c.
func (c Config) Validate() error {
	errs := []error{c.Policy.validate()}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("gate."+format, args...)) }
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("listen: %w", err)
	}
	if _, err := rules.ParsePhase(c.Phase); err != nil {
		bad("phase: %w", err)
	}
	if c.OnUnknown != "open" && c.OnUnknown != "closed" {
		bad("on_unknown: %q is neither open nor closed", c.OnUnknown)
	}
	if a, err := ParseAction(c.ClosedAction); err != nil || a < Throttle {
		bad("closed_action: %q is none of throttle, challenge, step_up, deny", c.ClosedAction)
	}
	if c.Budget < time.Millisecond || c.Budget > 10*time.Second {
		bad("budget: %v is outside 1ms … 10s", c.Budget)
	}
	if c.MaxLookups < 1 || c.MaxLookups > 1<<16 {
		bad("max_lookups: %d is outside 1 … 65536", c.MaxLookups)
	}
	if c.BreakerFailures < 1 || c.BreakerFailures > 1000 {
		bad("breaker_failures: %d is outside 1 … 1000", c.BreakerFailures)
	}
	if c.BreakerPause < 10*time.Millisecond || c.BreakerPause > time.Minute {
		bad("breaker_pause: %v is outside 10ms … 1m", c.BreakerPause)
	}
	if c.CacheFor < 0 || c.CacheFor > time.Minute {
		bad("cache_for: %v is outside 0s … 1m", c.CacheFor)
	}
	if c.RetryAfter < time.Second || c.RetryAfter > time.Hour || c.RetryAfter%time.Second != 0 {
		bad("retry_after: %v is not whole seconds, 1s … 1h", c.RetryAfter)
	}
	return errors.Join(errs...)
}

func (p Policy) validate() error {
	last := 1
	for _, t := range []struct {
		name string
		from int
	}{{"tag", p.Tag}, {"throttle", p.Throttle}, {"challenge", p.Challenge}, {"step_up", p.StepUp}, {"deny", p.Deny}} {
		if t.from < last || t.from > never {
			return fmt.Errorf("gate.policy.%s: %d is outside %d … %d: thresholds rise with the strictness of actions", t.name, t.from, last, never)
		}
		last = t.from
	}
	return nil
}
