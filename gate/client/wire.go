package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// wire speaks HTTP/1.1 without TLS over connections that it keeps. A call is done by
// the goroutine of its caller, which takes half as long as with the two goroutines that
// net/http has for each connection. It is safe for concurrent use.
type wire struct {
	dial func(context.Context) (net.Conn, error)
	host string // value of the header
	more string // further lines of the head

	mu   sync.Mutex
	kept []*kept // those used last are at the end
}

// kept is a connection between two calls, or in one.
type kept struct {
	net.Conn
	limit io.LimitedReader // of one answer
	in    *bufio.Reader
	out   []byte
	since time.Time // when it was kept
}

// post sends a body, and returns the answer. If a kept connection turns out to be
// closed, it is sent again: a gate closes only those on which nothing was asked, or
// dies.
func (w *wire) post(ctx context.Context, until time.Time, path string, body []byte) (status int, answer []byte, err error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	for {
		c := w.take()
		used := c != nil
		if !used {
			if c, err = w.connect(ctx, until); err != nil {
				return 0, nil, err
			}
		}
		status, answer, err = w.ask(ctx, c, until, path, body)
		if used && err == nil && status == http.StatusRequestTimeout {
			err = errClosed // what a proxy says of a connection on which nothing came, before this question
		}
		if err == nil {
			return status, answer, nil
		}
		if !used || !errors.Is(err, errClosed) {
			return 0, nil, ended(ctx, err)
		}
		w.close() // the others are no better
	}
}

// errClosed means that a connection was closed before anything of an answer came.
var errClosed = errors.New("the gate has closed the connection")

// ended returns the context's error where it is the cause.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return err
}

func (w *wire) connect(ctx context.Context, until time.Time) (*kept, error) {
	limited, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	conn, err := w.dial(limited)
	if err != nil {
		return nil, ended(limited, err)
	}
	c := &kept{Conn: conn}
	c.limit.R = conn
	c.in = bufio.NewReader(&c.limit)
	return c, nil
}

// ask makes one exchange, and keeps the connection or closes it.
func (w *wire) ask(ctx context.Context, c *kept, until time.Time, path string, body []byte) (status int, answer []byte, err error) {
	keep := false
	defer func() {
		if keep {
			w.put(c)
		} else {
			_ = c.Close()
		}
	}()
	if err := c.SetDeadline(until); err != nil {
		return 0, nil, errClosed
	}
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	}
	res, err := w.exchange(c, path, body)
	if err == nil {
		answer, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	}
	whole := stop()
	if err != nil {
		return 0, nil, err
	}
	left, _ := io.Copy(io.Discard, io.LimitReader(res.Body, 1)) // nothing, where all was read
	keep = whole && left == 0 && !res.Close && c.in.Buffered() == 0
	return res.StatusCode, answer, nil
}

// exchange sends a question, and reads the head of the answer.
func (w *wire) exchange(c *kept, path string, body []byte) (*http.Response, error) {
	b := append(append(append(c.out[:0], "POST "...), path...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, w.host...), "\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n"...)
	b = append(append(append(b, w.more...), "\r\n"...), body...)
	c.out = b
	c.limit.N = maxDrain + maxAnswer
	if _, err := c.Write(b); err != nil {
		return nil, closed(err)
	}
	if _, err := c.in.Peek(1); err != nil {
		return nil, closed(err)
	}
	for {
		res, err := http.ReadResponse(c.in, nil)
		if err != nil || res.StatusCode >= http.StatusOK {
			return res, err
		}
	}
}

// closed marks errors other than the end of the time.
func closed(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", errClosed, err)
}

// take returns the connection that was used last; nil if none is kept. Those that were
// kept for too long are closed.
func (w *wire) take() *kept {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.kept)
	if n == 0 {
		return nil
	}
	now := time.Now()
	old := 0
	for old < n && now.Sub(w.kept[old].since) >= idleTimeout {
		_ = w.kept[old].Close()
		old++
	}
	if old == n {
		w.kept = nil
		return nil
	}
	c := w.kept[n-1]
	w.kept[n-1] = nil
	w.kept = w.kept[old : n-1]
	return c
}

func (w *wire) put(c *kept) {
	c.since = time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.kept) >= maxIdle {
		_ = c.Close()
		return
	}
	w.kept = append(w.kept, c)
}

// close closes the connections that are kept.
func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.kept {
		_ = c.Close()
	}
	w.kept = nil
}
