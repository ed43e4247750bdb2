package redis

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	goredis "github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/quota"
)

// counted is the brute-force model: all times that ever counted, by counter.
type counted map[string][]int64

// take decides on a request at a time (µs).
func (m counted) take(counters []quota.Counter, now int64) []quota.Count {
	counts, moments, refused := make([]quota.Count, len(counters)), make([]int64, len(counters)), false
	for i, c := range counters {
		moments[i] = m.moment(&c, now)
		counts[i].Exceeded = len(m.window(&c, moments[i])) >= c.Most
		refused = refused || counts[i].Exceeded && c.Refuses
	}
	for i, c := range counters {
		if c.All || !counts[i].Exceeded && !refused {
			m[c.ID] = append(m[c.ID], moments[i])
		}
		in := m.window(&c, moments[i])
		in = in[max(0, len(in)-c.Most):]
		counts[i].Remaining = c.Most - len(in)
		if len(in) > 0 {
			counts[i].Reset = time.Duration(in[0]+c.Window.Microseconds()-now) * time.Microsecond
		}
	}
	return counts
}

// moment is the time of a request for a counter, which never goes back by less than
// a window.
func (m counted) moment(c *quota.Counter, now int64) int64 {
	last := int64(math.MinInt64)
	for _, at := range m[c.ID] {
		last = max(last, at)
	}
	if last > now+c.Window.Microseconds() {
		m[c.ID] = nil
		return now
	}
	return max(now, last)
}

// window lists the times that count at a moment.
func (m counted) window(c *quota.Counter, moment int64) (in []int64) {
	for _, at := range m[c.ID] {
		if at > moment-c.Window.Microseconds() && at <= moment {
			in = append(in, at)
		}
	}
	return in
}

// schedule is a random sequence of requests against some counters.
type schedule struct {
	counters []quota.Counter
	steps    []step
}

type step struct {
	later    int64 // µs after the one before; negative: the clock goes back
	counters []int
}

// account is an entity of which there are as many as schedules.
func account(name string) []facet.Entity {
	return []facet.Entity{{Kind: facet.Account, Tenant: "shop", Key: name}}
}

// draw makes a schedule whose times meet the ends of windows often. Without
// backwards, its clock never goes back.
func draw(rng *rand.Rand, name string, backwards bool) schedule {
	var s schedule
	for i := range 1 + rng.IntN(3) {
		s.counters = append(s.counters, quota.Counter{
			ID: fmt.Sprint("limit-", i), Entities: account(name), Most: 1 + rng.IntN(4), Window: time.Duration(1+rng.IntN(4)) * time.Millisecond,
			Refuses: rng.IntN(3) > 0, All: rng.IntN(3) == 0,
		})
	}
	for range 4 + rng.IntN(12) {
		st := step{later: []int64{0, 1, 250, 500, 999, 1000, 1001, 4000}[rng.IntN(8)]}
		if backwards && rng.IntN(8) == 0 {
			st.later = -st.later
		}
		for i := range s.counters {
			if rng.IntN(4) > 0 {
				st.counters = append(st.counters, i)
			}
		}
		if len(st.counters) > 0 {
			s.steps = append(s.steps, st)
		}
	}
	return s
}

// differs runs a schedule on a server with a clock that the test sets, and says where
// its answers are not those of the model; "" if they agree.
func (s *schedule) differs(ctx context.Context, r *Reader, set func(time.Time)) string {
	now, model := int64(1_800_000_000_000_000), counted{}
	for n, st := range s.steps {
		now += st.later
		set(time.UnixMicro(now))
		var counters []quota.Counter
		for _, i := range st.counters {
			counters = append(counters, s.counters[i])
		}
		got, want := r.Take(ctx, [][]quota.Counter{counters})[0], model.take(counters, now)
		if got.Err != nil || got.At.UnixMicro() != now || !slices.Equal(got.Counts, want) {
			return fmt.Sprintf("step %d of %+v: got %+v, want %+v", n, *s, got, want)
		}
	}
	return ""
}

