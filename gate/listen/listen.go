// Package listen opens the gate's listeners and says who may ask: everybody on a
// Unix socket or on loopback, elsewhere only those with a client certificate or the
// shared token.
package listen

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weirdev/weir/internal/secret"
)

// TokenHeader carries the token that gateways share with the gate. It never reaches
// an upstream.
const TokenHeader = "X-Weir-Token"

// Config says how to listen, and who may ask.
type Config struct {
	CertFile    string   `yaml:"cert_file" doc:"certificate of the gate, PEM; empty: no TLS"`
	KeyFile     string   `yaml:"key_file" doc:"key of that certificate, PEM"`
	ClientCA    string   `yaml:"client_ca_file" doc:"authorities whose client certificates may ask, PEM; empty: none is asked for"`
	ClientNames []string `yaml:"client_names" doc:"names that client certificates may have (DNS, URI, e-mail address, or common name); empty: every certificate of these authorities"`
	Token       string   `yaml:"token" secret:"true" doc:"token that gateways send as X-Weir-Token, at least 16 bytes; empty: none is asked for"`
	TokenFile   string   `yaml:"token_file" doc:"file with the token, instead of token"`
	SocketMode  string   `yaml:"socket_mode" doc:"permissions of Unix sockets, octal"`
}

// Defaults returns values that suit one machine.
func Defaults() Config { return Config{SocketMode: "0660"} }

const (
	unixPrefix    = "unix:"
	shortestToken = 16
)

// Validate reports all errors in c. It reads no file but that of the token.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("gate.access."+format, args...)) }
	if (c.CertFile == "") != (c.KeyFile == "") {
		bad("cert_file and key_file go together")
	}
	if c.ClientCA != "" && c.CertFile == "" {
		bad("client_ca_file: without cert_file there is no TLS, and nobody is asked for a certificate")
	}
	if len(c.ClientNames) > 0 && c.ClientCA == "" {
		bad("client_names: set client_ca_file, too, or no certificate is asked for")
	}
	if _, err := c.mode(); err != nil {
		bad("socket_mode: %q is no octal number such as 0660", c.SocketMode)
	}
	if _, err := c.token(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c Config) mode() (os.FileMode, error) {
	n, err := strconv.ParseUint(c.SocketMode, 8, 9)
	return os.FileMode(n), err
}

func (c Config) token() (string, error) {
	t, err := secret.Read("gate.access.token", c.Token, c.TokenFile)
	if err != nil {
		return "", err
	}
	if c.TokenFile != "" {
		t = strings.TrimSpace(t)
	}
	if t == "" && c.TokenFile == "" {
		return "", nil
	}
	if len(t) < shortestToken {
		return "", fmt.Errorf("gate.access.token: %d bytes are too few, %d are needed", len(t), shortestToken)
	}
	return t, nil
}

// CheckAddress reports what is wrong with the address of a listener, in the setting
// of that name. tokens says whether its protocol can carry a token.
func (c Config) CheckAddress(setting, addr string, tokens bool) error {
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		if path == "" {
			return fmt.Errorf("%s: %q names no path, as unix:/run/weir/gate.sock does", setting, addr)
		}
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s: %w", setting, err)
	}
	hasToken := tokens && (c.Token != "" || c.TokenFile != "")
	if isLoopback(host) || c.ClientCA != "" || hasToken {
		return nil
	}
	means := "gate.access.client_ca_file (client certificates) or gate.access.token_file (a shared token)"
	if !tokens {
		means = "gate.access.client_ca_file (client certificates)"
	}
	return fmt.Errorf("%s: %s can be reached from other machines, and whoever can ask the gate can probe its thresholds; set %s, or listen on 127.0.0.1 or a Unix socket", setting, addr, means)
}

// CheckLocal reports what is wrong with the address of a listener that cannot know who
// writes to it: other machines must not reach it.
func CheckLocal(setting, addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err == nil && !strings.HasPrefix(addr, unixPrefix) && !isLoopback(host) {
		return fmt.Errorf("%s: %s can be reached from other machines, and nothing shows who writes there; listen on 127.0.0.1 or a Unix socket", setting, addr)
	}
	return Config{}.CheckAddress(setting, addr, false)
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// Access opens listeners and checks tokens.
type Access struct {
	cfg   Config
	tls   *tls.Config // nil: plain
	mode  os.FileMode
	token *[sha256.Size]byte // hash of the token; nil: none is needed
}

// New reads the files that cfg names.
func New(cfg Config) (*Access, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &Access{cfg: cfg}
	a.mode, _ = cfg.mode() // validated
	if t, _ := cfg.token(); t != "" {
		sum := sha256.Sum256([]byte(t))
		a.token = &sum
	}
	if cfg.CertFile == "" {
		return a, nil
	}
	pair, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("gate.access.cert_file: %w", err)
	}
	a.tls = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if cfg.ClientCA == "" {
		return a, nil
	}
	pem, err := os.ReadFile(cfg.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("gate.access.client_ca_file: %w", err)
	}
	a.tls.ClientCAs, a.tls.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !a.tls.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("gate.access.client_ca_file: %s holds no certificate", cfg.ClientCA)
	}
	a.tls.VerifyConnection = a.known
	return a, nil
}

// known refuses certificates without one of the configured names.
func (a *Access) known(s tls.ConnectionState) error {
	if len(a.cfg.ClientNames) == 0 {
		return nil
	}
	c := s.PeerCertificates[0]
	names := slices.Concat(c.DNSNames, c.EmailAddresses, []string{c.Subject.CommonName})
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	for _, n := range names {
		if n != "" && slices.Contains(a.cfg.ClientNames, n) {
			return nil
		}
	}
	return fmt.Errorf("a client certificate for %q is none of gate.access.client_names", names)
}

