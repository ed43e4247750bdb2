// Package app wires Weir's parts into its programs: the worker and the gate. It
// contains the shared code of the binaries, so that their main functions are thin
// and tests can run whole programs in process.
package app

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/app/console"
	"github.com/weirdev/weir/app/settings"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/secret"
	"github.com/weirdev/weir/internal/snapshot"
	"github.com/weirdev/weir/internal/telemetry"
	"github.com/weirdev/weir/internal/tracing"
	"github.com/weirdev/weir/notices"
	"github.com/weirdev/weir/sink/clickhouse"
	"github.com/weirdev/weir/sink/redis"
)

// Config is the configuration of all of Weir's programs. Each part owns its own
// section; this only composes them.
type Config struct {
	Stream     StreamConfig          `yaml:"stream"`
	Stages     []string              `yaml:"stages" doc:"stages that a worker runs: ingest, detect, decisions, which writes the decisions of gates to ClickHouse, and notices, which tells people"`
	Kafka      kafka.Config          `yaml:"kafka"`
	Redis      redis.Config          `yaml:"redis"`
	ClickHouse clickhouse.Config     `yaml:"clickhouse"`
	Geo        geo.Config            `yaml:"geo"`
	Rules      string                `yaml:"rules" doc:"directory of rules; empty: the built-in rules. Workers use it until rules are pushed (weir rules push)"`
	Ingest     ingest.Config         `yaml:"ingest"`
	Detect     engine.StageConfig    `yaml:"detect"`
	Snapshots  snapshot.Config       `yaml:"snapshots"`
	Notices    notices.Config        `yaml:"notices"`
	Gate       GateConfig            `yaml:"gate"`
	Console    console.Config        `yaml:"console"`
	Stop       StopConfig            `yaml:",inline"`
	Admin      telemetry.AdminConfig `yaml:"admin"`
	Log        telemetry.LogConfig   `yaml:"log"`
	Tracing    tracing.Config        `yaml:"tracing"`
}

// StopConfig configures when a worker ends.
type StopConfig struct {
	Timeout    time.Duration `yaml:"stop_timeout" doc:"time limit for finishing the work in progress after a request to stop; then the process ends"`
	StuckAfter time.Duration `yaml:"stuck_after" doc:"time after which a partition that neither makes progress nor waits for a server ends the process, so that another worker takes over"`
}

// Validate reports all errors in c.
func (c StopConfig) Validate() error {
	var errs []error
	if c.Timeout < time.Second || c.Timeout > 10*time.Minute {
		errs = append(errs, fmt.Errorf("stop_timeout: %v is outside 1s … 10m", c.Timeout))
	}
	if c.StuckAfter < time.Second || c.StuckAfter > time.Hour {
		errs = append(errs, fmt.Errorf("stuck_after: %v is outside 1s … 1h", c.StuckAfter))
	}
	return errors.Join(errs...)
}

// StreamConfig names a program's stream.
type StreamConfig struct {
	Name        string `yaml:"name" doc:"prefix of the stream's topics, groups and keys"`
	Incarnation uint32 `yaml:"incarnation" doc:"raise it when the stream's topics are recreated"`
	History     bool   `yaml:"history" doc:"a file or backfill: its times are believed, there are no ticks, and it ends"`
	Secret      string `yaml:"secret" secret:"true" doc:"secret that keys of hashes are derived from, at least 16 bytes; the same for all programs of a stream"`
	SecretFile  string `yaml:"secret_file" doc:"file with the secret, instead of secret"`
}

// Defaults returns the configuration of an installation on one machine.
func Defaults() Config {
	return Config{
		Stream:     StreamConfig{Name: "weir", Incarnation: 1},
		Stages:     allStages(),
		Kafka:      kafka.Defaults(),
		Redis:      redis.Defaults(),
		ClickHouse: clickhouse.Defaults(),
		Ingest:     ingest.Defaults(),
		Detect:     engine.StageDefaults(),
		Gate:       GateDefaults(),
		Console:    console.Defaults(),
		Stop:       StopConfig{Timeout: 25 * time.Second, StuckAfter: 30 * time.Second},
		Admin:      telemetry.AdminConfig{Listen: "127.0.0.1:9480"},
		Log:        telemetry.LogDefaults(),
		Tracing:    tracing.Defaults(),
	}
}

// Validate reports all errors in c.
func (c *Config) Validate() error { return c.ValidateFor(nil) }

