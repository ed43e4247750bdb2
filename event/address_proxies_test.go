package event

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

var ourProxies = []string{"10.0.0.0/8", "192.168.1.1", "2001:db8:ffff::/48", "::ffff:172.16.0.0/108"}

func testProxies(t testing.TB) *Proxies {
	t.Helper()
	p, err := NewProxies(ourProxies, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProxiesTrustWhatTheyWereGiven(t *testing.T) {
	p := testProxies(t)
	for in, want := range map[string]bool{
		"10.0.0.0": true, "10.255.255.255": true, "9.255.255.255": false, "11.0.0.0": false,
		"192.168.1.1": true, "192.168.1.0": false, "192.168.1.2": false,
		"172.16.0.1": true, "172.31.255.255": true, "172.32.0.0": false, "172.15.255.255": false,
		"::ffff:10.1.2.3": true, "64:ff9b::10.1.2.3": true,
		"2001:db8:ffff::1": true, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff": true,
		"2001:db8:fffe::1": false, "2001:db9::": false, "::1": false,
	} {
		if got := p.Trusts(netip.MustParseAddr(in)); got != want {
			t.Errorf("%s trusted: %v, want %v", in, got, want)
		}
	}
	if p.Trusts(netip.Addr{}) {
		t.Error("no address at all is trusted")
	}
}

func TestNestedPrefixesStillHoldWhatTheWiderOneHolds(t *testing.T) {
	p, err := NewProxies([]string{"10.1.0.0/16", "10.0.0.0/8", "10.1.2.3", "10.0.0.0/8"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.forwarding.ranges) != 1 || !p.Trusts(netip.MustParseAddr("10.200.0.1")) {
		t.Errorf("ranges %v", p.forwarding.ranges)
	}
}

func TestNewProxiesNamesEveryWrongEntry(t *testing.T) {
	_, err := NewProxies([]string{"10.0.0.0/8", "10.0.0.0/33", "nonsense", "0.0.0.0/0", "::/0", "10.0.0.1/8", "::ffff:0:0/96", "unix:/x"}, nil)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`"10.0.0.0/33": is none of`, `"nonsense": is none of`, `"0.0.0.0/0": trusts every address`,
		`"::/0": trusts every`, `"10.0.0.1/8": has bits beyond its length; 10.0.0.0/8 is meant`,
		`"::ffff:0:0/96": trusts every IPv4`, `"unix:/x": is none of`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %s", err, want)
		}
	}
}

func TestClientIsTheRightmostAddressThatIsNoProxy(t *testing.T) {
	for _, c := range []struct{ name, peer, chain, want string }{
		{"no chain", "203.0.113.7", "", "203.0.113.7"},
		{"a stranger's chain is not read", "203.0.113.7", "198.51.100.1", "203.0.113.7"},
		{"one proxy", "10.0.0.1", "203.0.113.7", "203.0.113.7"},
		{"two proxies", "10.0.0.1", "203.0.113.7, 10.0.0.2", "203.0.113.7"},
		{"what the client put in front is not read", "10.0.0.1", "198.51.100.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"},
		{"a client that names a proxy in front", "10.0.0.1", "10.0.0.9, 203.0.113.7", "203.0.113.7"},
		{"an internal client", "10.0.0.1", "10.0.0.9", "10.0.0.9"},
		{"an internal client with two hops", "10.0.0.1", "10.0.0.8, 10.0.0.9", "10.0.0.8"},
		{"proxy without a chain", "10.0.0.1", "", "10.0.0.1"},
		{"ports and brackets", "2001:db8:ffff::1", "203.0.113.7:4711, [2001:db8:ffff::2]:80", "203.0.113.7"},
		{"IPv6 client", "10.0.0.1", "[2001:db8:1::5]:9", "2001:db8:1::5"},
		{"IPv4 written as IPv6 all along", "::ffff:10.0.0.1", "::ffff:203.0.113.7, ::ffff:10.0.0.2", "203.0.113.7"},
		{"unknown ends on the proxy", "10.0.0.1", "203.0.113.7, unknown", "10.0.0.1"},
		{"unknown behind a second proxy ends there", "10.0.0.1", "203.0.113.7, unknown, 10.0.0.2", "10.0.0.2"},
		{"a trailing comma", "10.0.0.1", "203.0.113.7,", "203.0.113.7"},
		{"a doubled comma", "10.0.0.1", "203.0.113.7,,10.0.0.2", "203.0.113.7"},
		{"blank elements", "10.0.0.1", " ,203.0.113.7, ,\t, 10.0.0.2 , ", "203.0.113.7"},
		{"nothing but commas", "10.0.0.1", ", ,,", "10.0.0.1"},
		{"no blanks", "10.0.0.1", "198.51.100.1,203.0.113.7,10.0.0.2", "203.0.113.7"},
		{"no peer", "", "203.0.113.7", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := testProxies(t).Client(Claims{Peer: c.peer, ForwardedFor: c.chain})
			if want := c.want; got.IsValid() != (want != "") || got.IsValid() && got.String() != want {
				t.Errorf("got %v, want %q", got, want)
			}
		})
	}
}