// limitReader waits long for a server, since tests share their machine.
func limitReader(t testing.TB, s server) *Reader {
	t.Helper()
	cfg := testConfig(s)
	cfg.ReadTimeout, cfg.DialTimeout = time.Minute, time.Minute
	return newTestReader(t, cfg)
}

// schedules is how many random schedules a test runs: 10,000 in a full run.
func schedules() int {
	if testing.Short() {
		return 500
	}
	return 10_000
}

// TestTheScriptCountsAsTheModel compares it on random schedules, also with a clock
// that goes back.
func TestTheScriptCountsAsTheModel(t *testing.T) {
	const parts = 2
	for part := range parts {
		t.Run(fmt.Sprint("part ", part), func(t *testing.T) {
			t.Parallel()
			server := startFake(t)
			r, rng := limitReader(t, server), rand.New(rand.NewPCG(1, uint64(part)))
			for n := range schedules() / parts {
				s := draw(rng, fmt.Sprint("user-", n), true)
				if wrong := s.differs(t.Context(), r, server.SetTime); wrong != "" {
					t.Fatalf("schedule %d: %s", n, wrong)
				}
				if n%100 == 0 {
					server.FlushAll()
				}
			}
		})
	}
}

// TestBugsOfTheScriptAreCaught seeds one bug at a time, which the same comparison
// must find.
func TestBugsOfTheScriptAreCaught(t *testing.T) {
	for _, bug := range []struct{ name, old, now string }{
		{"none", "", ""},
		{"one too many is admitted", "l.count >= l.most", "l.count > l.most"},
		{"the window ends too late", "t > from then", "t >= from then"},
		{"the window ends too soon", "l.now - l.window, math", "l.now - l.window + 1, math"},
		{"what still counts is trimmed", "key, l.first, -1)", "key, l.first + 1, -1)"},
		{"a refused request counts", "not (refused or l.exceeded)", "not l.exceeded"},
		{"an observed one that exceeds counts", "not (refused or l.exceeded)", "not refused"},
		{"an observed one refuses", "l.exceeded and ARGV[a + 3] == '1'", "l.exceeded"},
		{"refused requests never count", "ARGV[4 * i] == '1' or", ""},
		{"time goes back", "l.now = math.max(now, last)", "l.now = now"},
		{"a time of the future stays", "last <= now + l.window", "last"},
		{"seconds alone", "time[1] * 1000000 + time[2]", "time[1] * 1000000"},
		{"the key expires too soon", "'PEXPIREAT', key, math.ceil((l.now + l.window)", "'PEXPIREAT', key, math.ceil(l.now"},
		{"the newest tells when one more fits", "at(key, l.first) or now", "at(key, -1) or now"},
		{"it tells more than fits", "l.most - l.count\n", "l.most - l.count + 1\n"},
	} {
		t.Run(bug.name, func(t *testing.T) {
			server := startFake(t)
			r := limitReader(t, server)
			if bug.old != "" && strings.Count(limitScript, bug.old) != 1 {
				t.Fatalf("%q is there %d times", bug.old, strings.Count(limitScript, bug.old))
			}
			r.limits = strings.Replace(limitScript, bug.old, bug.now, 1)
			r.limitsName = scriptName(r.limits)
			if found := r.contradicts(t, server); found != (bug.old != "") {
				t.Errorf("the schedules contradict the model: %v", found)
			}
		})
	}
}

// contradicts runs hundreds of schedules and reports whether one differs from the
// model. The clock goes back in every other one. In the rest, keys expire by it.
func (r *Reader) contradicts(t *testing.T, server *fake) bool {
	rng := rand.New(rand.NewPCG(2, 0))
	for n := range 400 {
		back, last := n%2 == 0, time.Time{}
		s := draw(rng, fmt.Sprint("user-", n), back)
		set := func(at time.Time) {
			if !back && !last.IsZero() {
				server.FastForward(at.Sub(last))
			}
			last = at
			server.SetTime(at)
		}
		if s.differs(t.Context(), r, set) != "" {
			return true
		}
	}
	return false
}

