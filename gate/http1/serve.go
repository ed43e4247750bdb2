// Package http1 answers POST /v1/decide over plain HTTP/1.1 by itself, because
// net/http takes several times as long for a request as the gate does. It reads only
// the form in which gateways commonly ask. A connection with any other request goes
// to net/http, from that request on.
package http1

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirdev/weir/gate/listen"
)

// Decider answers questions. Calls may overlap.
type Decider interface {
	// AnswerDecide takes the body of a question, which it may keep, and the trace
	// context of its headers. It returns the status, the media type and the body of the
	// answer, which it may write into the room of an empty slice. It returns within its
	// budget, whatever happens to the caller.
	AnswerDecide(ctx context.Context, body []byte, traceparent, tracestate string, room []byte) (status int, media string, answer []byte)
}

// Dependencies are the parts that a server uses.
type Dependencies struct {
	Decider Decider
	Knows   func(token string) bool // whether a question with that token ("": none) is answered
	Others  *http.Server            // answers everything else
	Logger  *slog.Logger
	Longest time.Duration // how long a decision takes at most
}

// Time limits, those of [listen.ServeHTTP].
const (
	headerTimeout = 2 * time.Second
	readTimeout   = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	drainTimeout  = 5 * time.Second
)

// Serve answers on l until ctx ends, then completes open requests, and closes l. A
// listener that speaks TLS is left to net/http.
func Serve(ctx context.Context, l net.Listener, deps Dependencies) error {
	s := &server{deps: deps, Listener: l, others: make(chan accepted), done: make(chan struct{}), conns: map[*conn]struct{}{}}
	s.running.Go(s.accept)
	defer context.AfterFunc(ctx, s.end)() // beside net/http, which may take its time
	err := listen.ServeHTTP(ctx, s, deps.Others, deps.Longest)
	s.stop()
	return err
}

// server takes connections, and is the listener of net/http for those that it passes
// on.
//
//	l ── accept ── one goroutine for each connection ── questions are answered
//	                                 └── others ── net/http
type server struct {
	net.Listener
	deps   Dependencies
	others chan accepted
	done   chan struct{} // closed when no more connections are taken
	once   sync.Once

	running sync.WaitGroup
	ending  atomic.Bool
	mu      sync.Mutex
	conns   map[*conn]struct{}
}

type accepted struct {
	conn net.Conn
	err  error
}

// Accept returns connections for net/http, and the listener's errors, after which
// net/http makes the pauses.
func (s *server) Accept() (net.Conn, error) {
	select {
	case a := <-s.others:
		return a.conn, a.err
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close ends the taking of connections.
func (s *server) Close() error {
	s.once.Do(func() { close(s.done) })
	return s.Listener.Close()
}

// pass hands over to net/http. It reports false if that takes no more.
func (s *server) pass(c net.Conn, err error) bool {
	select {
	case s.others <- accepted{c, err}:
		return true
	case <-s.done:
		return false
	}
}

func (s *server) accept() {
	for {
		c, err := s.Listener.Accept()
		if err != nil {
			if !s.pass(nil, err) {
				return
			}
			continue
		}
		if _, isTLS := c.(*tls.Conn); !isTLS {
			s.running.Go(func() { s.serve(c) })
		} else if !s.pass(c, nil) {
			_ = c.Close()
		}
	}
}

// end ends each connection with the question that it answers, or waits for.
func (s *server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending.Store(true)
	for c := range s.conns {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // wakes those that wait
	}
}

// stop waits for open requests, and closes all connections.
func (s *server) stop() {
	s.end()
	late := time.AfterFunc(drainTimeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			_ = c.Close()
		}
	})
	defer late.Stop()
	s.running.Wait()
}

// conn is a connection whose questions are answered here. One goroutine uses it.
type conn struct {
	net.Conn
	server *server

	room        []byte
	first, last int // room[first:last] has come, and is not answered

	answer, out []byte
	day         int64 // Unix seconds of date
	date        []byte

	// Deadlines are set for several questions at once, because each time costs.
	waits, writes time.Time
}

func (s *server) serve(nc net.Conn) {
	c := &conn{Conn: nc, server: s, room: make([]byte, mostHead)}
	passed := false
	defer func() {
		if r := recover(); r != nil {
			s.deps.Logger.Error("a decision panics", "error", fmt.Sprint(r), "detail", string(debug.Stack()))
		}
		s.forget(c)
		if !passed {
			_ = nc.Close()
		}
	}()
	if !s.keep(c) || !c.run() {
		return
	}
	s.forget(c)
	_ = nc.SetDeadline(time.Time{})
	passed = s.pass(&resumed{Conn: nc, first: c.room[c.first:c.last]}, nil)
}

