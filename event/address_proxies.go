package event

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxHops limits the trusted proxies that a request may have come through; the walk
// does not follow a longer chain.
const maxHops = 32

// Proxies are the machines that are trusted to state where a request came from: our
// own load balancers, the CDN in front of them. A nil or zero Proxies trusts
// nobody, so the client is always the socket's peer. It never changes, and many
// goroutines may use it.
type Proxies struct {
	forwarding hosts // whose X-Forwarded-For is believed
	connecting hosts // whose [ConnectingIP] is believed
}

// hosts are addresses, and perhaps all peers on Unix sockets.
type hosts struct {
	ranges []addressRange // ascending, disjoint
	unix   bool
}

type addressRange struct{ first, last netip.Addr }

// NewProxies reads addresses and prefixes in CIDR form, and unix: for peers on Unix
// sockets. forwarding are proxies that append their peer's address to
// X-Forwarded-For; connecting are those that state the client's address in a header
// of their own, which becomes [ConnectingIP]. The error names every wrong entry. A
// prefix with all addresses is refused: with it, clients could choose their
// address.
func NewProxies(forwarding, connecting []string) (*Proxies, error) {
	var p Proxies
	var err1, err2 error
	p.forwarding, err1 = newHosts("trusted proxy", forwarding)
	p.connecting, err2 = newHosts("proxy that states the client's address", connecting)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return &p, nil
}

func newHosts(what string, names []string) (h hosts, err error) {
	var errs []error
	for _, s := range names {
		if strings.TrimSpace(s) == UnixPeer {
			h.unix = true
			continue
		}
		prefix, err := parseTrusted(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", what, s, err))
			continue
		}
		h.ranges = append(h.ranges, addressRange{prefix.Addr(), lastAddress(prefix)})
	}
	h.ranges = mergeRanges(h.ranges)
	return h, errors.Join(errs...)
}

func parseTrusted(s string) (netip.Prefix, error) {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, errors.New("is none of an address, unix:, and a prefix such as 10.0.0.0/8")
		}
		a = Canonical(a)
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, errors.New("is none of an address, unix:, and a prefix such as 10.0.0.0/8")
	case p.Bits() == 0:
		return p, errors.New("trusts every address; name the proxies' own networks")
	case p != p.Masked():
		return p, fmt.Errorf("has bits beyond its length; %s is meant, or a longer prefix", p.Masked())
	}
	return canonicalPrefix(p)
}

// canonicalPrefix is [Canonical] for prefixes, so that a prefix still holds its
// addresses once they are canonical.
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

// mergeRanges sorts by first address; prefixes are either nested or disjoint.
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

// Trusts reports whether a is one of the proxies whose X-Forwarded-For is believed.
func (p *Proxies) Trusts(a netip.Addr) bool { return p != nil && p.forwarding.hold(Canonical(a)) }

// hold looks up an address in its canonical form.
func (h *hosts) hold(a netip.Addr) bool {
	if len(h.ranges) == 0 {
		return false
	}
	i, found := slices.BinarySearchFunc(h.ranges, a, func(r addressRange, a netip.Addr) int {
		return r.first.Compare(a)
	})
	return found || i > 0 && a.Compare(h.ranges[i-1].last) <= 0
}

// Claims are an event's statements about where its request came from.
type Claims struct {
	Peer         string // [IP]: the other end of the gateway's socket
	ForwardedFor string // [ForwardedFor]: all X-Forwarded-For, joined by commas in the order received
	ConnectingIP string // [ConnectingIP]: the address that a proxy states in a header of its own
}

// hop is a machine that a request came through.
type hop struct {
	addr netip.Addr // canonical; zero on a Unix socket
	unix bool
}

func parseHop(s string) (h hop, ok bool) {
	s = strings.Trim(s, " \t")
	if isUnixPeer(s) {
		return hop{unix: true}, true
	}
	h.addr, ok = ParseAddress(s)
	return h, ok
}

func (h *hosts) holdHop(at hop) bool {
	if at.unix {
		return h.unix
	}
	return h.hold(at.addr)
}

// Client finds the address that a request came from.
//
// The walk starts at the peer and goes through X-Forwarded-For from right to left,
// as long as the current address is a trusted proxy. The first untrusted address is
// the client. Blank elements are no hops, as in RFC 9110 (5.6.1). An element that
// is no address ends the walk at the proxy that passed it on, because nobody
// vouches for the elements further left. If the walk reaches a proxy that states
// the client's address in a header of its own, that is the client.
//
// So at worst the peer is the client; never an address that only the client itself
// has named. If the walk ends on a Unix socket, the client is the last hop with an
// address; the zero Addr is returned if there is none.
func (p *Proxies) Client(c Claims) netip.Addr {
	at, ok := parseHop(c.Peer)
	client := at.addr
	if !ok || p == nil {
		return client
	}
	for range maxHops {
		if p.connecting.holdHop(at) {
			if a, ok := ParseAddress(c.ConnectingIP); ok {
				return a
			}
		}
		chain := strings.TrimRight(c.ForwardedFor, ", \t")
		if chain == "" || !p.forwarding.holdHop(at) {
			break
		}
		i := strings.LastIndexByte(chain, ',')
		next, ok := parseHop(chain[i+1:])
		if !ok {
			break
		}
		at, c.ForwardedFor = next, chain[:max(i, 0)]
		if !at.unix {
			client = at.addr
		}
	}
	return client
}