// TestARealServerCountsAsTheModel lets its clock run, and goes by the times that it
// returns: the model must agree with every answer, also when the server stalls for
// longer than a window within the script.
func TestARealServerCountsAsTheModel(t *testing.T) {
	const expiry = "  if counts then redis.call('PEXPIREAT'"
	for name, before := range map[string]string{
		"running": "",
		"stalls":  "  if now % 16 == 0 then local t repeat t = redis.call('TIME') until t[1] * 1000000 + t[2] > now + 6000 end\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := limitReader(t, startReal(t))
			if strings.Count(limitScript, expiry) != 1 {
				t.Fatalf("%q is not there once", expiry)
			}
			r.limits = strings.Replace(limitScript, expiry, before+expiry, 1)
			r.limitsName = scriptName(r.limits)
			countsAsTheModel(t, r)
		})
	}
}

func countsAsTheModel(t *testing.T, r *Reader) {
	rng, exceeded := rand.New(rand.NewPCG(3, 0)), 0
	for n := range 300 {
		s, model := draw(rng, fmt.Sprint("user-", n), false), counted{}
		for range 3 {
			for _, st := range s.steps {
				var counters []quota.Counter
				for _, i := range st.counters {
					counters = append(counters, s.counters[i])
				}
				got := r.Take(t.Context(), [][]quota.Counter{counters})[0]
				if want := model.take(counters, got.At.UnixMicro()); got.Err != nil || !slices.Equal(got.Counts, want) {
					t.Fatalf("schedule %d: got %+v, want %+v of %+v", n, got, want, counters)
				}
				if got.Counts[0].Exceeded {
					exceeded++
				}
			}
		}
	}
	if exceeded < 100 {
		t.Errorf("only %d requests were too many", exceeded)
	}
}

// TestTwoGatesAdmitExactlyTheMost: 50 clients at each of two gates send as fast as
// they can, against a limit of 100 per minute, and a log has every admission.
func TestTwoGatesAdmitExactlyTheMost(t *testing.T) {
	const clients, most = 50, 100
	run := func(t *testing.T, s server, window time.Duration, requests int, latest time.Duration, between func()) {
		counter := quota.Counter{ID: "search", Entities: account("alice"), Most: most, Window: window, Refuses: true}
		var mu sync.Mutex
		var admitted []int64
		var wg sync.WaitGroup
		for range 2 {
			gate := limitReader(t, s)
			for range clients {
				wg.Go(func() {
					for range requests {
						a := gate.Take(t.Context(), [][]quota.Counter{{counter}})[0]
						mu.Lock()
						switch {
						case a.Err != nil:
							t.Error(a.Err)
						case !a.Counts[0].Exceeded:
							admitted = append(admitted, a.At.UnixMicro())
						}
						between()
						mu.Unlock()
					}
				})
			}
		}
		wg.Wait()
		slices.Sort(admitted)
		for i := most; i < len(admitted); i++ {
			if admitted[i]-admitted[i-most] < window.Microseconds() {
				t.Fatalf("%d are admitted between %d and %d", most+1, admitted[i-most], admitted[i])
			}
		}
		if len(admitted) < 2*most {
			t.Fatalf("only %d are admitted: too few windows to judge", len(admitted))
		}
		for i := most; i < len(admitted); i++ {
			if late := admitted[i] - admitted[i-most] - window.Microseconds(); late > latest.Microseconds() {
				t.Fatalf("admission %d came %d µs after it fitted", i, late)
			}
		}
	}
	t.Run("miniredis", func(t *testing.T) {
		s := startFake(t)
		now := time.UnixMicro(1_800_000_000_000_000)
		s.SetTime(now)
		const step = 60 * time.Millisecond
		// Every client may have an answer, and move the clock on, before the next question
		// is asked.
		latest := 2 * clients * (2*step + time.Microsecond)
		run(t, s, time.Minute, 40, latest, func() { // four minutes, unevenly
			now = now.Add(time.Duration(now.UnixMicro()%3) * step).Add(time.Microsecond)
			s.SetTime(now)
		})
	})
	t.Run("redis-server", func(t *testing.T) {
		run(t, startReal(t), 100*time.Millisecond, 300, time.Minute, func() {}) // a busy machine sends late
	})
}

