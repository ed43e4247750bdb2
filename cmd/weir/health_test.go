package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/app/cli"
)

func TestHealthSaysWhatTheProgramSays(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"redis":"ok"}`)) })
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("partitions: ingest/3 hangs\x1b[2J\n"))
	})
	mux.HandleFunc("/never", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s := httptest.NewServer(mux)
	defer s.Close()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{s.URL + "/readyz"}, 0, ""},
		{[]string{s.URL}, 0, ""},
		{[]string{s.URL + "/"}, 0, ""},
		{[]string{s.URL + "/healthz"}, 1, "503 Service Unavailable: partitions: ingest/3 hangs"},
		{[]string{s.URL + "/never", "-wait", "50ms"}, 1, "deadline exceeded"},
		{[]string{"http://127.0.0.1:1/readyz"}, 1, "refused"},
		{[]string{"localhost:9480"}, 2, "is no URL such as http://127.0.0.1:9480/readyz"},
		{[]string{"ftp://127.0.0.1/"}, 2, "is no URL"},
		{[]string{s.URL, s.URL}, 2, "it is called as 'weir health [URL]'"},
	} {
		start := time.Now()
		var out bytes.Buffer
		code := cli.Main(command(), append([]string{"health"}, c.args...), &out)
		if code != c.code || !strings.Contains(out.String(), c.says) || strings.Contains(out.String(), "\x1b") {
			t.Errorf("%v: exit status %d, %q; want %d, %q", c.args, code, out.String(), c.code, c.says)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%v took %v", c.args, took)
		}
	}
}
