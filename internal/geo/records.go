package geo

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oschwald/geoip2-golang/v2"
	"github.com/oschwald/maxminddb-golang/v2"
)

// reading fills a part of a place from a database record.
type reading func(found maxminddb.Result, p *Place) error

// sampled is the number of records that are checked to find out what a database
// holds: in some, the first ones hold little.
const sampled = 1000

// sample holds the keys of the first records, and whether their values are objects,
// as MaxMind's are, or plain.
type sample struct {
	keys    map[string]any
	records int
}

func takeSample(db *maxminddb.Reader) (sample, error) {
	s := sample{keys: map[string]any{}}
	for found := range db.Networks() {
		var record map[string]any
		if err := found.Decode(&record); err != nil {
			return s, fmt.Errorf("geographic database is damaged: record of %s: %w", found.Prefix(), err)
		}
		maps.Copy(s.keys, record)
		if s.records++; s.records == sampled {
			break
		}
	}
	return s, nil
}

func (s sample) has(keys ...string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { _, ok := s.keys[k]; return ok })
}

// nested reports whether one of the keys holds an object.
func (s sample) nested(keys ...string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { _, ok := s.keys[k].(map[string]any); return ok })
}

// reading returns how to read the records for a kind of database; nil if they hold
// nothing of that kind.
func (s sample) reading(kind int, databaseType string) reading {
	switch kind {
	case city:
		return s.places(databaseType)
	case asn:
		return s.networks(databaseType)
	}
	return s.anonymisers(databaseType)
}

func (s sample) places(databaseType string) reading {
	switch {
	case s.nested("country", "city", "location", "continent", "registered_country"):
		return readCity
	case s.has("country_code", "country", "city", "latitude", "lat", "loc"):
		return readFlatPlace
	case s.records == 0 && named(databaseType, "City", "Country", "Enterprise", "Location"):
		return readCity
	}
	return nil
}

func (s sample) networks(databaseType string) reading {
	_, text := s.keys["autonomous_system_number"].(string)
	switch {
	case s.has("autonomous_system_number") && !text:
		return readISP
	case text || s.has("asn", "as_number"):
		return readFlatNetwork
	case s.nested("traits") && named(databaseType, "Enterprise", "ISP"):
		return readEnterpriseNetwork
	case s.records == 0 && named(databaseType, "ASN", "ISP"):
		return readISP
	}
	return nil
}

func (s sample) anonymisers(databaseType string) reading {
	switch {
	case s.has("is_anonymous", "is_anonymous_vpn", "is_hosting_provider", "is_public_proxy", "is_residential_proxy", "is_tor_exit_node") && !s.has("is_vpn", "is_hosting"):
		return readAnonymous
	case s.has("vpn", "tor", "proxy", "hosting", "is_vpn", "is_tor", "is_proxy", "is_hosting"):
		return readFlatAnonymous
	case s.records == 0 && named(databaseType, "Anonymous"):
		return readAnonymous
	}
	return nil
}

// named derives from its name what an empty database would hold.
func named(databaseType string, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(databaseType, w) })
}

// readCity reads the databases of cities and of countries, and Enterprise, of
// MaxMind and DB-IP.
func readCity(found maxminddb.Result, p *Place) error {
	var c geoip2.City
	if err := found.Decode(&c); err != nil {
		return err
	}
	p.Country, p.City = c.Country.ISOCode, c.City.Names.English
	if l := c.Location; l.Latitude != nil && l.Longitude != nil {
		p.put(*l.Latitude, *l.Longitude, float64(l.AccuracyRadius))
	}
	return nil
}

// readISP reads databases of autonomous systems, and of providers.
func readISP(found maxminddb.Result, p *Place) error {
	var a geoip2.ISP
	if err := found.Decode(&a); err != nil {
		return err
	}
	p.ASN, p.ASOrg = uint32(a.AutonomousSystemNumber), a.AutonomousSystemOrganization
	return nil
}

func readEnterpriseNetwork(found maxminddb.Result, p *Place) error {
	var e geoip2.Enterprise
	if err := found.Decode(&e); err != nil {
		return err
	}
	p.ASN, p.ASOrg = uint32(e.Traits.AutonomousSystemNumber), e.Traits.AutonomousSystemOrganization
	return nil
}

// readAnonymous reads Anonymous-IP and Anonymous-Plus.
func readAnonymous(found maxminddb.Result, p *Place) error {
	var a geoip2.AnonymousIP
	if err := found.Decode(&a); err != nil {
		return err
	}
	p.Anonymiser = anonymiser(a.IsTorExitNode, a.IsAnonymousVPN, a.IsPublicProxy || a.IsResidentialProxy, a.IsHostingProvider)
	return nil
}

func anonymiser(tor, vpn, proxy, hosting bool) string {
	switch {
	case tor:
		return "tor"
	case vpn:
		return "vpn"
	case proxy:
		return "proxy"
	case hosting:
		return "hosting"
	}
	return ""
}