// TestWhatOthersPutIntoALimitsPlaceBlocksNobody: it begins anew.
func TestWhatOthersPutIntoALimitsPlaceBlocksNobody(t *testing.T) {
	future := strconv.FormatInt(time.Now().Add(100*time.Hour).UnixMicro(), 10)
	list := func(values ...any) func(context.Context, *goredis.Client, string) error {
		return func(ctx context.Context, c *goredis.Client, key string) error {
			return c.RPush(ctx, key, values...).Err()
		}
	}
	for name, put := range map[string]func(context.Context, *goredis.Client, string) error{
		"a text": func(ctx context.Context, c *goredis.Client, key string) error { return c.Set(ctx, key, "100", 0).Err() },
		"a hash": func(ctx context.Context, c *goredis.Client, key string) error {
			return c.HSet(ctx, key, "a", "b").Err()
		},
		"a set": func(ctx context.Context, c *goredis.Client, key string) error { return c.SAdd(ctx, key, "a").Err() },
		"a sorted set": func(ctx context.Context, c *goredis.Client, key string) error {
			return c.ZAdd(ctx, key, goredis.Z{Score: 1, Member: "a"}).Err()
		},
		"texts":              list("a", "b", "c"),
		"times to come":      list(future, future, future),
		"infinity":           list("inf", "inf", "inf"),
		"no number":          list("nan", "nan", "nan"),
		"a megabyte":         list("1", strings.Repeat("x", 1<<20)),
		"bytes, and no text": list("\xff\x00\xfe"),
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, s server) {
				r := limitReader(t, s)
				counter := quota.Counter{ID: "login", Entities: account("alice"), Most: 2, Window: time.Minute, Refuses: true}
				_, key := r.limitKey(&counter)
				c := connect(t, s)
				if err := put(t.Context(), c, key); err != nil {
					t.Fatal(err)
				}
				for n, exceeded := range []bool{false, false, true} {
					a := r.Take(t.Context(), [][]quota.Counter{{counter}})[0]
					if a.Err != nil || a.Counts[0].Exceeded != exceeded {
						t.Fatalf("request %d: %+v", n, a)
					}
				}
				if got := testutil.ToFloat64(r.metrics.limitsAnew); got != 1 {
					t.Errorf("%v limits began anew", got)
				}
				if n := c.LLen(t.Context(), key).Val(); n != 2 {
					t.Errorf("%d times are kept", n)
				}
				if d := c.PTTL(t.Context(), key).Val(); d <= 30*time.Second || d > time.Minute+time.Second {
					t.Errorf("it lasts for %v", d)
				}
			})
		})
	}
}

// TestHostileTimesAmidAListDoNoHarm: among times that pass, answers stay in range.
func TestHostileTimesAmidAListDoNoHarm(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r, c := limitReader(t, s), connect(t, s)
		rng := rand.New(rand.NewPCG(4, 0))
		for n := range 300 {
			counter := quota.Counter{ID: "login", Entities: account(fmt.Sprint(n)), Most: 1 + rng.IntN(3), Window: time.Minute, Refuses: true, All: rng.IntN(2) == 0}
			_, key := r.limitKey(&counter)
			now := time.Now().UnixMicro()
			for range 1 + rng.IntN(8) {
				odd := []string{"x", "", "nan", "-inf", "inf", "1e300", "0x7f", strconv.FormatInt(now-1000, 10), strconv.FormatInt(now+1_000_000, 10), "9007199254740993"}
				if err := c.RPush(t.Context(), key, odd[rng.IntN(len(odd))]).Err(); err != nil {
					t.Fatal(err)
				}
			}
			for range 5 {
				a := r.Take(t.Context(), [][]quota.Counter{{counter}})[0]
				if a.Err != nil || a.Counts[0].Remaining < 0 || a.Counts[0].Remaining > counter.Most || a.Counts[0].Reset < 0 || a.Counts[0].Reset > 2*time.Minute {
					t.Fatalf("%+v", a)
				}
			}
			if kept := c.LLen(t.Context(), key).Val(); kept > 8 {
				t.Fatalf("%d entries are kept", kept)
			}
		}
	})
}

