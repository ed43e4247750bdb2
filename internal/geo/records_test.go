package geo_test

import (
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/geo/geowriter"
)

// m makes a record.
func m(members ...any) mmdbtype.Map {
	r := mmdbtype.Map{}
	for i := 0; i < len(members); i += 2 {
		r[mmdbtype.String(members[i].(string))] = value(members[i+1])
	}
	return r
}

func value(v any) mmdbtype.DataType {
	switch v := v.(type) {
	case string:
		return mmdbtype.String(v)
	case float64:
		return mmdbtype.Float64(v)
	case float32:
		return mmdbtype.Float32(v)
	case int:
		return mmdbtype.Uint32(v)
	case bool:
		return mmdbtype.Bool(v)
	case mmdbtype.Map:
		return v
	}
	panic(fmt.Sprintf("no value of a record: %v", v))
}

const here = "198.18.7.9"

// database writes one that says r of an address.
func database(t *testing.T, databaseType string, r mmdbtype.Map) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "database.mmdb")
	records := map[netip.Prefix]mmdbtype.Map{}
	if r != nil {
		records[netip.MustParsePrefix("198.18.0.0/16")] = r
	}
	if err := geowriter.WriteRecords(path, databaseType, records); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDatabasesOfManyMakersAreRead(t *testing.T) {
	names := func(en string) mmdbtype.Map { return m("names", m("en", en, "de", "anders")) }
	berlin := geo.Place{Country: "DE", City: "Berlin", LatitudeMicro: 52_520_000, LongitudeMicro: 13_405_000}
	within := func(p geo.Place, km int32) geo.Place { p.RadiusKM = km; return p }
	network := geo.Place{ASN: 64500, ASOrg: "Example Net"}
	for _, c := range []struct {
		setting, databaseType string
		record                mmdbtype.Map
		want                  geo.Place
	}{
		{"city", "GeoIP2-City", m("city", names("Berlin"), "country", m("iso_code", "DE"), "location", m("latitude", 52.52, "longitude", 13.405, "accuracy_radius", 20)), within(berlin, 20)},
		{"city", "GeoIP2-City-Shield", m("city", names("Berlin"), "country", m("iso_code", "DE"), "location", m("latitude", 52.52, "longitude", 13.405)), berlin},
		{"city", "GeoLite2-Country", m("country", m("iso_code", "DE"), "registered_country", m("iso_code", "FR")), geo.Place{Country: "DE"}},
		{"city", "GeoIP2-Country", m("registered_country", m("iso_code", "FR")), geo.Place{}},
		{"city", "GeoIP2-Enterprise", m("city", names("Berlin"), "country", m("iso_code", "DE", "confidence", 99), "location", m("latitude", 52.52, "longitude", 13.405, "accuracy_radius", 5), "traits", m("autonomous_system_number", 64500)), within(berlin, 5)},
		{"city", "GeoIP2-City", m("location", m("latitude", 52.52, "longitude", 13.405)), geo.Place{LatitudeMicro: 52_520_000, LongitudeMicro: 13_405_000}},
		{"city", "GeoIP2-City", m("country", m("iso_code", "DE"), "location", m("latitude", 152.52, "longitude", 13.405, "accuracy_radius", 20)), geo.Place{Country: "DE"}},
		{"city", "DBIP-City-Lite", m("city", names("Berlin"), "country", m("iso_code", "DE"), "location", m("latitude", 52.52, "longitude", 13.405)), berlin},
		{"city", "DBIP-City", m("city", names("Berlin"), "country", m("iso_code", "DE"), "location", m("latitude", 52.52, "longitude", 13.405)), berlin},
		{"city", "DBIP-Location-ISP (compat=Enterprise)", m("city", names("Berlin"), "country", m("iso_code", "DE"), "location", m("latitude", 52.52, "longitude", 13.405)), berlin},
		{"city", "ipinfo standard_location.mmdb", m("city", "Berlin", "country", "DE", "lat", "52.52", "lng", "13.405", "region", "Berlin", "radius", "50"), within(berlin, 50)},
		{"city", "ipinfo standard_location.mmdb", m("city", "Berlin", "country", "Germany", "country_code", "DE", "latitude", 52.52, "longitude", 13.405), berlin},
		{"city", "ipinfo generic_location.mmdb", m("city", "Berlin", "country", "DE", "loc", "52.52,13.405"), berlin},
		{"city", "ipinfo country_asn.mmdb", m("country", "DE", "country_name", "Germany", "asn", "AS64500"), geo.Place{Country: "DE"}},
		{"city", "dbip-city", m("city", "Berlin", "country_code", "DE", "latitude", float32(52.52), "longitude", float32(13.405)), berlin},
		{"city", "dbip-city", m("city", "Berlin", "country_code", "de", "latitude", " 52.52", "longitude", "13.405"), berlin},
		{"city", "dbip-city", m("city", "Nowhere", "country_code", "??", "latitude", "north", "longitude", "13.405"), geo.Place{City: "Nowhere"}},
		{"city", "dbip-city", m("city", "Nowhere", "latitude", math.NaN(), "longitude", 1.0), geo.Place{City: "Nowhere"}},

		{"asn", "GeoLite2-ASN", m("autonomous_system_number", 64500, "autonomous_system_organization", "Example Net"), network},
		{"asn", "GeoIP2-ISP", m("autonomous_system_number", 64500, "autonomous_system_organization", "Example Net", "isp", "Example", "organization", "Customer"), network},
		{"asn", "GeoIP2-Enterprise", m("country", m("iso_code", "DE"), "traits", m("autonomous_system_number", 64500, "autonomous_system_organization", "Example Net")), network},
		{"asn", "DBIP-ASN-Lite (compat=GeoLite2-ASN)", m("autonomous_system_number", 64500, "autonomous_system_organization", "Example Net"), network},
		{"asn", "DBIP-ISP (compat=Enterprise)", m("traits", m("autonomous_system_number", 64500, "autonomous_system_organization", "Example Net")), network},
		{"asn", "ipinfo standard_asn.mmdb", m("asn", "AS64500", "name", "Example Net", "domain", "example.net"), network},
		{"asn", "ipinfo country_asn.mmdb", m("country", "DE", "asn", "AS64500", "as_name", "Example Net"), network},
		{"asn", "geo-whois-asn", m("autonomous_system_number", "64500", "autonomous_system_organization", "Example Net"), network},
		{"asn", "of another maker", m("asn", 64500, "org", "Example Net"), network},
		{"asn", "of another maker", m("asn", "none", "org", "Example Net"), geo.Place{}},

		{"anonymous", "GeoIP2-Anonymous-IP", m("is_anonymous", true, "is_public_proxy", true), geo.Place{Anonymiser: "proxy"}},
		{"anonymous", "GeoIP2-Anonymous-IP", m("is_anonymous", true, "is_anonymous_vpn", true, "is_hosting_provider", true), geo.Place{Anonymiser: "vpn"}},
		{"anonymous", "GeoIP-Anonymous-Plus", m("is_anonymous", true, "is_tor_exit_node", true, "anonymizer_confidence", 99, "provider_name", "x", "network_last_seen", "2026-01-01"), geo.Place{Anonymiser: "tor"}},
		{"anonymous", "GeoIP-Anonymous-Plus", m("is_anonymous", true, "is_residential_proxy", true), geo.Place{Anonymiser: "proxy"}},
		{"anonymous", "ipinfo standard_privacy.mmdb", m("hosting", "true", "proxy", "", "tor", "", "vpn", "", "relay", "", "service", ""), geo.Place{Anonymiser: "hosting"}},
		{"anonymous", "ipinfo standard_privacy.mmdb", m("hosting", "true", "proxy", "", "tor", "", "vpn", "true", "relay", ""), geo.Place{Anonymiser: "vpn"}},
		{"anonymous", "ipinfo plus.mmdb", m("is_anonymous", true, "is_hosting", false, "is_relay", true, "is_vpn", false, "is_tor", false, "is_proxy", false), geo.Place{Anonymiser: "proxy"}},
		{"anonymous", "of another maker", m("tor", 1), geo.Place{Anonymiser: "tor"}},
	} {
		t.Run(c.setting+" "+c.databaseType, func(t *testing.T) {
			var p geo.Place
			open(t, config(c.setting, database(t, c.databaseType, c.record))).Current().Lookup(netip.MustParseAddr(here), &p)
			if p != c.want {
				t.Errorf("%v\nis %+v, want %+v", c.record, p, c.want)
			}
		})
	}
}

