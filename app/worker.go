package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/errgroup"

	"github.com/weirdev/weir/app/push"
	"github.com/weirdev/weir/audit"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/problem"
	"github.com/weirdev/weir/internal/retry"
	"github.com/weirdev/weir/internal/snapshot"
	"github.com/weirdev/weir/internal/telemetry"
	"github.com/weirdev/weir/internal/watch"
	"github.com/weirdev/weir/notices"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
	"github.com/weirdev/weir/sink/clickhouse"
	"github.com/weirdev/weir/sink/redis"
)

// Worker is the streaming worker: some of the stages, with their connections.
//
//	kafka ─▶ ingest ─▶ kafka ─▶ detect ─▶ redis, clickhouse, kafka
//	            ├────▶ clickhouse  └──▶ snapshots
//	            └────▶ epochs
//	kafka ─▶ decisions ─▶ clickhouse
//	kafka ─▶ notices ─▶ people
type Worker struct {
	cfg   Config
	log   *slog.Logger
	admin *telemetry.Admin
	watch *watch.Watch
	stuck prometheus.Counter

	kafka    *kafka.Client
	geo      *geo.DB
	rules    *rules.Set
	events   *clickhouse.Events
	signals  *clickhouse.Signals
	shadow   *clickhouse.Signals // of rules that are only watched
	scores   *redis.Writer
	decided  *clickhouse.Decisions
	said     *clickhouse.Controls
	dead     *clickhouse.DeadLetters
	versions *clickhouse.RuleVersions
	ingest   *ingest.Stage
	detect   *engine.Stage
	audit    *audit.Stage
	notices  *notices.Stage
	traces   *workerTraces // nil: nothing is traced

	snapshots *snapshot.Store // nil: neither they nor epochs are kept
	epochs    *epochs
	pushed    *push.Follower // nil: no stage depends on rules
	patience  time.Duration  // with each server at the start
	stacks    io.Writer      // of all goroutines, when one of them hangs
}

// NewWorker wires a worker; it reads every file that cfg names, and connects to
// nothing yet. Its error is a [*Misconfigured] with all errors.
func NewWorker(cfg Config, log *slog.Logger) (*Worker, error) {
	if err := cfg.ValidateFor(WorkerSettings()); err != nil {
		return nil, &Misconfigured{err}
	}
	w := &Worker{cfg: cfg, log: log, admin: telemetry.NewAdmin(cfg.Admin, log), patience: startTimeout, stacks: os.Stderr}
	foundation := makeAll([]part{
		{"tracing", w.makeTraces}, {"watch", w.makeWatch}, {"rules", w.loadRules}, {"geo", w.openGeo}, {"kafka", w.openKafka},
		{"clickhouse", w.openClickHouse}, {"redis", w.openRedis}, {"snapshots", w.openSnapshots},
	})
	if foundation != nil {
		return nil, &Misconfigured{foundation}
	}
	w.followRules()
	if err := makeAll([]part{{"epochs", w.makeEpochs}, {"ingest", w.makeIngest}, {"detect", w.makeDetect}, {"decisions", w.makeAudit}, {"notices", w.makeNotices}}); err != nil {
		return nil, &Misconfigured{err}
	}
	return w, nil
}