// TestAChangedLimitHoldsAtOnce: what was counted stays counted.
func TestAChangedLimitHoldsAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r, counter := limitReader(t, s), quota.Counter{ID: "login", Entities: account("alice"), Most: 5, Window: time.Minute, Refuses: true}
		take := func(most int) quota.Count {
			counter.Most = most
			a := r.Take(t.Context(), [][]quota.Counter{{counter}})[0]
			if a.Err != nil {
				t.Fatal(a.Err)
			}
			return a.Counts[0]
		}
		for range 4 {
			take(5)
		}
		if c := take(3); !c.Exceeded || c.Remaining != 0 {
			t.Errorf("lowered below what was counted: %+v", c)
		}
		if c := take(6); c.Exceeded || c.Remaining != 1 {
			t.Errorf("raised: %+v", c)
		}
	})
}

// TestManyRequestsShareARoundTrip, and a server that was restarted gets the script
// again.
func TestManyRequestsShareARoundTrip(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r := limitReader(t, s)
		both := func(name string) []quota.Counter {
			return []quota.Counter{
				{ID: "one", Entities: account(name), Most: 2, Window: time.Minute, Refuses: true},
				{ID: "both", Entities: append(account(name), facet.Entity{Kind: facet.IP, Tenant: "shop", Key: "203.0.113.9"}), Most: 9, Window: time.Minute, Refuses: true},
			}
		}
		check := func(what string, remaining ...int) {
			t.Helper()
			for i, a := range r.Take(t.Context(), [][]quota.Counter{both("alice"), both("bob"), both("alice")}) {
				if a.Err != nil || len(a.Counts) != 2 || a.Counts[0].Remaining != remaining[i] {
					t.Errorf("%s: request %d: %+v", what, i, a)
				}
			}
		}
		check("at first", 1, 1, 0)
		s.Stop(t)
		for _, a := range r.Take(t.Context(), [][]quota.Counter{both("alice"), both("bob")}) {
			if a.Err == nil || a.Counts != nil {
				t.Errorf("without a server: %+v", a)
			}
		}
		s.Start(t)
		eventually(t, "it answers", func() bool { return r.Ready(t.Context()) == nil })
		check("after a restart", 1, 1, 0)
	})
}

// TestInAClusterEachSlotHasItsCall: counters that begin with the same entity are
// checked together.
func TestInAClusterEachSlotHasItsCall(t *testing.T) {
	_, cfg := startCluster(t, 1)
	r := newTestReader(t, cfg)
	ip := []facet.Entity{{Kind: facet.IP, Tenant: "shop", Key: "203.0.113.9"}}
	counters := []quota.Counter{
		{ID: "account", Entities: account("alice"), Most: 9, Window: time.Minute, Refuses: true},
		{ID: "pair", Entities: append(account("alice"), ip...), Most: 2, Window: time.Minute, Refuses: true},
		{ID: "ip", Entities: ip, Most: 9, Window: time.Minute, Refuses: true},
	}
	if calls := r.limitCalls([][]quota.Counter{counters}); len(calls) != 2 || len(calls[0].keys) != 2 {
		t.Fatalf("%d calls", len(calls))
	}
	var a quota.Answer
	for range 3 {
		if a = r.Take(t.Context(), [][]quota.Counter{counters})[0]; a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	if c := a.Counts; c[0].Remaining != 7 || !c[1].Exceeded || c[2].Remaining != 6 {
		t.Errorf("%+v: the address alone may count what is refused elsewhere", c)
	}
	single := testConfig(startFake(t))
	if calls := newTestReader(t, single).limitCalls([][]quota.Counter{counters}); len(calls) != 1 {
		t.Errorf("%d calls without a cluster", len(calls))
	}
}

// TestKeysOfLimitsTellNothing: neither accounts nor addresses can be read in them.
func TestKeysOfLimitsTellNothing(t *testing.T) {
	r := limitReader(t, startFake(t))
	counter := quota.Counter{ID: "login", Entities: append(account("alice"), facet.Entity{Kind: facet.IP, Key: "203.0.113.9"})}
	if _, key := r.limitKey(&counter); key != "weir:risk:limit:login:{"+r.codec.Digest(counter.Entities[0])+"}:"+r.codec.Digest(counter.Entities[1]) {
		t.Error(key)
	}
}

// BenchmarkTake measures round trips with limits, by requests in each.
func BenchmarkTake(b *testing.B) {
	for _, on := range []string{"miniredis", "redis-server"} {
		for _, requests := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/%d requests", on, requests), func(b *testing.B) {
				var s server
				if on == "miniredis" {
					s = startFake(b)
				} else {
					s = startReal(b)
				}
				r := limitReader(b, s)
				batch := make([][]quota.Counter, requests)
				for i := range batch {
					name := account(fmt.Sprint("user-", i))
					batch[i] = []quota.Counter{
						{ID: "account", Entities: name, Most: 100, Window: time.Minute, Refuses: true},
						{ID: "pair", Entities: append(name, facet.Entity{Kind: facet.IP, Key: "203.0.113.9"}), Most: 5, Window: time.Minute, Refuses: true},
					}
				}
				b.ReportAllocs()
				for b.Loop() {
					r.Take(b.Context(), batch)
				}
			})
		}
	}
}

