package event

import (
	"net/netip"
	"strings"

	"github.com/weirdev/weir/internal/ascii"
)

// nat64 is the well-known prefix of RFC 6052; the last 32 bits are the IPv4
// address.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// Canonical returns the one form in which an address is counted: IPv4 written as
// IPv6 (::ffff:0:0/96) and behind NAT64 (64:ff9b::/96) becomes IPv4, and a zone is
// dropped. The zero Addr stays zero.
func Canonical(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() && nat64.Contains(a) {
		b := a.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return a
}

// ParseAddress reads an address as gateways and proxies write it: bare, with a port
// (192.0.2.1:80, [2001:db8::1]:80), in brackets, in double quotes, with blanks
// around it. The result is canonical. Names, "unknown", "-" and addresses that no
// client can have (unspecified, multicast) are not addresses.
func ParseAddress(s string) (netip.Addr, bool) {
	_, a, ok := bareAddress(s)
	return a, ok
}

// UnixPeer is the value of [IP] for a peer on a Unix socket, which has no address.
const UnixPeer = "unix:"

// isUnixPeer reports whether s is a peer on a Unix socket, as gateways write it:
// unix:, with or without the socket's path (nginx, Envoy, Apache), or @ (gateways
// written in Go).
func isUnixPeer(s string) bool { return s == "@" || strings.HasPrefix(s, UnixPeer) }

// BareAddress returns the address in s, as [ParseAddress] reads it; [UnixPeer] for
// a peer on a Unix socket, "" if there is no address.
func BareAddress(s string) string {
	bare, _, _ := bareAddress(s)
	return bare
}

// bareAddress is ParseAddress, and also returns the part of s that is the address;
// "" if there is none. A peer on a Unix socket is a text without an address.
func bareAddress(s string) (string, netip.Addr, bool) {
	if isUnixPeer(s) {
		return UnixPeer, netip.Addr{}, false
	}
	bare, ok := hostPart(s)
	if !ok {
		return "", netip.Addr{}, false
	}
	// The zone is cut off before parsing, because netip interns zones, and these
	// bytes are untrusted.
	bare, _, zoned := strings.Cut(bare, "%")
	if !addressBytes(bare) {
		return "", netip.Addr{}, false
	}
	a, err := netip.ParseAddr(bare)
	if err != nil || zoned && a.Unmap().Is4() {
		return "", netip.Addr{}, false
	}
	if a = Canonical(a); a.IsUnspecified() || a.IsMulticast() {
		return "", netip.Addr{}, false
	}
	return bare, a, true
}

// addressBytes rejects most texts that are no address, because ParseAddr allocates
// its errors.
func addressBytes(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '.' && c != ':' && ascii.Hex(c) < 0 {
			return false
		}
	}
	return len(s) >= 2 && len(s) <= 45
}

// hostPart removes quotes, brackets and port from an address; the rest may still be
// anything.
func hostPart(s string) (string, bool) {
	s = strings.Trim(s, " \t")
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	if s == "" || len(s) > 128 {
		return "", false
	}
	if s[0] == '[' {
		host, port, ok := strings.Cut(s[1:], "]")
		return host, ok && strings.Contains(host, ":") && (port == "" || port[0] == ':' && ascii.IsPort(port[1:]))
	}
	host, port, ok := strings.Cut(s, ":")
	if !ok || strings.Contains(port, ":") { // no port, or bare IPv6
		return s, true
	}
	return host, ascii.IsPort(port)
}

// AppendClientKey appends the text of [ClientIP]: an IPv4 address as it is, an IPv6
// address as its /64, because a client with one address of a /64 has all of it.
// Nothing is appended for the zero Addr.
func AppendClientKey(b []byte, a netip.Addr) []byte {
	a = Canonical(a)
	if a.Is4() {
		return a.AppendTo(b)
	}
	return appendPrefix(b, a, 64)
}

// AppendNetKey appends the text of [Net]: the /24 of an IPv4 address, the /48 of
// an IPv6 address. Nothing is appended for the zero Addr.
func AppendNetKey(b []byte, a netip.Addr) []byte {
	a = Canonical(a)
	if a.Is4() {
		return appendPrefix(b, a, 24)
	}
	return appendPrefix(b, a, 48)
}

// AppendNet16Key appends the wider network of an address, roughly one provider's:
// the /16 of an IPv4 address, the /32 of an IPv6 address. Nothing is appended for
// the zero Addr.
func AppendNet16Key(b []byte, a netip.Addr) []byte {
	a = Canonical(a)
	if a.Is4() {
		return appendPrefix(b, a, 16)
	}
	return appendPrefix(b, a, 32)
}

func appendPrefix(b []byte, a netip.Addr, bits int) []byte {
	p, err := a.Prefix(bits)
	if err != nil || !p.IsValid() {
		return b
	}
	return p.AppendTo(b)
}

// ClientKey returns the text of [AppendClientKey]: "192.0.2.1",
// "2001:db8:1:2::/64".
func ClientKey(a netip.Addr) string {
	var room keyRoom
	return string(AppendClientKey(room[:0], a))
}

// NetKey returns the text of [AppendNetKey]: "192.0.2.0/24", "2001:db8:1::/48".
func NetKey(a netip.Addr) string {
	var room keyRoom
	return string(AppendNetKey(room[:0], a))
}

// Net16Key returns the text of [AppendNet16Key]: "192.0.0.0/16", "2001:db8::/32".
func Net16Key(a netip.Addr) string {
	var room keyRoom
	return string(AppendNet16Key(room[:0], a))
}

// keyRoom is enough for the text of an address or a network, which needs no other
// memory until it is whole.
type keyRoom [48]byte
