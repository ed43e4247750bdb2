package geo_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/geo/geowriter"
)

func networks(city string) []geowriter.Network {
	return []geowriter.Network{
		{Prefix: netip.MustParsePrefix("198.18.0.0/16"), Country: "DE", City: city, Latitude: 52.52, Longitude: 13.405, RadiusKM: 20, ASN: 64500, Org: "Example Net"},
		{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Country: "NL", City: "Amsterdam", Latitude: 52.37, Longitude: 4.9, RadiusKM: 5, ASN: 64501, Org: "Example Hosting", Anonymiser: "hosting"},
		{Prefix: netip.MustParsePrefix("2001:db8::/32"), Country: "FR", City: "Paris", Latitude: 48.86, Longitude: 2.35, RadiusKM: 50, ASN: 64502, Org: "Example Six"},
	}
}

func open(t *testing.T, c geo.Config) *geo.DB {
	t.Helper()
	db, err := geo.Open(c, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func write(t *testing.T, dir, city string) geo.Config {
	t.Helper()
	c, err := geowriter.Write(dir, networks(city))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAddressesAreFoundWhereTheyAre(t *testing.T) {
	db := open(t, write(t, t.TempDir(), "Berlin"))
	for _, c := range []struct {
		addr string
		want geo.Place
	}{
		{"198.18.7.9", geo.Place{Country: "DE", City: "Berlin", LatitudeMicro: 52_520_000, LongitudeMicro: 13_405_000, RadiusKM: 20, ASN: 64500, ASOrg: "Example Net"}},
		{"203.0.113.9", geo.Place{Country: "NL", City: "Amsterdam", LatitudeMicro: 52_370_000, LongitudeMicro: 4_900_000, RadiusKM: 5, ASN: 64501, ASOrg: "Example Hosting", Anonymiser: "hosting"}},
		{"2001:db8:1::1", geo.Place{Country: "FR", City: "Paris", LatitudeMicro: 48_860_000, LongitudeMicro: 2_350_000, RadiusKM: 50, ASN: 64502, ASOrg: "Example Six"}},
		{"192.0.2.1", geo.Place{}},
	} {
		for range 2 { // from the databases, and from the cache
			p := geo.Place{City: "stale"}
			if db.Current().Lookup(netip.MustParseAddr(c.addr), &p); p != c.want {
				t.Errorf("%s is at %+v, want %+v", c.addr, p, c.want)
			}
		}
	}
}

// TestDatabasesOfOneVersionAreRead: addresses of the other version are not found, and
// other databases still know them.
func TestDatabasesOfOneVersionAreRead(t *testing.T) {
	both := write(t, t.TempDir(), "Berlin")
	four, six := netip.MustParseAddr("198.18.7.9"), netip.MustParseAddr("2001:db8:1::1")
	for _, c := range []struct {
		name      string
		version   int
		network   string
		knows     []netip.Addr
		knowsNone []netip.Addr
	}{
		{"IPv4", 4, "198.18.0.0/16", []netip.Addr{four, netip.AddrFrom16(four.As16())}, []netip.Addr{six, netip.MustParseAddr("192.0.2.1")}},
		{"IPv6", 6, "2001:db8::/32", []netip.Addr{six}, []netip.Addr{four, netip.AddrFrom16(four.As16()), netip.MustParseAddr("2001:db9::1")}},
	} {
		for _, flat := range []bool{false, true} {
			var record mmdbtype.DataType = mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String("DE")}}
			if flat {
				record = mmdbtype.Map{"country_code": mmdbtype.String("DE"), "city": mmdbtype.String("Berlin")}
			}
			path := writeVersion(t, c.version, c.network, record)
			current := open(t, geo.Config{City: path, ASN: both.ASN}).Current()
			for _, addr := range c.knows {
				var p geo.Place
				if current.Lookup(addr, &p); p.Country != "DE" || p.ASN == 0 {
					t.Errorf("%s, flat %t: %s is at %+v", c.name, flat, addr, p)
				}
			}
			for _, addr := range c.knowsNone {
				p := geo.Place{Country: "stale"}
				current.Lookup(addr, &p)
				if elsewhere := addr.Unmap() == four || addr == six; p.Country != "" || elsewhere != (p.ASN != 0) {
					t.Errorf("%s, flat %t: %s is at %+v", c.name, flat, addr, p)
				}
			}
		}
	}
}

func writeVersion(t *testing.T, version int, network string, record mmdbtype.DataType) string {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "City", IPVersion: version, RecordSize: 28, IncludeReservedNetworks: true, DisableIPv4Aliasing: true})
	if err != nil {
		t.Fatal(err)
	}
	_, prefix, err := net.ParseCIDR(network)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Insert(prefix, record); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "one.mmdb")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWithoutDatabasesPlacesAreEmpty(t *testing.T) {
	var p geo.Place
	if open(t, geo.Config{}).Current().Lookup(netip.MustParseAddr("198.18.7.9"), &p); p != (geo.Place{}) {
		t.Errorf("place %+v", p)
	}
}