// Open listens on host:port or unix:PATH. protocols are offered by ALPN, where TLS
// is spoken. A socket that a killed gate has left is replaced; one that somebody
// answers on is not.
func (a *Access) Open(ctx context.Context, addr string, protocols ...string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(addr, unixPrefix)
	if isUnix {
		return a.openUnix(ctx, path)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	if a.tls != nil {
		cfg := a.tls.Clone()
		cfg.NextProtos = protocols
		l = tls.NewListener(l, cfg)
	}
	return l, nil
}

// OpenPackets receives datagrams at host:port or unix:PATH. A socket that a killed gate
// has left is replaced, as by Open.
func (a *Access) OpenPackets(ctx context.Context, addr string) (net.PacketConn, error) {
	var lc net.ListenConfig
	path, isUnix := strings.CutPrefix(addr, unixPrefix)
	if !isUnix {
		c, err := lc.ListenPacket(ctx, "udp", addr)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", addr, err)
		}
		return c, nil
	}
	var c net.PacketConn
	err := a.place(ctx, "unixgram", path, func(private string) (_ io.Closer, err error) {
		c, err = lc.ListenPacket(ctx, "unixgram", private)
		return c, err
	})
	if err != nil {
		return nil, err
	}
	return &packets{PacketConn: c, file: file{path: path}}, nil
}

func (a *Access) openUnix(ctx context.Context, path string) (net.Listener, error) {
	var l net.Listener
	err := a.place(ctx, "unix", path, func(private string) (_ io.Closer, err error) {
		if l, err = (&net.ListenConfig{}).Listen(ctx, "unix", private); err == nil {
			l.(*net.UnixListener).SetUnlinkOnClose(false)
		}
		return l, err
	})
	if err != nil {
		return nil, err
	}
	return &socket{Listener: l, file: file{path: path}}, nil
}

// place puts a socket at path that listen makes elsewhere: until its permissions are
// set, nobody else may connect.
func (a *Access) place(ctx context.Context, network, path string, listen func(private string) (io.Closer, error)) error {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("listen on %s: there is something else", path)
	}
	var d net.Dialer
	switch c, err := d.DialContext(ctx, network, path); {
	case err == nil:
		_ = c.Close()
		return fmt.Errorf("listen on %s: another program answers there", path)
	case errors.Is(err, syscall.ECONNREFUSED): // nobody listens any more
	case errors.Is(err, os.ErrNotExist):
	default:
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	private := path + ".new"
	_ = os.Remove(private)
	c, err := listen(private)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := errors.Join(os.Chmod(private, a.mode), os.Rename(private, path)); err != nil {
		return errors.Join(fmt.Errorf("listen on %s: %w", path, err), c.Close(), os.Remove(private))
	}
	return nil
}

// file is the file of a socket. It is removed when the socket is closed for the first
// time: before nobody answers there, since another gate may take its place then.
type file struct {
	path   string
	remove sync.Once
}

func (f *file) close(c io.Closer) (err error) {
	f.remove.Do(func() { err = os.Remove(f.path) })
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, c.Close())
}

type socket struct {
	net.Listener
	file
}

func (s *socket) Close() error { return s.close(s.Listener) }

type packets struct {
	net.PacketConn
	file
}

func (p *packets) Close() error { return p.close(p.PacketConn) }

// Knows reports whether a token is the shared one; true if none is needed.
func (a *Access) Knows(token string) bool {
	if a.token == nil {
		return true
	}
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], a.token[:]) == 1
}

// strangers returns the status for requests without the token. In place of a
// decision it must be an error: gateways take 401 for one.
func strangers(r *http.Request) int {
	if strings.HasPrefix(r.URL.Path, "/v1/forward-auth/") {
		return http.StatusServiceUnavailable
	}
	return http.StatusUnauthorized
}

// Guard lets requests with the shared token pass, and removes it from them. Health
// is asked for without one.
func (a *Access) Guard(next http.Handler) http.Handler {
	if a.token == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		isHealth := r.URL.Path == "/healthz" || r.URL.Path == "/readyz"
		if !isHealth && !a.Knows(r.Header.Get(TokenHeader)) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(strangers(r))
			_, _ = w.Write([]byte(`{"type":"urn:weir:problem:token","title":"The gateway's token is missing or wrong","detail":"send gate.access.token as X-Weir-Token"}` + "\n"))
			return
		}
		r.Header.Del(TokenHeader)
		next.ServeHTTP(w, r)
	})
}

// Limits of HTTP servers: requests and answers are small.
const (
	headerTimeout = 2 * time.Second
	readTimeout   = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	drainTimeout  = 5 * time.Second
	headerBytes   = 64 << 10
)

// ServeHTTP answers on l until ctx ends, then completes open requests, and closes
// l. longest limits how long a decision takes.
func ServeHTTP(ctx context.Context, l net.Listener, srv *http.Server, longest time.Duration) error {
	srv.MaxHeaderBytes, srv.ReadHeaderTimeout, srv.ReadTimeout, srv.IdleTimeout = headerBytes, headerTimeout, readTimeout, idleTimeout
	srv.WriteTimeout = readTimeout + longest
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("gate: serve: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := srv.Shutdown(drain)
	if err != nil {
		err = errors.Join(err, srv.Close())
	}
	if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	if err != nil {
		return fmt.Errorf("gate: stop: %w", err)
	}
	return nil
}
