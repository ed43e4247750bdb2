package rules

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"weak"
)

// MaxBundle limits the bytes of a bundle, which must fit into one record of the
// facet log.
const MaxBundle = 900 << 10

// ErrBundle means that bytes are no bundle.
var ErrBundle = errors.New("not a bundle of rules")

// bundled is a file that a set was loaded from.
type bundled struct {
	name string
	data []byte
}

// Bundle packs the files from which s was loaded: a zip file with their unchanged
// content, in order of name, without times.
func (s *Set) Bundle() ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range s.files {
		w, err := z.CreateHeader(&zip.FileHeader{Name: f.name, Method: zip.Deflate})
		if err == nil {
			_, err = w.Write(f.data)
		}
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("pack the rules: %w", err)
	}
	if b.Len() > MaxBundle {
		return nil, fmt.Errorf("the rules take %d bytes, packed, more than %d: take documentation and tests out, or make fewer rules of them", b.Len(), MaxBundle)
	}
	return b.Bytes(), nil
}

// Text returns the files from which s was loaded, in order of name, each after a
// comment with its name.
func (s *Set) Text() string {
	var b strings.Builder
	for _, f := range s.files {
		fmt.Fprintf(&b, "# file: %s\n%s\n", f.name, f.data)
	}
	return b.String()
}

// Open loads a bundle for the same detectors as s. The error is [ErrBundle], or one
// of [Load]. A bundle is loaded once for all sets that come from one: after a push,
// all partitions open the same one at the same time.
func (s *Set) Open(bundle []byte) (*Set, error) {
	if s.opened == nil {
		return OpenBundle(bundle, s.kinds)
	}
	return s.opened.open(bundle, s.kinds)
}

// opened remembers the sets that were opened and are in use.
type opened struct {
	mu   sync.Mutex // held while one is loaded, so that others wait for it
	sets map[[sha256.Size]byte]weak.Pointer[Set]
}

func (o *opened) open(bundle []byte, kinds []Kind) (*Set, error) {
	name := sha256.Sum256(bundle)
	o.mu.Lock()
	defer o.mu.Unlock()
	if set := o.sets[name].Value(); set != nil {
		return set, nil
	}
	set, err := OpenBundle(bundle, kinds)
	if err != nil {
		return nil, err
	}
	set.opened = o
	maps.DeleteFunc(o.sets, func(_ [sha256.Size]byte, p weak.Pointer[Set]) bool { return p.Value() == nil })
	o.sets[name] = weak.Make(set)
	return set, nil
}

// OpenBundle loads a bundle for the detectors of kinds. The error is [ErrBundle], or
// one of [Load].
func OpenBundle(bundle []byte, kinds []Kind) (*Set, error) {
	if len(bundle) > MaxBundle {
		return nil, fmt.Errorf("%w: %d bytes", ErrBundle, len(bundle))
	}
	files, err := zip.NewReader(bytes.NewReader(bundle), int64(len(bundle)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	return Load(files, kinds)
}
