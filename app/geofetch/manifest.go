package geofetch

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/weirdev/weir/internal/geo"
)

// Manifest describes a fetch. It is stored next to the databases.
type Manifest struct {
	Version int       `json:"v"`
	Fetched time.Time `json:"fetched"`
	Files   []File    `json:"files"`
}

// File is one database.
type File struct {
	File     string `json:"file"`
	Holds    string `json:"holds"`
	Package  string `json:"package"`
	Version  string `json:"version"`
	Data     string `json:"data,omitempty"` // date of the data
	Networks int    `json:"networks"`
	Skipped  int    `json:"skipped"` // entries without usable data
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"`
	Licence  string `json:"licence"`
	Credit   string `json:"credit"`
}

const (
	manifestVersion = 1
	manifestFile    = "geo.json"
	licencesFile    = "LICENCES.txt"
)

// Errors of a directory that does not hold the fetched databases.
var (
	ErrNone    = errors.New("there are no databases")
	ErrChanged = errors.New("not the file that was fetched")
)

func (m *Manifest) write(dir string) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, manifestFile), append(text, '\n'), 0o644)
}

// DefaultDir returns the directory in the cache: WEIR_CACHE, or the user's. It is empty
// if there is no cache.
func DefaultDir() string {
	cache := os.Getenv("WEIR_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return ""
		}
		cache = filepath.Join(dir, "weir")
	}
	return filepath.Join(cache, "geo")
}

// Found returns the manifest of a directory, and the settings that name its databases.
// The error is [ErrNone] if there is no manifest.
func Found(dir string) (*Manifest, geo.Config, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, geo.Config{}, fmt.Errorf("%w in %s: `weir geo fetch` gets them", ErrNone, dir)
	}
	if err != nil {
		return nil, geo.Config{}, err
	}
	m := &Manifest{}
	if err := json.Unmarshal(text, m); err != nil || m.Version != manifestVersion {
		return nil, geo.Config{}, fmt.Errorf("%s does not read (version %d, %w): fetch again with `weir geo fetch`", filepath.Join(dir, manifestFile), m.Version, errors.Join(err, ErrChanged))
	}
	return m, in(dir), nil
}

// Check checks that each file of a directory is the fetched one, and readable by a
// worker.
func Check(dir string) (*Manifest, error) {
	m, _, err := Found(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range m.Files {
		path := filepath.Join(dir, filepath.Base(f.File))
		sum, err := digest(path)
		if err != nil {
			return m, fmt.Errorf("%w: fetch again with `weir geo fetch`", err)
		}
		if sum != f.SHA256 {
			return m, fmt.Errorf("%s is %w: fetch again with `weir geo fetch`", path, ErrChanged)
		}
	}
	return m, check(dir)
}

func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// old is the age from which Write warns.
const old = 90 * 24 * time.Hour

// Write describes the databases and their use.
func (m *Manifest) Write(to io.Writer, dir string, now time.Time) {
	fmt.Fprintf(to, "%s, fetched %s\n", dir, m.Fetched.Format("2006-01-02 15:04 UTC"))
	aged := false
	for _, f := range m.Files {
		age := "of unknown date"
		if day, err := time.Parse(time.DateOnly, f.Data); err == nil {
			age = fmt.Sprintf("of %s, %d days old", f.Data, int(now.Sub(day).Hours()/24))
			aged = aged || now.Sub(day) > old
		}
		fmt.Fprintf(to, "  %s (%s): %d networks, %d MB\n", f.File, f.Holds, f.Networks, (f.Bytes+500_000)/1_000_000)
		fmt.Fprintf(to, "    source   %s %s, data %s\n", f.Package, f.Version, age)
		fmt.Fprintf(to, "    licence  %s\n    credit   %s\n", f.Licence, f.Credit)
		if f.Skipped > 0 {
			fmt.Fprintf(to, "    skipped  %d entries without usable data\n", f.Skipped)
		}
	}
	if aged {
		fmt.Fprintf(to, "Some data is older than %d days; addresses move. Fetch again regularly. If a package is no longer updated,\nuse a newer database with geo.city, geo.asn or geo.anonymous.\n", int(old.Hours()/24))
	}
	fmt.Fprintf(to, "The licences require these credits wherever results are shown; %s has the full texts.\n", filepath.Join(dir, licencesFile))
	c := in(dir)
	fmt.Fprintf(to, "A worker reads them with\n  -geo.city %s\n  -geo.asn %s\n  -geo.anonymous %s\nand reloads them when they change. `weir demo` uses the databases in %s.\n", c.City, c.ASN, c.Anonymous, DefaultDir())
}