// LoadRules loads the rules of a directory, or the built-in ones where dir is
// empty.
func LoadRules(dir string) (*rules.Set, error) {
	if dir == "" {
		return rules.Default(detectors.All())
	}
	found, err := os.Stat(dir)
	if err == nil && !found.IsDir() {
		err = fmt.Errorf("%s is a file", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("rules: %w; name a directory of *.yaml files, or leave the setting empty for the rules that are built in", err)
	}
	set, err := rules.Load(os.DirFS(dir), detectors.All())
	if errors.Is(err, rules.ErrNoFiles) || errors.Is(err, rules.ErrTooMuch) {
		err = fmt.Errorf("rules: %s: %w", dir, err)
	}
	return set, err
}

// UnknownRule says that neither the rules of dir nor those that were pushed have a rule;
// "" if they have, if none is named, or if they cannot be read.
func UnknownRule(ctx context.Context, cfg Config, pushed push.Log, id string) string {
	names := namesOf(cfg.Rules)
	if names.unread != nil || id == "" || names.has(switches.Rule, id) {
		return ""
	}
	_ = names.addPushed(ctx, cfg.Stream, pushed) // what is known of the setting is said all the same
	if names.has(switches.Rule, id) {
		return ""
	}
	text := fmt.Sprintf("the rules here have no rule %q", id)
	if near := problem.Nearest(id, slices.Sorted(maps.Keys(names.detectors))); near != "" {
		text += fmt.Sprintf(" (did you mean %q?)", near)
	}
	return text
}

func (w *Worker) makeWatch() (err error) {
	if w.watch, err = watch.New(w.cfg.Stop.StuckAfter); err != nil {
		return err
	}
	w.admin.Alive("partitions", w.watch.Check)
	w.stuck = promauto.With(w.admin.Registry()).NewCounter(prometheus.CounterOpts{
		Name: "weir_worker_stuck_total", Help: "Partitions that hung; the process ends after the first.",
	})
	return nil
}

func (w *Worker) loadRules() (err error) {
	w.rules, err = LoadRules(w.cfg.Rules)
	return err
}

// followRules prepares to follow the rules that people push.
func (w *Worker) followRules() {
	if w.runs("ingest") || w.runs("detect") || w.runs("notices") {
		w.pushed = push.NewFollower(w.kafka, w.cfg.Stream.Topic("rules"), w.cfg.Stream.Incarnation, w.rules, w.log)
	}
}

func (w *Worker) openGeo() (err error) {
	if !w.runs("ingest") {
		return nil
	}
	if w.geo, err = geo.Open(w.cfg.Geo, w.log, w.admin.Registry()); err != nil {
		return fmt.Errorf("%w; name a database that is there and that this user may read, or leave the setting empty", err)
	}
	return nil
}

func (w *Worker) openKafka() (err error) {
	w.kafka, err = kafka.New(w.cfg.Kafka, w.log)
	return err
}

func (w *Worker) openClickHouse() (err error) {
	stream := clickhouse.Stream{Name: w.cfg.Stream.Name, Incarnation: w.cfg.Stream.Incarnation}
	if w.events, err = clickhouse.NewEvents(w.cfg.ClickHouse, stream, w.log, w.admin.Registry()); err != nil {
		return err
	}
	if w.signals, err = clickhouse.NewSignals(w.cfg.ClickHouse, stream, w.log, w.admin.Registry()); err != nil {
		return err
	}
	if w.shadow, err = clickhouse.NewShadowSignals(w.cfg.ClickHouse, stream, w.log, w.admin.Registry()); err != nil {
		return err
	}
	if w.decided, err = clickhouse.NewDecisions(w.cfg.ClickHouse, stream, w.log, w.admin.Registry()); err != nil {
		return err
	}
	if w.dead, err = clickhouse.NewDeadLetters(w.cfg.ClickHouse, stream, w.log, w.admin.Registry()); err != nil {
		return err
	}
	if w.versions, err = clickhouse.NewRuleVersions(w.cfg.ClickHouse, stream, w.log, w.admin.Registry()); err != nil {
		return err
	}
	key, err := w.cfg.Stream.RiskKey()
	if err != nil {
		return err
	}
	digest := score.NewCodec(key, w.cfg.redis().KeyPrefix).Digest
	w.said, err = clickhouse.NewControls(w.cfg.ClickHouse, stream, digest, w.log, w.admin.Registry())
	return err
}

func (w *Worker) openRedis() error {
	key, err := w.cfg.Stream.RiskKey()
	if err != nil {
		return err
	}
	redis.Quiet()
	w.scores, err = redis.NewWriter(w.cfg.redis(), redis.Dependencies{Secret: key, Logger: w.log, Registerer: w.admin.Registry()})
	return err
}

func (w *Worker) runs(stage string) bool { return slices.Contains(w.cfg.Stages, stage) }

func (w *Worker) makeIngest() error {
	if !w.runs("ingest") {
		return nil
	}
	hasher, err := w.cfg.Stream.Hasher()
	if err != nil {
		return err
	}
	s := w.cfg.Stream
	topics := ingest.Topics{Events: s.Topic("events"), Facets: s.Topic("facets"), Dead: s.Topic("dead"), Group: s.Group("ingest")}
	if !s.History {
		topics.Controls, topics.ControlsGroup = s.Topic("controls"), s.Group("controls")
	}
	w.ingest, err = ingest.New(w.cfg.Ingest, topics,
		ingest.Shared{Incarnation: uint64(s.Incarnation), Hasher: hasher, History: s.History},
		ingest.Dependencies{
			Log: w.kafka, Epochs: w.epochs, Watch: w.watch, Logger: w.log, Registerer: w.admin.Registry(), ClockAhead: w.kafka.Ahead,
			OpenEvents:   w.eventTrack,
			OpenControls: func() ingest.ControlTrack { return w.said.Open() },
			OpenDead:     func(_ bool, p int32) ingest.DeadTrack { return w.dead.Open(p) },
		})
	return err
}

func (w *Worker) makeDetect() error {
	if !w.runs("detect") {
		return nil
	}
	hasher, err := w.cfg.Stream.Hasher()
	if err != nil {
		return err
	}
	s := w.cfg.Stream
	w.detect, err = engine.NewStage(w.cfg.Detect,
		engine.Topics{Events: s.Topic("events"), Facets: s.Topic("facets"), Signals: s.Topic("signals"), Group: s.Group("detect")},
		engine.Dependencies{
			Log: w.kafka, Rules: w.rules, Hasher: hasher, Incarnation: uint64(s.Incarnation), Watch: w.watch, Logger: w.log, Registerer: w.admin.Registry(),
			Snapshots: w.snapshotsForDetect(), Pushed: w.pushed.Bundle,
			Sinks: []engine.SinkOpener{
				{Name: "signals", Open: func(p int32) engine.Sink { return engine.SignalSink(w.signalTrack(p)) }},
				{Name: "shadow signals", Open: func(p int32) engine.Sink { return engine.ShadowSink(w.shadow.Open(p)) }},
				{Name: "versions of rules", Open: func(p int32) engine.Sink { return pushedSink{w.versions.Open(p)} }},
				{Name: "scores", Open: func(p int32) engine.Sink { return engine.ScoreSink(w.scores.Open(p)) }},
			},
		})
	return err
}

func (w *Worker) makeAudit() (err error) {
	if !w.runs("decisions") {
		return nil
	}
	s := w.cfg.Stream
	w.audit, err = audit.New(audit.Topic{Decisions: s.Topic("decisions"), Group: s.Group("decisions")}, audit.Dependencies{
		Log: w.kafka, Open: w.decidedTrack, Watch: w.watch, Logger: w.log, Registerer: w.admin.Registry(),
	})
	return err
}

func (w *Worker) makeNotices() (err error) {
	if !w.runs("notices") {
		return nil
	}
	s := w.cfg.Stream
	w.notices, err = notices.New(w.cfg.Notices, notices.Topics{Signals: s.Topic("signals"), Dead: s.Topic("dead"), Group: s.Group("notices"), Stream: s.Name}, notices.Dependencies{
		Log: w.kafka, Rules: w.rules, Live: w.pushed.Live, Watch: w.watch, Logger: w.log, Registerer: w.admin.Registry(),
	})
	return err
}

// Run works until ctx ends or something fails, and then completes the work in
// progress. It abandons what is not completed within the stop timeout: the process
// should then end, whatever still runs in it.
func (w *Worker) Run(ctx context.Context) error {
	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	ended := make(chan error, 1)
	go func() { ended <- w.run(running, fail) }()
	select {
	case err := <-ended:
		return err
	case <-running.Done():
	}
	timer := time.NewTimer(w.cfg.Stop.Timeout)
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-timer.C:
		return errors.Join(fmt.Errorf("%w (stop_timeout: %v)", errLeftBehind, w.cfg.Stop.Timeout), failure(running))
	}
}

