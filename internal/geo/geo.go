// Package geo says where an address is, whose network it belongs to, and
// whether it hides its user: from MaxMind databases, read to memory and swapped
// while in use.
//
// It is asked once per event, by ingest; what it says travels with the event.
package geo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oschwald/geoip2-golang/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Config names the databases; an empty path is none.
type Config struct {
	City      string `yaml:"city" doc:"MaxMind database of cities (GeoLite2-City, GeoIP2-City)"`
	ASN       string `yaml:"asn" doc:"MaxMind database of autonomous systems (GeoLite2-ASN)"`
	Anonymous string `yaml:"anonymous" doc:"MaxMind database of anonymisers (GeoIP2-Anonymous-IP)"`
}

// Place is what is known of an address. What is not known is zero.
type Place struct {
	Country, City  string
	LatitudeMicro  int32 // micro-degrees
	LongitudeMicro int32 // micro-degrees
	RadiusKM       int32
	ASN            uint32
	ASOrg          string
	Anonymiser     string // tor, vpn, proxy, hosting
}

// DB answers look-ups. It is safe for use by many goroutines.
type DB struct {
	cfg     Config
	log     *slog.Logger
	current atomic.Pointer[generation]
	reloads *prometheus.CounterVec
}

// generation is one set of databases, with the answers that were given from it.
type generation struct {
	city, asn, anonymous *geoip2.Reader
	digest               string
	stamps               [3]stamp
	cache                cache
}

// stamp tells whether a file changed.
type stamp struct {
	size int64
	time time.Time
}

// Open reads and checks the databases. Absent ones mean empty fields, and one
// warning.
func Open(cfg Config, log *slog.Logger, r prometheus.Registerer) (*DB, error) {
	g, err := read(cfg)
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
	db := &DB{cfg: cfg, log: log, reloads: promauto.With(r).NewCounterVec(prometheus.CounterOpts{
		Name: "weir_geo_reloads_total", Help: "Attempts to read changed geographic databases, by result.",
	}, []string{"result"})}
	db.current.Store(g)
	return db, nil
}

type file struct {
	setting, path, kind string
}

func (c Config) files() [3]file {
	return [3]file{{"geo.city", c.City, "City"}, {"geo.asn", c.ASN, "ASN"}, {"geo.anonymous", c.Anonymous, "Anonymous-IP"}}
}

// read reads all databases into memory: a file that is mapped and then changed
// in place would kill the process.
func read(cfg Config) (*generation, error) {
	g := &generation{}
	h := sha256.New()
	for i, f := range cfg.files() {
		if f.path == "" {
			continue
		}
		info, err := os.Stat(f.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.setting, err)
		}
		data, err := os.ReadFile(f.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.setting, err)
		}
		reader, err := geoip2.OpenBytes(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %s is no MaxMind database: %w", f.setting, f.path, err)
		}
		if kind := reader.Metadata().DatabaseType; !strings.HasSuffix(kind, f.kind) {
			return nil, fmt.Errorf("%s: %s is a database of type %s; one of type …-%s belongs there", f.setting, f.path, kind, f.kind)
		}
		fmt.Fprintf(h, "%s %x\n", f.kind, sha256.Sum256(data))
		g.stamps[i] = stamp{info.Size(), info.ModTime()}
		*[]**geoip2.Reader{&g.city, &g.asn, &g.anonymous}[i] = reader
	}
	g.digest = hex.EncodeToString(h.Sum(nil))[:16]
	return g, g.try()
}

// try looks some addresses up, so that a damaged file is found now.
func (g *generation) try() error {
	for _, a := range []string{"1.1.1.1", "198.51.100.7", "2001:4860:4860::8888"} {
		var p Place
		if err := g.find(netip.MustParseAddr(a), &p); err != nil {
			return fmt.Errorf("geographic database is damaged: look-up of %s: %w", a, err)
		}
	}
	return nil
}

// Digest names the databases: the same for the same files.
func (db *DB) Digest() string { return db.current.Load().digest }

// Lookup fills p with what is known of addr.
func (db *DB) Lookup(addr netip.Addr, p *Place) {
	g := db.current.Load()
	if found := g.cache.get(addr); found != nil {
		*p = *found
		return
	}
	*p = Place{}
	if err := g.find(addr, p); err != nil {
		db.reloads.WithLabelValues("lookup_failed").Inc()
		*p = Place{}
	}
	kept := *p
	g.cache.put(addr, &kept)
}

func (g *generation) find(addr netip.Addr, p *Place) error {
	return errors.Join(g.findCity(addr, p), g.findASN(addr, p), g.findAnonymiser(addr, p))
}

func (g *generation) findCity(addr netip.Addr, p *Place) error {
	if g.city == nil {
		return nil
	}
	c, err := g.city.City(addr)
	if err != nil {
		return err
	}
	p.Country, p.City = c.Country.ISOCode, c.City.Names.English
	if l := c.Location; l.Latitude != nil && l.Longitude != nil {
		p.LatitudeMicro, p.LongitudeMicro = micro(*l.Latitude), micro(*l.Longitude)
		p.RadiusKM = int32(l.AccuracyRadius)
	}
	return nil
}

func micro(degrees float64) int32 { return int32(math.Round(degrees * 1e6)) }

func (g *generation) findASN(addr netip.Addr, p *Place) error {
	if g.asn == nil {
		return nil
	}
	a, err := g.asn.ASN(addr)
	if err != nil {
		return err
	}
	p.ASN, p.ASOrg = uint32(a.AutonomousSystemNumber), a.AutonomousSystemOrganization
	return nil
}

func (g *generation) findAnonymiser(addr netip.Addr, p *Place) error {
	if g.anonymous == nil {
		return nil
	}
	a, err := g.anonymous.AnonymousIP(addr)
	if err != nil {
		return err
	}
	switch {
	case a.IsTorExitNode:
		p.Anonymiser = "tor"
	case a.IsAnonymousVPN:
		p.Anonymiser = "vpn"
	case a.IsPublicProxy, a.IsResidentialProxy:
		p.Anonymiser = "proxy"
	case a.IsHostingProvider:
		p.Anonymiser = "hosting"
	}
	return nil
}

const watchEvery = 30 * time.Second

// Watch reads databases that changed, until ctx ends. A new file that does not
// read leaves the old one in use.
func (db *DB) Watch(ctx context.Context) error {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			db.Reload()
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
	g, err := read(db.cfg)
	if err != nil {
		db.reloads.WithLabelValues("refused").Inc()
		db.log.Warn("changed geographic databases are not used; the old ones stay", "error", err)
		return
	}
	db.reloads.WithLabelValues("ok").Inc()
	db.current.Store(g)
	db.log.Info("geographic databases read anew", "digest", g.digest)
}
