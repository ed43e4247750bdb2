// Package geo looks up an address: its location, its network, and whether it hides
// its user. It reads databases in MaxMind's format to memory, of MaxMind, DB-IP,
// IPinfo and others with similar records. A loaded set of databases is a
// [Generation] and never changes.
//
// Ingest asks once per event; the result travels with the event.
package geo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Config names the databases; an empty path means none.
type Config struct {
	City      string `yaml:"city" doc:"cities or countries, a database in MaxMind's format (GeoLite2-City, GeoIP2-Country, GeoIP2-Enterprise; DB-IP; IPinfo)"`
	ASN       string `yaml:"asn" doc:"autonomous systems, a database in MaxMind's format (GeoLite2-ASN, GeoIP2-ISP, GeoIP2-Enterprise; DB-IP; IPinfo)"`
	Anonymous string `yaml:"anonymous" doc:"anonymisers, a database in MaxMind's format (GeoIP2-Anonymous-IP, GeoIP-Anonymous-Plus; IPinfo)"`
}

// Nowhere knows no address.
type Nowhere struct{}

// Lookup clears p.
func (Nowhere) Lookup(_ netip.Addr, p *Place) { *p = Place{} }

// Place is what is known about an address. Unknown values are zero.
type Place struct {
	Country, City  string
	LatitudeMicro  int32 // micro-degrees
	LongitudeMicro int32 // micro-degrees
	RadiusKM       int32
	ASN            uint32
	ASOrg          string
	Anonymiser     string // tor, vpn, proxy, hosting
}

// DB follows the configured databases, and returns their current content. It is
// safe for use by many goroutines.
type DB struct {
	cfg     Config
	log     *slog.Logger
	current atomic.Pointer[files]
	reloads *prometheus.CounterVec
	built   *prometheus.GaugeVec
}

// files is a generation, and the files from which it was read.
type files struct {
	*Generation
	stamps [kinds]stamp
}

// Generation is one set of databases, with a cache of results. It never changes,
// and is garbage-collected when nobody uses it: databases of cities take 60 to 120
// MB. It is safe for use by many goroutines.
type Generation struct {
	databases [kinds]*database
	failed    prometheus.Counter
	cache     cache
}

// database is a loaded and checked database.
type database struct {
	*maxminddb.Reader
	read reading
	data []byte // which the reader uses, too
	sum  string // SHA-256 of data, hex
}

// Databases of a generation, in the order of Config.files.
const (
	city = iota
	asn
	anonymous
	kinds
)

// stamp shows whether a file changed.
type stamp struct {
	size int64
	time time.Time
}

// Open reads and checks the databases. Absent ones mean empty fields, and one
// warning.
func Open(cfg Config, log *slog.Logger, r prometheus.Registerer) (*DB, error) {
	db := &DB{cfg: cfg, log: log, reloads: promauto.With(r).NewCounterVec(prometheus.CounterOpts{
		Name: "weir_geo_reloads_total", Help: "Attempts to read changed geographic databases, by result.",
	}, []string{"result"})}
	db.built = promauto.With(r).NewGaugeVec(prometheus.GaugeOpts{
		Name: "weir_geo_built_timestamp_seconds", Help: "When the geographic databases in use were built, Unix time, by setting.",
	}, []string{"database"})
	now, err := db.read(&files{Generation: &Generation{}})
	if err != nil {
		return nil, err
	}
	var absent []string
	for _, d := range cfg.files() {
		if d.path == "" {
			absent = append(absent, d.setting)
		}
	}
	if len(absent) > 0 {
		log.Warn("no geographic database is configured for some fields; they stay empty", "settings", strings.Join(absent, ","))
	}
	db.use(now)
	return db, nil
}

// file is the path of a kind of database.
type file struct {
	setting, path string
	kind          string // its name in digests
	reads         string // what may be there
}

func (c Config) files() [kinds]file {
	return [kinds]file{
		city:      {"geo.city", c.City, "City", "databases of cities or countries: GeoLite2 and GeoIP2 City, Country and Enterprise, DB-IP's, IPinfo's, and flat records with country_code, city, latitude and longitude"},
		asn:       {"geo.asn", c.ASN, "ASN", "databases of autonomous systems: GeoLite2-ASN, GeoIP2 ISP and Enterprise, DB-IP's, IPinfo's, and flat records with asn or autonomous_system_number"},
		anonymous: {"geo.anonymous", c.Anonymous, "Anonymous-IP", "databases of anonymisers: GeoIP2-Anonymous-IP, GeoIP-Anonymous-Plus, IPinfo's privacy detection, and flat records with vpn, proxy, tor and hosting"},
	}
}

// read loads changed databases into memory: a mapped file that is changed in place
// would kill the process.
func (db *DB) read(was *files) (*files, error) {
	now := &files{}
	var all [kinds]*database
	for i, f := range db.cfg.files() {
		if f.path == "" {
			continue
		}
		info, err := os.Stat(f.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.setting, err)
		}
		now.stamps[i] = stamp{info.Size(), info.ModTime()}
		if all[i] = was.databases[i]; all[i] != nil && now.stamps[i] == was.stamps[i] {
			continue
		}
		data, err := os.ReadFile(f.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.setting, err)
		}
		if all[i], err = open(data, i); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", f.setting, f.path, err)
		}
		if old := was.databases[i]; old != nil && old.sum == all[i].sum {
			all[i] = old // touched, not changed
		}
	}
	var err error
	now.Generation, err = db.generation(all)
	return now, err
}