func TestNobodyIsTrustedByDefault(t *testing.T) {
	for _, p := range []*Proxies{nil, {}} {
		claims := Claims{Peer: "10.0.0.1", ForwardedFor: "203.0.113.7", ConnectingIP: "203.0.113.8"}
		if got := p.Client(claims); got.String() != "10.0.0.1" {
			t.Errorf("got %v", got)
		}
		claims.Peer = UnixPeer
		if got := p.Client(claims); got.IsValid() {
			t.Errorf("behind a Unix socket: got %v", got)
		}
	}
}

func TestAPeerOnAUnixSocketIsAskedOnlyWhereItIsTrusted(t *testing.T) {
	for _, c := range []struct{ name, trusted, peer, chain, want string }{
		{"not trusted", "10.0.0.0/8", "unix:", "203.0.113.7", ""},
		{"not trusted, with a path", "10.0.0.0/8", "unix:/run/edge.sock", "203.0.113.7", ""},
		{"trusted", "unix:", "unix:", "203.0.113.7", "203.0.113.7"},
		{"trusted, with a path", "unix:", "unix:/run/edge.sock", "203.0.113.7", "203.0.113.7"},
		{"trusted, as Go writes it", "unix:", "@", "203.0.113.7", "203.0.113.7"},
		{"what the client put in front is not read", "unix:", "unix:", "198.51.100.1, 203.0.113.7", "203.0.113.7"},
		{"another hop on a Unix socket", "unix:", "unix:", "198.51.100.1, 203.0.113.7, unix:, unix:/run/x", "203.0.113.7"},
		{"a hop on a Unix socket that is not trusted ends on the proxy", "10.0.0.0/8", "10.0.0.1", "203.0.113.7, unix:", "10.0.0.1"},
		{"without a list", "unix:", "unix:", "", ""},
		{"garbage ends on the socket", "unix:", "unix:", "203.0.113.7, unknown", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := NewProxies([]string{c.trusted}, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := p.Client(Claims{Peer: c.peer, ForwardedFor: c.chain})
			if got.IsValid() != (c.want != "") || got.IsValid() && got.String() != c.want {
				t.Errorf("got %v, want %q", got, c.want)
			}
		})
	}
}

