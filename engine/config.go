package engine

import (
	"errors"
	"fmt"
	"time"
)

// Config holds the operator's settings for partition state.
type Config struct {
	Lateness    time.Duration `yaml:"lateness" doc:"how long after the watermark an event still counts"`
	MaxEntities int           `yaml:"max_entities" doc:"most entities of one kind and tenant with state in a facet partition; beyond that, the least frequent ones give way"`
	MaxCohorts  int           `yaml:"max_cohorts" doc:"most cohorts of one kind (build, app version, route, ASN, country, OS, device model) and tenant with state in a facet partition"`

	// Sources is the number of raw partitions. Time advances only when all of them
	// were heard from. It is read from the topic.
	Sources int `yaml:"-"`

	// Partitions is the number of facet partitions, over which group members are
	// spread. It is read from the topic.
	Partitions int `yaml:"-"`
}

// Defaults returns values that suit most installations.
func Defaults() Config {
	return Config{Lateness: time.Minute, MaxEntities: 1_000_000, MaxCohorts: 10_000}
}

// Validate reports all errors in c.
func (c Config) Validate() error {
	var errs []error
	if c.Lateness < 0 || c.Lateness > 24*time.Hour {
		errs = append(errs, fmt.Errorf("detect.lateness: %v is outside 0 … 24h", c.Lateness))
	}
	if c.MaxEntities < 1 {
		errs = append(errs, fmt.Errorf("detect.max_entities: %d; at least one must be kept", c.MaxEntities))
	}
	if c.MaxCohorts < 1 {
		errs = append(errs, fmt.Errorf("detect.max_cohorts: %d; at least one must be kept", c.MaxCohorts))
	}
	return errors.Join(errs...)
}
