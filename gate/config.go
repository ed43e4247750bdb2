package gate

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/rules"
)

// Config holds the operator's settings for decisions.
type Config struct {
	Listen string `yaml:"listen" doc:"address that gateways ask"`
	Policy string `yaml:"policy" doc:"file of policies, which say what follows from a score, and what happens without one; empty: those that are built in"`
	Phase  string `yaml:"phase" doc:"how far this gate may go, whatever rules and policies say: observe (always allow), soft (at most step_up) or enforce"`

	Lookup lookup.Config `yaml:",inline"`

	CacheFor time.Duration `yaml:"cache_for" doc:"how long a gateway may act on a decision"`
}

// Defaults returns values that suit most installations.
func Defaults() Config {
	return Config{
		Listen: "127.0.0.1:8191", Phase: rules.Enforce.String(),
		Lookup:   lookup.Defaults(),
		CacheFor: time.Second,
	}
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	errs := []error{c.Lookup.Validate()}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("gate."+format, args...)) }
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("listen: %w", err)
	}
	if _, err := rules.ParsePhase(c.Phase); err != nil {
		bad("phase: %w", err)
	}
	if c.CacheFor < 0 || c.CacheFor > time.Minute {
		bad("cache_for: %v is outside 0s … 1m", c.CacheFor)
	}
	return errors.Join(errs...)
}