// A CDN (198.18.0.0/15) states the client's address; a load balancer (10.0.0.0/8)
// passes on whatever header it gets, and appends its peer to X-Forwarded-For.
func TestAStatedAddressCountsOnlyFromWhomItIsBelieved(t *testing.T) {
	const client, victim, attacker = "203.0.113.7", "192.0.2.66", "203.0.113.66"
	for _, c := range []struct{ name, peer, chain, stated, want string }{
		{"the CDN is the peer", "198.18.0.1", "", client, client},
		{"the CDN is the peer, and left a forged list alone", "198.18.0.1", victim, client, client},
		{"the CDN is behind the load balancer", "10.0.0.1", "198.18.0.1", client, client},
		{"the CDN is behind two load balancers, with a forged list", "10.0.0.1", victim + ", 198.18.0.1, 10.0.0.2", client, client},
		{"with a port", "198.18.0.1", "", client + ":4711", client},
		{"IPv6", "198.18.0.1", "", "2001:db8:1::5", "2001:db8:1::5"},
		{"the CDN states none", "198.18.0.1", client, "", "198.18.0.1"},
		{"the CDN states garbage", "198.18.0.1", client, "unknown", "198.18.0.1"},
		{"the CDN states a Unix socket", "198.18.0.1", client, "unix:", "198.18.0.1"},
		{"the attacker is the peer", attacker, "", victim, attacker},
		{"the attacker is the peer, and names the CDN", attacker, "198.18.0.1", victim, attacker},
		{"the attacker comes through the load balancer", "10.0.0.1", attacker, victim, attacker},
		{"the attacker comes through the load balancer, and names the CDN", "10.0.0.1", "198.18.0.1, " + attacker, victim, attacker},
		{"the load balancer says nothing of its peer", "10.0.0.1", "", victim, "10.0.0.1"},
		{"a Unix socket is not believed by itself", "unix:", "", victim, ""},
		{"no peer", "", "198.18.0.1", victim, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := NewProxies([]string{"10.0.0.0/8"}, []string{"198.18.0.0/15"})
			if err != nil {
				t.Fatal(err)
			}
			got := p.Client(Claims{c.peer, c.chain, c.stated})
			if got.IsValid() != (c.want != "") || got.IsValid() && got.String() != c.want {
				t.Errorf("got %v, want %q", got, c.want)
			}
		})
	}
	p, err := NewProxies(nil, []string{"unix:"})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Client(Claims{Peer: "unix:", ConnectingIP: client}); got.String() != client {
		t.Errorf("a Unix socket that is believed: %v", got)
	}
	if _, err := NewProxies(nil, []string{"::/0", "x"}); err == nil || strings.Count(err.Error(), "states the client's address") != 2 {
		t.Errorf("wrong entries: %v", err)
	}
}

func TestHugeChainsAreNotFollowed(t *testing.T) {
	p := testProxies(t)
	chain := "203.0.113.7" + strings.Repeat(", 10.0.0.2", 31)
	if got := p.Client(Claims{Peer: "10.0.0.1", ForwardedFor: chain}); got.String() != "203.0.113.7" {
		t.Errorf("32 hops: got %v", got)
	}
	chain = "203.0.113.7, 10.0.0.3" + strings.Repeat(", 10.0.0.2", 31)
	if got := p.Client(Claims{Peer: "10.0.0.1", ForwardedFor: chain}); got.String() != "10.0.0.3" {
		t.Errorf("33 hops: got %v", got)
	}
	chain = "203.0.113.7" + strings.Repeat(", ", 1000) + strings.Repeat(", 10.0.0.2", 31) + strings.Repeat(" ,", 1000)
	if got := p.Client(Claims{Peer: "10.0.0.1", ForwardedFor: chain}); got.String() != "203.0.113.7" {
		t.Errorf("32 hops among blank elements: got %v", got)
	}
	chain = "203.0.113.7" + strings.Repeat(",10.0.0.2", 100_000)
	if got := p.Client(Claims{Peer: "10.0.0.1", ForwardedFor: chain}); got.String() != "10.0.0.2" {
		t.Errorf("100,000 hops: got %v", got)
	}
}

