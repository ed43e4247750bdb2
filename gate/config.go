package gate

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/rules"
)

// Config holds the operator's settings for decisions.
type Config struct {
	Policy string `yaml:"policy" doc:"file of policies, which say what follows from a score, and what happens without one; empty: those that are built in"`
	Phase  string `yaml:"phase" doc:"how far this gate may go, whatever rules and policies say: observe (always allow), soft (at most step_up) or enforce"`

	Lookup lookup.Config `yaml:",inline"`
	Emit   emit.Config   `yaml:",inline"`

	ChallengeLowers []string `yaml:"challenge_lowers" doc:"categories of a score that are halved where a proof of a human was passed"`
	StepUpLowers    []string `yaml:"step_up_lowers" doc:"categories of a score that are halved where a step-up of the account's owner was passed"`

	CacheFor time.Duration `yaml:"cache_for" doc:"how long a gateway may act on a decision"`
}

// Defaults returns values that suit most installations.
func Defaults() Config {
	return Config{
		Phase:           rules.Enforce.String(),
		Lookup:          lookup.Defaults(),
		Emit:            emit.Defaults(),
		ChallengeLowers: []string{"bot", "scraping"},
		StepUpLowers:    []string{"account_takeover"},
		CacheFor:        time.Second,
	}
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	errs := []error{c.Lookup.Validate(), c.Emit.Validate()}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("gate."+format, args...)) }
	if _, err := rules.ParsePhase(c.Phase); err != nil {
		bad("phase: %w", err)
	}
	if c.CacheFor < 0 || c.CacheFor > time.Minute {
		bad("cache_for: %v is outside 0s … 1m", c.CacheFor)
	}
	for name, list := range map[string][]string{"challenge_lowers": c.ChallengeLowers, "step_up_lowers": c.StepUpLowers} {
		if err := checkCategories(list); err != nil {
			bad("%s: %w", name, err)
		}
	}
	return errors.Join(errs...)
}
