package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"github.com/weirdev/weir/app/console"
	"github.com/weirdev/weir/app/controls"
	"github.com/weirdev/weir/app/dead"
	"github.com/weirdev/weir/app/push"
	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/telemetry"
	"github.com/weirdev/weir/sink/clickhouse"
	"github.com/weirdev/weir/sink/redis"
)

// Console is the analysts' page with its connections.
type Console struct {
	*console.Server

	users      *console.Roster
	rules      *console.RuleBook
	pushed     *push.Follower // nil: nobody pushes rules
	clickhouse driver.Conn
	redis      *redis.Reader // nil: there is none
	kafka      *kafka.Client
	admin      *telemetry.Admin
}

// NewConsole wires a console for some users; it connects to nothing yet. Without Redis,
// for a stream that does not run, scores and switches are unknown, and nobody pushes
// rules. Its error is a [*Misconfigured].
func NewConsole(cfg Config, users *console.Roster, withRedis bool, log *slog.Logger) (c *Console, err error) {
	if err := cfg.ValidateFor(ConsoleSettings()); err != nil {
		return nil, &Misconfigured{err}
	}
	words, err := LoadRules(cfg.Rules)
	if err != nil {
		return nil, &Misconfigured{named("rules", err)}
	}
	book := console.NewRuleBook(words)
	if cfg.Rules != "" {
		if book, err = console.WatchRules(cfg.Rules, words, detectors.All(), log); err != nil {
			return nil, &Misconfigured{named("rules", err)}
		}
	}
	places, err := geo.Open(cfg.Geo, log, nil)
	if err != nil {
		return nil, &Misconfigured{named("geo", err)}
	}
	c = &Console{users: users, rules: book, admin: telemetry.NewAdmin(cfg.Admin, log)}
	deps := console.Dependencies{
		Rules: book, Users: users, Logger: log, Registerer: c.admin.Registry(),
		Explain: console.Explain{Ingest: cfg.Ingest, Places: places.Current(), Detect: cfg.Detect.Config},
	}
	if c.clickhouse, err = clickhouse.OpenToRead(cfg.ClickHouse); err != nil {
		return nil, &Misconfigured{err}
	}
	deps.ClickHouse = c.clickhouse
	c.admin.Note("clickhouse", c.clickhouse.Ping) // without it, pages show less
	if c.kafka, err = kafka.New(cfg.Kafka, log); err != nil {
		return nil, &Misconfigured{err}
	}
	said := controls.New(c.kafka, cfg.Stream.Topic("controls"))
	if withRedis {
		c.pushed = push.NewFollower(c.kafka, cfg.Stream.Topic("rules"), cfg.Stream.Incarnation, words, log)
		book.Pushed = c.pushed.Pushed
		key, err := cfg.Stream.RiskKey()
		if err != nil {
			return nil, &Misconfigured{err}
		}
		redis.Quiet()
		if c.redis, err = redis.NewReader(cfg.redis(), redis.Dependencies{Secret: key, Logger: log}); err != nil {
			return nil, &Misconfigured{named("redis", err)}
		}
		c.admin.Note("redis", c.redis.Ready)
		deps.Scores, deps.Switches = c.redis, setByHand{cfg, log, said, c.kafka}
	}
	deps.Letters = letters{c.kafka, cfg.Stream.Topic("dead")}
	deps.Controls = spoken{said}
	if c.Server, err = console.New(cfg.Console, deps); err != nil {
		return nil, &Misconfigured{err}
	}
	return c, nil
}

// Run serves the pages on l, and metrics and health on the admin listener, until ctx
// ends.
func (c *Console) Run(ctx context.Context, l net.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.Serve(ctx, l) })
	group.Go(func() error { return c.users.Run(ctx) })
	group.Go(func() error { return c.rules.Run(ctx) })
	if c.pushed != nil {
		group.Go(func() error { return c.pushed.Run(ctx) })
	}
	group.Go(func() error { return c.admin.Run(ctx) })
	return group.Wait()
}

// Close ends the connections.
func (c *Console) Close() error {
	err := errors.Join(c.kafka.Close(), c.clickhouse.Close())
	if c.redis != nil {
		err = errors.Join(err, c.redis.Close())
	}
	return err
}

// setByHand reads and sets switches as `weir switch` does.
type setByHand struct {
	cfg    Config
	log    *slog.Logger
	said   *controls.Writer
	pushed push.Log
}

func (s setByHand) List(ctx context.Context) ([]switches.Object, error) {
	return ListSwitches(ctx, s.cfg, s.log)
}

func (s setByHand) Put(ctx context.Context, o switches.Object) (switches.Added, error) {
	added, err := PutSwitch(ctx, s.cfg, s.log, o, s.pushed)
	if err != nil {
		return added, err
	}
	if err := AuditSwitch(ctx, s.said, added.Object, control.FromConsole); err != nil {
		added.Warn("it is not in the audit: " + err.Error())
	}
	return added, nil
}

// letters reads the newest dead letters of a stream.
type letters struct {
	kafka *kafka.Client
	topic string
}

func (l letters) Last(ctx context.Context, n int) ([]dead.Letter, error) {
	return dead.Last(ctx, l.kafka, l.topic, int64(n))
}

// spoken writes control records, as `weir label` and `weir release` do.
type spoken struct{ w *controls.Writer }

func (s spoken) Write(ctx context.Context, c console.Control) (id string, err error) {
	r := controls.Control{
		Action: c.Action, Time: time.Now().UnixMilli(), Tenant: c.Entity.Tenant, Kind: c.Entity.Kind.String(), Key: c.Entity.Key, Rule: c.Rule, Who: c.Who, Reason: c.Reason, Origin: control.FromConsole,
	}
	if c.Lasts > 0 {
		r.Expires = r.Time + c.Lasts.Milliseconds()
	}
	return s.w.Write(ctx, r)
}