// TestALongListIsSearchedInFewSteps: the most expensive limit does not hold the
// server for long.
func TestALongListIsSearchedInFewSteps(t *testing.T) {
	s := startReal(t)
	r, c := limitReader(t, s), connect(t, s)
	counter := quota.Counter{ID: "long", Entities: account("alice"), Most: quota.MostRequests, Window: time.Hour, Refuses: true}
	_, key := r.limitKey(&counter)
	values, now := make([]any, quota.MostRequests), time.Now().UnixMicro()
	for i := range values {
		values[i] = now - int64(len(values)-i)*1000
	}
	if err := c.RPush(t.Context(), key, values...).Err(); err != nil {
		t.Fatal(err)
	}
	bytes := c.MemoryUsage(t.Context(), key).Val()
	if bytes > 110_000 {
		t.Errorf("it takes %d bytes", bytes)
	}
	for range 100 {
		if a := r.Take(t.Context(), [][]quota.Counter{{counter}})[0]; a.Err != nil || !a.Counts[0].Exceeded {
			t.Fatalf("%+v", a)
		}
	}
	info, err := c.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "cmdstat_evalsha:")
	line, _, _ := strings.Cut(rest, "\r\n")
	t.Log(line, bytes, "bytes")
	_, perCall, _ := strings.Cut(line, "usec_per_call=")
	perCall, _, _ = strings.Cut(perCall, ",")
	if us, err := strconv.ParseFloat(perCall, 64); err != nil || us > 1000 {
		t.Errorf("a call takes %s µs", perCall)
	}
}

// TestAUserWithoutTheCommandsIsToldSo: the gate then counts by itself.
func TestAUserWithoutTheCommandsIsToldSo(t *testing.T) {
	s := startReal(t)
	for _, commands := range []string{"+getrange", "+getrange +evalsha +script|load +time"} {
		if err := connect(t, s).Do(t.Context(), slices.Concat([]any{"acl", "setuser", "old-gate", "on", ">gate", "~weir:risk:*", "-@all"}, fields(commands))...).Err(); err != nil {
			t.Fatal(err)
		}
		cfg := testConfig(s)
		cfg.Username, cfg.Password = "old-gate", "gate"
		a := newTestReader(t, cfg).Take(t.Context(), [][]quota.Counter{{{ID: "login", Entities: account("alice"), Most: 1, Window: time.Minute}}})[0]
		if a.Err == nil || reasonOf(a.Err) != reasonDenied {
			t.Errorf("%s: %v", commands, a.Err)
		}
	}
}

func fields(text string) (all []any) {
	for _, f := range strings.Fields(text) {
		all = append(all, f)
	}
	return all
}