// ValidateFor reports all errors in the sections that a program uses.
func (c *Config) ValidateFor(uses settings.Selection) error {
	var errs []error
	for _, section := range []struct {
		name     string
		validate func() error
	}{
		{"stream", c.Stream.Validate}, {"stages", c.validateStages}, {"kafka.drain_timeout", c.validateDrain}, {"kafka", c.Kafka.Validate},
		{"redis", c.Redis.Validate}, {"clickhouse", c.ClickHouse.Validate}, {"ingest", c.Ingest.Validate}, {"detect", c.Detect.Validate},
		{"snapshots", c.Snapshots.Validate}, {"gate", c.Gate.Validate}, {"console", c.Console.Validate}, {"stop_timeout", c.Stop.Validate}, {"admin", c.Admin.Validate}, {"log", c.Log.Validate}, {"tracing", c.Tracing.Validate},
	} {
		if uses.Touches(section.name) {
			errs = append(errs, section.validate())
		}
	}
	return errors.Join(errs...)
}

var streamName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,63}$`)

// Validate reports all errors in c.
func (c StreamConfig) Validate() error {
	var errs []error
	if !streamName.MatchString(c.Name) {
		errs = append(errs, fmt.Errorf("stream.name: %q: lower-case letters, digits, - _ and . are allowed, 64 at most", c.Name))
	}
	if c.Incarnation == 0 {
		errs = append(errs, errors.New("stream.incarnation: begins at 1"))
	}
	_, err := c.secret()
	return errors.Join(append(errs, err)...)
}

// allStages lists the stages of a worker.
func allStages() []string { return []string{"ingest", "detect", "decisions", "notices"} }

func (c *Config) validateStages() error {
	if len(c.Stages) == 0 {
		return errors.New("stages: name some of " + strings.Join(allStages(), ", "))
	}
	for _, s := range c.Stages {
		if !slices.Contains(allStages(), s) {
			return fmt.Errorf("stages: %q is none of %s", s, strings.Join(allStages(), ", "))
		}
	}
	return nil
}

// validateDrain checks that a member does not leave its group while its partitions
// are drained.
func (c *Config) validateDrain() error {
	var errs []error
	for _, s := range []struct {
		name  string
		drain time.Duration
	}{{"ingest", c.Ingest.DrainTimeout}, {"detect", c.Detect.DrainTimeout}} {
		if s.drain > c.Kafka.DrainTimeout {
			errs = append(errs, fmt.Errorf("kafka.drain_timeout: %v is shorter than %s.drain_timeout, %v: the group would be left before partitions are given up",
				c.Kafka.DrainTimeout, s.name, s.drain))
		}
	}
	return errors.Join(errs...)
}

const shortestSecret = 16

func (c StreamConfig) secret() ([]byte, error) {
	text, err := secret.Read("stream.secret", c.Secret, c.SecretFile)
	switch {
	case err != nil:
		return nil, err
	case c.SecretFile != "":
		text = strings.TrimSpace(text)
	case text == "":
		return nil, errors.New("stream.secret_file: not set; make one with `head -c 32 /dev/urandom | base64 > weir.secret` and use it for all programs of the stream")
	}
	if len(text) < shortestSecret {
		return nil, fmt.Errorf("stream.secret: %d bytes are too few, %d are needed", len(text), shortestSecret)
	}
	return []byte(text), nil
}

// derive derives a key for one purpose, independent of all others.
func (c StreamConfig) derive(purpose string) ([]byte, error) {
	s, err := c.secret()
	if err != nil {
		return nil, err
	}
	return secret.Key(s, purpose), nil
}

// Hasher returns the keyed hash that places entities.
func (c StreamConfig) Hasher() (facet.Hasher, error) {
	k, err := c.derive(secret.EntityHash)
	if err != nil {
		return facet.Hasher{}, err
	}
	return facet.NewHasher([16]byte(k[:16])), nil
}

// RiskKey returns the secret for the keys and codes of scores: the stream's secret
// itself, so that readers in other languages need nothing else.
func (c StreamConfig) RiskKey() ([]byte, error) { return c.secret() }

// facetRetention returns how long facets must be kept. Without snapshots, that is
// for ever. With them, it covers everything after the oldest snapshot that is kept,
// plus an outage of all workers as long as raw events survive.
func (c Config) facetRetention() time.Duration {
	if c.Snapshots.URL == "" {
		return 0
	}
	return time.Duration(c.Detect.SnapshotKeep+1)*c.Detect.SnapshotInterval + shortestRawRetention
}

// Topic returns the name of a topic of the stream: events, facets, dead, signals,
// decisions, controls, rules, incarnations.
func (c StreamConfig) Topic(what string) string { return c.Name + "." + what }

// Group returns the name of a consumer group of the stream: ingest, detect,
// decisions, notices, controls.
func (c StreamConfig) Group(stage string) string { return c.Name + "." + stage }

// redis returns the Redis configuration of the stream: its keys carry the stream's
// name, unless another prefix is configured.
func (c Config) redis() redis.Config {
	r := c.Redis
	if r.KeyPrefix == redis.Defaults().KeyPrefix && c.Stream.Name != "weir" {
		r.KeyPrefix += ":" + c.Stream.Name
	}
	return r
}
