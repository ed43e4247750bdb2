package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/client"
	"github.com/weirdev/weir/gate/http1"
	"github.com/weirdev/weir/gate/listen"
	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/telemetry"
	"github.com/weirdev/weir/proof/servers"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
	"github.com/weirdev/weir/sink/redis"
)

// Targets of the gate. The times are 99th percentiles of one caller that waits for
// each answer.
const (
	inProcessShare = 0.01 // of a Redis GET over TCP
	socketShare    = 0.75 // of a Redis GET over a Unix socket
	warmTrips      = 0    // round trips to Redis while everything is known

	gateRounds  = 5
	gateCalls   = 3000 // per round and side
	gatePeople  = 200
	gateAccused = 10 // every tenth person has a score
)

// Gate measures decisions beside a Redis that it starts, and prints. reached says
// whether every target is reached.
func Gate(ctx context.Context, out io.Writer) (reached bool, err error) {
	r := &report{out: out}
	fmt.Fprintf(out, "%s, %d CPUs, %s/%s; decisions of a gate beside GETs of Redis\n\n", runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	defer debug.SetGCPercent(debug.SetGCPercent(app.GateGCPercent)) // as weir-gate does
	ctx, cancel := context.WithCancel(ctx)
	w, err := newGateWorld(ctx)
	defer func() {
		cancel()
		w.close()
	}()
	if err != nil {
		return false, err
	}
	for _, measure := range []func(context.Context, *report) error{w.trips, w.latencies, w.rates, w.processes} {
		if err := measure(ctx, r); err != nil {
			return false, err
		}
	}
	return r.missed == 0, nil
}

// gateWorld is a gate whose cache is warm, and what it is compared with.
type gateWorld struct {
	closing []func()
	dir     string

	gate      *gate.Gate
	store     *counting
	questions []gate.Request
	bodies    [][]byte

	redisTCP, redisUnix string // addresses of Redis
	secret              string // of the stream
	key                 string // of a score in Redis
	socket, echo, bytes string // Unix sockets of the gate, of a bare net/http server, and of one that echoes bytes

	process       *servers.Server // a weir-gate that knows what the gate knows
	processSocket string
	echoes        *servers.Server // what weir-gate is compared with
	echoSocket    string          // for HTTP
	bytesSocket   string
}

func (w *gateWorld) close() {
	for _, c := range slices.Backward(w.closing) {
		c()
	}
}

func (w *gateWorld) atEnd(f func()) { w.closing = append(w.closing, f) }

// counting counts round trips.
type counting struct {
	*redis.Reader
	trips atomic.Int64
}

func (c *counting) Fetch(ctx context.Context, keys []string) ([]score.Value, []bool, error) {
	c.trips.Add(1)
	return c.Reader.Fetch(ctx, keys)
}

// newGateWorld starts everything. What it has started must be closed, even if it
// fails; servers end with ctx.
func newGateWorld(ctx context.Context) (*gateWorld, error) {
	w := &gateWorld{}
	dir, err := os.MkdirTemp("", "weir-bench-")
	if err != nil {
		return w, err
	}
	w.dir = dir
	w.atEnd(func() { _ = os.RemoveAll(dir) })
	if w.redisTCP, err = servers.FreeAddr(); err != nil {
		return w, err
	}
	w.redisUnix = filepath.Join(dir, "redis.sock")
	server, err := servers.Redis(w.redisTCP, dir, "--unixsocket", w.redisUnix)
	if err != nil {
		return w, err
	}
	w.atEnd(server.Kill)
	if err := server.Start(ctx); err != nil {
		return w, err
	}
	w.ask()
	if err := w.startGate(ctx); err != nil {
		return w, err
	}
	w.socket, w.echo, w.bytes = filepath.Join(dir, "gate.sock"), filepath.Join(dir, "echo.sock"), filepath.Join(dir, "bytes.sock")
	if err := w.serve(ctx, w.socket, w.gate.Handler(), w.gate); err != nil {
		return w, err
	}
	l, err := net.Listen("unix", w.bytes)
	if err != nil {
		return w, err
	}
	w.background(func() { _ = echoBytes(ctx, l) })
	return w, w.serve(ctx, w.echo, echo(), nil)
}

// echo answers with what it got: what net/http itself costs.
func echo() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			rw.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = rw.Write(body)
	})
}

