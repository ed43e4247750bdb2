package packed_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirdev/weir/internal/packed"
)

func TestAFileIsReadPackedOrNot(t *testing.T) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write([]byte("one\ntwo\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		content string
		want    string
		trouble string
	}{
		{"plain", "one\ntwo\n", "one\ntwo\n", ""},
		{"packed", zipped.String(), "one\ntwo\n", ""},
		{"empty", "", "", ""},
		{"one byte", "\x1f", "\x1f", ""},
		{"cut short", zipped.String()[:zipped.Len()-5], "one\ntwo\n", "is it complete?"},
		{"packed by nobody", "\x1f\x8bxxxxxxxxxxxx", "", "is it complete?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "access.log")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			var got []byte
			f, err := packed.Open(path)
			if err == nil {
				got, err = io.ReadAll(f)
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
			if string(got) != c.want || (err != nil) != (c.trouble != "") {
				t.Errorf("%q, %v", got, err)
			}
			if err != nil && (!strings.Contains(err.Error(), c.trouble) || !strings.Contains(err.Error(), path)) {
				t.Errorf("%v says neither what nor where", err)
			}
		})
	}
}
