package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// syncBuffer may be written while it is read.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Split(strings.TrimSpace(s.b.String()), "\n")
}

// TestAServerLogsAsTheProgramDoes: a handler that panics is one line of JSON,
// whatever net/http makes of it.
func TestAServerLogsAsTheProgramDoes(t *testing.T) {
	var out syncBuffer
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	panics := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("as \x1b[2J a test wants") })
	go func() { done <- Serve(ctx, l, panics, NewLogger(&out, LogConfig{Level: "info", Format: "json"})) }()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	if res, err := client.Get("http://" + l.Addr().String()); err == nil {
		t.Errorf("an answer: %d", res.StatusCode)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	lines := out.lines()
	var line struct{ Level, Msg, Detail string }
	if err := json.Unmarshal([]byte(lines[0]), &line); err != nil || len(lines) != 1 {
		t.Fatalf("%d lines (%v): %s", len(lines), err, lines[0])
	}
	if line.Level != "ERROR" || line.Msg != "the http server reports a problem" || !strings.Contains(line.Detail, "a test wants") || strings.Contains(line.Detail, "\x1b") {
		t.Errorf("got %+v", line)
	}
}
