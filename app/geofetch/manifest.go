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

// Manifest says what was fetched. It stands beside the databases.
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
	Data     string `json:"data,omitempty"` // the day on which the data was made
	Networks int    `json:"networks"`
	Skipped  int    `json:"skipped"` // entries without a place, a system, or a kind that is known
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

// Errors of a directory that does not hold what was fetched.
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

// DefaultDir is below the directory that WEIR_CACHE names, or the user's cache; empty
// where there is neither.
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

// Found is what a directory holds, and the settings that name it. It is [ErrNone] where
// nothing was fetched to there.
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

// Check reads what a directory holds: each file is the one that was fetched, and a
// worker can read it.
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

// old is when data is worth a sentence about its age.
const old = 90 * 24 * time.Hour

// Write says what there is, and what may be done with it.
func (m *Manifest) Write(to io.Writer, dir string, now time.Time) {
	fmt.Fprintf(to, "%s, fetched %s\n", dir, m.Fetched.Format("2006-01-02 15:04 UTC"))
	aged := false
	for _, f := range m.Files {
		age := "of a date that it does not say"
		if day, err := time.Parse(time.DateOnly, f.Data); err == nil {
			age = fmt.Sprintf("of %s, %d days old", f.Data, int(now.Sub(day).Hours()/24))
			aged = aged || now.Sub(day) > old
		}
		fmt.Fprintf(to, "  %-15s %4d MB  %s: %d networks; %s %s, data %s\n", f.File, (f.Bytes+500_000)/1_000_000, f.Holds, f.Networks, f.Package, f.Version, age)
		if f.Skipped > 0 {
			fmt.Fprintf(to, "                           %d of its entries say nothing that this version of weir reads\n", f.Skipped)
		}
		fmt.Fprintf(to, "                           %s: %s\n", f.Licence, f.Credit)
	}
	if aged {
		fmt.Fprintf(to, "Some of it is older than %d days: addresses have moved since. Fetch again now and then; where a package is no longer\nkept up, name a newer database with geo.city, geo.asn or geo.anonymous.\n", int(old.Hours()/24))
	}
	fmt.Fprintf(to, "Show the credits above where results are shown; the licences are in %s.\n", filepath.Join(dir, licencesFile))
	c := in(dir)
	fmt.Fprintf(to, "A worker reads them with\n  -geo.city %s -geo.asn %s -geo.anonymous %s\nand reads them anew when they change. `weir demo` uses them if they are in %s.\n", c.City, c.ASN, c.Anonymous, DefaultDir())
}
