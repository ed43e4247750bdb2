package tlsconfig

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// Dialer opens connections, with TLS if the settings say so. Any number of
// goroutines may use it.
type Dialer struct {
	section string
	timeout time.Duration
	tls     *tls.Config // nil: plain
}

// DialContext connects, and performs the handshake. Errors about certificates name
// the setting that fixes them, and still wrap crypto/tls's own.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil || d.tls == nil {
		return raw, err
	}
	c := &conn{dialer: d, addr: addr}
	c.Conn = tls.Client(raw, d.configure(c))
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(d.explain(addr, err), ignoreClosed(raw.Close()))
	}
	return c, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// configure returns the configuration of one connection, with the name that the
// server's certificate must have. It records whether the server requests a
// certificate.
func (d *Dialer) configure(c *conn) *tls.Config {
	cfg := d.tls.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(c.addr) // an address that was dialled has a host
	}
	if len(cfg.Certificates) == 0 {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c.asked = true
			return new(tls.Certificate), nil
		}
	}
	return cfg
}

// conn explains why a connection ends before the server's first data: with TLS 1.3,
// the verdict on our certificate arrives only after the handshake, and may be lost
// if the server closes at once.
type conn struct {
	*tls.Conn
	dialer *Dialer
	addr   string
	asked  bool // for a certificate, and we have none; set in the handshake
	heard  atomic.Bool
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil {
		c.heard.Store(true)
		return n, nil
	}
	return n, c.explained(err)
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err == nil {
		return n, nil
	}
	return n, c.explained(err)
}

func (c *conn) explained(err error) error {
	var refused *net.OpError
	switch {
	case c.heard.Load():
		return err
	case errors.As(err, &refused) && refused.Op == remoteError:
		return c.dialer.explain(c.addr, err)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return c.dialer.hungUp(c.addr, c.asked, err)
	}
	return err
}