func config(setting, path string) geo.Config {
	switch setting {
	case "city":
		return geo.Config{City: path}
	case "asn":
		return geo.Config{ASN: path}
	}
	return geo.Config{Anonymous: path}
}

func TestADatabaseWithoutWhatIsAskedIsRefusedWithASentence(t *testing.T) {
	for _, c := range []struct {
		setting, databaseType string
		record                mmdbtype.Map
		want                  string
	}{
		{"city", "GeoLite2-ASN", m("autonomous_system_number", 64500), `a database of type "GeoLite2-ASN", whose records have autonomous_system_number; geo.city reads databases of cities or countries: GeoLite2`},
		{"asn", "GeoIP2-City", m("city", m("geoname_id", 1), "country", m("iso_code", "DE")), `a database of type "GeoIP2-City", whose records have city, country; geo.asn reads databases of autonomous systems`},
		{"asn", "GeoIP2-Domain", m("domain", "example.net"), `type "GeoIP2-Domain", whose records have domain; geo.asn reads`},
		{"anonymous", "GeoIP2-Connection-Type", m("connection_type", "Cellular"), `type "GeoIP2-Connection-Type", whose records have connection_type; geo.anonymous reads databases of anonymisers`},
		{"anonymous", "GeoIP2-City", m("country", m("iso_code", "DE"), "traits", m("is_anonymous_proxy", true)), `geo.anonymous reads`},
		{"city", "of another maker", nil, `type "of another maker"`},
	} {
		t.Run(c.setting+" "+c.databaseType, func(t *testing.T) {
			_, err := geo.Open(config(c.setting, database(t, c.databaseType, c.record)), slog.New(slog.DiscardHandler), nil)
			if err == nil || !strings.HasPrefix(err.Error(), "geo."+c.setting+": ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\ndoes not say %s", err, c.want)
			}
		})
	}
}

func TestAnEmptyDatabaseIsWhatItsTypeSays(t *testing.T) {
	for setting, databaseType := range map[string]string{"city": "GeoLite2-Country", "asn": "GeoIP2-ISP", "anonymous": "GeoIP2-Anonymous-IP"} {
		var p geo.Place
		if open(t, config(setting, database(t, databaseType, nil))).Current().Lookup(netip.MustParseAddr(here), &p); p != (geo.Place{}) {
			t.Errorf("%s: %+v", databaseType, p)
		}
	}
}
