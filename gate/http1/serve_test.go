package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/proof/testkit"
)

// pipes is a listener in the process.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (p *pipes) dial() *peer {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return &peer{ours, bufio.NewReader(ours)}
}

// peer is the other end of a connection.
type peer struct {
	out io.Writer
	in  *bufio.Reader
}

// decider answers with what it is asked. It waits, or panics, where the body says so.
type decider struct{ release chan struct{} }

func (d *decider) AnswerDecide(_ context.Context, body []byte, parent, state string, room []byte) (int, string, []byte) {
	switch string(body) {
	case "wait":
		<-d.release
	case "panic":
		panic("as a test wants")
	case "wrong":
		return http.StatusBadRequest, "application/problem+json", append(room, "{}\n"...)
	}
	return http.StatusOK, "application/json", append(append(append(append(append(room, body...), ' '), parent...), state...), '\n')
}

// others is how net/http answers: to questions as the decider, elsewhere with the
// method and the path.
func (d *decider) others(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.URL.Path != "/v1/decide" {
		_, _ = io.WriteString(w, r.Method+" "+r.URL.Path)
		return
	}
	if r.Header.Get("X-Weir-Token") == "wrong" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	body, _ := io.ReadAll(r.Body)
	status, media, answer := d.AnswerDecide(r.Context(), body, r.Header.Get("traceparent"), r.Header.Get("tracestate"), nil)
	h.Set("Content-Type", media)
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

// world is a server in a bubble.
type world struct {
	*pipes
	decider *decider
	logged  *bytes.Buffer
	cancel  context.CancelFunc
	ended   chan error
}

func run(t *testing.T, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		w := &world{pipes: &pipes{conns: make(chan net.Conn), done: make(chan struct{})}, decider: &decider{make(chan struct{})}, logged: new(bytes.Buffer), cancel: cancel, ended: make(chan error, 1)}
		go func() {
			w.ended <- Serve(ctx, w.pipes, Dependencies{
				Decider: w.decider, Knows: func(token string) bool { return token != "wrong" }, Others: &http.Server{Handler: http.HandlerFunc(w.decider.others)},
				Logger: slog.New(slog.NewTextHandler(w.logged, nil)), Longest: time.Second,
			})
		}()
		test(t, w)
		cancel()
		if err := <-w.ended; err != nil {
			t.Error(err)
		}
	})
}

func asking(body string, lines ...string) string {
	return strings.Replace(strings.TrimSuffix(ask(lines...), "{}")+body, ": 2\r", ": "+strconv.Itoa(len(body))+"\r", 1)
}

func answer(t *testing.T, c *peer) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func tell(t *testing.T, c *peer, text string) {
	t.Helper()
	if _, err := io.WriteString(c.out, text); err != nil {
		t.Fatal(err)
	}
}

// TestAnswersAreThoseOfNetHTTP: a question and the same one with a header that is
// unknown here get the same answer.
func TestAnswersAreThoseOfNetHTTP(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		for _, tc := range []struct {
			body string
			head []string
		}{
			{"{}", nil}, {"wrong", nil}, {"{}", []string{"traceparent: 00-a", "tracestate: a=b", "X-Weir-Token: right"}}, {"{}", []string{"X-Weir-Token: wrong"}},
		} {
			var heads []http.Header
			var rest []string
			for _, more := range [][]string{nil, {"X-Other: a"}} {
				c := w.dial()
				for range 3 {
					tell(t, c, asking(tc.body, append(more, tc.head...)...))
					res, body := answer(t, c)
					heads, rest = append(heads, res.Header), append(rest, res.Proto+" "+res.Status+" "+body)
				}
			}
			for i := range heads {
				if h := heads[i]; len(h) != len(heads[0]) || rest[i] != rest[0] || h.Get("Date") == "" {
					t.Errorf("%+v: %v %s, not %v %s", tc, h, rest[i], heads[0], rest[0])
				}
				for name := range heads[0] {
					if heads[i].Get(name) != heads[0].Get(name) {
						t.Errorf("%+v: %v, not %v", tc, heads[i], heads[0])
					}
				}
			}
		}
	})
}

