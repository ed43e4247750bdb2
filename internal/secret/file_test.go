package secret

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestASecretIsGivenOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(" horse staple \r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, given, file, want, err string }{
		{name: "nothing"},
		{name: "as a setting", given: "battery", want: "battery"},
		{name: "in a file, whose blanks are a part of it", file: file, want: " horse staple "},
		{name: "twice", given: "battery", file: file, err: "x.password and x.password_file are both set"},
		{name: "in a file that is not there", file: file + "s", err: "x.password_file: open "},
	} {
		got, err := Read("x.password", c.given, c.file)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}
