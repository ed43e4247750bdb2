// Package client asks a gate for decisions, over TCP or a Unix socket.
//
//	c, err := client.New(client.Config{Address: "unix:/run/weir/gate.sock"})
//	…
//	d, err := c.Decide(ctx, client.Request{
//		Route:    "/login",
//		Entities: client.Entities{client.Account: "alice", client.IP: "203.0.113.9"},
//	})
//	if err != nil {
//		// There is no decision: go on without one, or refuse.
//	}
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/listen"
	"github.com/weirdev/weir/internal/breaker"
)

// Config says where the gate is, and how long to wait for it.
type Config struct {
	Address string        // http://HOST:PORT, https://HOST:PORT or unix:PATH
	Token   string        // sent as X-Weir-Token; "" if the gate asks for none
	Timeout time.Duration // of a call, connecting included; 0 for DefaultTimeout
	TLS     *tls.Config   // for https; nil for the system's authorities and no client certificate
}

// DefaultTimeout is longer than the budget of the default policy, so that the gate's
// own answer for a slow store arrives.
const DefaultTimeout = 50 * time.Millisecond

// Limits of connections and answers.
const (
	maxIdle     = 64
	idleTimeout = 90 * time.Second // less than the gate's
	maxAnswer   = 1 << 20          // bytes
	maxDrain    = 64 << 10         // bytes that are read so that a connection can be used again

	failuresToOpen = 5
	pause          = time.Second
)

// ErrUnavailable means that the gate was not asked, because it failed to answer
// several times in a row, less than a second ago.
var ErrUnavailable = errors.New("weir: the gate did not answer before, and is not asked for a second")

// Refusal is an answer of the gate that is no decision: the question was wrong.
type Refusal struct {
	Status int    `json:"-"`
	Type   string `json:"type"` // urn:weir:problem:…
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("weir: the gate answers with status %d: %s: %s", r.Status, r.Title, r.Detail)
}

// Client asks a gate. It is safe for concurrent use.
type Client struct {
	base    string
	token   string
	timeout time.Duration
	http    *http.Client
	breaker *breaker.Breaker
}

// New checks cfg. It connects to nothing yet.
func New(cfg Config) (*Client, error) {
	base, path, err := parseAddress(cfg.Address)
	if err != nil {
		return nil, err
	}
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("weir: a timeout of %v is over before it begins", cfg.Timeout)
	}
	transport := &http.Transport{
		MaxIdleConns: maxIdle, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: idleTimeout,
		DisableCompression: true, TLSClientConfig: cfg.TLS, MaxResponseHeaderBytes: maxDrain,
	}
	if path != "" {
		var d net.Dialer
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) }
	}
	c := &Client{base: base, token: cfg.Token, timeout: cfg.Timeout, breaker: breaker.New(failuresToOpen, pause, time.Now)}
	c.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if c.timeout == 0 {
		c.timeout = DefaultTimeout
	}
	return c, nil
}

// parseAddress returns the beginning of URLs, and the path of a Unix socket.
func parseAddress(addr string) (base, path string, err error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if path == "" {
			return "", "", fmt.Errorf("weir: %q names no path, as unix:/run/weir/gate.sock does", addr)
		}
		return "http://gate", path, nil
	}
	u, err := url.Parse(addr)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return "", "", fmt.Errorf("weir: %q is no address such as http://127.0.0.1:8191, https://gate:8191 or unix:/run/weir/gate.sock", addr)
	}
	return u.Scheme + "://" + u.Host, "", nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Decide asks for a decision. Without one, the error is a [*Refusal] if the gate did
// not understand the question, [ErrUnavailable] if it was not asked, and otherwise
// says why no answer came in time.
func (c *Client) Decide(ctx context.Context, req Request) (gate.Decision, error) {
	var d gate.Decision
	err := c.call(ctx, "/v1/decide", http.StatusOK, req.AppendJSON(nil), &d)
	if err == nil && d.ID == "" {
		err = errors.New("weir: the gate's answer is no decision")
	}
	return d, err
}

// Outcome tells the gate what became of a request that it decided on.
func (c *Client) Outcome(ctx context.Context, o Outcome) error {
	body, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("weir: %w", err)
	}
	return c.call(ctx, "/v1/outcome", http.StatusAccepted, body, nil)
}

// Passed tells the gate that a client passed a challenge. It may be repeated after an
// error: what is told twice counts once.
func (c *Client) Passed(ctx context.Context, p Passed) error {
	return c.call(ctx, "/v1/passed", http.StatusAccepted, p.AppendJSON(nil), nil)
}

// call asks the gate, and reads its answer. into may be nil.
func (c *Client) call(ctx context.Context, path string, want int, body []byte, into any) error {
	if !c.breaker.Allow() {
		return ErrUnavailable
	}
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := c.roundTrip(limited, path, want, body, into)
	var refusal *Refusal
	switch {
	case err == nil, errors.As(err, &refusal):
		c.breaker.Done(breaker.Succeeded)
	case ctx.Err() != nil:
		c.breaker.Done(breaker.Abandoned)
	default:
		c.breaker.Done(breaker.Failed)
	}
	return err
}

func (c *Client) roundTrip(ctx context.Context, path string, want int, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("weir: %w", err)
	}
	req.Header["Content-Type"] = []string{"application/json"}
	req.Header["Idempotency-Key"] = nil // is not sent, and lets net/http ask again if a kept connection was closed
	if c.token != "" {
		req.Header[listen.TokenHeader] = []string{c.token}
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("weir: %w", err)
	}
	defer func() {
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxDrain))
		_ = res.Body.Close()
	}()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch {
	case err != nil:
		return fmt.Errorf("weir: %w", err)
	case res.StatusCode >= http.StatusInternalServerError:
		return fmt.Errorf("weir: the gate answers with status %d", res.StatusCode)
	case res.StatusCode != want:
		r := &Refusal{Status: res.StatusCode, Title: http.StatusText(res.StatusCode)}
		_ = json.Unmarshal(answer, r) // it may be no problem of the gate's
		return r
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("weir: the gate's answer is no decision: %w", err)
	}
	return nil
}
