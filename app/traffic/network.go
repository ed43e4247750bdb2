package traffic

import (
	"math/rand/v2"
	"net/netip"

	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/geo/geowriter"
)

// All addresses are in 240.0.0.0/4 and 2001:db8::/32, which are not in use. The
// first byte of an IPv4 address determines the network, and the second the city.

// line is a type of Internet access.
type line struct {
	first      byte // of the address
	asn        uint32
	org        string
	radius     int // km
	anonymiser string
}

// The types of access in a city. AS numbers are those reserved for documentation,
// except those of satellites and relays, which rules recognise by number.
var (
	broadband = line{240, 64500, "Example Broadband", 20, ""}
	mobile    = line{241, 64510, "Example Mobile", 150, ""}
	office    = line{242, 64520, "Example Business Lines", 10, ""}
	hosting   = line{243, 64530, "Example Hosting", 5, "hosting"}
	vpn       = line{244, 64540, "Example VPN", 5, "vpn"}
	satellite = line{245, 14593, "Example Satellite", 200, ""}
	relay     = line{246, 36183, "Example Relay", 50, ""}
	tor       = line{247, 64550, "Example Onion", 5, "tor"}
	gateways  = line{248, 64560, "Example Corporation", 5, ""} // exits of a company's VPN
)

func lines() []line {
	return []line{broadband, mobile, office, hosting, vpn, satellite, relay, tor, gateways}
}

// city is a place with its share of the population.
type city struct {
	name, country       string
	latitude, longitude float64
	share               int
	zone                int // hours ahead of UTC
}

func cities() []city {
	return []city{
		{"Cologne", "DE", 50.94, 6.96, 30, 1}, {"Düsseldorf", "DE", 51.23, 6.77, 20, 1}, {"Essen", "DE", 51.46, 7.01, 15, 1},
		{"Berlin", "DE", 52.52, 13.40, 30, 1}, {"Hamburg", "DE", 53.55, 9.99, 20, 1}, {"Munich", "DE", 48.14, 11.58, 20, 1},
		{"Paris", "FR", 48.86, 2.35, 15, 1}, {"London", "GB", 51.51, -0.13, 15, 0}, {"Amsterdam", "NL", 52.37, 4.90, 10, 1},
		{"Madrid", "ES", 40.42, -3.70, 6, 1}, {"Warsaw", "PL", 52.23, 21.01, 6, 1}, {"New York", "US", 40.71, -74.01, 4, -5},
		{"São Paulo", "BR", -23.55, -46.63, 2, -3}, {"Tokyo", "JP", 35.68, 139.65, 2, 9}, {"Singapore", "SG", 1.35, 103.82, 1, 8},
		{"Lagos", "NG", 6.52, 3.38, 1, 1}, {"Mumbai", "IN", 19.08, 72.88, 2, 5}, {"Sydney", "AU", -33.87, 151.21, 1, 10},
		{"Bucharest", "RO", 44.43, 26.10, 0, 2}, {"Hanoi", "VN", 21.03, 105.85, 0, 7}, {"Dallas", "US", 32.78, -96.80, 0, -6},
	}
}

// at returns the n-th address of a line in a city.
func (l line) at(city, n int) netip.Addr {
	return netip.AddrFrom4([4]byte{l.first, byte(city), byte(n >> 8), byte(n)})
}

// anywhere returns a random address of a line in a city, after those of the first n
// homes.
func (l line) anywhere(r *rand.Rand, city, n int) netip.Addr {
	return l.at(city, n+r.IntN(65_000-min(n, 64_000)))
}

// homeV6 returns an address of a home with IPv6.
func homeV6(city, home, person int) netip.Addr {
	a := netip.MustParseAddr("2001:db8::").As16()
	a[4], a[6], a[7], a[15] = byte(city), byte(home>>8), byte(home), byte(1+person)
	return netip.AddrFrom16(a)
}

// Places knows the invented networks. It implements ingest.Places.
type Places struct{ cities []city }

// NewPlaces returns the content of a geographic database.
func NewPlaces() Places { return Places{cities()} }

// Lookup sets the place of an address. It leaves the place empty if the address is
// not invented.
func (p Places) Lookup(addr netip.Addr, to *geo.Place) {
	*to = geo.Place{}
	l, city := broadband, 0
	if addr.Is4() {
		b := addr.As4()
		found := false
		for _, has := range lines() {
			if has.first == b[0] {
				l, found = has, true
				break
			}
		}
		if city = int(b[1]); !found {
			return
		}
	} else if b := addr.As16(); b[0] == 0x20 && b[1] == 0x01 && b[2] == 0x0d && b[3] == 0xb8 {
		city = int(b[4])
	} else {
		return
	}
	if city >= len(p.cities) {
		return
	}
	c := p.cities[city]
	*to = geo.Place{
		Country: c.country, City: c.name, LatitudeMicro: int32(c.latitude * 1e6), LongitudeMicro: int32(c.longitude * 1e6),
		RadiusKM: int32(l.radius), ASN: l.asnIn(city), ASOrg: l.org, Anonymiser: l.anonymiser,
	}
}

// asnIn returns the line's autonomous system in a city. Satellite and relay
// operators have the same one everywhere.
func (l line) asnIn(city int) uint32 {
	if l.asn < 64_000 {
		return l.asn
	}
	return l.asn + uint32(city%10)
}

// Networks returns the same data, for database files.
func (p Places) Networks() (all []geowriter.Network) {
	add := func(prefix netip.Prefix) {
		var at geo.Place
		p.Lookup(prefix.Addr(), &at)
		all = append(all, geowriter.Network{
			Prefix: prefix, Country: at.Country, City: at.City, Latitude: float64(at.LatitudeMicro) / 1e6,
			Longitude: float64(at.LongitudeMicro) / 1e6, RadiusKM: int(at.RadiusKM), ASN: at.ASN, Org: at.ASOrg, Anonymiser: at.Anonymiser,
		})
	}
	for i := range p.cities {
		for _, l := range lines() {
			add(netip.PrefixFrom(l.at(i, 0), 16))
		}
		b := netip.MustParseAddr("2001:db8::").As16()
		b[4] = byte(i)
		add(netip.PrefixFrom(netip.AddrFrom16(b), 40))
	}
	return all
}
