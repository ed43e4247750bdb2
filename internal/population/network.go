package population

import (
	"net/netip"

	"github.com/weirdev/weir/internal/geo/geowriter"
)

// All addresses come from blocks that are reserved for documentation, benchmarks
// and carriers' own use, so that no real network appears as an attacker.

const (
	perHome    = 2  // people behind one home's address
	perCarrier = 60 // people behind one address of a mobile carrier
	perOffice  = 40 // people behind one office's address
)

func v4(base string, n int) netip.Addr {
	b := netip.MustParseAddr(base).As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// homeAddress returns the address of a person's home; one home in eight has IPv6.
func homeAddress(i int) netip.Addr {
	home := i / perHome
	if home%8 == 7 {
		a := netip.MustParseAddr("2001:db8::").As16()
		a[4], a[5], a[6], a[7] = byte(home>>24), byte(home>>16), byte(home>>8), byte(home)
		a[15] = byte(1 + i%perHome)
		return netip.AddrFrom16(a)
	}
	return v4("198.18.0.1", home%65_000)
}

// awayAddress returns the address of a person who is not at home: an office's for
// one in four, else a mobile carrier's.
func awayAddress(i int) netip.Addr {
	if i%4 == 3 {
		return v4("198.19.0.1", i/4/perOffice%60_000)
	}
	return v4("100.64.0.1", i/perCarrier)
}

// hostingAddress returns an address in a data centre.
func hostingAddress(i int) netip.Addr { return v4("203.0.113.2", i%250) }

// Networks lists the networks with their entries in a geographic database. The
// cities in which people live, work and travel are near each other, because people
// change between them instantly.
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
	}
}
