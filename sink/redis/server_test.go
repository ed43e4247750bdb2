package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	goredis "github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

func TestMain(m *testing.M) {
	Quiet()
	os.Exit(m.Run())
}

var testSecret = []byte("a secret for tests only")

// server is a Redis that tests may stop and start again on its address.
type server interface {
	Addr() string
	Stop(t testing.TB)
	Start(t testing.TB) // empty
}

// onEach runs test against the fake, and against a real server where there is
// one.
func onEach(t *testing.T, test func(t *testing.T, s server)) {
	t.Run("miniredis", func(t *testing.T) { test(t, startFake(t)) })
	t.Run("redis-server", func(t *testing.T) { test(t, startReal(t)) })
}

type fake struct{ *miniredis.Miniredis }

func startFake(t testing.TB) *fake { return &fake{miniredis.RunT(t)} }

// scores lists the keys of scores.
func (f *fake) scores() []string {
	return slices.DeleteFunc(f.Keys(), func(k string) bool { return strings.Contains(k, ":owner:") })
}

func (f *fake) Stop(testing.TB) { f.Close() }
func (f *fake) Start(t testing.TB) {
	f.FlushAll()
	if err := f.Restart(); err != nil {
		t.Fatal(err)
	}
}

type realServer struct {
	addr    string
	options []string
	cmd     *exec.Cmd
}

func startReal(t testing.TB, options ...string) *realServer {
	t.Helper()
	testkit.Long(t, "it needs a real server")
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("WEIR_REQUIRE_REDIS") == "1" {
			t.Fatalf("WEIR_REQUIRE_REDIS=1, but: %v", err)
		}
		t.Skipf("no real Redis: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &realServer{addr: l.Addr().String(), options: options}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
	t.Cleanup(func() { s.Stop(t) })
	return s
}

func (s *realServer) Addr() string { return s.addr }

func (s *realServer) Start(t testing.TB) {
	t.Helper()
	_, port, _ := net.SplitHostPort(s.addr)
	args := append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir()}, s.options...)
	s.cmd = exec.Command("redis-server", args...)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := connect(t, s)
	eventually(t, "the server answers", func() bool { return c.Ping(t.Context()).Err() == nil })
}

// Stop kills the server without warning.
func (s *realServer) Stop(testing.TB) {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

// connect is a client of the test's own.
func connect(t testing.TB, s server) *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Addr: s.Addr(), Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// eventually polls, since a real server has a clock of its own.
func eventually(t testing.TB, what string, met func() bool) {
	t.Helper()
	deadline, tick := time.NewTimer(10*time.Second), time.NewTicker(2*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !met() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func testConfig(s server) Config {
	cfg := Defaults()
	cfg.Addrs = []string{s.Addr()}
	cfg.ReadTimeout = 2 * time.Second // tests share their machine
	return cfg
}

func testDeps() Dependencies {
	return Dependencies{Secret: testSecret, Logger: slog.New(slog.DiscardHandler)}
}

// startWriter runs a writer for as long as the test.
func startWriter(t testing.TB, cfg Config) *Writer {
	t.Helper()
	w, err := NewWriter(cfg, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !t.Failed() {
			t.Logf("writer: %v", err)
		}
	})
	return w
}

func newTestReader(t testing.TB, cfg Config) *Reader {
	t.Helper()
	r, err := NewReader(cfg, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func entityNumber(i int) facet.Entity {
	return facet.Entity{Kind: facet.Account, Tenant: "shop", Key: fmt.Sprintf("user-%d", i)}
}

// update is a live score of e at offset.
func update(e facet.Entity, offset int64, weight uint8) score.Update {
	return score.Update{Entity: e, Position: score.Position{Incarnation: 1, Partition: 3, Offset: offset}, Contributions: []score.Contribution{{
		Rule: "login-brute-force", Category: "account_takeover", Reason: "many_failures", Phase: rules.Enforce,
		Weight: weight, HalfLife: 3600, Time: time.Now().UnixMilli(),
	}}}
}

func put(t testing.TB, track *Track, offset int64, u score.Update) {
	t.Helper()
	if err := track.Put(t.Context(), offset, u); err != nil {
		t.Fatal(err)
	}
}

func drain(t testing.TB, track *Track) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := track.Drain(ctx); err != nil {
		t.Fatal(err)
	}
}

func keysOf(r *Reader, entities ...facet.Entity) (keys []string) {
	for _, e := range entities {
		keys = append(keys, r.codec.Key(e))
	}
	return keys
}

// fetchAll looks entities up; a value that is no score is an error.
func fetchAll(ctx context.Context, r *Reader, entities []facet.Entity) ([]score.Value, error) {
	values, bad, err := r.Fetch(ctx, keysOf(r, entities...))
	if err == nil && slices.Contains(bad, true) {
		err = errors.New("a stored value is no score")
	}
	return values, err
}

func get(t testing.TB, r *Reader, e facet.Entity) score.Value {
	t.Helper()
	values, err := fetchAll(t.Context(), r, []facet.Entity{e})
	if err != nil {
		t.Fatal(err)
	}
	return values[0]
}