// ask makes the questions of the people, each about seven entities.
func (w *gateWorld) ask() {
	for i := range gatePeople {
		n := strconv.Itoa(i)
		e := new(event.Event)
		e.SetText(event.Method, "GET")
		e.SetText(event.AppVersion, "4.2.0")
		q := client.Request{Tenant: "shop", Route: "/users/{id}", Fields: e, Entities: client.Entities{
			client.Account: "account-" + n, client.Session: "session-" + n, client.Token: "token-" + n, client.Device: "device-" + n, client.IP: "203.0.113." + n,
		}}
		body := q.AppendJSON(nil)
		req, err := gate.ParseRequest(body)
		if err != nil {
			panic(err) // a programming error
		}
		w.questions, w.bodies = append(w.questions, req), append(w.bodies, body)
	}
}

func (w *gateWorld) startGate(ctx context.Context) error {
	w.secret = "for a measurement only, no secret"
	cfg, log := app.Defaults(), slog.New(slog.DiscardHandler)
	cfg.Stream.Secret = w.secret
	secret, err := cfg.Stream.RiskKey()
	if err != nil {
		return err
	}
	cfg.Redis.Addrs = []string{w.redisTCP}
	if err := w.accuse(ctx, cfg.Redis, secret); err != nil {
		return err
	}
	reader, err := redis.NewReader(cfg.Redis, redis.Dependencies{Secret: secret})
	if err != nil {
		return err
	}
	w.atEnd(func() { _ = reader.Close() })
	w.store = &counting{Reader: reader}
	risk, err := lookup.New(cfg.Gate.Lookup, lookup.Dependencies{Store: w.store, Codec: reader.Codec(), Timeout: cfg.Redis.ReadTimeout})
	if err != nil {
		return err
	}
	w.background(func() { _ = risk.Run(ctx) })
	words, err := rules.Default(detectors.All())
	if err != nil {
		return err
	}
	policies, err := policy.Watch("", words, log, nil)
	if err != nil {
		return err
	}
	w.key = reader.Codec().Key(w.questions[0].Entities[0])
	w.gate, err = gate.New(cfg.Gate.Config, gate.Dependencies{Risk: risk, Policies: policies, Shares: policy.NewHashed([16]byte{})})
	return err
}

// background runs f, which ends with the context of the world.
func (w *gateWorld) background(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	w.atEnd(func() { <-done })
}

// accuse gives some people a score, as a worker does.
func (w *gateWorld) accuse(ctx context.Context, cfg redis.Config, secret []byte) error {
	writer, err := redis.NewWriter(cfg, redis.Dependencies{Secret: secret})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- writer.Run(ctx) }()
	track := writer.Open(1)
	for i := 0; i < gatePeople && err == nil; i += gateAccused {
		offset := int64(i + 1)
		err = track.Put(ctx, offset, score.Update{
			Entity: w.questions[i].Entities[0], Position: score.Position{Incarnation: 1, Partition: 1, Offset: offset},
			Contributions: []score.Contribution{{
				Rule: "login-brute-force", Category: "account_takeover", Reason: "many_failures", Phase: rules.Enforce, Weight: 60, HalfLife: 3600, Time: time.Now().UnixMilli(),
			}},
		})
	}
	if err == nil {
		err = track.Drain(ctx)
	}
	cancel()
	return errors.Join(err, <-done)
}

// serve answers on a Unix socket: with a decider as weir-gate does, otherwise with
// net/http alone.
func (w *gateWorld) serve(ctx context.Context, path string, h http.Handler, decider http1.Decider) error {
	access, err := listen.New(listen.Defaults())
	if err != nil {
		return err
	}
	l, err := access.Open(ctx, "unix:"+path)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	srv := &http.Server{Handler: h, ErrorLog: telemetry.ErrorLog(log)}
	if decider == nil {
		w.background(func() { _ = listen.ServeHTTP(ctx, l, srv, policy.MaxBudget) })
		return nil
	}
	w.background(func() {
		_ = http1.Serve(ctx, l, http1.Dependencies{Decider: decider, Knows: access.Knows, Others: srv, Logger: log, Longest: policy.MaxBudget})
	})
	return nil
}