func (s *server) keep(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
	return !s.ending.Load()
}

func (s *server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// run answers questions. It returns true if something else comes, which stays in the
// room, and false at the end of the connection.
func (c *conn) run() (others bool) {
	_ = c.SetReadDeadline(time.Now().Add(headerTimeout)) // of the first question
	for {
		q, v := c.next()
		if v == whole && !c.server.deps.Knows(q.token) {
			v = other // which net/http refuses
		}
		if v != whole {
			return v == other
		}
		now := time.Now()
		if !c.reply(&q, now) {
			return false
		}
		c.first += q.size()
		if now.Add(idleTimeout).After(c.waits) {
			c.waits = now.Add(idleTimeout + idleTimeout/8)
			_ = c.SetReadDeadline(c.waits)
		}
		if c.server.ending.Load() { // which may have set its deadline before this one
			return false
		}
	}
}

// next reads until a question has come, or something else. If neither comes any more,
// it returns partial.
func (c *conn) next() (q question, v verdict) {
	var began time.Time // when the question began to come; zero: nothing or all has come
	for {
		if c.first < c.last {
			if q, v = parse(c.room[c.first:c.last]); v != partial {
				return q, v
			}
			if began.IsZero() {
				began, c.waits = time.Now(), time.Time{}
			}
			_ = c.SetReadDeadline(began.Add(q.timeout()))
		}
		err := c.read(q.size())
		if errors.Is(err, os.ErrDeadlineExceeded) && c.server.ending.Load() && time.Since(began) < q.timeout() {
			continue // what has begun is completed
		}
		if err != nil {
			return q, partial
		}
	}
}

// timeout returns how long the rest of a question may take.
func (q *question) timeout() time.Duration {
	if q.head == 0 {
		return headerTimeout
	}
	return readTimeout
}

// read reads what has come. It makes room for so many bytes in all.
func (c *conn) read(size int) error {
	if size = max(size, mostHead); c.first > 0 {
		c.last, c.first = copy(c.room, c.room[c.first:c.last]), 0
	}
	if len(c.room) < size {
		c.room = append(make([]byte, 0, size), c.room[:c.last]...)[:size]
	}
	n, err := c.Conn.Read(c.room[c.last:])
	c.last += n
	return err
}

// reply decides, and writes the answer.
func (c *conn) reply(q *question, now time.Time) bool {
	body := bytes.Clone(c.room[c.first:][q.head:q.size()])
	status, media, answer := c.server.deps.Decider.AnswerDecide(context.Background(), body, q.parent, q.state, c.answer[:0])
	c.answer = answer
	c.out = append(c.head(c.out[:0], status, media, len(answer), now), answer...)
	if most := readTimeout + c.server.deps.Longest; now.Add(most).After(c.writes) {
		c.writes = now.Add(2 * most)
		_ = c.SetWriteDeadline(c.writes)
	}
	_, err := c.Write(c.out)
	return err == nil
}

// head appends the head of an answer.
func (c *conn) head(b []byte, status int, media string, length int, now time.Time) []byte {
	if status == http.StatusOK {
		b = append(b, "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Type: "...)
	} else {
		b = strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(status), 10)
		b = append(append(append(b, ' '), http.StatusText(status)...), "\r\nCache-Control: no-store\r\nContent-Type: "...)
	}
	b = append(append(b, media...), "\r\nX-Content-Type-Options: nosniff\r\nDate: "...)
	if s := now.Unix(); s != c.day || c.date == nil {
		c.day, c.date = s, now.UTC().AppendFormat(c.date[:0], http.TimeFormat)
	}
	b = append(append(b, c.date...), "\r\nContent-Length: "...)
	return append(strconv.AppendInt(b, int64(length), 10), "\r\n\r\n"...)
}

// resumed is a connection of which something was read already.
type resumed struct {
	net.Conn
	first []byte
}

func (r *resumed) Read(b []byte) (int, error) {
	if len(r.first) == 0 {
		return r.Conn.Read(b)
	}
	n := copy(b, r.first)
	r.first = r.first[n:]
	return n, nil
}

// CloseWrite lets net/http end a connection so that the last answer is read.
func (r *resumed) CloseWrite() error {
	if c, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}