// spoofs are what attackers put into X-Forwarded-For. victim stands for the
// address that they want to be taken for.
func spoofs(victim string) []string {
	one := []string{
		"", " ", ",", ",,", ", ,", "\t", "unknown", "-", "_obf", "null", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::",
		victim, victim + ":80", victim + ",", "," + victim, `"` + victim + `"`, `"` + victim, victim + `"`,
		"[" + victim + "]", "[::ffff:" + victim + "]", "::ffff:" + victim, "64:ff9b::" + victim,
		"unix:", "unix:/" + victim, "@", victim + "%eth0", victim + "\x00", victim + "\r\nX-Forwarded-For: " + victim, victim + ";", victim + " " + victim,
		"for=" + victim, "for=\"" + victim + "\"", "10.0.0.1", "10.0.0.1:80", "10.0.0.256", "10.0.0.1.", "10.0.0.01",
		"192.168.1.1", "2001:db8:ffff::1", "[2001:db8:ffff::1]", "[2001:db8:ffff::1", "2001:db8:ffff::1]", "fe80::1%10.0.0.1",
		"::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "0x0a000001", "167772161", "10.1", "１０.0.0.1",
		strings.Repeat("9", 5000), strings.Repeat("[", 500), strings.Repeat("10.0.0.1,", 500), strings.Repeat(victim+",", 200),
	}
	all := slices.Clone(one)
	for _, s := range one {
		all = append(all, s+", "+victim, victim+", "+s, s+","+victim+", 10.0.0.3")
	}
	return all
}

// A trusted proxy appends the address it sees. Whatever comes in front of that
// must not matter.
func TestSpoofedChainsNeverChangeTheClient(t *testing.T) {
	const attacker, victim = "203.0.113.66", "198.51.100.1"
	p, payloads := testProxies(t), spoofs(victim)
	if len(payloads) < 200 {
		t.Fatalf("only %d payloads", len(payloads))
	}
	for i, s := range payloads {
		for _, c := range []struct{ name, peer, chain string }{
			{"straight to the gateway", attacker, s},
			{"through one proxy", "10.0.0.1", s + ", " + attacker},
			{"through one proxy, no blank", "10.0.0.1", s + "," + attacker},
			{"through two proxies", "10.0.0.1", s + ", " + attacker + ", 10.0.0.2"},
			{"through an IPv6 proxy", "2001:db8:ffff::1", s + ", " + attacker + ":4711, [2001:db8:ffff::2]:443"},
		} {
			t.Run(fmt.Sprintf("payload %d %s", i, c.name), func(t *testing.T) {
				if got := p.Client(Claims{Peer: c.peer, ForwardedFor: c.chain, ConnectingIP: victim}); got.String() != attacker {
					t.Errorf("chain %.200q: client %v, want %s", c.chain, got, attacker)
				}
			})
		}
	}
}

func FuzzClient(f *testing.F) {
	for _, s := range spoofs("198.51.100.1") {
		f.Add(s)
	}
	p := testProxies(f)
	const attacker, proxy = "203.0.113.66", "10.0.0.1"
	f.Fuzz(func(t *testing.T, s string) {
		if got := p.Client(Claims{attacker, s, s}); got.String() != attacker {
			t.Errorf("a stranger's chain was believed: %v", got)
		}
		if got := p.Client(Claims{proxy, s + "," + attacker, s}); got.String() != attacker {
			t.Errorf("client is %v", got)
		}
		if got := p.Client(Claims{Peer: proxy, ForwardedFor: s}); got != Canonical(got) {
			t.Errorf("client is %v", got)
		}
		if got := p.Client(Claims{s, s, s}); got != Canonical(got) {
			t.Errorf("client is %v", got)
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range spoofs("198.51.100.1") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := ParseAddress(s)
		if !ok {
			return
		}
		if again, ok := ParseAddress(a.String()); !ok || again != a {
			t.Errorf("%q is %v, which is read as %v, %v", s, a, again, ok)
		}
		if ClientKey(a) == "" || NetKey(a) == "" {
			t.Errorf("%v has no keys", a)
		}
	})
}

func BenchmarkClient(b *testing.B) {
	p := testProxies(b)
	b.ReportAllocs()
	for b.Loop() {
		p.Client(Claims{Peer: "10.0.0.1", ForwardedFor: "198.51.100.1, 203.0.113.7, 10.0.0.2, 172.16.3.4"})
	}
}