// trips counts round trips of decisions on people who are known.
func (w *gateWorld) trips(ctx context.Context, r *report) error {
	decide := w.inProcess(ctx)
	for range gatePeople {
		if err := decide(); err != nil {
			return err
		}
	}
	before := w.store.trips.Load()
	for range 10 * gatePeople {
		if err := decide(); err != nil {
			return err
		}
	}
	n := w.store.trips.Load() - before
	r.line("round trips to Redis, everything known", strconv.FormatInt(n, 10), strconv.Itoa(warmTrips), n == warmTrips)
	return nil
}

// inProcess decides on one person after the other.
func (w *gateWorld) inProcess(ctx context.Context) func() error {
	i := 0
	return func() error {
		d := w.gate.Decide(ctx, w.questions[i%gatePeople])
		if want := i%gatePeople%gateAccused == 0; (d.Score > 0) != want && !d.Degraded {
			return fmt.Errorf("a wrong decision on person %d: %+v", i%gatePeople, d)
		}
		i++
		return nil
	}
}

// latencies compares times, side by side in rounds. Over sockets, the gate is a process
// of its own, as Redis is.
func (w *gateWorld) latencies(ctx context.Context, r *report) error {
	tcp, err := w.redisGet(ctx, "tcp", w.redisTCP)
	if err != nil {
		return err
	}
	unix, err := w.redisGet(ctx, "unix", w.redisUnix)
	if err != nil {
		return err
	}
	w.process, w.processSocket, err = w.gateProcess(ctx)
	if err != nil {
		return err
	}
	if err := w.echoProcess(ctx); err != nil {
		return err
	}
	nearEcho, err := w.echoed(ctx, w.bytes)
	if err != nil {
		return err
	}
	farEcho, err := w.echoed(ctx, w.bytesSocket)
	if err != nil {
		return err
	}
	raw, err := w.rawHTTP(ctx, "unix", w.processSocket, "/v1/decide", w.bodies)
	if err != nil {
		return err
	}
	near, err := w.rawHTTP(ctx, "unix", w.socket, "/v1/decide", w.bodies)
	if err != nil {
		return err
	}
	c, err := client.New(client.Config{Address: "unix:" + w.processSocket, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer c.Close()
	asked := 0
	sides := []*side{
		{name: "a decision in the process", call: w.inProcess(ctx)}, {name: "Redis GET over TCP", call: tcp},
		{name: "weir-gate over a Unix socket", call: raw}, {name: "Redis GET over a Unix socket", call: unix},
		{name: "weir-gate by gate/client over a Unix socket", call: func() error {
			q := client.Of(&w.questions[asked%gatePeople])
			asked++
			_, err := c.Decide(ctx, q)
			return err
		}},
		{name: "a gate in this process over a Unix socket", call: near},
		{name: "an echo of bytes in this process", call: nearEcho}, {name: "an echo of bytes in a process of its own", call: farEcho},
	}
	for _, s := range sides { // a server waits two seconds for the first request
		if err := s.call(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	for range gateRounds {
		for _, s := range sides {
			if err := s.round(); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	for _, s := range sides {
		r.note("%-46s %16s   median %v", s.name+", p99", s.p99(), s.median())
	}
	ratio := func(what string, a, b *side, bar float64) {
		share := float64(a.p99()) / float64(b.p99())
		r.line(what, fmt.Sprintf("%.4f", share), fmt.Sprintf("%.2f", bar), share <= bar)
	}
	ratio("in the process ÷ Redis GET over TCP, p99", sides[0], sides[1], inProcessShare)
	ratio("weir-gate ÷ Redis GET, Unix sockets, p99", sides[2], sides[3], socketShare)
	beside := func(what string, a *side, why string) {
		r.note("%-46s %16.4f   no bar: %s", what+" ÷ Redis GET, p99", float64(a.p99())/float64(sides[3].p99()), why)
	}
	beside("the gate in this process", sides[5], "it and its caller share a process")
	beside("an echo in this process", sides[6], "it decides nothing")
	beside("an echo in its own process", sides[7], "it decides nothing")
	return nil
}

// side is one side of a comparison.
type side struct {
	name     string
	call     func() error
	p50, p9s []time.Duration // one for each round
}

// round times calls, one after the other.
func (s *side) round() error {
	took := make([]time.Duration, gateCalls)
	for range gateCalls / 10 { // caches and connections
		if err := s.call(); err != nil {
			return err
		}
	}
	for i := range took {
		start := time.Now()
		if err := s.call(); err != nil {
			return err
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	s.p50, s.p9s = append(s.p50, took[gateCalls/2]), append(s.p9s, took[gateCalls*99/100])
	return nil
}

// p99 returns the median of the rounds.
func (s *side) p99() time.Duration { return middle(s.p9s) }

func (s *side) median() time.Duration { return middle(s.p50) }

func middle(all []time.Duration) time.Duration { return slices.Sorted(slices.Values(all))[len(all)/2] }

// dial connects until the end of the world.
func (w *gateWorld) dial(ctx context.Context, network, addr string) (net.Conn, *bufio.Reader, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, nil, err
	}
	w.atEnd(func() { _ = c.Close() })
	return c, bufio.NewReader(c), nil
}

// redisGet reads a score in Redis's own protocol, without a library.
func (w *gateWorld) redisGet(ctx context.Context, network, addr string) (func() error, error) {
	c, in, err := w.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	command := fmt.Appendf(nil, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len(w.key), w.key)
	return func() error {
		if _, err := c.Write(command); err != nil {
			return err
		}
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(line[1 : len(line)-2]))
		if err != nil || line[0] != '$' || n <= 0 {
			return fmt.Errorf("not what Redis answers: %q", line)
		}
		_, err = in.Discard(n + 2)
		return err
	}, nil
}

// echoedBytes is how many bytes an echo gets.
const echoedBytes = 64

// echoed asks an echo of bytes on a Unix socket.
func (w *gateWorld) echoed(ctx context.Context, path string) (func() error, error) {
	c, in, err := w.dial(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	question := make([]byte, echoedBytes)
	return func() error {
		if _, err := c.Write(question); err != nil {
			return err
		}
		_, err := in.Discard(echoedBytes)
		return err
	}, nil
}

// rawHTTP posts bodies in turn, without a library.
func (w *gateWorld) rawHTTP(ctx context.Context, network, addr, path string, bodies [][]byte) (func() error, error) {
	c, in, err := w.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	requests := make([][]byte, len(bodies))
	for i, b := range bodies {
		requests[i] = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(b), b)
	}
	const length = "Content-Length: "
	i := 0
	return func() error {
		if _, err := c.Write(requests[i%len(requests)]); err != nil {
			return err
		}
		i++
		n := 0
		for first := true; ; first = false {
			line, err := in.ReadSlice('\n')
			switch {
			case err != nil:
				return err
			case first && string(line) != "HTTP/1.1 200 OK\r\n":
				return fmt.Errorf("the answer is %q", line)
			case len(line) > len(length) && string(line[:len(length)]) == length:
				if n, err = strconv.Atoi(string(line[len(length) : len(line)-2])); err != nil {
					return err
				}
			case len(line) == 2:
				_, err = in.Discard(n)
				return err
			}
		}
	}, nil
}

// rates compares decisions with what net/http itself does, per CPU second of both
// ends, which are in this process.
func (w *gateWorld) rates(ctx context.Context, r *report) error {
	decide, err := w.rawHTTP(ctx, "unix", w.socket, "/v1/decide", w.bodies)
	if err != nil {
		return err
	}
	if err := decide(); err != nil {
		return err
	}
	perSecond := func(work func() error) (float64, error) {
		each, err := measure(ctx, 1, work)
		return float64(time.Second) / float64(each), err
	}
	decisions, err := perSecond(decide)
	if err != nil {
		return err
	}
	echo, err := w.rawHTTP(ctx, "unix", w.echo, "/", w.bodies)
	if err != nil {
		return err
	}
	echoes, err := perSecond(echo)
	if err != nil {
		return err
	}
	r.note("%-46s %16.0f   a bare net/http echo: %.0f (%.2f)", "decisions a CPU second, both ends, Unix socket", decisions, echoes, decisions/echoes)
	inProcess, err := perSecond(w.inProcess(ctx))
	if err != nil {
		return err
	}
	r.note("%-46s %16.0f", "decisions a CPU second in the process", inProcess)
	return nil
}
