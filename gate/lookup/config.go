package lookup

import (
	"errors"
	"fmt"
	"time"
)

// Config holds the operator's settings for look-ups and their cache.
type Config struct {
	MaxLookups      int           `yaml:"max_lookups" doc:"most requests that wait for Redis at once; beyond it, decisions are made without"`
	BreakerFailures int           `yaml:"breaker_failures" doc:"failed round trips in a row that start a pause, in which none is tried"`
	BreakerPause    time.Duration `yaml:"breaker_pause" doc:"length of that pause"`

	MaxStale     time.Duration `yaml:"max_stale" doc:"how old a score may be that a decision goes by, where workers tell of changes; a second where they do not"`
	CacheEntries int           `yaml:"cache_entries" doc:"how many entities are kept, with a score or without one"`
	State        string        `yaml:"state" doc:"directory for what restarts without Redis need; empty: none"`
}

// Defaults returns values that suit most installations.
func Defaults() Config {
	return Config{
		MaxLookups: 256, BreakerFailures: 5, BreakerPause: time.Second,
		MaxStale: 5 * time.Second, CacheEntries: 200_000,
	}
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("gate."+format, args...)) }
	if c.MaxLookups < 1 || c.MaxLookups > 1<<16 {
		bad("max_lookups: %d is outside 1 … 65536", c.MaxLookups)
	}
	if c.BreakerFailures < 1 || c.BreakerFailures > 1000 {
		bad("breaker_failures: %d is outside 1 … 1000", c.BreakerFailures)
	}
	if c.BreakerPause < 10*time.Millisecond || c.BreakerPause > time.Minute {
		bad("breaker_pause: %v is outside 10ms … 1m", c.BreakerPause)
	}
	if c.MaxStale < 0 || c.MaxStale > time.Hour {
		bad("max_stale: %v is outside 0s … 1h", c.MaxStale)
	}
	if c.CacheEntries < 1000 || c.CacheEntries > 100_000_000 {
		bad("cache_entries: %d is outside 1000 … 100000000", c.CacheEntries)
	}
	return errors.Join(errs...)
}
