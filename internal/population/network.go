package population

import (
	"net/netip"

	"github.com/weirdev/weir/internal/geo/geowriter"
)

// Places are the networks of people and attackers: IPv4, except for HomesV6, which may
// be empty. People's networks are near each other, because people change between them
// instantly; Far is too far away for that.
type Places struct {
	Homes, HomesV6, Carriers, Offices []netip.Prefix
	Hosting, Far                      []netip.Prefix
}

// invented returns places in blocks that are reserved for documentation, benchmarks
// and carriers' own use, so that no real network appears as an attacker.
func invented() *Places {
	one := func(network string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(network)} }
	return &Places{
		Homes: one("198.18.0.0/16"), HomesV6: one("2001:db8::/32"), Carriers: one("100.64.0.0/10"), Offices: one("198.19.0.0/16"),
		Hosting: one("203.0.113.0/24"), Far: one("198.51.100.0/24"),
	}
}

const (
	perHome    = 2  // people behind one home's address
	perCarrier = 60 // people behind one address of a mobile carrier
	perOffice  = 40 // people behind one office's address
)

// home returns the address of a person's home; one home in eight has IPv6.
func (p *Places) home(i int) netip.Addr {
	home := i / perHome
	if home%8 == 7 && len(p.HomesV6) > 0 {
		a := p.HomesV6[0].Addr().As16()
		a[4], a[5], a[6], a[7] = byte(home>>24), byte(home>>16), byte(home>>8), byte(home)
		a[15] = byte(1 + i%perHome)
		return netip.AddrFrom16(a)
	}
	return nth(p.Homes, home)
}

// away returns the address of a person who is not at home: an office's for one in
// four, else a mobile carrier's.
func (p *Places) away(i int) netip.Addr {
	if i%4 == 3 {
		return nth(p.Offices, i/4/perOffice)
	}
	return nth(p.Carriers, i/perCarrier)
}

// hosting returns an address in a data centre.
func (p *Places) hosting(i int) netip.Addr { return nth(p.Hosting, i) }

// far returns the address of a home in another part of the world.
func (p *Places) far(i int) netip.Addr { return nth(p.Far, i) }

// nth returns the n-th address of a list of IPv4 networks, which wraps around. The
// first and last address of each network are left out.
func nth(networks []netip.Prefix, n int) netip.Addr {
	size := func(p netip.Prefix) int { return 1<<(32-p.Bits()) - 2 }
	total := 0
	for _, p := range networks {
		total += size(p)
	}
	n %= total
	for _, p := range networks {
		if n >= size(p) {
			n -= size(p)
			continue
		}
		b := p.Addr().As4()
		v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		v += uint32(n) + 1
		return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
	}
	panic("population: no networks")
}

// Networks lists the invented networks with their entries in a geographic database.
// The cities in which people live and work are near each other, because people change
// between them instantly. Sydney is far away.
func (p *Population) Networks() []geowriter.Network {
	n := func(prefix, country, city string, lat, lon float64, radius int, asn uint32, org, anonymiser string) geowriter.Network {
		return geowriter.Network{Prefix: netip.MustParsePrefix(prefix), Country: country, City: city, Latitude: lat, Longitude: lon,
			RadiusKM: radius, ASN: asn, Org: org, Anonymiser: anonymiser}
	}
	return []geowriter.Network{
		n("198.18.0.0/17", "DE", "Cologne", 50.94, 6.96, 20, 64496, "Example Broadband", ""),
		n("198.18.128.0/17", "DE", "Düsseldorf", 51.23, 6.77, 20, 64496, "Example Broadband", ""),
		n("198.19.0.0/16", "DE", "Bonn", 50.74, 7.1, 10, 64497, "Example Business Lines", ""),
		n("100.64.0.0/10", "DE", "Essen", 51.46, 7.01, 200, 64498, "Example Mobile", ""),
		n("2001:db8::/32", "DE", "Leverkusen", 51.03, 6.98, 50, 64496, "Example Broadband", ""),
		n("203.0.113.0/24", "NL", "Amsterdam", 52.37, 4.9, 5, 64499, "Example Hosting", "hosting"),
		n("192.0.2.0/24", "CH", "Zurich", 47.37, 8.54, 5, 64500, "Example VPN", "vpn"),
		n("198.51.100.0/24", "AU", "Sydney", -33.87, 151.21, 20, 64501, "Example Far Broadband", ""),
	}
}
