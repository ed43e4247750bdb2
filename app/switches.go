package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/sink/redis"
)

// PutSwitch writes a version of a switch, block or release to Redis, where gates
// read it. The error is a [*Misconfigured] if the configuration is wrong.
func PutSwitch(ctx context.Context, cfg Config, log *slog.Logger, o switches.Object) error {
	return withSwitches(ctx, cfg, log, func(s *switches.Switches) error { return s.Put(o) })
}

// ListSwitches returns the objects in force according to Redis.
func ListSwitches(ctx context.Context, cfg Config, log *slog.Logger) (all []switches.Object, err error) {
	err = withSwitches(ctx, cfg, log, func(s *switches.Switches) error {
		all = s.List()
		return nil
	})
	return all, err
}

// switchTime limits one exchange with Redis.
const switchTime = 5 * time.Second

// withSwitches reads the objects in Redis, passes them to use, and writes the new
// ones back.
func withSwitches(ctx context.Context, cfg Config, log *slog.Logger, use func(*switches.Switches) error) error {
	key, err := cfg.Stream.RiskKey()
	if err != nil {
		return &Misconfigured{err}
	}
	redis.Quiet()
	reader, err := redis.NewReader(cfg.redis(), redis.Dependencies{Secret: key, Logger: log})
	if err != nil {
		return &Misconfigured{named("redis", err)}
	}
	defer reader.Close()
	s, err := switches.New(switches.Dependencies{Store: reader, Codec: switches.NewCodec(key), Logger: log})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, switchTime)
	defer cancel()
	if err := s.Agree(ctx); err != nil {
		return err
	}
	if err := use(s); err != nil {
		return err
	}
	return s.Agree(ctx)
}
