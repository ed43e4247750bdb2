package weblogs

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// client returns the loopback address of the i-th exchange, so that every log line
// identifies its exchange.
func client(i int) string { return fmt.Sprintf("127.77.%d.%d", i/250, i%250+1) }

// patience is the time limit for an answer, or for a line in a log.
const patience = 20 * time.Second

// backend is the server behind the web servers. It answers everything except /slow,
// and signals when /slow has arrived.
type backend struct {
	*httptest.Server
	arrived chan struct{}
}

func newBackend(t *testing.T) *backend {
	b := &backend{arrived: make(chan struct{}, 16)}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			b.arrived <- struct{}{}
			<-r.Context().Done()
			return
		}
		_, _ = io.Copy(io.Discard, r.Body) // any body
		_, _ = w.Write([]byte("ok\n"))
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *backend) addr() string { return b.Listener.Addr().String() }

// send makes the i-th client send x to a server, and returns the status codes of the
// answers.
func (b *backend) send(t *testing.T, addr string, i int, x exchange) (statuses []int) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client(i))}, Timeout: patience}
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatalf("%s: %v", x.name, err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	// A server may refuse before it has read everything, and close.
	_, _ = io.WriteString(c, x.raw)
	if x.slow {
		select {
		case <-b.arrived:
		case <-time.After(patience):
			t.Errorf("%s: the request did not arrive behind the server", x.name)
		}
		return nil
	}
	if x.final {
		_ = c.(*net.TCPConn).CloseWrite()
	}
	answer, _ := io.ReadAll(c) // a reset may end it
	return codes(answer, x.asks)
}

// codes reads the final statuses of the answers.
func codes(answer []byte, asks []ask) (statuses []int) {
	r := bufio.NewReader(bytes.NewReader(answer))
	for len(statuses) < len(asks) {
		res, err := http.ReadResponse(r, &http.Request{Method: asks[len(statuses)].method})
		if err != nil {
			return statuses
		}
		_, _ = io.Copy(io.Discard, res.Body) // its end may be missing
		if res.StatusCode >= 200 {
			statuses = append(statuses, res.StatusCode)
		}
	}
	return statuses
}