func TestFilesThatAreNotWhatTheyShouldBeAreRefused(t *testing.T) {
	dir := t.TempDir()
	good := write(t, dir, "Berlin")
	data, err := os.ReadFile(good.City)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]geo.Config{
		"missing":       {City: filepath.Join(dir, "none")},
		"no database":   {City: put("text", []byte("hello"))},
		"truncated":     {City: put("cut", data[:len(data)/2])},
		"another kind":  {City: good.ASN},
		"another place": {Anonymous: good.City},
	} {
		if _, err := geo.Open(c, slog.New(slog.DiscardHandler), nil); err == nil || !strings.HasPrefix(err.Error(), "geo.") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestANewFileIsUsedAndABadOneIsNot(t *testing.T) {
	dir := t.TempDir()
	c := write(t, dir, "Berlin")
	db := open(t, c)
	addr := netip.MustParseAddr("198.18.7.9")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		var p geo.Place
		for {
			select {
			case <-stop:
				return
			default:
				db.Current().Lookup(addr, &p)
			}
		}
	})
	var p geo.Place
	before := db.Current()
	write(t, dir, "Bonn")
	age(t, c.City)
	db.Reload()
	if db.Current().Lookup(addr, &p); p.City != "Bonn" || maps.Equal(db.Current().Digests(), before.Digests()) {
		t.Errorf("after a new file: %s", p.City)
	}
	if before.Lookup(addr, &p); p.City != "Berlin" {
		t.Errorf("the generation before says %s", p.City)
	}
	if err := os.WriteFile(c.City, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	age(t, c.City)
	db.Reload()
	if db.Current().Lookup(addr, &p); p.City != "Bonn" {
		t.Errorf("after a broken file: %q", p.City)
	}
	close(stop)
	wg.Wait()
}

// TestTheAgeOfDatabasesIsAMetric: of those in use, also after a new file.
func TestTheAgeOfDatabasesIsAMetric(t *testing.T) {
	dir, registry := t.TempDir(), prometheus.NewPedanticRegistry()
	c := write(t, dir, "Berlin")
	c.ASN, c.Anonymous = "", ""
	db, err := geo.Open(c, slog.New(slog.DiscardHandler), registry)
	if err != nil {
		t.Fatal(err)
	}
	built := func() (of map[string]time.Time) {
		all, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		of = map[string]time.Time{}
		for _, f := range all {
			for _, m := range f.GetMetric() {
				if f.GetName() == "weir_geo_built_timestamp_seconds" {
					of[m.GetLabel()[0].GetValue()] = time.Unix(int64(m.GetGauge().GetValue()), 0)
				}
			}
		}
		return of
	}
	for _, state := range []string{"opened", "read anew"} {
		if got := built(); len(got) != 1 || time.Since(got["geo.city"]) > time.Hour || time.Since(got["geo.city"]) < -time.Minute {
			t.Errorf("%s: built at %v", state, got)
		}
		write(t, dir, "Bonn")
		age(t, c.City)
		db.Reload()
	}
}

// TestAGenerationIsRestored from its digests and what was kept of it, with what
// is still current taken from there.
func TestAGenerationIsRestored(t *testing.T) {
	dir := t.TempDir()
	c := write(t, dir, "Berlin")
	db := open(t, c)
	was := db.Current()
	kept := map[string][]byte{}
	for _, b := range was.Data() {
		sum := sha256.Sum256(b)
		kept[hex.EncodeToString(sum[:])] = b
	}
	if err := os.Rename(write(t, t.TempDir(), "Bonn").City, c.City); err != nil { // the others stay
		t.Fatal(err)
	}
	age(t, c.City)
	db.Reload()
	loaded := 0
	load := func(digest string) ([]byte, error) {
		loaded++
		b, ok := kept[digest]
		if !ok {
			return nil, errors.ErrUnsupported
		}
		return b, nil
	}
	got, err := db.Restore(was.Digests(), load)
	if err != nil {
		t.Fatal(err)
	}
	var p geo.Place
	if got.Lookup(netip.MustParseAddr("198.18.7.9"), &p); p.City != "Berlin" || !maps.Equal(got.Digests(), was.Digests()) {
		t.Errorf("%+v of %v", p, got.Digests())
	}
	if loaded != 1 {
		t.Errorf("%d databases were loaded, and one has changed", loaded)
	}
	none := maps.Clone(was.Digests())
	none["City"] = "another"
	if _, err := db.Restore(none, load); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("what cannot be loaded: %v", err)
	}
	for name, digests := range map[string]map[string]string{
		"another place": {"ASN": was.Digests()["City"]},
		"another kind":  {"Isp": was.Digests()["City"]},
	} {
		if _, err := db.Restore(digests, load); !errors.Is(err, geo.ErrDatabase) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if none, err := db.Restore(nil, load); err != nil || len(none.Digests()) != 0 {
		t.Errorf("without databases: %v", err)
	}
}

// TestWatchHasEachGenerationUsed, again and again where that fails.
func TestWatchHasEachGenerationUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := write(t, dir, "Berlin")
		db := open(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		var used []*geo.Generation
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = db.Watch(ctx, func(_ context.Context, g *geo.Generation) error {
				if used = append(used, g); len(used) < 3 {
					return errors.ErrUnsupported
				}
				return nil
			})
		})
		time.Sleep(2 * time.Minute)
		write(t, dir, "Bonn")
		age(t, c.City)
		time.Sleep(5 * time.Minute)
		cancel()
		wg.Wait()
		if len(used) != 3 || used[2] != db.Current() {
			t.Errorf("%d uses", len(used))
		}
	})
}

// age gives a file another time, which a quick rewrite may not.
func age(t *testing.T, path string) {
	t.Helper()
	at := time.Now().Add(time.Hour)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkLookup(b *testing.B) {
	c, err := geowriter.Write(b.TempDir(), networks("Berlin"))
	if err != nil {
		b.Fatal(err)
	}
	db, err := geo.Open(c, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		b.Fatal(err)
	}
	var p geo.Place
	addr := netip.MustParseAddr("198.18.7.9")
	b.ReportAllocs()
	for b.Loop() {
		db.Current().Lookup(addr, &p)
	}
}
