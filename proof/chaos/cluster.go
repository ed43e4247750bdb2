package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/procs"
	"github.com/weirdev/weir/app/stack"
	"github.com/weirdev/weir/proof/proxy"
	"github.com/weirdev/weir/proof/servers"
)

const mostWorkers = 4

// sessionTimeout is how long a worker may be silent before its partitions are given
// to others.
const sessionTimeout = 3 * time.Second

const often = 300 * time.Millisecond

// cluster holds all processes. Only the faults of one run use it. So only the fields
// that the faults of workers use are guarded.
type cluster struct {
	kafka, redis, clickhouse *servers.Server
	toRedis, toClickHouse    *proxy.Proxy
	stack                    *stack.Stack

	dir       string
	temporary bool

	mu      sync.Mutex
	workers []*worker
}

// worker is a place for a worker, which may be empty.
type worker struct {
	*procs.Process
	admin string             // address of its metrics
	stop  context.CancelFunc // nil: the place is empty
}

// startCluster starts everything. If it fails, it stops everything it has started.
func startCluster(ctx context.Context, o Options, topics app.Topics, log *slog.Logger) (*cluster, error) {
	c := &cluster{dir: o.Data, temporary: o.Data == ""}
	if err := c.start(ctx, o, topics, log); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *cluster) start(ctx context.Context, o Options, topics app.Topics, log *slog.Logger) (err error) {
	if c.temporary {
		c.dir, err = os.MkdirTemp("", "weir-chaos-")
	} else {
		err = makeEmpty(c.dir)
	}
	if err != nil {
		return err
	}
	if err := c.startServers(ctx, o.Kafka); err != nil {
		return err
	}
	if c.toRedis, err = proxy.Listen(c.redis.Addr, 1); err != nil {
		return err
	}
	// The greeting and the text of a statement are shorter than that; the rows of an
	// insert are longer.
	if c.toClickHouse, err = proxy.Listen(c.clickhouse.Addr, 4<<10); err != nil {
		return err
	}
	ruleDir := filepath.Join(c.dir, "rules")
	if err := writeRules(ruleDir); err != nil {
		return err
	}
	c.stack, err = stack.Start(ctx, stack.Options{
		Dir: c.dir, Stream: app.StreamConfig{Name: "weir", Incarnation: 1}, Topics: topics, Format: "weir",
		Kafka: c.kafka.Addr, Redis: c.toRedis.Addr(), ClickHouse: c.toClickHouse.Addr(), Adjust: func(c *app.Config) {
			hasten(c)
			c.Rules = ruleDir
		},
	}, log)
	if err != nil {
		return err
	}
	if err := c.stack.StartGate(); err != nil {
		return err
	}
	return c.resize(o.Workers)
}

// makeEmpty creates a directory and requires that it is empty. Files of another run
// would be taken for part of this one.
func makeEmpty(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	held, err := os.ReadDir(dir)
	if err == nil && len(held) > 0 {
		err = fmt.Errorf("%s is not empty; chaos begins with nothing", dir)
	}
	return err
}

// hasten makes the programs notice lost peers sooner, so that a run of minutes sees
// as many losses as one of hours. It also makes them commit more often; otherwise a
// worker that is killed every few seconds would make no progress.
func hasten(c *app.Config) {
	// A worker whose join is not answered gives up after both time limits together, and
	// the embedded broker begins its own anew with each join. So that it ends at all
	// while workers take turns, a third of the sum is more than the latter.
	c.Kafka.SessionTimeout, c.Kafka.HeartbeatInterval, c.Kafka.RebalanceTimeout = sessionTimeout, 500*time.Millisecond, sessionTimeout
	c.Kafka.DialTimeout, c.Kafka.RequestTimeout = time.Second, 6*time.Second+500*time.Millisecond
	c.ClickHouse.DialTimeout, c.ClickHouse.ReadTimeout = time.Second, 5*time.Second
	c.ClickHouse.FlushAge, c.Ingest.CommitInterval, c.Detect.CommitInterval = often, often, often
	c.Detect.SnapshotInterval = 5 * time.Second
}

