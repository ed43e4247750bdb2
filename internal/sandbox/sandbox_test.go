package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/weirdev/weir/internal/kafka"
)

// childDir names the directory of a sandbox that this program, started again,
// runs until it is killed.
const childDir = "WEIR_SANDBOX_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(child(dir))
	}
	goleak.VerifyTestMain(m)
}

func child(dir string) int {
	s, err := New(withDir(dir), slog.New(slog.DiscardHandler))
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	fmt.Println("kafka", s.Addresses().Kafka)
	select {}
}

// withDir is a sandbox without ClickHouse, which has tests of its own.
func withDir(dir string) Config {
	c := Defaults()
	c.Dir, c.ClickHouseAddr = dir, ""
	return c
}

func start(t *testing.T, c Config) *Sandbox {
	t.Helper()
	s, err := New(c, slog.New(slog.DiscardHandler))
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
	return s
}

func broker(t *testing.T, addr string) *kafka.Client {
	t.Helper()
	c := kafka.Defaults()
	c.Brokers, c.RequestTimeout = []string{addr}, time.Second
	k, err := kafka.New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

func write(ctx context.Context, k *kafka.Client, values ...string) error {
	p := kafka.Produce{Partition: 1}
	for _, v := range values {
		p.Records = append(p.Records, kafka.Outgoing{Value: []byte(v)})
	}
	return k.Produce(ctx, "topic", []kafka.Produce{p})
}

// read reads the partition that write writes, to its end.
func read(t *testing.T, k *kafka.Client) (values []string) {
	t.Helper()
	var b kafka.Batch
	for {
		if err := k.Fetch(t.Context(), "topic", 1, b.Next, &b); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Records {
			values = append(values, string(r.Value))
		}
		if b.Next >= b.HighWatermark {
			return values
		}
	}
}

func makeTopic(t *testing.T, k *kafka.Client) {
	t.Helper()
	if err := k.CreateTopic(t.Context(), kafka.TopicSpec{Name: "topic", Partitions: 2, Replication: 1}); err != nil {
		t.Fatal(err)
	}
}

func TestRecordsAndCommitsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	s := start(t, withDir(dir))
	k := broker(t, s.Addresses().Kafka)
	makeTopic(t, k)
	if err := write(t.Context(), k, "a", "b"); err != nil {
		t.Fatal(err)
	}
	commit(t, k, kafka.Commit{Partition: 1, Offset: 2, Metadata: "owner 7"})
	if err := errors.Join(k.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}

	k = broker(t, start(t, withDir(dir)).Addresses().Kafka)
	if got := strings.Join(read(t, k), ""); got != "ab" {
		t.Errorf("after the restart the log holds %q, want ab", got)
	}
	commits, err := k.Committed(t.Context(), "group", "topic")
	if want := (kafka.Commit{Partition: 1, Offset: 2, Metadata: "owner 7"}); err != nil || commits[1] != want || commits[0].Offset != -1 {
		t.Errorf("after the restart the commits are %+v, %v; want %+v", commits, err, want)
	}
}

// commit joins a group, commits, and leaves it.
func commit(t *testing.T, k *kafka.Client, c kafka.Commit) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	var failed error
	err := k.Join(ctx, "group", "topic", func(ctx context.Context, l *kafka.Lease) error {
		if l.Partition != c.Partition {
			return nil
		}
		defer leave()
		failed = l.Commit(ctx, c.Offset, c.Metadata)
		return failed
	})
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
}

func TestAcknowledgedRecordsSurviveKill9(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "kafka ")
	if err != nil || !ok {
		t.Fatalf("the child says %q, %v", line, err)
	}
	k := broker(t, addr)
	makeTopic(t, k)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	acknowledged := 0
	for ; ; acknowledged++ {
		if acknowledged == 500 {
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			go func() { _ = cmd.Wait(); stop() }()
		}
		if err := write(ctx, k, fmt.Sprint(acknowledged)); err != nil {
			break
		}
	}
	<-ctx.Done()

	got := read(t, broker(t, start(t, withDir(dir)).Addresses().Kafka))
	if len(got) < acknowledged || acknowledged < 500 {
		t.Fatalf("%d records are left of %d that were acknowledged", len(got), acknowledged)
	}
	for i := range acknowledged {
		if got[i] != fmt.Sprint(i) {
			t.Fatalf("record %d holds %q", i, got[i])
		}
	}
}

