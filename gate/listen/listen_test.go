package listen_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/gate/listen"
	"github.com/weirdev/weir/proof/testkit"
)

func TestWhoMayAskMustBeSaid(t *testing.T) {
	token := listen.Config{SocketMode: "0660", Token: "sixteen bytes it is"}
	certs := listen.Config{SocketMode: "0660", CertFile: "a", KeyFile: "b", ClientCA: "c"}
	tls := listen.Config{SocketMode: "0660", CertFile: "a", KeyFile: "b"}
	for _, tc := range []struct {
		name   string
		cfg    listen.Config
		addr   string
		tokens bool
		want   string
	}{
		{"loopback", listen.Defaults(), "127.0.0.1:8191", true, ""},
		{"loopback by name", listen.Defaults(), "localhost:8191", true, ""},
		{"loopback, IPv6", listen.Defaults(), "[::1]:8191", true, ""},
		{"a socket", listen.Defaults(), "unix:/run/weir/gate.sock", true, ""},
		{"everywhere", listen.Defaults(), "0.0.0.0:8191", true, "can be reached from other machines"},
		{"everywhere, in short", listen.Defaults(), ":8191", true, "can be reached from other machines"},
		{"a private network", listen.Defaults(), "10.1.2.3:8191", true, "gate.access.token_file"},
		{"TLS without certificates of clients", tls, "0.0.0.0:8191", true, "gate.access.client_ca_file"},
		{"with a token", token, "0.0.0.0:8191", true, ""},
		{"with certificates", certs, "0.0.0.0:8191", true, ""},
		{"a protocol without tokens", token, "0.0.0.0:8191", false, "gate.access.client_ca_file"},
		{"a protocol without tokens, with certificates", certs, "0.0.0.0:8191", false, ""},
		{"no port", listen.Defaults(), "127.0.0.1", true, "gate.listen"},
		{"no path", listen.Defaults(), "unix:", true, "no path"},
	} {
		err := tc.cfg.CheckAddress("gate.listen", tc.addr, tc.tokens)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestSettingsThatAreWrong(t *testing.T) {
	if err := listen.Defaults().Validate(); err != nil {
		t.Error(err)
	}
	for _, tc := range []struct {
		spoil func(*listen.Config)
		want  string
	}{
		{func(c *listen.Config) { c.CertFile = "a" }, "go together"},
		{func(c *listen.Config) { c.ClientCA = "a" }, "without cert_file"},
		{func(c *listen.Config) { c.ClientNames = []string{"a"} }, "client_names"},
		{func(c *listen.Config) { c.SocketMode = "rw" }, "socket_mode"},
		{func(c *listen.Config) { c.Token = "short" }, "too few"},
		{func(c *listen.Config) { c.TokenFile = "/nonesuch" }, "gate.access.token_file"},
	} {
		c := listen.Defaults()
		tc.spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "gate.access.") {
			t.Errorf("%v, want %s", err, tc.want)
		}
	}
}

// serve answers "served" on an address until the test ends.
func serve(t *testing.T, cfg listen.Config, addr string) net.Addr {
	t.Helper()
	a, err := listen.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := a.Open(t.Context(), addr, "http/1.1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	srv := &http.Server{Handler: a.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "served"+r.Header.Get(listen.TokenHeader))
	}))}
	go func() { done <- listen.ServeHTTP(ctx, l, srv, time.Second) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr()
}

func get(c *http.Client, url, token string) (int, string, error) {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		r.Header.Set(listen.TokenHeader, token)
	}
	res, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), errors.Join(err, res.Body.Close())
}

func TestUnixSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gate.sock")
	cfg := listen.Defaults()
	cfg.SocketMode = "0600"
	serve(t, cfg, "unix:"+path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	if status, body, err := get(c, "http://gate/", ""); status != 200 || body != "served" || err != nil {
		t.Errorf("%d %s %v", status, body, err)
	}
	a, err := listen.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Open(t.Context(), "unix:"+path); err == nil || !strings.Contains(err.Error(), "another program answers") {
		t.Errorf("two gates share a socket: %v", err)
	}
}

// TestASocketThatAKilledGateLeft is replaced.
func TestASocketThatAKilledGateLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gate.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	serve(t, listen.Defaults(), "unix:"+path)
}

// TestASocketOfASuccessorStays: one gate takes over from another that ends.
func TestASocketOfASuccessorStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gate.sock")
	a, err := listen.New(listen.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	old, err := a.Open(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file stays: %v", err)
	}
	successor, err := a.Open(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer successor.Close()
	_ = old.Close() // servers close more than once
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the successor's socket is gone: %v", err)
	}
	_ = c.Close()
}

