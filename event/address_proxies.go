package event

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxHops is how many trusted proxies a request may have come through; a chain
// that goes on beyond them is not followed.
const maxHops = 32

// Proxies are the addresses whose word about where a request came from is
// taken: our own load balancers, the CDN in front of them. A nil or zero Proxies
// trusts nobody, so that the client is always the socket's peer. It never
// changes, and may be used by many goroutines.
type Proxies struct {
	ranges []addressRange // ascending, apart from one another
}

type addressRange struct{ first, last netip.Addr }

// NewProxies reads addresses and prefixes in CIDR form. The error names every
// entry that is wrong. A prefix that holds every address is refused: with it,
// the client would be whatever the client says.
func NewProxies(trusted []string) (*Proxies, error) {
	p := &Proxies{}
	var errs []error
	for _, s := range trusted {
		prefix, err := parseTrusted(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("trusted proxy %q: %w", s, err))
			continue
		}
		p.ranges = append(p.ranges, addressRange{prefix.Addr(), lastAddress(prefix)})
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	p.ranges = mergeRanges(p.ranges)
	return p, nil
}

func parseTrusted(s string) (netip.Prefix, error) {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, errors.New("is neither an address nor a prefix such as 10.0.0.0/8")
		}
		a = Canonical(a)
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, errors.New("is neither an address nor a prefix such as 10.0.0.0/8")
	case p.Bits() == 0:
		return p, errors.New("trusts every address; name the proxies' own networks")
	case p != p.Masked():
		return p, fmt.Errorf("has bits beyond its length; %s is meant, or a longer prefix", p.Masked())
	}
	return canonicalPrefix(p)
}

// canonicalPrefix is to prefixes what [Canonical] is to addresses, so that a
// prefix still holds its addresses once they are canonical.
func canonicalPrefix(p netip.Prefix) (netip.Prefix, error) {
	a := Canonical(p.Addr())
	if a.Is4() == p.Addr().Is4() {
		return p, nil
	}
	if p.Bits() <= 96 {
		return p, errors.New("trusts every IPv4 address; name the proxies' own networks")
	}
	return netip.PrefixFrom(a, p.Bits()-96), nil
}

func lastAddress(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// mergeRanges sorts by first address; prefixes either nest or are apart.
func mergeRanges(in []addressRange) []addressRange {
	slices.SortFunc(in, func(a, b addressRange) int {
		if c := a.first.Compare(b.first); c != 0 {
			return c
		}
		return b.last.Compare(a.last) // the wider first
	})
	out := in[:0]
	for _, r := range in {
		if n := len(out); n > 0 && r.last.Compare(out[n-1].last) <= 0 {
			continue
		}
		out = append(out, r)
	}
	return out
}

// Trusts reports whether a is one of the proxies.
func (p *Proxies) Trusts(a netip.Addr) bool {
	if p == nil || len(p.ranges) == 0 {
		return false
	}
	a = Canonical(a)
	i, found := slices.BinarySearchFunc(p.ranges, a, func(r addressRange, a netip.Addr) int {
		return r.first.Compare(a)
	})
	return found || i > 0 && a.Compare(p.ranges[i-1].last) <= 0
}

// Client finds the address that a request came from. peer is the other end of
// the gateway's socket; forwardedFor is X-Forwarded-For, all instances of it
// joined by commas in the order received.
//
// The walk starts at the peer and goes through the chain from right to left as
// long as the address it stands on is a trusted proxy: the first address that is
// not is the client. An element that is no address (and an empty one) ends the
// walk on the proxy that passed it on: what stands further left was vouched for
// by nobody. So at worst the peer is the client; never an address that only the
// client itself has named. The zero Addr is returned where peer is not known.
func (p *Proxies) Client(peer netip.Addr, forwardedFor string) netip.Addr {
	at := Canonical(peer)
	for range maxHops {
		if forwardedFor == "" || !p.Trusts(at) {
			return at
		}
		i := strings.LastIndexByte(forwardedFor, ',')
		next, ok := ParseAddress(forwardedFor[i+1:])
		if !ok {
			return at
		}
		at, forwardedFor = next, forwardedFor[:max(i, 0)]
	}
	return at
}
