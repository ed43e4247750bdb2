package app

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/weirdev/weir/app/controls"
	"github.com/weirdev/weir/app/push"
	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/sink/redis"
)

// PutSwitch writes a version of a switch, block or release to Redis, where gates
// read it. It is set now, and ends after as long as it says. A name that the setting
// rules do not have is looked up in those that were pushed, for no longer than half of
// the second in which a switch takes effect; if they do not have it either, the error
// is [ErrNoRule]. Where none were pushed, or pushed is nil, a warning says that the name
// is not known. The error is a [*Misconfigured] if the configuration is wrong.
func PutSwitch(ctx context.Context, cfg Config, log *slog.Logger, o switches.Object, pushed push.Log) (added switches.Added, err error) {
	names := namesOf(cfg.Rules) // that they cannot be read is no reason to leave a switch unset
	var unknown error
	if pushed != nil && !o.Cleared && !names.has(o.Scope, o.Name) {
		limited, cancel := context.WithTimeout(ctx, lookTime)
		unknown = names.addPushed(limited, cfg.Stream, pushed)
		cancel()
		if names.pushed > 0 && !names.has(o.Scope, o.Name) {
			return added, names.missing(o.Scope, o.Name)
		}
	}
	err = withSwitches(ctx, cfg, log, names.detectors, func(s *switches.Switches, now time.Time) error {
		o.Set, o.Expires = now.UnixMilli(), now.UnixMilli()+o.Expires-o.Set
		if added, err = s.Add(o); err != nil {
			return err
		}
		if err := s.Agree(ctx); err != nil {
			return err
		}
		if err := s.Sweep(ctx); err != nil {
			log.Warn("switches that are over stay in Redis", "error", err)
		}
		return nil
	})
	if named := o.Scope == switches.Rule || o.Scope == switches.Detector; named && names.unread != nil && !names.has(o.Scope, o.Name) {
		added.Warning = fmt.Sprintf("names of rules and detectors are not checked, because the rules cannot be read: %v", names.unread)
	}
	if unknown != nil && added.Warning != "" {
		added.Warn(unknown.Error())
	}
	return added, err
}

// SetSwitch does as [PutSwitch], and tells the audit over Kafka, which it tries for
// patience. The switch holds without that: a warning says so.
func SetSwitch(ctx context.Context, cfg Config, log *slog.Logger, o switches.Object, patience time.Duration) (added switches.Added, err error) {
	client, silent := kafka.New(cfg.Kafka, log, kafka.WithPatience(patience))
	var pushed push.Log
	if silent == nil {
		defer client.Close()
		pushed = client
	}
	if added, err = PutSwitch(ctx, cfg, log, o, pushed); err != nil {
		return added, err
	}
	if silent == nil {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		silent = AuditSwitch(ctx, controls.New(client, cfg.Stream.Topic("controls")), added.Object, control.FromCommand)
	}
	if silent != nil {
		added.Warn("it is not in the audit: " + silent.Error())
	}
	return added, nil
}

// AuditSwitch tells the audit of a version that was set. The switch holds without.
func AuditSwitch(ctx context.Context, w *controls.Writer, o switches.Object, origin string) error {
	_, err := w.Write(ctx, o.Record(origin))
	return err
}

// ListSwitches returns the objects in force according to Redis.
func ListSwitches(ctx context.Context, cfg Config, log *slog.Logger) (all []switches.Object, err error) {
	err = withSwitches(ctx, cfg, log, nil, func(s *switches.Switches, _ time.Time) error {
		all = s.List()
		return nil
	})
	return all, err
}

const (
	switchTime = 5 * time.Second        // limits one exchange with Redis
	lookTime   = 500 * time.Millisecond // limits the look at the rules that were pushed
)

// withSwitches reads the objects in Redis, and passes them to use. Their times are
// those of Redis's clock, which is one for all operators.
func withSwitches(ctx context.Context, cfg Config, log *slog.Logger, detectors map[string]string, use func(s *switches.Switches, now time.Time) error) error {
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
	ctx, cancel := context.WithTimeout(ctx, switchTime)
	defer cancel()
	at, err := reader.Clock(ctx)
	if err != nil {
		return err
	}
	ahead := time.Until(at)
	now := func() time.Time { return time.Now().Add(ahead) }
	// Every object is new to a reader that begins anew; gates log what changes.
	quiet := slog.New(slog.DiscardHandler)
	s, err := switches.New(switches.Dependencies{
		Store: reader, Codec: switches.NewCodec(key), Detectors: detectors, Logger: quiet, Now: now,
	})
	if err != nil {
		return err
	}
	if err := s.Agree(ctx); err != nil {
		return err
	}
	return use(s, now())
}

// detectorsOf returns the detectors by rule.
func detectorsOf(set *rules.Set) map[string]string {
	all := make(map[string]string, len(set.Rules))
	for _, r := range set.Rules {
		all[r.ID] = r.Detector
	}
	return all
}