func TestASecondSandboxOnADirectoryIsToldSo(t *testing.T) {
	dir := t.TempDir()
	start(t, withDir(dir))
	s, err := New(withDir(dir), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	err = s.Start()
	if want := fmt.Sprintf("another sandbox (process %d) uses this directory", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the second start says %v, want %q", err, want)
	}
}

func TestATakenPortIsSaidAndNothingIsLeftRunning(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		name string
		set  func(*Config)
	}{
		{"kafka", func(c *Config) { c.KafkaAddr = l.Addr().String() }},
		{"redis", func(c *Config) { c.RedisAddr = l.Addr().String() }},
		{"clickhouse", func(c *Config) { c.ClickHouseAddr = l.Addr().String() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := withDir(t.TempDir())
			c.set(&cfg)
			s, err := New(cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Start(); err == nil || !strings.Contains(err.Error(), "is in use") {
				t.Errorf("the start says %v", err)
			}
			start(t, withDir(cfg.Dir)) // the lock was given up
		})
	}
}

func TestAddressesStayWhereTheyAreConfigured(t *testing.T) {
	c := withDir("")
	a := start(t, c).Addresses()
	if a.Kafka == "" || a.Redis == "" || a.ClickHouse != "" {
		t.Fatalf("addresses %+v", a)
	}
	if got, want := a.String(), "Kafka      "+a.Kafka+"\nRedis      "+a.Redis; got != want {
		t.Errorf("addresses print as %q, want %q", got, want)
	}
}

func TestATemporaryDirectoryIsRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s := start(t, withDir(""))
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(os.Getenv("TMPDIR") + "/*"); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestRedisForgetsWhatExpires(t *testing.T) {
	r := goredis.NewClient(&goredis.Options{Addr: start(t, withDir("")).Addresses().Redis, DisableIdentity: true, Protocol: 2})
	defer r.Close()
	if err := r.Set(t.Context(), "key", "value", 50*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := r.Get(ctx, "key").Err(); errors.Is(err, goredis.Nil) {
			return
		} else if err != nil {
			t.Fatalf("the key does not expire: %v", err)
		}
		<-tick.C
	}
}

func TestUnknownTopicsAreNotMade(t *testing.T) {
	k := broker(t, start(t, withDir("")).Addresses().Kafka)
	if _, err := k.Partitions(t.Context(), "misspelt"); !errors.Is(err, kafka.ErrUnknownTopic) {
		t.Errorf("an unknown topic gives %v", err)
	}
}

func TestAddressesOutsideTheMachineAreRefused(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:9092", "192.0.2.1:0", "localhost", ":9092", "example.org:1"} {
		c := Defaults()
		c.KafkaAddr, c.RedisAddr, c.ClickHouseAddr, c.ClickHouseHTTPAddr = addr, addr, addr, addr
		_, err := New(c, slog.New(slog.DiscardHandler))
		for _, name := range []string{"-kafka-addr", "-redis-addr", "-clickhouse-addr", "-clickhouse-http-addr"} {
			if err == nil || !strings.Contains(err.Error(), name+": ") {
				t.Errorf("%s: %s is not refused: %v", name, addr, err)
			}
		}
	}
	c := Defaults()
	c.KafkaAddr, c.RedisAddr = "[::1]:0", "localhost:0"
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// fakeEngine ends when it is told to, and knows whether it was closed.
type fakeEngine struct {
	fail   chan error
	closed bool
}

func (e *fakeEngine) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	select {
	case err := <-e.fail:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *fakeEngine) ServeOverHTTP(ctx context.Context, l net.Listener) error { return e.Serve(ctx, l) }

func (e *fakeEngine) Close() error { e.closed = true; return nil }

func TestRunEndsWithItsContextOrWithAPartThatFails(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		end  func(cancel func(), e *fakeEngine)
		want error
	}{
		{"context", func(cancel func(), _ *fakeEngine) { cancel() }, nil},
		{"part", func(_ func(), e *fakeEngine) { e.fail <- broken }, broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := withDir(t.TempDir())
			cfg.ClickHouseAddr = "127.0.0.1:0"
			s, err := New(cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			e := &fakeEngine{fail: make(chan error, 1)}
			s.engine = func(string) (engine, error) { return e, nil }
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c.end(cancel, e)
			if err := s.Run(ctx); !errors.Is(err, c.want) || !e.closed {
				t.Errorf("Run returns %v, want %v; engine closed: %v", err, c.want, e.closed)
			}
			if err := os.Remove(filepath.Join(cfg.Dir, "sandbox.lock")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAPartWithoutAnAddressDoesNotRun(t *testing.T) {
	c := Defaults()
	c.KafkaAddr, c.ClickHouseAddr, c.Dir = "", "", t.TempDir()
	s, err := New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if at := s.Addresses(); at.Kafka != "" || at.Redis == "" || at.ClickHouse != "" || strings.Contains(at.String(), "Kafka") {
		t.Errorf("only Redis should run, but %+v does", at)
	}
	c.RedisAddr = ""
	if c.Validate() == nil {
		t.Error("a sandbox without any part is taken")
	}
}
