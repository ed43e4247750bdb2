package app

import (
	"log/slog"

	"github.com/weirdev/weir/app/erase"
	"github.com/weirdev/weir/sink/clickhouse"
	"github.com/weirdev/weir/sink/redis"
)

// ErasureOf wires the erasure of subjects from a stream. stop closes what it opens.
// The error is a [*Misconfigured].
func ErasureOf(cfg Config, log erase.Log, logger *slog.Logger) (s *erase.Stream, stop func(), err error) {
	key, err := cfg.Stream.RiskKey()
	if err != nil {
		return nil, nil, &Misconfigured{err}
	}
	redis.Quiet()
	reader, err := redis.NewReader(cfg.redis(), redis.Dependencies{Secret: key, Logger: logger})
	if err != nil {
		return nil, nil, &Misconfigured{named("redis", err)}
	}
	return &erase.Stream{
		Log: log, Topic: cfg.Stream.Topic, Group: cfg.Stream.Group, ClickHouse: cfg.ClickHouse,
		Name: clickhouse.Stream{Name: cfg.Stream.Name, Incarnation: cfg.Stream.Incarnation}, Scores: reader,
	}, func() { _ = reader.Close() }, nil
}