// TestAFileInPlaceOfASocketStays: it may be anything.
func TestAFileInPlaceOfASocketStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "important.txt")
	if err := os.WriteFile(path, []byte("important"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := listen.New(listen.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	if l, err := a.Open(t.Context(), "unix:"+path); err == nil {
		t.Errorf("it was replaced: %v", l.Close())
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "important" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestAnAddressInUseIsAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := listen.New(listen.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Open(t.Context(), l.Addr().String()); err == nil || !strings.Contains(err.Error(), "listen on 127.0.0.1:") {
		t.Errorf("got %v", err)
	}
}

func TestTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("an example, no secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := listen.Defaults()
	cfg.TokenFile = file
	url := "http://" + serve(t, cfg, "127.0.0.1:0").String()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, tc := range []struct {
		path, token string
		status      int
	}{
		{"/v1/decide", "an example, no secret", 200}, {"/v1/decide", "", 401}, {"/v1/decide", "an example, no secre", 401},
		{"/v1/forward-auth/nginx", "wrong", 503}, {"/healthz", "", 200}, {"/readyz", "", 200},
	} {
		status, body, err := get(c, url+tc.path, tc.token)
		if status != tc.status || err != nil || (status == 200) != (body == "served") {
			t.Errorf("%+v: %d %s %v", tc, status, body, err)
		}
	}
}

func TestCertificatesOfClients(t *testing.T) {
	ca, other := testkit.NewAuthority(t), testkit.NewAuthority(t)
	gate := ca.Identity("gate", nil)
	cfg := listen.Defaults()
	cfg.CertFile, cfg.KeyFile, cfg.ClientCA, cfg.ClientNames = gate.CertFile, gate.KeyFile, ca.File, []string{"edge"}
	url := "https://" + serve(t, cfg, "127.0.0.1:0").String()
	for _, tc := range []struct {
		name  string
		certs []tls.Certificate
		ok    bool
	}{
		{"the right one", []tls.Certificate{ca.Identity("edge", nil).Pair}, true},
		{"another name", []tls.Certificate{ca.Identity("stranger", nil).Pair}, false},
		{"another authority", []tls.Certificate{other.Identity("edge", nil).Pair}, false},
		{"none", nil, false},
	} {
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: tc.certs}}}
		status, body, err := get(c, url, "")
		if tc.ok != (err == nil && status == 200 && body == "served") {
			t.Errorf("%s: %d %s %v", tc.name, status, body, err)
		}
	}
}

func TestFilesThatAreWrong(t *testing.T) {
	ca := testkit.NewAuthority(t)
	gate := ca.Identity("gate", nil)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := listen.Config{SocketMode: "0660", CertFile: gate.CertFile, KeyFile: gate.KeyFile, ClientCA: ca.File}
	for _, tc := range []struct {
		spoil func(*listen.Config)
		want  string
	}{
		{func(c *listen.Config) { c.CertFile = "/nonesuch" }, "gate.access.cert_file"},
		{func(c *listen.Config) { c.ClientCA = "/nonesuch" }, "gate.access.client_ca_file"},
		{func(c *listen.Config) { c.ClientCA = empty }, "holds no certificate"},
	} {
		c := good
		tc.spoil(&c)
		if _, err := listen.New(c); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v, want %s", err, tc.want)
		}
	}
	if _, err := listen.New(good); err != nil {
		t.Error(err)
	}
}

// TestGuardWithoutAToken changes nothing.
func TestGuardWithoutAToken(t *testing.T) {
	a, err := listen.New(listen.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	a.Guard(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/v1/decide", nil))
	if w.Code != 404 || !a.Knows("") {
		t.Error(w.Code)
	}
}

func TestLogsComeFromThisMachineOnly(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:8194": "", "[::1]:8194": "", "localhost:8194": "", "unix:/run/weir/log.sock": "",
		"0.0.0.0:8194": "can be reached from other machines", ":8194": "can be reached from other machines", "10.1.2.3:8194": "a Unix socket",
		"127.0.0.1": "gate.log_listen", "unix:": "no path",
	} {
		err := listen.CheckLocal("gate.log_listen", addr)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", addr, err, want)
		}
	}
}

func TestASocketForDatagrams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.sock")
	a, err := listen.New(listen.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	killed, err := net.ListenPacket("unixgram", path) // its file stays
	if err != nil {
		t.Fatal(err)
	}
	if err := killed.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := a.OpenPackets(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := a.OpenPackets(t.Context(), "unix:"+path); err == nil || !strings.Contains(err.Error(), "another program answers") {
		t.Errorf("a second one: %v", err)
	}
	to, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := io.WriteString(to, "a line"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, _, err := c.ReadFrom(b); err != nil || string(b[:n]) != "a line" {
		t.Errorf("%q, %v", b[:n], err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its file stays: %v", err)
	}
	if c, err := a.OpenPackets(t.Context(), "127.0.0.1:99999"); err == nil || !strings.Contains(err.Error(), "listen on 127.0.0.1:99999") {
		t.Errorf("%v, %v", c, err)
	}
}
