package accesslog_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/gate/accesslog"
	"github.com/weirdev/weir/gate/emit"
)

const decision = "0e0b4b04-4c6f-4f39-9d59-0b2a5f6ad7f1"

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct {
		line string
		want emit.Outcome
	}{
		"nginx, by syslog": {
			`<190>Nov 30 06:40:44 edge-1 weir: {"decision_id":"` + decision + `","status":"401","response_bytes":"64","latency_s":"0.012","auth":"failure"}`,
			emit.Outcome{DecisionID: decision, Status: 401, ResponseBytes: 64, LatencyMicros: 12_000, Auth: "failure"},
		},
		"nginx, not asked": {`<190>Nov 30 06:40:44 edge-1 weir: {"decision_id":"","status":"200","response_bytes":"64","latency_s":"0.000","auth":""}`, emit.Outcome{Status: 200, ResponseBytes: 64}},
		"HAProxy, raw":     {`{"decision_id":"` + decision + `","status":"200","latency_ms":"7","auth":"-"}` + "\n", emit.Outcome{DecisionID: decision, Status: 200, LatencyMicros: 7000}},
		"HAProxy, aborted": {`{"decision_id":"-","status":"-1","latency_ms":"-1","auth":"-"}`, emit.Outcome{}},
		"Caddy, served": {
			`{"level":"info","ts":1796021511.7,"logger":"http.log.access.weir","msg":"handled request","bytes_read":12,"latency_s":0.000413,"response_bytes":18,"status":200,"decision_id":"` + decision + `","decision_id":"","auth":""}`,
			emit.Outcome{DecisionID: decision, Status: 200, ResponseBytes: 18, LatencyMicros: 413},
		},
		"Caddy, refused":       {`{"status":429,"decision_id":"","decision_id":"` + decision + `"}`, emit.Outcome{DecisionID: decision, Status: 429}},
		"microseconds":         {`{"decision_id":"` + decision + `","latency_us":2300}`, emit.Outcome{DecisionID: decision, LatencyMicros: 2300}},
		"a byte of zero":       {`{"status":200}` + "\x00", emit.Outcome{Status: 200}},
		"values no event has":  {`{"decision_id":7,"status":1e9,"response_bytes":"1e99","latency_s":-1,"auth":{"a":1}}`, emit.Outcome{}},
		"numbers that are not": {`{"status":"NaN","response_bytes":"Inf","latency_us":null,"latency_ms":[],"latency_s":true}`, emit.Outcome{}},
		"a sign-in that ended otherwise than we know": {`{"auth":"maybe"}`, emit.Outcome{}},
	} {
		got, err := accesslog.Parse([]byte(tc.line))
		if err != nil || got != tc.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, tc.want)
		}
	}
	for _, line := range []string{"", "127.0.0.1 - - [30/Nov/2026] \"GET / HTTP/1.1\" 200", `{"status":`, `{"status":200} {"status":404}`, `[{"status":200}]`} {
		if o, err := accesslog.Parse([]byte(line)); err == nil {
			t.Errorf("%q is %+v", line, o)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`<190>Nov 30 06:40:44 weir: {"decision_id":"` + decision + `","status":"401","response_bytes":"64","latency_s":"0.012","auth":"failure"}`))
	f.Add([]byte(`{"decision_id":"a","decision_id":"","status":1e300,"latency_ms":-0,"latency_us":1e15,"latency_s":9e9,"auth":"success"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		o, err := accesslog.Parse(line)
		if err != nil {
			return
		}
		if o.Status < 0 || o.Status > 999 || o.ResponseBytes < 0 || o.LatencyMicros < 0 || o.LatencyMicros > 1<<50 || o.RequestID != "" || o.Action != "" {
			t.Errorf("%+v", o)
		}
		if !slices.Contains([]string{"", "success", "failure", "challenge"}, o.Auth) {
			t.Errorf("auth is %q", o.Auth)
		}
	})
}

// taken keeps the decisions whose outcomes came.
type taken struct {
	mu  sync.Mutex
	all []string
}

func (k *taken) Outcome(o emit.Outcome) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, o.DecisionID)
	return true
}

func (k *taken) await(t *testing.T, want ...string) {
	t.Helper()
	tick, end := time.NewTicker(5*time.Millisecond), time.NewTimer(20*time.Second)
	defer tick.Stop()
	defer end.Stop()
	for {
		k.mu.Lock()
		got := slices.Sorted(slices.Values(k.all))
		k.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("%q came, want %q", got, want)
		}
	}
}

func lineOf(id string) string { return fmt.Sprintf(`{"decision_id":%q,"status":200}`, id) }

// start runs something until the test ends.
func start(t *testing.T, serve func(ctx context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var k taken
	registry := prometheus.NewRegistry()
	r := accesslog.New(accesslog.Dependencies{Outcomes: &k, Registerer: registry})
	stop := start(t, func(ctx context.Context) error { return r.Serve(ctx, l) })
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	too := `{"decision_id":"long","x":"` + strings.Repeat("x", 40<<10) + `"}`
	if _, err := io.WriteString(c, lineOf("a")+"\r\n\n"+too+"\nGET / HTTP/1.1\n"+lineOf("")+"\n"+lineOf("b")+"\n"+lineOf("c")); err != nil {
		t.Fatal(err)
	}
	k.await(t, "a", "b")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil { // the last line has no end
		t.Fatal(err)
	}
	k.await(t, "a", "b", "c")
	want := `
# HELP weir_gate_log_lines_total Lines of gateways' access logs, by result: outcome (of a decision), undecided (the line names no decision), unreadable (no JSON object, or too long).
# TYPE weir_gate_log_lines_total counter
weir_gate_log_lines_total{result="outcome"} 3
weir_gate_log_lines_total{result="undecided"} 1
weir_gate_log_lines_total{result="unreadable"} 2
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	open, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	stop() // does not wait for connections
}

func TestConnectionsAreBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var k taken
	r := accesslog.New(accesslog.Dependencies{Outcomes: &k})
	start(t, func(ctx context.Context) error { return r.Serve(ctx, l) })
	var ids []string
	for i := range 64 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		id := fmt.Sprintf("%02d", i)
		ids = append(ids, id)
		if _, err := io.WriteString(c, lineOf(id)+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	k.await(t, ids...)
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("one more connection is kept")
	}
}

func TestDatagrams(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var k taken
	r := accesslog.New(accesslog.Dependencies{Outcomes: &k})
	stop := start(t, func(ctx context.Context) error { return r.ServePackets(ctx, c) })
	to, err := net.Dial("udp", c.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	for _, line := range []string{"<190>weir: " + lineOf("a"), "nonsense", `{"decision_id":"long","x":"` + strings.Repeat("x", 20<<10) + `"}`, lineOf("b")} {
		if _, err := io.WriteString(to, line); err != nil {
			t.Fatal(err)
		}
	}
	k.await(t, "a", "b")
	stop()
}
