package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// server is a server that Check tests.
type server struct {
	name     string
	addrs    []string
	settings string // names of the settings of its address and access
	ask      func(ctx context.Context) ([]Finding, error)
}

func (w *Worker) servers() []server {
	only := func(ask func(context.Context) error) func(context.Context) ([]Finding, error) {
		return func(ctx context.Context) ([]Finding, error) { return nil, ask(ctx) }
	}
	c := w.cfg
	return []server{
		{"Kafka", c.Kafka.Brokers, "kafka.brokers, kafka.tls and kafka.sasl", w.checkKafkaAndKeys},
		{"ClickHouse", c.ClickHouse.Addrs, "clickhouse.addrs, clickhouse.user and its password", only(w.events.Check)},
		{"Redis", c.Redis.Addrs, "redis.addrs and redis.password", only(w.scores.Ready)},
	}
}

func (w *Worker) checkKafkaAndKeys(ctx context.Context) ([]Finding, error) {
	found, err := w.checkKafka(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := checkKeys(ctx, w.kafka, w.cfg)
	return append(found, keys...), err
}

// Check checks the servers as a worker does before it runs, and Redis:
// concurrently, each for no longer than wait. It calls say for each server, and for
// each answer when it comes. A server that does not answer is a finding like
// others. Check changes nothing, and is for a worker that is not run.
func (w *Worker) Check(ctx context.Context, wait time.Duration, say func(line string)) []Finding {
	all := w.servers()
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
	f := Finding{Subject: s.name, Problem: err.Error(), Fix: "see that it runs, and that " + s.settings + " are right", Refuse: true}
	if errors.Is(err, context.DeadlineExceeded) {
		f.Problem = fmt.Sprintf("no answer from %s within %v: %v", strings.Join(s.addrs, ", "), wait, err)
	}
	return f
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
