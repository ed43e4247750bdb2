package emit

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Config holds the operator's settings for what a gate writes to Kafka.
type Config struct {
	Decisions   string        `yaml:"decisions" doc:"whether decisions are written to Kafka, for the table decisions: on, off, or auto, which is on where kafka.brokers was changed from its default"`
	Events      string        `yaml:"events" doc:"whether the gate writes an event for each request that it is asked about, for gateways that cannot write to Kafka: on or off; all: also for requests that only the log of an Envoy tells of"`
	Controls    string        `yaml:"controls" doc:"whether the gate writes control records to STREAM.controls: challenges that were passed, which lower scores, and switches that were set at its admin listener, for the audit; on or off"`
	OutcomeWait time.Duration `yaml:"outcome_wait" doc:"how long an event waits for the outcome of its request, and is then written without; 0s: it does not wait"`
	BufferBytes int           `yaml:"buffer_bytes" doc:"memory for the decisions, for the events, and for control records, that Kafka has not taken yet; beyond it new ones are dropped and counted"`
}

// Values of Config.Decisions, Config.Events and Config.Controls.
const (
	On   = "on"
	Off  = "off"
	Auto = "auto" // of decisions
	All  = "all"  // of events
)

// Defaults returns values that suit most installations.
func Defaults() Config {
	return Config{Decisions: Auto, Events: Off, Controls: Off, OutcomeWait: 2 * time.Second, BufferBytes: 32 << 20}
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("gate."+format, args...)) }
	if !slices.Contains([]string{On, Off, Auto}, c.Decisions) {
		bad("decisions: %q is none of on, off, auto", c.Decisions)
	}
	if !slices.Contains([]string{On, Off, All}, c.Events) {
		bad("events: %q is none of on, off, all", c.Events)
	}
	if c.Controls != On && c.Controls != Off {
		bad("controls: %q is neither on nor off", c.Controls)
	}
	if c.OutcomeWait < 0 || c.OutcomeWait > time.Minute {
		bad("outcome_wait: %v is outside 0s … 1m", c.OutcomeWait)
	}
	if c.BufferBytes < 1<<20 || c.BufferBytes > 1<<30 {
		bad("buffer_bytes: %d is outside %d … %d", c.BufferBytes, 1<<20, 1<<30)
	}
	return errors.Join(errs...)
}
