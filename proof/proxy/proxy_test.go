package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// echo answers each line with itself, and counts the lines.
func echo(t *testing.T) (addr string, lines *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	lines = &atomic.Int64{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					lines.Add(1)
					if _, err := io.WriteString(c, line); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String(), lines
}

type client struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, p *Proxy) *client {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &client{t, c, bufio.NewReader(c)}
}

func (c *client) ask(text string, within time.Duration) error {
	c.t.Helper()
	_ = c.c.SetDeadline(time.Now().Add(within))
	if _, err := io.WriteString(c.c, text+"\n"); err != nil {
		return err
	}
	got, err := c.r.ReadString('\n')
	if err == nil && got != text+"\n" {
		c.t.Errorf("%q came back as %q", text, got)
	}
	return err
}

func listen(t *testing.T, request int64) (*Proxy, *atomic.Int64) {
	t.Helper()
	addr, lines := echo(t)
	p, err := Listen(addr, request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p, lines
}

func TestItPassesAndRefuses(t *testing.T) {
	p, _ := listen(t, 1)
	c := dial(t, p)
	if err := c.ask("hello", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	p.Set(Refuse, 0)
	if c.ask("again", 5*time.Second) == nil {
		t.Error("a connection that exists is still served")
	}
	for range 200 {
		if err := readAnything(p.Addr()); !isReset(err) {
			t.Fatalf("a new connection ends with %v", err)
		}
	}
	p.Set(Pass, 0)
	if err := dial(t, p).ask("back", 5*time.Second); err != nil {
		t.Error(err)
	}
}

// readAnything connects, and returns why no more can be read.
func readAnything(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.ReadAll(c)
	return err
}

// isReset says whether a connection ended as one to a port without a server.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED)
}

func TestALostAnswerIsToARequestThatWentThrough(t *testing.T) {
	p, lines := listen(t, 100)
	p.Set(LoseAnswer, 0)
	c := dial(t, p)
	if err := c.ask("short", 5*time.Second); err != nil {
		t.Fatalf("the answer to a short request is lost: %v", err)
	}
	if c.ask(strings.Repeat("x", 200), 5*time.Second) == nil {
		t.Fatal("the answer came through")
	}
	if lines.Load() != 2 || p.Lost() != 1 {
		t.Errorf("the server saw %d requests, and %d answers were lost", lines.Load(), p.Lost())
	}
}

func TestABlackHoleSwallowsUntilItIsGone(t *testing.T) {
	p, _ := listen(t, 1)
	c := dial(t, p)
	p.Set(Blackhole, 0)
	if c.ask("hello", 100*time.Millisecond) == nil {
		t.Fatal("something came through")
	}
	p.Set(Pass, 0)
	_ = c.c.SetDeadline(time.Now().Add(5 * time.Second))
	if got, err := c.r.ReadString('\n'); err != nil || got != "hello\n" {
		t.Errorf("what was held back came as %q, %v", got, err)
	}
}

func TestADelayHoldsBothWays(t *testing.T) {
	p, _ := listen(t, 1)
	c := dial(t, p)
	p.Set(Pass, 30*time.Millisecond)
	began := time.Now()
	if err := c.ask("hello", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 60*time.Millisecond {
		t.Errorf("there and back took %v", took)
	}
}
