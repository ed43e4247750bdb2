package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirdev/weir/internal/chdb"
	"github.com/weirdev/weir/internal/testkit"
)

// run runs the demonstration with -json and returns its last line.
func run(t *testing.T, o Options) (s Summary) {
	t.Helper()
	o.JSON = true
	var out bytes.Buffer
	balanced, err := Run(t.Context(), o, &out, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	d := json.NewDecoder(strings.NewReader(lines[len(lines)-1]))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		t.Fatalf("the last line is not the summary: %v\n%s", err, out.String())
	}
	if !balanced || !s.LedgerBalanced {
		t.Errorf("the ledger does not balance:\n%s", out.String())
	}
	return s
}

// TestSameFileTwiceIsTheSameRows runs a log with lines that repeat and lines
// that cannot be read.
func TestSameFileTwiceIsTheSameRows(t *testing.T) {
	if _, err := chdb.Find(); errors.Is(err, chdb.ErrNoLibrary) && os.Getenv("WEIR_REQUIRE_CHDB") == "" {
		t.Skip(err)
	}
	testkit.Programs(t)
	var log bytes.Buffer
	const good, bad = 3000, 30
	for i := range good {
		fmt.Fprintf(&log, "198.51.100.%d - - [17/May/2015:10:%02d:%02d +0000] \"GET /items/%d HTTP/1.1\" 200 512 \"-\" \"Mozilla/5.0\"\n",
			i%200, i/60%60, i%60, i%40)
		if i%100 == 99 {
			fmt.Fprintf(&log, "198.51.100.1 - - [not a time] %d\n", i)
		}
	}
	file := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(file, log.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Defaults()
	o.Format, o.Input, o.Data = "combined", file, t.TempDir()
	for i := range 2 {
		s := run(t, o)
		dead := int64(0)
		for _, n := range s.DeadLetters {
			dead += n
		}
		if s.EventsIn != good+bad || s.EventsStored != good || dead != bad || s.Skewed != 0 {
			t.Errorf("run %d: %+v", i+1, s)
		}
	}
}

func TestEachLine(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"nothing", "", nil},
		{"no newline at the end", "a\nb", []string{"1 a", "2 b"}},
		{"carriage returns and empty lines", "a\r\n\n b\n", []string{"1 a", "2 ", "3  b"}},
	} {
		var got []string
		err := eachLine(strings.NewReader(c.in), func(n int, line []byte) error {
			got = append(got, fmt.Sprintf("%d %s", n, line))
			return nil
		})
		if err != nil || strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
	if err := eachLine(strings.NewReader(strings.Repeat("x", longestLine+1)), func(int, []byte) error { return nil }); err == nil {
		t.Error("a line without end is taken")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"negative time":        func(o *Options) { o.For = -1 },
		"no rate":              func(o *Options) { o.Rate = 0 },
		"few people":           func(o *Options) { o.People = 3 },
		"format without input": func(o *Options) { o.Format = "combined" },
	} {
		o := Defaults()
		change(&o)
		if o.Validate() == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
}
