package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/proof/proxy"
	"github.com/weirdev/weir/proof/servers"
)

// faults injects faults in an order that is a function of the seed. Workers are
// killed one after the other, one other fault at a time runs alongside, and all the
// while rules are pushed.
type faults struct {
	r      *run
	deck   []fault
	kills  *rand.Rand
	other  *rand.Rand
	pushes *rand.Rand
	quiet  bool // inject nothing

	mu       sync.Mutex
	counts   map[string]int
	unpushed []error // of pushes that did not get through
}

// fault is one kind of fault. run returns when the fault is repaired. If ctx ends,
// it repairs the fault and returns soon after.
type fault struct {
	name   string
	outage bool
	run    func(ctx context.Context, rng *rand.Rand) error
}

func newFaults(r *run) *faults {
	f := &faults{
		r: r, counts: map[string]int{},
		kills: rand.New(rand.NewPCG(r.opts.Seed, 1<<32)), other: rand.New(rand.NewPCG(r.opts.Seed, 2<<32)), pushes: rand.New(rand.NewPCG(r.opts.Seed, 3<<32)),
	}
	c := r.cluster
	f.deck = []fault{
		{"stop", false, f.stop},
		{"term", false, f.terminate},
		{"resize", false, f.resize},
		{"snapshot_damage", false, f.damage},
		{"kafka_kill", true, f.outage(c.kafka, 500, 2000)},
		{"redis_kill", true, f.outage(c.redis, 500, 3000)},
		{"redis_flush", false, f.flush},
		{"redis_refuse", true, f.network(c.toRedis, proxy.Refuse, 0)},
		{"redis_lose_answer", true, f.network(c.toRedis, proxy.LoseAnswer, 0)},
		{"clickhouse_kill", true, f.outage(c.clickhouse, 1000, 4000)},
		{"clickhouse_refuse", true, f.network(c.toClickHouse, proxy.Refuse, 0)},
		{"clickhouse_blackhole", true, f.network(c.toClickHouse, proxy.Blackhole, 0)},
		{"clickhouse_lose_answer", true, f.network(c.toClickHouse, proxy.LoseAnswer, 0)},
		{"clickhouse_slow", true, f.network(c.toClickHouse, proxy.Pass, 150*time.Millisecond)},
	}
	return f
}

func (f *faults) note(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[name]++
}

func (f *faults) count(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[name]
}

func (f *faults) outages() (n int) {
	for _, k := range f.deck {
		if k.outage {
			n += f.count(k.name)
		}
	}
	return n
}

// Workers are killed every 3 to 7 s; other faults follow one another with a pause of
// 1 to 4 s.
const (
	killRest, killSpread   = 3 * time.Second, 4 * time.Second
	otherRest, otherSpread = time.Second, 3 * time.Second
)

// run injects faults until ctx ends, and leaves everything repaired.
func (f *faults) run(ctx context.Context) {
	if f.quiet {
		<-ctx.Done()
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for pause(ctx, killRest+rand64(f.kills, killSpread)) {
			f.kill()
		}
	})
	wg.Go(func() { f.runOthers(ctx) })
	wg.Go(func() { f.runPushes(ctx) })
	wg.Wait()
	f.r.cluster.wake()
}

// runOthers goes through the deck, shuffles it, and starts over.
func (f *faults) runOthers(ctx context.Context) {
	for {
		for _, i := range f.other.Perm(len(f.deck)) {
			if !pause(ctx, otherRest+rand64(f.other, otherSpread)) {
				return
			}
			k := f.deck[i]
			f.note(k.name)
			if err := k.run(ctx, f.other); err != nil {
				f.r.event("%s: %v", k.name, err)
			}
			f.r.track.begin(k.name)
		}
	}
}

func rand64(rng *rand.Rand, below time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(below)))
}

// pause waits, and returns false if ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func (f *faults) kill() {
	p := f.r.cluster.pick(f.kills.IntN(mostWorkers))
	if p.Signal(syscall.SIGKILL) != nil {
		return // it is restarting
	}
	f.note("kill")
	f.r.event("kill -9 of %s", p.Name)
	f.r.track.begin("kill")
}

// stop pauses a worker for longer than its session timeout. So others take its
// partitions, and it resumes in the belief that it still owns them.
func (f *faults) stop(ctx context.Context, rng *rand.Rand) error {
	p := f.r.cluster.pick(rng.IntN(mostWorkers))
	d := 2*sessionTimeout + rand64(rng, sessionTimeout)
	f.r.event("%s is stopped for %.1f s", p.Name, d.Seconds())
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return nil // it is restarting
	}
	pause(ctx, d)
	_ = p.Signal(syscall.SIGCONT) // it may have been killed meanwhile
	return nil
}

func (f *faults) terminate(_ context.Context, rng *rand.Rand) error {
	p := f.r.cluster.pick(rng.IntN(mostWorkers))
	f.r.event("SIGTERM to %s", p.Name)
	_ = p.Signal(syscall.SIGTERM)
	return nil
}

func (f *faults) resize(ctx context.Context, rng *rand.Rand) error {
	n := 1 + rng.IntN(mostWorkers)
	f.r.event("%d workers, after %d", n, f.r.cluster.running())
	if err := f.r.cluster.resize(n); err != nil {
		return err
	}
	pause(ctx, 2*time.Second+rand64(rng, 4*time.Second))
	return f.r.cluster.resize(f.r.opts.Workers)
}

// outage kills a server, and restarts it after between low and high ms.
func (f *faults) outage(s *servers.Server, low, high int64) func(context.Context, *rand.Rand) error {
	return func(ctx context.Context, rng *rand.Rand) error {
		d := time.Duration(low+rng.Int64N(high-low)) * time.Millisecond
		f.r.event("kill -9 of %s, for %.1f s", f.r.cluster.nameOf(s), d.Seconds())
		s.Kill()
		pause(ctx, d)
		if err := s.Start(context.WithoutCancel(ctx)); err != nil {
			return fmt.Errorf("start again: %w", err)
		}
		return nil
	}
}

func (c *cluster) nameOf(s *servers.Server) string {
	switch s {
	case c.kafka:
		return "the broker"
	case c.redis:
		return "Redis"
	}
	return "ClickHouse"
}

// flush empties Redis.
func (f *faults) flush(ctx context.Context, _ *rand.Rand) error {
	f.r.event("FLUSHALL")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	client := goredis.NewClient(&goredis.Options{Addr: f.r.cluster.redis.Addr})
	defer client.Close()
	return client.FlushAll(ctx).Err()
}

// network makes a proxy misbehave for 2 to 5 s.
func (f *faults) network(p *proxy.Proxy, m proxy.Mode, delay time.Duration) func(context.Context, *rand.Rand) error {
	return func(ctx context.Context, rng *rand.Rand) error {
		d := 2*time.Second + rand64(rng, 3*time.Second)
		to := "ClickHouse"
		if p == f.r.cluster.toRedis {
			to = "Redis"
		}
		f.r.event("the way to %s: %s, delay %v, for %.1f s", to, m, delay, d.Seconds())
		p.Set(m, delay)
		pause(ctx, d)
		p.Set(proxy.Pass, 0)
		return nil
	}
}
