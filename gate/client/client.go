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
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
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

	bodyRoom = 1 << 10 // bytes, enough for most questions

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
	to      transport
	timeout time.Duration
	breaker *breaker.Breaker
}

// transport posts bodies of JSON. Calls may overlap.
type transport interface {
	// post returns the answer, or an error that says why none came until a time.
	post(ctx context.Context, until time.Time, path string, body []byte) (status int, answer []byte, err error)
	// close closes connections that are not in use.
	close()
}

// New checks cfg. It connects to nothing yet.
func New(cfg Config) (*Client, error) {
	at, err := parseAddress(cfg.Address)
	if err != nil {
		return nil, err
	}
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("weir: a timeout of %v is over before it begins", cfg.Timeout)
	}
	if strings.ContainsFunc(cfg.Token, func(r rune) bool { return r < ' ' || r > '~' }) {
		return nil, errors.New("weir: the token has a character that no header can carry")
	}
	c := &Client{timeout: cfg.Timeout, breaker: breaker.New(failuresToOpen, pause, time.Now)}
	if c.timeout == 0 {
		c.timeout = DefaultTimeout
	}
	if at.tls {
		c.to = newOverTLS("https://"+at.host, cfg)
		return c, nil
	}
	w := &wire{host: at.host}
	if cfg.Token != "" {
		w.more = listen.TokenHeader + ": " + cfg.Token + "\r\n"
	}
	var d net.Dialer
	w.dial = func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, at.network, at.addr) }
	c.to = w
	return c, nil
}

// address is where a gate is.
type address struct {
	network, addr string
	host          string // value of the header Host
	tls           bool
}

func parseAddress(addr string) (address, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if path == "" {
			return address{}, fmt.Errorf("weir: %q names no path, as unix:/run/weir/gate.sock does", addr)
		}
		return address{network: "unix", addr: path, host: "gate"}, nil
	}
	u, err := url.Parse(addr)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return address{}, fmt.Errorf("weir: %q is no address such as http://127.0.0.1:8191, https://gate:8191 or unix:/run/weir/gate.sock", addr)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	host := u.Host
	if zone := strings.IndexByte(host, '%'); zone >= 0 { // it is for this machine only
		host = host[:zone] + host[strings.IndexByte(host, ']'):]
	}
	return address{network: "tcp", addr: net.JoinHostPort(u.Hostname(), port), host: host, tls: u.Scheme == "https"}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.to.close() }

// Decide asks for a decision. Without one, the error is a [*Refusal] if the gate did
// not understand the question, [ErrUnavailable] if it was not asked, and otherwise
// says why no answer came in time.
func (c *Client) Decide(ctx context.Context, req Request) (gate.Decision, error) {
	var d gate.Decision
	read := func(answer []byte) error { return parseDecision(answer, &d) }
	err := c.call(ctx, "/v1/decide", http.StatusOK, req.AppendJSON(make([]byte, 0, bodyRoom)), read)
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

// call asks the gate, and lets read read its answer, unless it is nil.
func (c *Client) call(ctx context.Context, path string, want int, body []byte, read func(answer []byte) error) error {
	if !c.breaker.Allow() {
		return ErrUnavailable
	}
	err := c.ask(ctx, path, want, body, read)
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

func (c *Client) ask(ctx context.Context, path string, want int, body []byte, read func(answer []byte) error) error {
	until := time.Now().Add(c.timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	status, answer, err := c.to.post(ctx, until, path, body)
	switch {
	case err != nil:
		return fmt.Errorf("weir: %w", err)
	case status >= http.StatusInternalServerError:
		return fmt.Errorf("weir: the gate answers with status %d", status)
	case status != want:
		r := &Refusal{Status: status, Title: http.StatusText(status)}
		_ = json.Unmarshal(answer, r) // it may be no problem of the gate's
		return r
	case read == nil:
		return nil
	}
	if err := read(answer); err != nil {
		return fmt.Errorf("weir: the gate's answer is no decision: %w", err)
	}
	return nil
}
