package condition

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// Networks of random prefixes, crowded into a few bits, hold what going through the
// prefixes one by one says.
func TestNetworksHoldWhatTheirPrefixesHold(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 5))
		var items []Item
		seen := map[netip.Prefix]bool{}
		for range 1 + rng.IntN(30) {
			p := randomPrefix(rng)
			if !seen[p] {
				seen[p] = true
				items = append(items, Item{p.String(), int64(rng.IntN(3) * 10)})
			}
		}
		l, faults := NewList("x", Networks, items)
		if len(faults) > 0 {
			t.Fatalf("%v: %+v", items, faults)
		}
		for _, ranges := range [][]addresses{l.networks.v4, l.networks.v6} {
			for i := 1; i < len(ranges); i++ {
				if !ranges[i-1].to.less(ranges[i].from) {
					t.Fatalf("seed %d: the ranges %+v overlap", seed, ranges)
				}
			}
		}
		for range 200 {
			p := randomPrefix(rng)
			a := p.Addr()
			if rng.IntN(2) == 0 {
				a = spanOf(p, 0).to
			}
			if rng.IntN(3) == 0 && a.Next().IsValid() {
				a = a.Next()
			}
			if a.IsUnspecified() || a.IsMulticast() {
				continue // no client has it
			}
			now, want := int64(rng.IntN(25)), false
			for _, it := range items {
				want = want || netip.MustParsePrefix(it.Value).Contains(a) && (it.Expires == 0 || now < it.Expires)
			}
			if got := l.hasText(a.String(), now); got != want {
				t.Fatalf("seed %d: %s at %d: %v, want %v, of %v", seed, a, now, got, want, items)
			}
		}
	}
}

// randomPrefix is one whose bits are few, at either end of the address.
func randomPrefix(rng *rand.Rand) netip.Prefix {
	if rng.IntN(3) == 0 {
		b := [16]byte{0x20, 0x01, byte(rng.IntN(4)) << 6}
		b[7] = byte(rng.IntN(2)) * 0xff
		p, _ := netip.AddrFrom16(b).Prefix(rng.IntN(65))
		return p
	}
	b := [4]byte{byte(rng.IntN(4)) << 6, byte(rng.IntN(2)) * 0xff, byte(rng.IntN(2)) * 0xff, byte(rng.IntN(4))}
	p, _ := netip.AddrFrom4(b).Prefix(rng.IntN(33))
	return p
}

func TestAddressesAreFoundInEveryForm(t *testing.T) {
	l, faults := NewList("x", Networks, []Item{{Value: "::ffff:192.0.2.0/120"}, {Value: "2001:db8:1:2::/64"}, {Value: "64:ff9b::203.0.113.9"}, {Value: "255.255.255.255"}, {Value: "fe80::/10"}})
	if len(faults) > 0 {
		t.Fatalf("%+v", faults)
	}
	for address, want := range map[string]bool{
		"192.0.2.1": true, "::ffff:192.0.2.1": true, "192.0.3.1": false, "2001:db8:1:2::/64": true, "2001:db8:1:2::77": true, "2001:db8:1:3::/64": false,
		"203.0.113.9": true, "64:ff9b::203.0.113.9": true, "255.255.255.255": true, "febf:ffff::1": true, "fec0::": false, "": false, "unix:": false, "-": false, "::": false, "1.2.3.4.5": false,
	} {
		if got := l.hasText(address, 1); got != want {
			t.Errorf("%q is in the list: %v, want %v", address, got, want)
		}
	}
}

func TestEntriesThatAreWrong(t *testing.T) {
	for _, c := range []struct {
		kind ListKind
		item string
		what string
	}{
		{Networks, "", "no network"}, {Networks, "10.0.0.0/33", "no network"}, {Networks, "10.0.0.1/8", "inside the network"}, {Networks, "fe80::1%eth0", "no network"},
		{Networks, "::ffff:0.0.0.0/90", "neither IPv4 nor IPv6"}, {Networks, "10.0.0", "no network"}, {Networks, "2001:db8::1/32", "inside the network"},
		{ASNs, "0", "no number"}, {ASNs, "-1", "no number"}, {ASNs, "4294967296", "no number"}, {ASNs, "ASx", "no number"}, {ASNs, "ASAS1", "no number"},
		{Countries, "de", "no country"}, {Countries, "DEU", "no country"}, {Countries, "false", "no country"},
		{JA4s, "t13d1516h2", "no JA4 fingerprint"}, {JA4s, "t13d1516h2_8daaf6152771_E5627EFA2AB1", "no JA4 fingerprint"},
		{Texts, "", "no text"}, {Texts, strings.Repeat("x", 1025), "no text"}, {Texts, "a\xff", "no text"},
	} {
		l, faults := NewList("x", c.kind, []Item{{Value: c.item}})
		if l != nil || len(faults) != 1 || !strings.Contains(faults[0].What, c.what) || faults[0].Do == "" {
			t.Errorf("%s %q: %+v, want something with %q", c.kind, c.item, faults, c.what)
		}
	}
	for _, twice := range []struct {
		kind ListKind
		a, b string
	}{{Networks, "192.0.2.1", "192.0.2.1/32"}, {Networks, "192.0.2.1", "::ffff:192.0.2.1"}, {ASNs, "7", "AS7"}, {Texts, "a", "a"}} {
		if l, faults := NewList("x", twice.kind, []Item{{Value: twice.a}, {Value: twice.b}}); l != nil || len(faults) != 1 || faults[0].Item != 1 {
			t.Errorf("%s and %s: %+v", twice.a, twice.b, faults)
		}
	}
}

func TestTheKindsOfListsHaveNames(t *testing.T) {
	for _, name := range ListKinds() {
		if k, ok := ParseListKind(name); !ok || k.String() != name {
			t.Errorf("%s is %d, %v", name, k, ok)
		}
	}
	for _, name := range []string{"", "cidr"} {
		if k, ok := ParseListKind(name); ok {
			t.Errorf("%q is %s", name, k)
		}
	}
}

// FuzzList reads entries of strangers: reading ends, and what is in the list is found.
func FuzzList(f *testing.F) {
	for k, v := range []string{"10.0.0.0/8", "AS64500", "DE", "t13d1516h2_8daaf6152771_e5627efa2ab1", "x"} {
		f.Add(uint8(k), v, "::/0", int64(5))
	}
	f.Fuzz(func(t *testing.T, kind uint8, a, b string, expires int64) {
		k := Networks + ListKind(kind%5)
		l, faults := NewList("x", k, []Item{{a, max(expires, 0)}, {b, 0}})
		if (l == nil) != (len(faults) > 0) {
			t.Fatalf("list %v, faults %+v", l, faults)
		}
		for _, f := range faults {
			if f.What == "" || f.Do == "" {
				t.Errorf("%+v", f)
			}
		}
		if l != nil && k != ASNs && k != Networks && (!l.hasText(b, 1) || !l.hasText(a, -1)) {
			t.Errorf("%q and %q are not found", a, b)
		}
	})
}

func BenchmarkList(b *testing.B) {
	var items []Item
	for i := range 10_000 {
		items = append(items, Item{Value: fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)})
	}
	l, _ := NewList("x", Networks, items)
	b.ReportAllocs()
	for b.Loop() {
		if !l.hasText("10.20.30.40", 1) {
			b.Fatal("not found")
		}
	}
}