func (c *cluster) startServers(ctx context.Context, kafka string) (err error) {
	if kafka == "apache" {
		c.kafka, err = apache(filepath.Join(c.dir, "kafka"))
	} else {
		c.kafka, err = part(filepath.Join(c.dir, "kafka"), "kafka")
	}
	if err != nil {
		return err
	}
	if c.clickhouse, err = part(filepath.Join(c.dir, "clickhouse"), "clickhouse"); err != nil {
		return err
	}
	if c.redis, err = redis(filepath.Join(c.dir, "redis")); err != nil {
		return err
	}
	for _, s := range []*servers.Server{c.kafka, c.clickhouse, c.redis} {
		if err := s.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// part starts one part of the sandbox as its own process.
func part(dir, which string) (*servers.Server, error) {
	weir, err := procs.Find("weir")
	if err != nil {
		return nil, err
	}
	addr, err := servers.FreeAddr()
	if err != nil {
		return nil, err
	}
	args := []string{"sandbox", "-dir", dir, "-sync-writes", "-kafka-addr", "", "-redis-addr", "", "-clickhouse-addr", ""}
	return servers.New(addr, weir, append(args, "-"+which+"-addr", addr)...), nil
}

func apache(dir string) (*servers.Server, error) {
	addr, err := servers.FreeAddr()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return servers.Kafka(addr, dir, "group.min.session.timeout.ms=1000")
}

// redis returns redis-server, or its stand-in if that is not installed.
func redis(dir string) (*servers.Server, error) {
	addr, err := servers.FreeAddr()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s, err := servers.Redis(addr, dir)
	if errors.Is(err, servers.ErrMissing) {
		return part(dir, "redis")
	}
	return s, err
}

// String names the servers.
func (c *cluster) String() string {
	return fmt.Sprintf("process ids: kafka %d, redis %d, clickhouse %d", c.kafka.PID(), c.redis.PID(), c.clickhouse.PID())
}

// resize starts or stops workers until n run. Workers stop in order; it does not
// wait for them.
func (c *cluster) resize(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.workers) < mostWorkers {
		c.workers = append(c.workers, &worker{})
	}
	for i, w := range c.workers {
		switch {
		case i < n && w.stop == nil:
			if err := c.hire(i, w); err != nil {
				return err
			}
		case i >= n && w.stop != nil:
			w.stop()
			w.stop = nil
		}
	}
	return nil
}

// hire starts a worker in place i; c.mu is held.
func (c *cluster) hire(i int, w *worker) error {
	admin, err := servers.FreeAddr()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	name := fmt.Sprintf("worker-%d", i+1)
	p := &procs.Process{Name: name, Backoff: 50 * time.Millisecond, Env: []string{"WEIR_KAFKA_INSTANCE=" + name}}
	if p, err = c.stack.Keep(ctx, p, "weir-worker", admin); err != nil {
		stop()
		return err
	}
	w.Process, w.admin, w.stop = p, admin, stop
	return nil
}

// running returns the number of workers that should run.
func (c *cluster) running() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.workers {
		if w.stop != nil {
			n++
		}
	}
	return n
}

// ready waits until every worker that should run is ready, and returns the ids of
// their processes.
func (c *cluster) ready(ctx context.Context) (pids []int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.workers {
		if w.stop == nil {
			continue
		}
		for !answers(ctx, "http://"+w.admin+"/readyz") {
			if !pause(ctx, 50*time.Millisecond) {
				return nil, fmt.Errorf("%s is not ready: %w; see its log in %s", w.Name, ctx.Err(), c.stack.Dir)
			}
		}
		pids = append(pids, w.PID())
	}
	return pids, nil
}

func answers(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close() // the status is all that counts
	return res.StatusCode == http.StatusOK
}

// pick returns the worker in one of the occupied places.
func (c *cluster) pick(n int) *procs.Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*procs.Process
	for _, w := range c.workers {
		if w.stop != nil {
			all = append(all, w.Process)
		}
	}
	return all[n%len(all)]
}

// wake resumes every stopped worker.
func (c *cluster) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.workers {
		if w.Process != nil {
			_ = w.Signal(syscall.SIGCONT) // a dead worker needs no signal
		}
	}
}

// stopWorkers stops workers and gate, which finish their work in progress.
func (c *cluster) stopWorkers() {
	c.wake()
	c.stack.Stop()
}

// close ends everything, and removes temporary files.
func (c *cluster) close() error {
	var errs []error
	if c.stack != nil {
		c.wake()
		errs = append(errs, c.stack.Close())
	}
	for _, p := range []*proxy.Proxy{c.toRedis, c.toClickHouse} {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	for _, s := range []*servers.Server{c.redis, c.clickhouse, c.kafka} {
		if s != nil {
			s.Stop(serverStopTime)
		}
	}
	if c.temporary && c.dir != "" {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}

const serverStopTime = 10 * time.Second
