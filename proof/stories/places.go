package stories

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weirdev/weir/internal/geo"
)

// places is a substitute for a geographic database.
type places map[netip.Addr]geo.Place

// Lookup implements ingest.Places.
func (p places) Lookup(addr netip.Addr, to *geo.Place) { *to = p[addr] }

// parsePlaces reads lines "ADDRESS LATITUDE LONGITUDE RADIUS [COUNTRY]", in degrees
// and km; first is the number of the first line in the file.
func parsePlaces(text string, first int) (places, error) {
	p := places{}
	n := first - 1
	for line := range strings.Lines(text) {
		n++
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) < 4 || len(f) > 5 {
			return nil, fmt.Errorf("line %d: write ADDRESS LATITUDE LONGITUDE RADIUS_KM [COUNTRY]", n)
		}
		addr, err := netip.ParseAddr(f[0])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		latitude, err1 := strconv.ParseFloat(f[1], 64)
		longitude, err2 := strconv.ParseFloat(f[2], 64)
		radius, err3 := strconv.ParseUint(f[3], 10, 16)
		if err1 != nil || err2 != nil || err3 != nil || !(math.Abs(latitude) <= 90) || !(math.Abs(longitude) <= 180) {
			return nil, fmt.Errorf("line %d: %q is no place: write degrees of latitude and longitude, and a radius in km", n, strings.TrimSpace(line))
		}
		place := geo.Place{LatitudeMicro: int32(math.Round(latitude * 1e6)), LongitudeMicro: int32(math.Round(longitude * 1e6)), RadiusKM: int32(radius)}
		if len(f) == 5 {
			place.Country = f[4]
		}
		p[addr] = place
	}
	return p, nil
}