var errLeftBehind = errors.New("not finished in time: what is not committed is read again by whoever takes over")

// failure returns why ctx has ended, unless we were only told to stop.
func failure(ctx context.Context) error {
	return withoutCanceled(context.Cause(ctx))
}

// run works until ctx ends. The stages stop first and drain into the stores; the
// stores stop after them. fail ends ctx.
func (w *Worker) run(ctx context.Context, fail context.CancelCauseFunc) error {
	w.log.Info("weir-worker starts", "version", Version(), "stream", w.cfg.Stream.Name, "stages", strings.Join(w.cfg.Stages, ","),
		"rules", w.rules.Version, "rule_count", len(w.rules.Rules))
	if err := w.ready(ctx); err != nil {
		return withoutCanceled(err)
	}
	stores, stopStores := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStores()
	sinks, _ := errgroup.WithContext(stores)
	guard := func(name string, run func(context.Context) error) func() error {
		return func() error {
			err := named(name, run(stores))
			if err != nil {
				fail(err)
			}
			return err
		}
	}
	sinks.Go(guard("event store", w.events.Run))
	rulesStored := make(chan struct{})
	sinks.Go(guard("signal store", func(ctx context.Context) error { return w.signals.RunAfter(ctx, rulesStored) }))
	sinks.Go(guard("store of shadow signals", func(ctx context.Context) error { return w.shadow.RunAfter(ctx, rulesStored) }))
	sinks.Go(guard("score store", w.scores.Run))
	sinks.Go(guard("store of decisions", w.decided.Run))
	sinks.Go(guard("store of control records", w.said.Run))
	sinks.Go(guard("store of dead letters", w.dead.Run))
	sinks.Go(guard("store of versions", w.versions.Run))
	sinks.Go(guard("admin", w.admin.Run))
	sinks.Go(guard("watch", w.watchLoops))
	if w.pushed != nil {
		sinks.Go(guard("pushed rules", w.pushed.Run))
	}

	stages, stageCtx := errgroup.WithContext(ctx)
	if w.ingest != nil {
		sinks.Go(guard("geographic databases", func(ctx context.Context) error { return w.geo.Watch(ctx, w.epochs.use) }))
		stages.Go(func() error { return named("ingest", w.ingest.Run(stageCtx)) })
	}
	if w.detect != nil {
		sinks.Go(guard("version of the rules", func(ctx context.Context) error { return w.keepRules(ctx, rulesStored) }))
		stages.Go(func() error { return named("detect", w.detect.Run(stageCtx)) })
	}
	if w.audit != nil {
		stages.Go(func() error { return named("decisions", w.audit.Run(stageCtx)) })
	}
	if w.notices != nil {
		stages.Go(func() error { return named("notices", w.notices.Run(stageCtx)) })
	}
	err := withoutCanceled(stages.Wait())
	if reason := failure(ctx); reason != nil && errors.Is(err, reason) {
		err = nil // it only says again why everything stops
	}
	stopStores()
	if late := sinks.Wait(); !errors.Is(context.Cause(ctx), late) {
		err = errors.Join(err, late)
	}
	err = errors.Join(err, failure(ctx), w.kafka.Close(), w.closeSnapshots())
	w.traces.close()
	log := w.log
	if err != nil {
		log = log.With("error", err)
	}
	log.Info("weir-worker stopped")
	return err
}

