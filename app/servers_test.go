package app

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirdev/weir/internal/kafka"
)

// refused returns the subjects of the findings that stop a worker.
func refused(found []Finding) string {
	var named []string
	for _, f := range found {
		if f.Refuse {
			named = append(named, f.Subject)
		}
	}
	return strings.Join(named, " ")
}

// nobody returns an address that accepts connections and never answers.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestKafkaIsWaitedForOnlySoLong(t *testing.T) {
	cfg := Defaults()
	cfg.Kafka.Brokers = []string{"127.0.0.1:1"}
	client, err := kafka.New(cfg.Kafka, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	err = Reach(t.Context(), cfg, client, 300*time.Millisecond)
	if err == nil || !strings.HasPrefix(err.Error(), "Kafka: no answer from 127.0.0.1:1 within 300ms: ") ||
		!strings.HasSuffix(err.Error(), "see that it runs, and that kafka.brokers, kafka.tls and kafka.sasl are right") {
		t.Errorf("it says %v", err)
	}
}

func TestACheckSaysWhomItAsksBeforeItWaitsAndWhoIsSilent(t *testing.T) {
	cfg := Defaults()
	cfg.Stream.Secret = "a secret of the tests"
	cfg.Kafka.Brokers, cfg.ClickHouse.Addrs, cfg.Redis.Addrs = []string{nobody(t)}, []string{nobody(t)}, []string{nobody(t)}
	const wait = 500 * time.Millisecond
	cfg.Hurry(wait)
	w, err := NewWorker(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	began := time.Now()
	found := w.Check(t.Context(), wait, func(line string) { said = append(said, line) })
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
	if got := refused(found); got != "Kafka ClickHouse Redis" {
		t.Errorf("found %v", found)
	}
	want := []string{"asking Kafka at " + cfg.Kafka.Brokers[0], "asking ClickHouse at " + cfg.ClickHouse.Addrs[0], "asking Redis at " + cfg.Redis.Addrs[0]}
	if len(said) != 6 || strings.Join(said[:3], "|") != strings.Join(want, "|") {
		t.Errorf("it said %q", said)
	}
	for _, line := range said[3:] {
		if !strings.HasPrefix(line, "error: ") || !strings.Contains(line, "see that it runs, and that ") {
			t.Errorf("of a server that is silent it says %q", line)
		}
	}
}

// guarded is a log that a timer may write to as well.
type guarded struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (g *guarded) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.Write(b)
}

func (g *guarded) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.String()
}

// TestAWorkerWaitsForClickHouseAsForKafka: it asks again, says once whom it waits for, and
// ends with what to do.
func TestAWorkerWaitsForClickHouseAsForKafka(t *testing.T) {
	cfg, c := newStream(t, broker(t))
	makeTopics(t, c, cfg, TopicDefaults())
	begin(t, c, cfg, TopicDefaults())
	cfg.Admin.Listen = "127.0.0.1:0"
	asked := make(chan struct{}, 1000)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // a server that is still starting
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			asked <- struct{}{}
			_ = conn.Close()
		}
	}()
	for _, tc := range []struct {
		name              string
		kafka, clickhouse string
		asks              int
	}{
		{"ClickHouse", cfg.Kafka.Brokers[0], l.Addr().String(), 3},
		{"Kafka", "127.0.0.1:1", l.Addr().String(), 0},
	} {
		cfg.Kafka.Brokers, cfg.ClickHouse.Addrs = []string{tc.kafka}, []string{tc.clickhouse}
		var said guarded
		w, err := NewWorker(cfg, slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			t.Fatal(err)
		}
		w.patience = sayAfter + 500*time.Millisecond
		err = w.Run(t.Context())
		if err == nil || !strings.HasPrefix(err.Error(), tc.name+": no answer from ") || !strings.Contains(err.Error(), "within 1.5s: ") || !strings.Contains(err.Error(), "(last: ") || !strings.Contains(err.Error(), "see that it runs") {
			t.Errorf("%s: it ends with %v", tc.name, err)
		}
		if n := strings.Count(said.String(), "the worker waits for a server before it starts"); n != 1 || !strings.Contains(said.String(), "server="+tc.name) {
			t.Errorf("%s: said %d times:\n%s", tc.name, n, &said)
		}
		if len(asked) < tc.asks {
			t.Errorf("%s: asked %d times", tc.name, len(asked))
		}
	}
}
