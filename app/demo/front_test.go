package demo

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/weirdev/weir/internal/facet"
)

// TestNginxInFront starts a real nginx in front of the demonstration's API.
func TestNginxInFront(t *testing.T) {
	if findNginx() == "" {
		if os.Getenv("WEIR_REQUIRE_WEBSERVERS") != "" {
			t.Fatal("nginx is not installed")
		}
		t.Skip("nginx is not installed; apt-get install nginx-light")
	}
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/v1/forward-auth/nginx" || r.Header.Get("X-Original-Uri") != "/orders" || r.Header.Get("X-Demo-Tenant") != "shop":
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.Header.Get("X-Demo-Account") == "mallory":
			w.Header().Set("X-Weir-Status", "429")
			w.WriteHeader(http.StatusForbidden)
		case r.Header.Get("X-Real-Ip") == "2001:db8::":
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer gate.Close()
	f, err := startFront(t.Context(), strings.TrimPrefix(gate.URL, "http://"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}()
	before := f.served.Load()
	for e, want := range map[facet.Entity]int{
		{Kind: facet.Account, Tenant: "shop", Key: "mallory"}:     429,
		{Kind: facet.Account, Tenant: "shop", Key: "alice"}:       200,
		{Kind: facet.IP, Tenant: "shop", Key: "2001:db8::/64"}:    403,
		{Kind: facet.Country, Tenant: "shop", Key: "no header"}:   0,
		{Kind: facet.Account, Tenant: "bank", Key: "gate is ill"}: 500,
	} {
		if status, err := f.status(t.Context(), e); status != want || err != nil {
			t.Errorf("%s %s: %d, %v, want %d", e.Kind, e.Key, status, err, want)
		}
	}
	if n := f.served.Load() - before; n != 1 {
		t.Errorf("%d requests reached the API", n)
	}
}
