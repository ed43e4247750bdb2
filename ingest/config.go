package ingest

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/event/route"
)

// Config holds the operator's settings for reading a stream.
type Config struct {
	Format         string          `yaml:"format" doc:"format of the raw records: weir, combined, nginx, nginx-proxy-manager, envoy-gateway, envoy, traefik, caddy, haproxy, aws-alb, cloudflare-logpush, mapping, or pattern"`
	Mapping        *format.Mapping `yaml:"mapping,omitempty" doc:"with format mapping: the source of each field"`
	Pattern        string          `yaml:"pattern,omitempty" doc:"with format pattern: a regular expression whose groups are fields"`
	RemoteUser     string          `yaml:"remote_user" doc:"whether user names in logs are verified: unverified, or verified if the server checks every name that it logs; the name is then the account"`
	Routes         []string        `yaml:"routes" doc:"route templates such as /users/{id}, used if the gateway gives no route"`
	TrustedProxies []string        `yaml:"trusted_proxies" doc:"prefixes whose X-Forwarded-For is believed; unix: for peers on Unix sockets"`

	ConnectingIPFrom []string `yaml:"connecting_ip_from" doc:"prefixes of CDNs whose address header counts (field connecting_ip, from CF-Connecting-IP and the like); unix: for peers on Unix sockets"`

	MaxLate   time.Duration `yaml:"max_late" doc:"how long before its arrival an event's claimed time may lie"`
	Delayed   string        `yaml:"delayed" doc:"how an event counts whose claimed time is further back than max_late: late (it keeps its time, and no rule counts it) or arrival (as of its arrival)"`
	MaxFuture time.Duration `yaml:"max_future" doc:"how long after its arrival an event's claimed time may lie"`

	Linger         time.Duration `yaml:"linger" doc:"minimum time between two writes of facet frames under load"`
	CommitInterval time.Duration `yaml:"commit_interval" doc:"how often progress is committed, and idle partitions tick"`
	DrainTimeout   time.Duration `yaml:"drain_timeout" doc:"time limit for finishing the work in progress when a partition is given up"`
}

// How a delayed event counts.
const (
	DelayedLate    = "late"
	DelayedArrival = "arrival"
)

// leastLate is the minimum of MaxLate under which the transport to Kafka does not
// delay events of gateways with correct clocks.
const leastLate = time.Minute

// The values of Config.RemoteUser.
const (
	Unverified = "unverified"
	Verified   = "verified"
)

// format returns the settings for reading records.
func (c Config) format() format.Config {
	return format.Config{Name: c.Format, Mapping: c.Mapping, Pattern: c.Pattern}
}

// NewFormat creates the format of the records.
func (c Config) NewFormat() (format.Format, error) { return c.format().New() }

// Defaults returns values that suit most installations.
func Defaults() Config {
	return Config{
		Format:         "weir",
		RemoteUser:     Unverified,
		MaxLate:        10 * time.Minute,
		Delayed:        DelayedLate,
		MaxFuture:      5 * time.Second,
		Linger:         10 * time.Millisecond,
		CommitInterval: time.Second,
		DrainTimeout:   5 * time.Second,
	}
}

// Validate reports all errors in c.
func (c Config) Validate() error {
	var errs []error
	if _, err := c.format().New(); err != nil {
		errs = append(errs, fmt.Errorf("ingest.format: %w", err))
	}
	if c.RemoteUser != Unverified && c.RemoteUser != Verified && c.RemoteUser != "" {
		errs = append(errs, fmt.Errorf("ingest.remote_user: %q is neither %s nor %s", c.RemoteUser, Unverified, Verified))
	}
	if _, err := route.New(c.Routes); err != nil {
		errs = append(errs, fmt.Errorf("ingest.routes: %w", err))
	}
	if _, err := event.NewProxies(c.TrustedProxies, nil); err != nil {
		errs = append(errs, fmt.Errorf("ingest.trusted_proxies: %w", err))
	}
	if _, err := event.NewProxies(nil, c.ConnectingIPFrom); err != nil {
		errs = append(errs, fmt.Errorf("ingest.connecting_ip_from: %w", err))
	}
	if c.Delayed != DelayedLate && c.Delayed != DelayedArrival {
		errs = append(errs, fmt.Errorf("ingest.delayed: %q is neither %s nor %s", c.Delayed, DelayedLate, DelayedArrival))
	}
	least := leastLate
	if c.Delayed == DelayedArrival {
		least = 0 // everything may count as of its arrival
	}
	for _, d := range []struct {
		name     string
		v        time.Duration
		min, max time.Duration
	}{
		{"max_late", c.MaxLate, least, 24 * time.Hour},
		{"max_future", c.MaxFuture, 0, time.Hour},
		{"linger", c.Linger, 0, time.Second},
		{"commit_interval", c.CommitInterval, 50 * time.Millisecond, time.Minute},
		{"drain_timeout", c.DrainTimeout, 100 * time.Millisecond, time.Minute},
	} {
		if d.v < d.min || d.v > d.max {
			errs = append(errs, fmt.Errorf("ingest.%s: %v is outside %v … %v", d.name, d.v, d.min, d.max))
		}
	}
	return errors.Join(errs...)
}
