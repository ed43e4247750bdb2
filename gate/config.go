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
	Policy string `yaml:"policy" doc:"file of policies, which say what follows from a score, and what happens without one; empty: those that are built in"`
	Phase  string `yaml:"phase" doc:"how far this gate may go, whatever rules and policies say: observe (always allow), soft (at most step_up) or enforce"`

	MaxLookups      int           `yaml:"max_lookups" doc:"most look-ups at once; beyond it, decisions are made without"`
	BreakerFailures int           `yaml:"breaker_failures" doc:"failed look-ups in a row after which none is tried for a while"`
	BreakerPause    time.Duration `yaml:"breaker_pause" doc:"how long none is tried"`

	CacheFor time.Duration `yaml:"cache_for" doc:"how long a gateway may act on a decision"`
}

// Defaults returns values that suit most installations.
func Defaults() Config {
	return Config{
		Listen: "127.0.0.1:8191", Phase: rules.Enforce.String(),
		MaxLookups: 256, BreakerFailures: 5, BreakerPause: time.Second,
		CacheFor: time.Second,
	}
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("gate."+format, args...)) }
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("listen: %w", err)
	}
	if _, err := rules.ParsePhase(c.Phase); err != nil {
		bad("phase: %w", err)
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
	return errors.Join(errs...)
}
