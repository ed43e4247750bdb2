package geo

import (
	"math"
	"strconv"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Flat records are those of IPinfo, and of other vendors that put tables into
// MaxMind's format. Their numbers and flags are often texts, and keys differ
// between products.

type flatPlace struct {
	CountryCode    any `maxminddb:"country_code"`
	Country        any `maxminddb:"country"` // a code, or a name
	City           any `maxminddb:"city"`
	Latitude       any `maxminddb:"latitude"`
	Longitude      any `maxminddb:"longitude"`
	Lat            any `maxminddb:"lat"`
	Lng            any `maxminddb:"lng"`
	Lon            any `maxminddb:"lon"`
	Loc            any `maxminddb:"loc"` // "latitude,longitude"
	Radius         any `maxminddb:"radius"`
	AccuracyRadius any `maxminddb:"accuracy_radius"`
}

func readFlatPlace(found maxminddb.Result, p *Place) error {
	var r flatPlace
	if err := found.Decode(&r); err != nil {
		return err
	}
	p.City, _ = r.City.(string)
	if p.Country = countryCode(r.CountryCode); p.Country == "" {
		p.Country = countryCode(r.Country)
	}
	lat, lng := first(r.Latitude, r.Lat), first(r.Longitude, r.Lng, r.Lon)
	if text, ok := r.Loc.(string); ok && lat == nil {
		before, after, _ := strings.Cut(text, ",")
		lat, lng = before, after
	}
	latitude, ok1 := number(lat)
	longitude, ok2 := number(lng)
	radius, _ := number(first(r.AccuracyRadius, r.Radius))
	if ok1 && ok2 {
		p.put(latitude, longitude, radius)
	}
	return nil
}

// put stores coordinates in degrees, and a radius in km. Impossible values are
// dropped.
func (p *Place) put(latitude, longitude, radius float64) {
	if math.Abs(latitude) > 90 || math.Abs(longitude) > 180 {
		return
	}
	p.LatitudeMicro, p.LongitudeMicro = micro(latitude), micro(longitude)
	if radius > 0 && radius <= 20_000 {
		p.RadiusKM = int32(math.Ceil(radius))
	}
}

func micro(degrees float64) int32 { return int32(math.Round(degrees * 1e6)) }

type flatNetwork struct {
	AutonomousSystemNumber any `maxminddb:"autonomous_system_number"`
	AutonomousSystem       any `maxminddb:"autonomous_system_organization"`
	ASN                    any `maxminddb:"asn"` // "AS64500", or a number
	ASNumber               any `maxminddb:"as_number"`
	ASName                 any `maxminddb:"as_name"`
	ASOrganization         any `maxminddb:"as_organization"`
	Organization           any `maxminddb:"organization"`
	Org                    any `maxminddb:"org"`
	Name                   any `maxminddb:"name"`
}

func readFlatNetwork(found maxminddb.Result, p *Place) error {
	var r flatNetwork
	if err := found.Decode(&r); err != nil {
		return err
	}
	asn := first(r.AutonomousSystemNumber, r.ASN, r.ASNumber)
	if text, ok := asn.(string); ok && len(text) > 2 && strings.EqualFold(text[:2], "AS") {
		asn = text[2:]
	}
	if n, ok := number(asn); ok && n > 0 && n <= math.MaxUint32 && n == math.Trunc(n) {
		p.ASN = uint32(n)
		p.ASOrg, _ = first(r.AutonomousSystem, r.ASOrganization, r.ASName, r.Organization, r.Org, r.Name).(string)
	}
	return nil
}

type flatAnonymous struct {
	Tor       any `maxminddb:"tor"`
	VPN       any `maxminddb:"vpn"`
	Proxy     any `maxminddb:"proxy"`
	Relay     any `maxminddb:"relay"`
	Hosting   any `maxminddb:"hosting"`
	IsTor     any `maxminddb:"is_tor"`
	IsVPN     any `maxminddb:"is_vpn"`
	IsProxy   any `maxminddb:"is_proxy"`
	IsRelay   any `maxminddb:"is_relay"`
	IsHosting any `maxminddb:"is_hosting"`
}

func readFlatAnonymous(found maxminddb.Result, p *Place) error {
	var r flatAnonymous
	if err := found.Decode(&r); err != nil {
		return err
	}
	p.Anonymiser = anonymiser(truth(r.Tor, r.IsTor), truth(r.VPN, r.IsVPN), truth(r.Proxy, r.IsProxy, r.Relay, r.IsRelay), truth(r.Hosting, r.IsHosting))
	return nil
}

// first returns the first value that is present.
func first(values ...any) any {
	for _, v := range values {
		if v != nil && v != "" {
			return v
		}
	}
	return nil
}

// number reads a number, or a text that contains one.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, !math.IsNaN(v)
	case float32:
		return float64(v), v == v
	case uint64:
		return float64(v), true
	case int64:
		return float64(v), true
	case uint32:
		return float64(v), true
	case int32:
		return float64(v), true
	case uint16:
		return float64(v), true
	case int:
		return float64(v), true
	case string:
		n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		return n, err == nil && !math.IsNaN(n)
	}
	return 0, false
}

// truth reports whether one of the flags is set.
func truth(flags ...any) bool {
	for _, v := range flags {
		switch v := v.(type) {
		case bool:
			if v {
				return true
			}
		case string:
			if strings.EqualFold(v, "true") || v == "1" {
				return true
			}
		default:
			if n, ok := number(v); ok && n != 0 {
				return true
			}
		}
	}
	return false
}

// countryCode returns a code of ISO 3166-1; "" if v is none.
func countryCode(v any) string {
	s, _ := v.(string)
	if len(s) != 2 {
		return ""
	}
	s = strings.ToUpper(s)
	if s[0] < 'A' || s[0] > 'Z' || s[1] < 'A' || s[1] > 'Z' {
		return ""
	}
	return s
}
