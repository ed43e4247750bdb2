package ingest_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/geo"
)

// atlas is a place for each address, by its text.
type atlas map[string]geo.Place

func (a atlas) Lookup(addr netip.Addr, p *geo.Place) { *p = a[addr.String()] }

func complete(t *testing.T, cfg ingest.Config, places ingest.Places, raw string) *event.Event {
	t.Helper()
	n, err := ingest.NewEnricher(cfg, places)
	if err != nil {
		t.Fatal(err)
	}
	e := &event.Event{}
	if err := new(format.Decoder).Decode([]byte(`{"id":"1","time":1795428303000,`+raw+`}`), e); err != nil {
		t.Fatal(err)
	}
	n.Complete(e, 0, 1, nil)
	return e
}

func TestWhoTheClientIs(t *testing.T) {
	cfg := ingest.Defaults()
	cfg.TrustedProxies = []string{"10.0.0.0/8", "unix:"}
	cfg.ConnectingIPFrom = []string{"198.18.0.0/15"}
	for _, c := range []struct{ name, raw, ip, client, net string }{
		{"the peer", `"ip":"203.0.113.9"`, "203.0.113.9", "203.0.113.9", "203.0.113.0/24"},
		{"behind a proxy", `"ip":"10.0.0.1","forwarded_for":"192.0.2.1, 203.0.113.9"`, "10.0.0.1", "203.0.113.9", "203.0.113.0/24"},
		{"behind a proxy, with a trailing comma", `"ip":"10.0.0.1","forwarded_for":"203.0.113.9, "`, "10.0.0.1", "203.0.113.9", "203.0.113.0/24"},
		{"behind a Unix socket", `"ip":"unix:/run/edge.sock","forwarded_for":"203.0.113.9"`, "unix:", "203.0.113.9", "203.0.113.0/24"},
		{"behind a Unix socket, without a list", `"ip":"unix:"`, "unix:", "", ""},
		{"stated by the CDN", `"ip":"198.18.0.1","connecting_ip":"203.0.113.9"`, "198.18.0.1", "203.0.113.9", "203.0.113.0/24"},
		{"stated by the CDN behind a proxy", `"ip":"10.0.0.1","forwarded_for":"192.0.2.1, 198.18.0.1","connecting_ip":"203.0.113.9"`, "10.0.0.1", "203.0.113.9", "203.0.113.0/24"},
		{"stated by an attacker at the origin", `"ip":"203.0.113.66","connecting_ip":"203.0.113.9"`, "203.0.113.66", "203.0.113.66", "203.0.113.0/24"},
		{"stated by an attacker through a proxy", `"ip":"10.0.0.1","forwarded_for":"203.0.113.66","connecting_ip":"203.0.113.9"`, "10.0.0.1", "203.0.113.66", "203.0.113.0/24"},
		{"no address at all", `"forwarded_for":"203.0.113.9","connecting_ip":"203.0.113.9"`, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := complete(t, cfg, atlas{}, c.raw)
			if e.Text(event.IP) != c.ip || e.Text(event.ClientIP) != c.client || e.Text(event.Net) != c.net {
				t.Errorf("peer %q, client %q in %q; want %q, %q in %q", e.Text(event.IP), e.Text(event.ClientIP), e.Text(event.Net), c.ip, c.client, c.net)
			}
		})
	}
}

func TestANetworkWithAPlaceAndNoCountryKeepsThePlace(t *testing.T) {
	e := complete(t, ingest.Defaults(), atlas{"203.0.113.9": {City: "Gibraltar", LatitudeMicro: 36_140_000, LongitudeMicro: -5_350_000, RadiusKM: 9}}, `"ip":"203.0.113.9"`)
	if e.Num(event.Latitude) != 36_140_000 || e.Num(event.Longitude) != -5_350_000 || e.Num(event.GeoRadius) != 9 || e.Text(event.City) != "Gibraltar" || e.Has(event.Country) {
		t.Errorf("%d, %d within %d km, %q, country %q", e.Num(event.Latitude), e.Num(event.Longitude), e.Num(event.GeoRadius), e.Text(event.City), e.Text(event.Country))
	}
	if e := complete(t, ingest.Defaults(), atlas{"203.0.113.9": {Country: "GI"}}, `"ip":"203.0.113.9"`); e.Has(event.Latitude) || e.Text(event.Country) != "GI" {
		t.Error("a country without a place has one")
	}
}

func TestWrongProxiesAreSaidWithTheirSetting(t *testing.T) {
	cfg := ingest.Defaults()
	cfg.TrustedProxies, cfg.ConnectingIPFrom = []string{"10.0.0.1/8"}, []string{"0.0.0.0/0"}
	err := cfg.Validate()
	if err == nil || !strings.Contains(err.Error(), `ingest.trusted_proxies: trusted proxy "10.0.0.1/8": has bits beyond its length; 10.0.0.0/8 is meant`) ||
		!strings.Contains(err.Error(), `ingest.connecting_ip_from: proxy that states the client's address "0.0.0.0/0": trusts every address`) {
		t.Errorf("got %v", err)
	}
	if cfg.TrustedProxies, cfg.ConnectingIPFrom = []string{"unix:", "192.0.2.7"}, []string{"unix:"}; cfg.Validate() != nil {
		t.Error(cfg.Validate())
	}
}
