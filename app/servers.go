package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/sink/clickhouse"
)

// server is a server that Check tests.
type server struct {
	name     string
	addrs    []string
	settings string // names of the settings of its address and access
	ask      func(ctx context.Context) ([]Finding, error)
}

func (c *Config) kafkaServer() server {
	return server{name: "Kafka", addrs: c.Kafka.Brokers, settings: "kafka.brokers, kafka.tls and kafka.sasl"}
}

func (c *Config) clickhouseServer() server {
	return server{name: "ClickHouse", addrs: c.ClickHouse.Addrs, settings: "clickhouse.addrs, clickhouse.user and its password"}
}

func (c *Config) redisServer() server {
	return server{name: "Redis", addrs: c.Redis.Addrs, settings: "redis.addrs and redis.password"}
}

func (s server) asked(ask func(ctx context.Context) ([]Finding, error)) server {
	s.ask = ask
	return s
}

func (w *Worker) servers(log *kafka.Client) []server {
	only := func(ask func(context.Context) error) func(context.Context) ([]Finding, error) {
		return func(ctx context.Context) ([]Finding, error) { return nil, ask(ctx) }
	}
	checkKafka := func(ctx context.Context) ([]Finding, error) {
		found, err := checkStream(ctx, log, w.cfg, w.cfg.facetRetention())
		if err != nil {
			return nil, err
		}
		keys, err := checkKeys(ctx, log, w.cfg)
		return append(found, keys...), err
	}
	return []server{w.cfg.kafkaServer().asked(checkKafka), w.cfg.clickhouseServer().asked(only(w.events.Check)), w.cfg.redisServer().asked(only(w.scores.Ready))}
}

// Check checks the servers as a worker does before it runs, and Redis:
// concurrently, each for no longer than wait. It calls say for each server, and for
// each answer when it comes. A server that does not answer is a finding like
// others. Check changes nothing, and is for a worker that is not run.
func (w *Worker) Check(ctx context.Context, wait time.Duration, say func(line string)) []Finding {
	// So that a missing topic is told from a broker that does not answer.
	log, err := kafka.New(w.cfg.Kafka, w.log, kafka.WithPatience(wait/5))
	if err != nil {
		return []Finding{w.cfg.kafkaServer().silent(err, wait)}
	}
	defer log.Close()
	all := w.servers(log)
	for _, s := range all {
		say(fmt.Sprintf("asking %s at %s", s.name, strings.Join(s.addrs, ", ")))
	}
	var mu sync.Mutex // guards say
	found := make([][]Finding, len(all))
	var wg sync.WaitGroup
	for i, s := range all {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, wait)
			defer cancel()
			began := time.Now()
			got, err := s.ask(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				got = append(got, s.silent(err, wait))
			} else {
				say(fmt.Sprintf("%s answers, after %v", s.name, time.Since(began).Round(time.Millisecond)))
			}
			for _, f := range got {
				say(f.String())
			}
			found[i] = got
		})
	}
	wg.Wait()
	return slices.Concat(found...)
}

// silent returns the finding about a server that gave no useful answer.
func (s server) silent(err error, wait time.Duration) Finding {
	f := Finding{Subject: s.name, Problem: err.Error(), Refuse: true}
	if errors.Is(err, clickhouse.ErrSchema) || errors.Is(err, kafka.ErrUnsupported) {
		return f // it answers, and the text says what to do
	}
	f.Fix = "see that it runs, and that " + s.settings + " are right"
	if errors.Is(err, context.DeadlineExceeded) {
		f.Problem = fmt.Sprintf("no answer from %s within %v: %v", strings.Join(s.addrs, ", "), wait, err)
	}
	return f
}

// advise returns an error of a server with what to do about it. An error that only
// means that we were told to stop stays as it is.
func (s server) advise(err error, wait time.Duration) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return errors.New(s.silent(err, wait).text())
}

// Reach waits until Kafka answers, for no longer than wait. Its error says what to do.
func Reach(ctx context.Context, cfg Config, client *kafka.Client, wait time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return cfg.kafkaServer().advise(client.Preflight(limited), wait)
}

// Hurry limits timeouts to longest, for programs that only check.
func (c *Config) Hurry(longest time.Duration) {
	for _, t := range []*time.Duration{
		&c.Kafka.DialTimeout, &c.Kafka.RequestTimeout, &c.ClickHouse.DialTimeout, &c.ClickHouse.ReadTimeout,
		&c.Redis.DialTimeout, &c.Redis.WriteTimeout, &c.Redis.ReadTimeout,
	} {
		*t = min(*t, longest)
	}
}
