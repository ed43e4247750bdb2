package incoming_test

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/incoming"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
)

func newReader(t testing.TB, identify ...string) *incoming.Reader {
	t.Helper()
	cfg := ingest.Defaults()
	cfg.Routes, cfg.TrustedProxies = []string{"/users/{id}"}, []string{"10.0.0.0/8"}
	r, err := incoming.New(incoming.Config{Identify: identify}, cfg, atlas{}, func() time.Time { return time.UnixMilli(1_764_000_000_000) })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// atlas knows one network.
type atlas struct{}

func (atlas) Lookup(a netip.Addr, p *geo.Place) {
	if *p = (geo.Place{}); a.String() == "203.0.113.9" {
		p.Country, p.ASN = "NL", 64500
	}
}

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func names(req *gate.Request) (all []string) {
	for _, e := range req.Entities {
		all = append(all, e.Kind.String()+" "+e.Key)
	}
	return all
}

func TestWhatIsMadeOfARequest(t *testing.T) {
	r := newReader(t, "tenant=const:shop", "account=claim:sub", "account=header:x-account", "session=cookie:sid", "token=bearer", "device=header:x-device", "ja4=header:x-ja4",
		"app_version=header:x-app-version", "device_model=header:x-model", "rooted=header:x-rooted")
	req := r.Read(&incoming.Request{
		ID: "r-1", Gateway: "edge", Method: "GET", Host: "api.example", URI: "/users/17?x=1", Peer: "10.0.0.1", Claims: map[string]string{"sub": "alice"},
		Header: header("X-Forwarded-For", "198.51.100.7", "X-Forwarded-For", "203.0.113.9", "Cookie", "a=b; sid=s1", "Authorization", "Bearer abc", "X-Account", "mallory",
			"X-Device", "d1", "X-Ja4", "t13d", "X-App-Version", "4.2", "X-Model", "Pixel 8", "X-Rooted", "true", "User-Agent", "app/4.2",
			"Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
	})
	want := []string{
		"account alice", "device d1", "session s1", "token ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", // SHA-256 of abc
		"ip 203.0.113.9", "net 203.0.113.0/24", "asn 64500", "ja4 t13d", "build 4.2|Pixel 8", "net16 203.0.0.0/16",
	}
	got := names(&req)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	e := req.Event
	if req.Tenant != "shop" || req.Route != "/users/{id}" || req.Missing || req.Shortened {
		t.Errorf("%+v", req)
	}
	for f, want := range map[event.Field]string{event.Path: "/users/17?x=1", event.Method: "GET", event.Host: "api.example", event.UserAgent: "app/4.2", event.ID: "r-1",
		event.RequestID: "r-1", event.Gateway: "edge", event.Country: "NL", event.TraceID: "4bf92f3577b34da6a3ce929d0e0e4736"} {
		if e.Text(f) != want {
			t.Errorf("%s is %q, want %q", f, e.Text(f), want)
		}
	}
	if e.Num(event.Rooted) != 1 || e.Num(event.Time) != 1_764_000_000_000 {
		t.Error("rooted or time")
	}
}

// TestOnlyNamesAreShortened: a client that writes a long User-Agent makes no decision
// degraded, because no look-up is another one for it.
func TestOnlyNamesAreShortened(t *testing.T) {
	r := newReader(t, "account=header:x-account", "app_version=header:x-version", "device_model=header:x-model")
	long := strings.Repeat("x", 5000)
	for name, want := range map[string]bool{"X-Account": true, "X-Version": true, "User-Agent": false, "Referer": false} {
		req := r.Read(&incoming.Request{Header: header(name, long, "X-Model", "m")})
		if req.Shortened != want || req.Event.Num(event.Clipped) != 1 || req.Missing {
			t.Errorf("%s: shortened %v, missing %v, clipped %d", name, req.Shortened, req.Missing, req.Event.Num(event.Clipped))
		}
	}
	if req := r.Read(&incoming.Request{URI: "/" + strings.Repeat("p", 10_000), Header: header("X-Account", "a")}); req.Shortened || req.Event.Num(event.Clipped) != 1 {
		t.Error("a long path is a name")
	}
}

// TestSpoofedAddresses: only proxies of ours are believed.
func TestSpoofedAddresses(t *testing.T) {
	for _, tc := range []struct{ name, peer, chain, want string }{
		{"from outside", "198.51.100.1", "203.0.113.9", "198.51.100.1"},
		{"through a proxy of ours", "10.0.0.1", "203.0.113.9, 198.51.100.1", "198.51.100.1"},
		{"garbage behind a proxy", "10.0.0.1", "203.0.113.9, unknown", "10.0.0.1"},
		{"no peer", "", "203.0.113.9", ""},
	} {
		req := newReader(t).Read(&incoming.Request{Peer: tc.peer, Header: header("X-Forwarded-For", tc.chain)})
		if got := req.Event.Text(event.ClientIP); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestHeadersThatSayTwoThingsSayNothing(t *testing.T) {
	r := newReader(t, "account=header:x-account", "session=cookie:sid", "token=bearer")
	req := r.Read(&incoming.Request{Header: header("X-Account", "a", "X-Account", "b", "Cookie", "sid=1", "Cookie", "x=y;sid=2", "Authorization", "Bearer a", "Authorization", "Bearer b")})
	if len(req.Entities) != 0 {
		t.Errorf("%q", names(&req))
	}
	if req = r.Read(&incoming.Request{Header: header("Authorization", "Basic YTpi")}); len(req.Entities) != 0 {
		t.Errorf("a password is a token: %q", names(&req))
	}
}

func TestSourcesHaveAnOrder(t *testing.T) {
	r := newReader(t, "account=claim:sub", "account=header:x-account", "token=hash:header:x-key", "tenant=const:t")
	req := r.Read(&incoming.Request{Header: header("X-Account", "a", "X-Key", "abc"), Fields: map[string]string{"tenant": "other", "device": "d"}})
	if req.Event.Text(event.Account) != "a" || req.Event.Text(event.Token)[:8] != "ba7816bf" || req.Tenant != "other" || req.Event.Text(event.Device) != "d" {
		t.Errorf("%q, tenant %q", names(&req), req.Tenant)
	}
	if req = r.Read(&incoming.Request{Fields: map[string]string{"no_field": "x"}, Header: http.Header{}}); !req.Missing {
		t.Error("an unknown field is passed over in silence")
	}
}

func TestSettingsThatAreWrong(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"account", "FIELD=SOURCE"}, {"acount=header:x", "no such field"}, {"account=header", "sources are"}, {"account=query:x", "no source"},
		{"token=bearer:x", "sources are"}, {"status=header:x", "place of its own"}, {"client_ip=header:x", "derived"}, {"tenant=const:" + strings.Repeat("x", 100), "no event has"},
	} {
		err := incoming.Config{Identify: []string{tc.text}}.Validate()
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "gate.identify") {
			t.Errorf("%s: %v, want %s", tc.text, err, tc.want)
		}
	}
	if err := incoming.Defaults().Validate(); err != nil {
		t.Error(err)
	}
}

// FuzzWhateverAClientSends checks that a question can be made of it, and that it is
// the one that ingest would count.
func FuzzWhateverAClientSends(f *testing.F) {
	f.Add("GET", "/users/1", "203.0.113.9", "10.0.0.1", "alice", "sid=x", "Bearer abc", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Add("\x00", "http://a b", "unix:", ",,,", strings.Repeat("é", 400), "sid", "bearer", "00-")
	r := newReader(f, "account=header:x-account", "session=cookie:sid", "token=bearer")
	f.Fuzz(func(t *testing.T, method, uri, peer, chain, account, cookie, auth, trace string) {
		in := incoming.Request{Method: method, URI: uri, Peer: peer, Header: http.Header{
			"X-Forwarded-For": {chain}, "X-Account": {account}, "Cookie": {cookie}, "Authorization": {auth}, "Traceparent": {trace},
		}}
		req := r.Read(&in)
		for _, e := range req.Entities {
			if key, _, ok := facet.KeyOf(e.Kind, e.Key); !ok || key != e.Key {
				t.Fatalf("%s %q is no key: %q", e.Kind, e.Key, key)
			}
		}
		// An event of it can be read again.
		if !req.Missing {
			req.Event.SetText(event.ID, "x")
			weir, err := format.New("weir", nil)
			if err != nil {
				t.Fatal(err)
			}
			var again event.Event
			if err := weir.Decode(req.Event.AppendJSON(nil), &again); err != nil {
				t.Fatalf("%s: %v", req.Event.AppendJSON(nil), err)
			}
		}
	})
}