// TestHoweverItComes: in one piece, byte for byte, and several at once; and after a
// question, everything that net/http answers.
func TestHoweverItComes(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		c := w.dial()
		for _, b := range []byte(asking("slowly")) {
			tell(t, c, string(b))
		}
		if _, body := answer(t, c); body != "slowly \n" {
			t.Errorf("%q", body)
		}
		go func() {
			_, _ = io.WriteString(c.out, asking("a")+asking(strings.Repeat("b", 90))+asking("c")+"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"+asking("d"))
		}()
		for _, want := range []string{"a \n", strings.Repeat("b", 90) + " \n", "c \n", "GET /healthz", "d \n"} {
			if _, body := answer(t, c); body != want {
				t.Errorf("%q, not %q", body, want)
			}
		}
	})
}

// TestABodyThatIsLongerThanTheRoom is read whole.
func TestABodyThatIsLongerThanTheRoom(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		for _, size := range []int{5000, mostBody, mostBody + 1} {
			c := w.dial()
			body := strings.Repeat("x", size)
			go func() { _, _ = io.WriteString(c.out, asking(body)) }()
			if _, got := answer(t, c); got != body+" \n" {
				t.Errorf("%d bytes: %d", size, len(got))
			}
		}
	})
}

// TestTimeLimits: silence ends a connection, sooner where something has begun.
func TestTimeLimits(t *testing.T) {
	for _, tc := range []struct {
		name        string
		said        string
		answers     int
		least, most time.Duration
	}{
		{"nothing comes", "", 0, headerTimeout, headerTimeout},
		{"half a head", "POST /v1", 0, headerTimeout, headerTimeout},
		{"half a body", strings.TrimSuffix(asking("{}"), "}"), 0, readTimeout, readTimeout},
		{"no second question", asking("{}"), 1, idleTimeout, idleTimeout + idleTimeout/8},
		{"half a second question", asking("{}") + "POST /v1", 1, headerTimeout, headerTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, func(t *testing.T, w *world) {
				began := time.Now()
				c := w.dial()
				go func() { _, _ = io.WriteString(c.out, tc.said) }()
				for range tc.answers {
					answer(t, c)
				}
				_, err := c.in.ReadByte()
				if took := time.Since(began); err != io.EOF || took < tc.least || took > tc.most {
					t.Errorf("%v after %v", err, took)
				}
			})
		})
	}
}