// watchLoops waits for a loop that hangs. It writes all stacks to standard error,
// like a panic, because they are too long for the log.
func (w *Worker) watchLoops(ctx context.Context) error {
	err := w.watch.Run(ctx)
	if err != nil {
		w.stuck.Inc()
		w.log.Error("a partition hangs; the process ends so that another takes it over", "error", err)
		_ = pprof.Lookup("goroutine").WriteTo(w.stacks, 1) // nothing is left to be done where that fails
	}
	return err
}

func named(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// withoutCanceled removes the error that only means that we were told to stop.
func withoutCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

const (
	// startTimeout is how long a starting worker waits for each server.
	startTimeout = 2 * time.Minute
	// sayAfter is when it says whom it waits for.
	sayAfter = time.Second
)

// await asks a server until ask succeeds or fails for good, for no longer than the
// worker's patience. The log says once whom the worker waits for.
func (w *Worker) await(ctx context.Context, s server, ask func(ctx context.Context) error, final func(error) bool) error {
	ctx, cancel := context.WithTimeout(ctx, w.patience)
	defer cancel()
	saying := time.AfterFunc(sayAfter, func() {
		w.log.Warn("the worker waits for a server before it starts", "server", s.name, "addrs", strings.Join(s.addrs, ","), "at_most", w.patience)
	})
	defer saying.Stop()
	var last error
	err := retry.Do(ctx, ask, final, func(err error, _ bool) { last = err })
	if ctx.Err() != nil && last != nil {
		err = fmt.Errorf("%w (last: %v)", context.Cause(ctx), last)
	}
	return s.advise(err, w.patience)
}

// ready checks the servers before the worker joins a group, so that problems are
// reported at the start, and adds the readiness conditions.
func (w *Worker) ready(ctx context.Context) error {
	w.admin.Ready("redis", w.scores.Ready)
	w.admin.Ready("kafka", func(ctx context.Context) error {
		// A silent Kafka leaves Redis half of the time.
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := w.kafka.Ping(short); err != nil {
			return err
		}
		_, err := w.kafka.Partitions(ctx, w.cfg.Stream.Topic("events"))
		return err
	})
	var found []Finding
	err := w.await(ctx, w.cfg.kafkaServer(), func(ctx context.Context) (err error) {
		found, err = checkStream(ctx, w.kafka, w.cfg, w.cfg.facetRetention())
		return err
	}, func(error) bool { return true }) // the client itself tries again
	if err != nil {
		return err
	}
	logWarnings(w.log, found)
	if err := refusals(found); err != nil {
		return fmt.Errorf("the stream is not as it must be:\n%w", err)
	}
	if err := w.await(ctx, w.cfg.clickhouseServer(), w.events.Check, clickhouse.Final); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, w.patience)
	defer cancel()
	if w.pushed != nil {
		if err := w.pushed.Start(ctx); err != nil {
			return fmt.Errorf("pushed rules: %w", err)
		}
		if err := w.tellPushed(ctx); err != nil {
			return err
		}
	}
	if w.ingest != nil {
		return w.epochs.begin(ctx)
	}
	return nil
}
