package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// peer answers on connections in the process: with answers in turn, "" closes the
// connection instead, "-" leaves the caller waiting.
type peer struct {
	answers []string

	mu    sync.Mutex
	dials int
	asked int
	conns []net.Conn
}

// client is one of the peer's, in a bubble of synctest.
func (p *peer) client(t *testing.T) *Client {
	c, err := New(Config{Address: "http://gate", Timeout: time.Second, Token: "a shared secret!"})
	if err != nil {
		t.Fatal(err)
	}
	c.to.(*wire).dial = func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		p.mu.Lock()
		p.dials++
		p.conns = append(p.conns, theirs)
		p.mu.Unlock()
		go p.serve(theirs)
		return ours, nil
	}
	return c
}

func (p *peer) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		p.mu.Lock()
		answer := p.answers[p.asked%len(p.answers)]
		p.asked++
		p.mu.Unlock()
		switch answer {
		case "":
			return
		case "-":
			_, _ = in.ReadByte()
			return
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

func ok(head, body string) string { return "HTTP/1.1 200 OK\r\n" + head + "\r\n" + body }

// TestFormsOfAnswers: whatever HTTP allows is read, and the connection used again
// where that is sound.
func TestFormsOfAnswers(t *testing.T) {
	for _, tc := range []struct {
		name, answer string
		dials        int // for three calls
		fails        bool
	}{
		{"a length", ok("Content-Length: 23\r\n", `{"decision_id":"id-01"}`), 1, false},
		{"chunks", ok("Transfer-Encoding: chunked\r\n", "17\r\n{\"decision_id\":\"id-01\"}\r\n0\r\n\r\n"), 1, false},
		{"something before", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + ok("Content-Length: 23\r\n", `{"decision_id":"id-01"}`), 1, false},
		{"the last one", ok("Content-Length: 23\r\nConnection: close\r\n", `{"decision_id":"id-01"}`), 3, false},
		{"more than was asked for", ok("Content-Length: 23\r\n", `{"decision_id":"id-01"}`) + "HTTP/1.1", 3, false},
		{"no HTTP", "SSH-2.0\r\n\r\n", 3, true},
		{"cut short", ok("Content-Length: 99\r\nConnection: close\r\n", `{"decision_id":"id-01"}`), 3, true},
		{"a head without an end", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", maxDrain+maxAnswer), 3, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{answers: []string{tc.answer}}
				c := p.client(t)
				for range 3 {
					d, err := c.Decide(t.Context(), Request{})
					if (err != nil) != tc.fails || err == nil && d.ID != "id-01" {
						t.Errorf("%+v, %v", d, err)
					}
				}
				if p.dials != tc.dials {
					t.Errorf("%d connections", p.dials)
				}
				c.Close()
			})
		})
	}
}

// TestAConnectionThatTheGateClosed: the next call does not notice.
func TestAConnectionThatTheGateClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{answers: []string{ok("Content-Length: 23\r\n", `{"decision_id":"id-01"}`)}}
		c := p.client(t)
		for range 3 {
			if _, err := c.Decide(t.Context(), Request{}); err != nil {
				t.Fatal(err)
			}
			_ = p.conns[len(p.conns)-1].Close()
		}
		if p.dials != 3 || p.asked != 3 {
			t.Errorf("%d connections, asked %d times", p.dials, p.asked)
		}
		c.Close()
	})
}

// TestAProxyThatClosesWithAWord: it says that nothing came, which is no answer to the
// question that comes afterwards.
func TestAProxyThatClosesWithAWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{answers: []string{ok("Content-Length: 23\r\n", `{"decision_id":"id-01"}`)}}
		c := p.client(t)
		if _, err := c.Decide(t.Context(), Request{}); err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = io.WriteString(p.conns[0], "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}()
		synctest.Wait()
		if d, err := c.Decide(t.Context(), Request{}); err != nil || d.ID != "id-01" || p.dials != 2 {
			t.Errorf("%+v, %v, %d connections", d, err, p.dials)
		}
		c.Close()
	})
}

// TestAGateThatClosesAtOnce is an error, after one attempt on a connection of its own.
func TestAGateThatClosesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{answers: []string{ok("Content-Length: 23\r\n", `{"decision_id":"id-01"}`), "", ""}}
		c := p.client(t)
		if _, err := c.Decide(t.Context(), Request{}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Decide(t.Context(), Request{}); !errors.Is(err, errClosed) || p.dials != 2 {
			t.Errorf("%v, %d connections", err, p.dials)
		}
		c.Close()
	})
}

