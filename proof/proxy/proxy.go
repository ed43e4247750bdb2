// Package proxy stands between a client and a server on the loopback interface and
// behaves like a bad network: it delays, refuses, swallows, and loses the answer to
// a request that went through.
//
// It knows no protocol: an answer is whatever the server sends after the client has
// sent something.
package proxy

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Mode is the proxy's treatment of connections.
type Mode int

// The modes. A change of mode also affects existing connections.
const (
	Pass       Mode = iota
	Refuse          // existing connections are closed, new ones are reset
	Blackhole       // connections stay open, but pass no data
	LoseAnswer      // a request of at least some size goes through; its answer is dropped and the connection closed
)

// Proxy forwards connections. Its methods may be called concurrently.
type Proxy struct {
	listener net.Listener
	upstream string
	requests int64 // minimum bytes of a request whose answer may be lost

	lost  atomic.Int64
	mu    sync.Mutex
	mode  Mode
	delay time.Duration
	moved chan struct{} // closed and replaced when the mode changes
	pairs map[*pair]struct{}
	wg    sync.WaitGroup
}

// Listen starts a proxy in front of upstream, on a free loopback port. Only answers
// to at least request bytes are lost, so that a greeting is not taken for an
// acknowledgement.
func Listen(upstream string, request int64) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy for %s: %w", upstream, err)
	}
	p := &Proxy{listener: l, upstream: upstream, requests: request, moved: make(chan struct{}), pairs: map[*pair]struct{}{}}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr returns the proxy's address.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Lost returns the number of lost answers so far.
func (p *Proxy) Lost() int64 { return p.lost.Load() }

// Set changes the mode and the delay of data.
func (p *Proxy) Set(m Mode, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode, p.delay = m, delay
	close(p.moved)
	p.moved = make(chan struct{})
	if m == Refuse {
		for c := range p.pairs {
			c.close()
		}
	}
}

// Close closes everything and waits for it.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.Set(Refuse, 0)
	p.wg.Wait()
	return err
}

func (p *Proxy) state() (m Mode, delay time.Duration, moved <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode, p.delay, p.moved
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

// dialTime bounds the wait for a server that does not answer.
const dialTime = 2 * time.Second

func (p *Proxy) serve(client net.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	defer cancel()
	var d net.Dialer
	server, err := d.DialContext(ctx, "tcp", p.upstream)
	if err != nil {
		reset(client)
		return
	}
	c := &pair{p: p, client: client, server: server, over: make(chan struct{})}
	if !p.add(c) {
		reset(client)
		c.close()
		return
	}
	var wg sync.WaitGroup
	wg.Go(c.requests)
	wg.Go(c.answers)
	wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pairs, c)
}

// reset ends a connection as a port without a server would: with an error. To an orderly
// end, a client that has not written yet says that an idle connection was closed.
func reset(c net.Conn) {
	if c, is := c.(*net.TCPConn); is {
		_ = c.SetLinger(0)
	}
	_ = c.Close()
}

// add returns false if connections are refused.
func (p *Proxy) add(c *pair) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == Refuse {
		return false
	}
	p.pairs[c] = struct{}{}
	return true
}

// pair is a client's connection together with its connection to the server.
type pair struct {
	p              *Proxy
	client, server net.Conn
	asked          atomic.Int64 // bytes from the client since the last data from the server
	once           sync.Once
	over           chan struct{}
}

func (c *pair) close() {
	c.once.Do(func() {
		close(c.over)
		_ = c.client.Close()
		_ = c.server.Close()
	})
}

func (c *pair) requests() {
	defer c.close()
	b := make([]byte, 32<<10)
	for {
		n, err := c.client.Read(b)
		if n > 0 {
			c.asked.Add(int64(n))
			if _, passes := c.gate(); !passes {
				return
			}
			if _, err := c.server.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (c *pair) answers() {
	defer c.close()
	b := make([]byte, 32<<10)
	for {
		n, err := c.server.Read(b)
		if n > 0 {
			mode, passes := c.gate()
			asked := c.asked.Swap(0)
			if mode == LoseAnswer && asked >= c.p.requests {
				c.p.lost.Add(1)
				return
			}
			if !passes {
				return
			}
			if _, err := c.client.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// gate holds data back as long as the mode requires; passes is false if the
// connection is over.
func (c *pair) gate() (m Mode, passes bool) {
	for {
		m, delay, moved := c.p.state()
		if m != Blackhole && delay == 0 {
			return m, true
		}
		var ready <-chan time.Time
		if m != Blackhole {
			t := time.NewTimer(delay)
			defer t.Stop()
			ready = t.C
		}
		select {
		case <-ready:
			return m, true
		case <-moved:
		case <-c.over:
			return m, false
		}
	}
}

// String returns the mode's name.
func (m Mode) String() string {
	switch m {
	case Pass:
		return "pass"
	case Refuse:
		return "refuse"
	case Blackhole:
		return "blackhole"
	case LoseAnswer:
		return "lose_answer"
	}
	return "unknown"
}
