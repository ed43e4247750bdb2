package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/sandbox"
	"github.com/weirdev/weir/internal/watch"
	"github.com/weirdev/weir/proof/testkit"
)

// servers starts the embedded servers, with the topics and tables of a stream.
func servers(t *testing.T) (*sandbox.Sandbox, Config) {
	t.Helper()
	testkit.ChDB(t)
	s, err := sandbox.New(sandbox.Defaults(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := Defaults()
	cfg.Stream.Secret, cfg.Admin.Listen = "a secret of the tests", ""
	cfg.Stop.Timeout = 15 * time.Second
	at := s.Addresses()
	cfg.Kafka.Brokers, cfg.Redis.Addrs, cfg.ClickHouse.Addrs = []string{at.Kafka}, []string{at.Redis}, []string{at.ClickHouse}
	if err := Migrate(t.Context(), cfg, TopicDefaults(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return s, cfg
}

// working is a worker that runs in this process.
type working struct {
	*Worker
	said  bytes.Buffer // goroutine stacks
	stop  context.CancelFunc
	ended chan error
}

func start(t *testing.T, cfg Config) *working {
	t.Helper()
	return startWith(t, cfg, slog.New(slog.DiscardHandler))
}

func startWith(t *testing.T, cfg Config, log *slog.Logger) *working {
	t.Helper()
	w, err := NewWorker(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(stop)
	r := &working{Worker: w, stop: stop, ended: make(chan error, 1)}
	w.stacks = &r.said
	go func() { r.ended <- w.Run(ctx) }()
	return r
}

// readiness returns what /readyz says.
func (r *working) readiness(t *testing.T) (said map[string]string) {
	t.Helper()
	answer := httptest.NewRecorder()
	r.admin.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if err := json.Unmarshal(answer.Body.Bytes(), &said); err != nil {
		t.Fatal(err)
	}
	return said
}

// end waits for Run to return, with a time limit.
func (r *working) end(t *testing.T, within time.Duration) error {
	t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(within):
		t.Fatalf("the worker has not ended after %v", within)
		return nil
	}
}

// committed waits until ingest has committed the given number of records of
// partition 0.
func (r *working) committed(t *testing.T, c *kafka.Client, n int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := c.Committed(ctx, r.cfg.Stream.Group("ingest"), r.cfg.Stream.Topic("events"))
		if err != nil {
			t.Fatal(err)
		}
		if got[0].Offset >= n {
			return
		}
		select {
		case <-tick.C:
		case err := <-r.ended:
			t.Fatalf("the worker ended: %v", err)
		}
	}
}

func kafkaOf(t *testing.T, cfg Config) *kafka.Client {
	t.Helper()
	c, err := kafka.New(cfg.Kafka, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t *testing.T, c *kafka.Client, cfg Config, n int) {
	t.Helper()
	records := make([]kafka.Outgoing, n)
	for i := range records {
		records[i].Value = []byte("garbage, to be buried")
	}
	if err := c.Produce(t.Context(), cfg.Stream.Topic("events"), []kafka.Produce{{Records: records}}); err != nil {
		t.Fatal(err)
	}
}

// TestHowAWorkerEnds is one test because ClickHouse's engine can be opened only
// once at a time.
func TestHowAWorkerEnds(t *testing.T) {
	s, cfg := servers(t)
	c := kafkaOf(t, cfg)
	defer c.Close()

	t.Run("told to stop, it finishes, commits and leaves nothing running", func(t *testing.T) {
		var logged bytes.Buffer
		w := startWith(t, cfg, slog.New(slog.NewTextHandler(&logged, nil)))
		send(t, c, cfg, 100)
		w.committed(t, c, 1)
		send(t, c, cfg, 1000)
		w.stop()
		if err := w.end(t, cfg.Stop.Timeout); err != nil {
			t.Error(err)
		}
		if !strings.HasSuffix(logged.String(), `msg="weir-worker stopped"`+"\n") {
			t.Errorf("its log does not end with a word that it stopped well:\n%s", logged.String())
		}
		var all bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&all, 2)
		for _, part := range []string{"weir/ingest.", "weir/engine.", "weir/sink", "kafka.(*member)"} {
			if strings.Contains(all.String(), part) {
				t.Errorf("something of %s still runs", part)
			}
		}
		// The next worker does not read the committed records again.
		w = start(t, cfg)
		w.committed(t, c, 1100)
		w.stop()
		if err := w.end(t, cfg.Stop.Timeout); err != nil {
			t.Error(err)
		}
	})
	t.Run("a partition that hangs ends it, and is named", func(t *testing.T) {
		cfg := cfg
		cfg.Stop.StuckAfter = time.Second
		w := start(t, cfg)
		w.watch.Loop("the loop of the test") // which does nothing
		err := w.end(t, time.Minute)
		if !errors.Is(err, watch.ErrStuck) || strings.Count(err.Error(), "the loop of the test") != 1 {
			t.Errorf("it ends with %v", err)
		}
		if !strings.Contains(w.said.String(), "TestHowAWorkerEnds") {
			t.Error("it does not say what all goroutines are at")
		}
	})
	t.Run("a stream that is not as it must be is refused", func(t *testing.T) {
		cfg := cfg
		cfg.Stream.Incarnation = 9
		err := start(t, cfg).end(t, time.Minute)
		if err == nil || !strings.Contains(err.Error(), "has no incarnation 9") {
			t.Errorf("it ends with %v", err)
		}
	})
	t.Run("it is told by a check too, with the servers that answer", func(t *testing.T) {
		w, err := NewWorker(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if found := w.Check(t.Context(), time.Minute, func(string) {}); len(found) > 0 {
			t.Errorf("found %v", found)
		}
	})
	t.Run("a port that is taken is the one error", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		cfg := cfg
		cfg.Admin.Listen = l.Addr().String()
		want := "admin: admin.listen: listen tcp " + cfg.Admin.Listen + ": bind: address already in use: end the program that has it, or set another address"
		if err := start(t, cfg).end(t, time.Minute); err == nil || err.Error() != want {
			t.Errorf("it ends with %v", err)
		}
	})
	t.Run("what is missing is said, and who makes it", func(t *testing.T) {
		cfg := cfg
		cfg.Stream.Name, cfg.ClickHouse.Database = "fresh", "nowhere"
		w, err := NewWorker(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		w.Check(t.Context(), 2*time.Second, func(line string) { said = append(said, line) })
		for _, want := range []string{
			"error: topic fresh.events: does not exist; `weir migrate` makes it",
			"error: ClickHouse: database nowhere has no tables of Weir; `weir migrate` makes them",
		} {
			if !slices.Contains(said, want) {
				t.Errorf("it does not say %q, but %q", want, said)
			}
		}
		topics := TopicDefaults()
		topics.Replication = 3
		if err := Migrate(t.Context(), cfg, topics, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "a single one takes -replication 1") {
			t.Errorf("with too few brokers: %v", err)
		}
	})
	t.Run("a ClickHouse that does not answer is named, with the settings", func(t *testing.T) {
		cfg := cfg
		cfg.ClickHouse.Addrs = []string{"127.0.0.1:1"}
		want := "see that it runs, and that clickhouse.addrs, clickhouse.user and its password are right"
		w, err := NewWorker(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		w.patience = 2 * time.Second
		if err := w.Run(t.Context()); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("a worker ends with %v", err)
		}
		if err := Migrate(t.Context(), cfg, TopicDefaults(), slog.New(slog.DiscardHandler)); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("weir migrate ends with %v", err)
		}
	})
	t.Run("whoever comes after an unclean end goes on under its routes", func(t *testing.T) { goesOn(t, c, cfg) })
	t.Run("one that starts while ClickHouse takes no rows detects", func(t *testing.T) { keepsItsRules(t, c, cfg) })
	t.Run("it follows rules that are pushed", func(t *testing.T) { followsPushes(t, c, cfg) })
	t.Run("with no server left it ends in time all the same", func(t *testing.T) {
		w := start(t, cfg)
		send(t, c, cfg, 100)
		w.committed(t, c, ends(t, c, cfg))
		if said := w.readiness(t); said["kafka"] != "ok" || said["redis"] != "ok" {
			t.Errorf("while the servers run, readiness is %q", said)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if said := w.readiness(t); said["kafka"] == "ok" || !strings.Contains(said["redis"], "refused") {
			t.Errorf("without servers, readiness is %q", said)
		}
		started := time.Now()
		w.stop()
		err := w.end(t, cfg.Stop.Timeout+2*time.Second)
		t.Logf("ended after %v with %v", time.Since(started).Round(time.Millisecond), err)
	})
	t.Run("a check says which servers do not answer", func(t *testing.T) {
		w, err := NewWorker(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		found := w.Check(t.Context(), time.Second, func(string) {})
		if got := refused(found); got != "Kafka ClickHouse Redis" {
			t.Errorf("found %v", found)
		}
	})
}