// TestACallerThatGoes gets an answer at once, and its connection is not used again.
func TestACallerThatGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{answers: []string{ok("Content-Length: 23\r\n", `{"decision_id":"id-01"}`), "-"}}
		c := p.client(t)
		if _, err := c.Decide(t.Context(), Request{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		began := time.Now()
		if _, err := c.Decide(ctx, Request{}); !errors.Is(err, context.Canceled) || time.Since(began) != time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if _, err := c.Decide(t.Context(), Request{}); err != nil || p.dials != 2 {
			t.Errorf("%v, %d connections", err, p.dials)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond) // sooner than the client's
		defer cancel()
		began = time.Now()
		if _, err := c.Decide(ctx, Request{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		c.Close()
	})
}

// TestOldConnectionsAreClosed before the gate does it.
func TestOldConnectionsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{answers: []string{ok("Content-Length: 23\r\n", `{"decision_id":"id-01"}`)}}
		c := p.client(t)
		for _, pause := range []time.Duration{idleTimeout - 1, idleTimeout, 0} {
			if _, err := c.Decide(t.Context(), Request{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(pause)
		}
		if p.dials != 2 {
			t.Errorf("%d connections", p.dials)
		}
		c.Close()
	})
}

// TestManyCallsAtOnce share connections, and a limited number is kept.
func TestManyCallsAtOnce(t *testing.T) {
	g, addresses := start(t)
	c := newClient(t, Config{Address: addresses[1]})
	var wg sync.WaitGroup
	for range 2 * maxIdle {
		wg.Go(func() {
			for range 4 {
				if d, err := c.Decide(t.Context(), Request{Route: "/a"}); err != nil || d.Score != 42 {
					t.Errorf("%+v, %v", d, err)
				}
			}
		})
	}
	wg.Wait()
	if n, kept := g.asked.Load(), len(c.to.(*wire).kept); n != 8*maxIdle || kept == 0 || kept > maxIdle {
		t.Errorf("asked %d times, %d connections are kept", n, kept)
	}
}

func TestADecisionOverTLS(t *testing.T) {
	g := &gateStub{}
	srv := httptest.NewTLSServer(g)
	defer srv.Close()
	c := newClient(t, Config{Address: srv.URL, Token: "a shared secret!", TLS: srv.Client().Transport.(*http.Transport).TLSClientConfig})
	for range 2 {
		if d, err := c.Decide(t.Context(), Request{}); err != nil || d.Score != 42 {
			t.Errorf("%+v, %v", d, err)
		}
	}
	if h := g.header.Load().(http.Header); h.Get("X-Weir-Token") != "a shared secret!" || h.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", h)
	}
	g.status.Store(307)
	var r *Refusal
	if _, err := c.Decide(t.Context(), Request{}); !errors.As(err, &r) || r.Status != 307 {
		t.Error(err)
	}
	c.Close()
}

func TestWhereAGateIs(t *testing.T) {
	for in, want := range map[string]address{
		"http://gate":             {"tcp", "gate:80", "gate", false},
		"http://[::1]:8191/":      {"tcp", "[::1]:8191", "[::1]:8191", false},
		"http://[fe80::1%25lo]:1": {"tcp", "[fe80::1%lo]:1", "[fe80::1]:1", false},
		"unix:/run/gate.sock":     {"unix", "/run/gate.sock", "gate", false},
	} {
		if got, err := parseAddress(in); err != nil || got != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	if _, err := New(Config{Address: "http://gate", Token: "a\r\nHost: b"}); err == nil {
		t.Error("a token of two lines is accepted")
	}
}

// told is a connection on which an answer has come.
type told struct {
	net.Conn
	*bytes.Reader
}

func (t *told) Read(b []byte) (int, error)    { return t.Reader.Read(b) }
func (t *told) Write(b []byte) (int, error)   { return len(b), nil }
func (t *told) SetDeadline(_ time.Time) error { return nil }
func (t *told) Close() error                  { return nil }

// FuzzAnswer: whatever comes is an answer of limited length, or an error.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{ok("Content-Length: 2\r\n", "{}"), ok("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.0 200\r\n\r\n{}", "", ok("Content-Length: -1\r\n", "")} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		w := &wire{host: "gate", dial: func(context.Context) (net.Conn, error) { return &told{Reader: bytes.NewReader(in)}, nil }}
		status, answer, err := w.post(t.Context(), time.Now().Add(time.Hour), "/v1/decide", []byte("{}"))
		if err == nil && (status < 200 || len(answer) > len(in)) || err != nil && (status != 0 || answer != nil) {
			t.Errorf("%d %q %v", status, answer, err)
		}
	})
}