func open(data []byte, kind int) (*database, error) {
	reader, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, fmt.Errorf("no database in MaxMind's format: %w", err)
	}
	s, err := takeSample(reader)
	if err != nil {
		return nil, err
	}
	databaseType := reader.Metadata.DatabaseType
	read := s.reading(kind, databaseType)
	if read == nil {
		f := (Config{}).files()[kind]
		return nil, fmt.Errorf("a database of type %q, whose records have %s; %s reads %s",
			databaseType, strings.Join(slices.Sorted(maps.Keys(s.keys)), ", "), f.setting, f.reads)
	}
	sum := sha256.Sum256(data)
	return &database{Reader: reader, read: read, data: data, sum: hex.EncodeToString(sum[:])}, nil
}

// generation looks some addresses up, so that a damaged file is found now.
func (db *DB) generation(all [kinds]*database) (*Generation, error) {
	g := &Generation{databases: all, failed: db.reloads.WithLabelValues("lookup_failed")}
	for _, a := range []string{"1.1.1.1", "198.51.100.7", "2001:4860:4860::8888"} {
		var p Place
		if err := g.find(netip.MustParseAddr(a), &p); err != nil {
			return nil, fmt.Errorf("geographic database is damaged: look-up of %s: %w", a, err)
		}
	}
	return g, nil
}

// Current returns the content of the configured databases when they were last read.
func (db *DB) Current() *Generation { return db.current.Load().Generation }

// Restore creates the generation of the databases that [Generation.Digests] named.
// It shares databases with the current one if possible; load supplies the others.
func (db *DB) Restore(digests map[string]string, load func(digest string) ([]byte, error)) (*Generation, error) {
	var all [kinds]*database
	now, found := db.Current(), 0
	for i, f := range db.cfg.files() {
		sum, ok := digests[f.kind]
		if !ok {
			continue
		}
		found++
		if all[i] = now.databases[i]; all[i] != nil && all[i].sum == sum {
			continue
		}
		data, err := load(sum)
		if err != nil {
			return nil, fmt.Errorf("database %s: %w", f.kind, err)
		}
		if all[i], err = open(data, i); err != nil {
			return nil, fmt.Errorf("database %s: %w: %w", f.kind, ErrDatabase, err)
		}
	}
	if found < len(digests) {
		return nil, fmt.Errorf("%w: of a kind that this program does not know: %v", ErrDatabase, digests)
	}
	g, err := db.generation(all)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDatabase, err)
	}
	return g, nil
}

// ErrDatabase means that the loaded bytes are no usable database.
var ErrDatabase = errors.New("not a geographic database of use")

// Digests names the databases by their kind, as in MaxMind's names: SHA-256 of the
// bytes, in hex.
func (g *Generation) Digests() map[string]string {
	digests := map[string]string{}
	for i, f := range (Config{}).files() {
		if d := g.databases[i]; d != nil {
			digests[f.kind] = d.sum
		}
	}
	return digests
}

// Data returns the bytes of the databases. They must not be changed.
func (g *Generation) Data() [][]byte {
	var all [][]byte
	for _, d := range g.databases {
		if d != nil {
			all = append(all, d.data)
		}
	}
	return all
}

// Lookup fills p with what is known about addr.
func (g *Generation) Lookup(addr netip.Addr, p *Place) {
	if found := g.cache.get(addr); found != nil {
		*p = *found
		return
	}
	*p = Place{}
	if err := g.find(addr, p); err != nil {
		g.failed.Inc()
		*p = Place{}
	}
	kept := *p
	g.cache.put(addr, &kept)
}

func (g *Generation) find(addr netip.Addr, p *Place) error {
	addr = addr.Unmap()
	var errs []error
	for _, d := range g.databases {
		if d == nil || addr.Is6() && d.Metadata.IPVersion == 4 {
			continue // vendors sell databases of IPv4 only, too
		}
		found := d.Lookup(addr)
		err := found.Err()
		if err == nil && found.Found() {
			err = d.read(found, p)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

const watchEvery = 30 * time.Second

// Watch reads changed databases until ctx ends, and passes each new generation to
// use; if that fails, it retries. If a new file is invalid, the old one stays in
// use.
func (db *DB) Watch(ctx context.Context, use func(context.Context, *Generation) error) error {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	used := db.Current()
	for {
		select {
		case <-t.C:
			db.Reload()
			if g := db.Current(); g != used {
				if err := use(ctx, g); err != nil {
					db.log.Warn("geographic databases that were read anew cannot be used yet", "error", err)
					continue
				}
				used = g
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// Reload reads the databases if their files changed.
func (db *DB) Reload() {
	old := db.current.Load()
	changed := false
	for i, f := range db.cfg.files() {
		if f.path == "" {
			continue
		}
		info, err := os.Stat(f.path)
		changed = changed || err == nil && old.stamps[i] != stamp{info.Size(), info.ModTime()}
	}
	if !changed {
		return
	}
	now, err := db.read(old)
	if err != nil {
		db.reloads.WithLabelValues("refused").Inc()
		db.log.Warn("changed geographic databases are not used; the old ones stay", "error", err)
		return
	}
	db.reloads.WithLabelValues("ok").Inc()
	db.use(now)
	db.log.Info("geographic databases read anew", "digests", now.Digests())
}

func (db *DB) use(now *files) {
	db.current.Store(now)
	for i, f := range db.cfg.files() {
		if d := now.databases[i]; d != nil {
			db.built.WithLabelValues(f.setting).Set(float64(d.Metadata.BuildEpoch))
		}
	}
}