// TestAnAnswerThatNobodyReads ends the connection.
func TestAnAnswerThatNobodyReads(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		c := w.dial()
		began := time.Now()
		tell(t, c, asking("{}"))
		_, err := io.WriteString(c.out, asking("{}")) // which nobody reads
		if took := time.Since(began); err == nil || took > 2*(readTimeout+time.Second) {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// TestTheEnd: a question that has begun is answered, connections that wait are closed.
func TestTheEnd(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		idle, deciding, half, passed := w.dial(), w.dial(), w.dial(), w.dial()
		for _, c := range []*peer{idle, half} {
			tell(t, c, asking("{}"))
			answer(t, c)
		}
		tell(t, passed, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
		answer(t, passed)
		tell(t, deciding, asking("wait"))
		tell(t, half, asking("late")[:60])
		synctest.Wait()
		began := time.Now()
		w.cancel()
		synctest.Wait()
		for _, c := range []*peer{idle, passed} {
			if _, err := c.in.ReadByte(); err != io.EOF {
				t.Error(err)
			}
		}
		tell(t, half, asking("late")[60:])
		if _, body := answer(t, half); body != "late \n" {
			t.Errorf("%q", body)
		}
		close(w.decider.release)
		if _, body := answer(t, deciding); body != "wait \n" {
			t.Errorf("%q", body)
		}
		if _, err := deciding.in.ReadByte(); err != io.EOF || time.Since(began) > time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// TestTheEndDoesNotWaitForNetHTTP: a connection that waits is closed although net/http
// has not completed what it began.
func TestTheEndDoesNotWaitForNetHTTP(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		idle, slow := w.dial(), w.dial()
		tell(t, idle, asking("{}"))
		answer(t, idle)
		tell(t, slow, asking("wait", "X-Other: a"))
		synctest.Wait()
		began := time.Now()
		w.cancel()
		if _, err := idle.in.ReadByte(); err != io.EOF || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		close(w.decider.release)
		if _, body := answer(t, slow); body != "wait \n" {
			t.Errorf("%q", body)
		}
	})
}

// TestAPanicEndsItsConnectionOnly, and is logged.
func TestAPanicEndsItsConnectionOnly(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		bad, good := w.dial(), w.dial()
		tell(t, bad, asking("panic"))
		if _, err := bad.in.ReadByte(); err != io.EOF {
			t.Error(err)
		}
		tell(t, good, asking("{}"))
		if _, body := answer(t, good); body != "{} \n" {
			t.Errorf("%q", body)
		}
		if !strings.Contains(w.logged.String(), "as a test wants") {
			t.Error(w.logged)
		}
	})
}

// TestAnErrorOfTheListener ends the server, and all connections.
func TestAnErrorOfTheListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		ended := make(chan error, 1)
		go func() {
			ended <- Serve(t.Context(), p, Dependencies{Decider: &decider{}, Knows: func(string) bool { return true }, Others: &http.Server{Handler: http.NotFoundHandler()}, Logger: slog.New(slog.DiscardHandler)})
		}()
		c := p.dial()
		tell(t, c, asking("{}"))
		answer(t, c)
		_ = p.Close()
		if err := <-ended; err == nil {
			t.Error("no error")
		}
		if _, err := c.in.ReadByte(); err != io.EOF {
			t.Error(err)
		}
	})
}

// TestTLSIsLeftToNetHTTP.
func TestTLSIsLeftToNetHTTP(t *testing.T) {
	d := &decider{}
	srv := httptest.NewUnstartedServer(nil) // for its certificate and client
	srv.StartTLS()
	client := srv.Client()
	cert := srv.TLS
	srv.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, tls.NewListener(l, cert), Dependencies{Decider: d, Knows: func(string) bool { return true }, Others: &http.Server{Handler: http.HandlerFunc(d.others)}, Logger: slog.New(slog.DiscardHandler)})
	}()
	res, err := client.Post("https://"+l.Addr().String()+"/v1/decide", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil || string(body) != "{} \n" {
		t.Errorf("%q, %v", body, err)
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// silent is a connection on which questions come at once, and answers go nowhere.
type silent struct {
	net.Conn
	in []byte
}

func (s *silent) Read(b []byte) (int, error)       { return copy(b, s.in), nil }
func (s *silent) Write(b []byte) (int, error)      { return len(b), nil }
func (s *silent) SetReadDeadline(time.Time) error  { return nil }
func (s *silent) SetWriteDeadline(time.Time) error { return nil }

// TestAQuestionAllocatesItsBody, and nothing else.
func TestAQuestionAllocatesItsBody(t *testing.T) {
	if testkit.Raced {
		t.Skip("the race detector allocates")
	}
	c := &conn{Conn: &silent{in: []byte(asking("{}"))}, server: &server{deps: Dependencies{Decider: &decider{}}}, room: make([]byte, mostHead)}
	n := testing.AllocsPerRun(100, func() {
		q, v := c.next()
		if v != whole || !c.reply(&q, time.Now()) {
			t.Fatal(v)
		}
		c.first += q.size()
	})
	if n > 1 {
		t.Errorf("%v allocations", n)
	}
}
