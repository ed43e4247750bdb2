// Package geowriter makes databases in MaxMind's format from a list of
// networks: for invented populations, and for tests.
package geowriter

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/weirdev/weir/internal/geo"
)

// Network is a network and what is known of it.
type Network struct {
	Prefix              netip.Prefix
	Country, City       string
	Latitude, Longitude float64
	RadiusKM            int
	ASN                 uint32
	Org                 string
	Anonymiser          string // tor, vpn, proxy, hosting, or empty
}

// Write makes a database of cities, one of autonomous systems and one of
// anonymisers in dir, and returns the configuration that names them.
func Write(dir string, networks []Network) (geo.Config, error) {
	c := geo.Config{City: filepath.Join(dir, "city.mmdb"), ASN: filepath.Join(dir, "asn.mmdb"), Anonymous: filepath.Join(dir, "anonymous.mmdb")}
	for _, f := range []struct {
		path, kind string
		record     func(Network) mmdbtype.Map
	}{
		{c.City, "GeoLite2-City", city}, {c.ASN, "GeoLite2-ASN", asn}, {c.Anonymous, "GeoIP2-Anonymous-IP", anonymous},
	} {
		if err := write(f.path, f.kind, networks, f.record); err != nil {
			return geo.Config{}, fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	return c, nil
}

func write(path, kind string, networks []Network, record func(Network) mmdbtype.Map) error {
	records := map[netip.Prefix]mmdbtype.Map{}
	for _, n := range networks {
		if m := record(n); m != nil {
			records[n.Prefix] = m
		}
	}
	return WriteRecords(path, kind, records)
}

// WriteRecords makes a database of any type, with any records.
func WriteRecords(path, databaseType string, records map[netip.Prefix]mmdbtype.Map) error {
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: databaseType, RecordSize: 24, IncludeReservedNetworks: true, DisableIPv4Aliasing: true})
	if err != nil {
		return err
	}
	for _, p := range slices.SortedFunc(maps.Keys(records), netip.Prefix.Compare) { // the wider first
		_, prefix, err := net.ParseCIDR(p.String())
		if err != nil {
			return err
		}
		if err := tree.Insert(prefix, records[p]); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	if _, err := tree.WriteTo(f); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func city(n Network) mmdbtype.Map {
	return mmdbtype.Map{
		"city":    mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(n.City)}},
		"country": mmdbtype.Map{"iso_code": mmdbtype.String(n.Country)},
		"location": mmdbtype.Map{
			"latitude": mmdbtype.Float64(n.Latitude), "longitude": mmdbtype.Float64(n.Longitude), "accuracy_radius": mmdbtype.Uint16(n.RadiusKM),
		},
	}
}

func asn(n Network) mmdbtype.Map {
	return mmdbtype.Map{
		"autonomous_system_number":       mmdbtype.Uint32(n.ASN),
		"autonomous_system_organization": mmdbtype.String(n.Org),
	}
}

func anonymous(n Network) mmdbtype.Map {
	flag := map[string]mmdbtype.String{
		"tor": "is_tor_exit_node", "vpn": "is_anonymous_vpn", "proxy": "is_public_proxy", "hosting": "is_hosting_provider",
	}[n.Anonymiser]
	if flag == "" {
		return nil
	}
	return mmdbtype.Map{"is_anonymous": mmdbtype.Bool(n.Anonymiser != "hosting"), flag: mmdbtype.Bool(true)}
}
