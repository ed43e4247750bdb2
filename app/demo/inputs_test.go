package demo

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/ingest"
)

func TestRotatedFilesAreReadFromTheOldestOn(t *testing.T) {
	for _, c := range []struct {
		name, given, want string // files are separated by blanks, logs by bars
	}{
		{"one file", "access.log", "access.log"},
		{"numbers, as a shell lists them", "access.log access.log.1 access.log.10.gz access.log.2.gz", "access.log.10.gz access.log.2.gz access.log.1 access.log"},
		{"dates", "access.log access.log-20260102 access.log-20260101.gz", "access.log-20260101.gz access.log-20260102 access.log"},
		{"dates before the end of the name", "access-2026-01-02.log access-2026-01-01.log.gz access.log", "access-2026-01-01.log.gz access-2026-01-02.log access.log"},
		{"dates with hours", "a.log-2026010211 a.log-2026010209", "a.log-2026010209 a.log-2026010211"},
		{"two logs", "b.log a.log.1 b.log.1 a.log", "b.log.1 b.log|a.log.1 a.log"},
		{"the same name in two folders", "x/access.log.1 y/access.log x/access.log", "x/access.log.1 x/access.log|y/access.log"},
		{"a file that is named twice", "a.log a.log", "a.log"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, files := range gather(strings.Fields(c.given)) {
				got = append(got, strings.Join(files, " "))
			}
			if strings.Join(got, "|") != c.want {
				t.Errorf("%s, want %s", strings.Join(got, "|"), c.want)
			}
		})
	}
}

func TestLinesAreReadThroughAllFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	l := lines{files: series{
		file("empty", ""), file("open", "a\nb"), file("windows", "c\r\n\n \n d\r\n"), write(t, filepath.Join(dir, "packed.gz"), []string{"e", "f"}),
	}}
	var got []string
	for {
		line, err := l.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(line))
	}
	if strings.Join(got, "|") != "a|b|c| d|e|f" {
		t.Errorf("%q", got)
	}
	for name, c := range map[string]struct{ path, want string }{
		"a line without end": {file("long", strings.Repeat("x", longestLine+1)), "is longer than"},
		"a file cut short":   {file("cut.gz", "\x1f\x8b\x08\x00\x00\x00\x00\x00"), "cut.gz"},
		"a file that is not": {filepath.Join(dir, "absent"), "name a file that is there"},
		"a directory":        {dir, "is a directory"},
	} {
		l := lines{files: series{c.path}}
		if _, err := l.next(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		_ = l.close()
	}
}

func TestALinesIDIsItsOwnWhereverItStands(t *testing.T) {
	all := []string{"a", "b", "a", "c", "a", "b"}
	var first names
	var want []string
	for _, line := range all {
		want = append(want, first.next([]byte(line)))
	}
	if len(slices.Compact(slices.Sorted(slices.Values(want)))) != len(all) {
		t.Errorf("ids are not different: %q", want)
	}
	if !strings.HasSuffix(want[4], "-3") || want[0][:16] != want[2][:16] {
		t.Errorf("ids are %q", want)
	}
	var again names
	for i, line := range append(all, "later") {
		if got := again.next([]byte(line)); i < len(all) && got != want[i] {
			t.Errorf("line %d is %s, and was %s in a shorter log", i, got, want[i])
		}
	}
}

func TestLogsAreMergedByTheirTimes(t *testing.T) {
	dir := t.TempDir()
	at := func(second int) string {
		return fmt.Sprintf(`198.51.100.1 - - [17/May/2015:10:00:%02d +0000] "GET /%d HTTP/1.1" 200 1`, second, second)
	}
	logs := []series{
		{write(t, filepath.Join(dir, "a"), []string{at(1), "not to be read", at(5)})},
		{write(t, filepath.Join(dir, "b"), []string{at(0), at(2), at(1), at(9)})},
	}
	combined, err := format.New("combined", nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMerged(logs, combined)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	var got []string
	err = m.each(func(_ string, line []byte) error { got = append(got, string(line)); return nil })
	want := []string{at(0), at(1), "not to be read", at(2), at(1), at(5), at(9)}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%s", err, strings.Join(got, "\n"))
	}
}

func TestTheFormatIsFoundOrRefused(t *testing.T) {
	text := [][]byte{[]byte(`198.51.100.1 - - [17/May/2015:10:00:01 +0000] "GET / HTTP/1.1" 200 1`), []byte("junk")}
	for _, c := range []struct {
		name   string
		format string // empty: not given
		lines  [][]byte
		want   string // the expected format
		says   []string
	}{
		{"none is given", "", text, "combined", nil},
		{"the right one is given", "combined", text, "combined", nil},
		{"one that reads nothing", "nginx", text, "", []string{"format nginx reads none of the first 2 lines", "198.51.100.1 - -", "syntax", "-format combined reads them"}},
		{"one that is not known", "nope", text, "", []string{`"nope" is not known`, "it is found by itself"}},
		{"a mapping that is not there", "mapping", text, "", []string{"there is no mapping", "ingest.mapping", "-config"}},
		{"nothing fits", "", [][]byte{[]byte("junk")}, "", []string{"no format reads", "junk", "-format names one of"}},
		{"nothing fits, and one is given", "combined", [][]byte{[]byte("junk")}, "combined", nil},
		{"no line at all", "combined", nil, "", []string{"there is no line"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := ingest.Defaults()
			if c.format != "" {
				settings.Format = c.format
			}
			_, err := settleFormat(&settings, c.format != "", c.lines)
			if c.want != "" && (err != nil || settings.Format != c.want) {
				t.Errorf("%s, %v", settings.Format, err)
			}
			for _, want := range c.says {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("it says %v, not %q", err, want)
				}
			}
		})
	}
}
