package stack

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/proof/testkit"
)

func TestWhatAProgramLastSaidIsTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	former := "time=1 level=ERROR msg=\"of a former run\"\n"
	text := former + "time=2 level=INFO msg=starts\n\ntime=3 level=WARN msg=odd\nweir-worker: a reason\n  in two lines\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "    time=3 level=WARN msg=odd\n    weir-worker: a reason\n      in two lines"
	if got := lastWords(file, int64(len(former))); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := lastWords(filepath.Join(t.TempDir(), "absent"), 0); got != "" {
		t.Errorf("of no file: %q", got)
	}
}

func TestStoppedPartitionsOfBothStagesCount(t *testing.T) {
	n, err := countStopped(strings.NewReader("# HELP x y\nweir_ingest_stopped_partitions 1\nweir_detect_stopped_partitions 2\nweir_detect_stopped_partitions_total 9\n"))
	if n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// TestAProgramThatEndsAtItsStartIsTheEnd: its reason is told at once, where it was
// taken for a matter of patience.
func TestAProgramThatEndsAtItsStartIsTheEnd(t *testing.T) {
	testkit.ChDB(t)
	testkit.Programs(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	rules := t.TempDir()
	rule := func(text string) {
		if err := os.WriteFile(filepath.Join(rules, "a.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good, err := os.ReadFile("../../rules/default/scraping_breadth.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		adjust func(*app.Config)
		spoil  func()
		want   string
	}{
		{"rules that were broken since they were checked", func(c *app.Config) { c.Rules = rules }, func() { rule("rules:\n  - idd: x\n") }, `there is no key "idd" here`},
		{"a port that is taken", func(c *app.Config) { c.Admin.Listen = taken.Addr().String() }, func() {}, "address already in use"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rule(string(good))
			o := Options{Stream: app.StreamConfig{Name: "weir", Incarnation: 1}, Topics: app.TopicDefaults(), Format: "weir", Adjust: c.adjust}
			s, err := Start(t.Context(), o, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			c.spoil()
			ctx, cancel := s.Guard(t.Context())
			defer cancel()
			if err := s.StartWorker(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Minute):
				t.Fatal("it goes on")
			}
			if err := context.Cause(ctx); !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "weir-worker ended by itself") {
				t.Errorf("it says %v", err)
			}
		})
	}
}

func TestWhatIsWrongBeforeAnythingStarts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	busy := t.TempDir()
	if err := os.MkdirAll(filepath.Join(busy, "weir.secret"), 0o700); err != nil {
		t.Fatal(err)
	}
	var wrong *app.Misconfigured
	for _, c := range []struct {
		name       string
		dir        string
		format     string
		adjust     func(*app.Config)
		configured bool // it is the configuration that is wrong
		want       string
	}{
		{"a directory below a file", filepath.Join(file, "x"), "weir", nil, false, "name another one"},
		{"a directory in which the secret does not read", busy, "weir", nil, true, "weir.secret"},
		{"a format that is not known", "", "nope", nil, true, `format "nope" is not known`},
		{"a mapping that is not there", "", "mapping", nil, true, "there is no mapping"},
		{"rules that are not there", "", "weir", func(c *app.Config) { c.Rules = "/absent" }, true, "leave the setting empty"},
		{"a geographic database that is not there", "", "weir", func(c *app.Config) { c.Geo.City = "/absent" }, true, "geo.city"},
		{"an address that is none", "", "weir", func(c *app.Config) { c.Admin.Listen = "here" }, true, "admin.listen"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Start(t.Context(), Options{Dir: c.dir, Stream: app.StreamConfig{Name: "weir", Incarnation: 1}, Topics: app.TopicDefaults(), Format: c.format, Adjust: c.adjust},
				slog.New(slog.DiscardHandler))
			if s != nil || err == nil || !strings.Contains(err.Error(), c.want) || errors.As(err, &wrong) != c.configured {
				t.Errorf("%v, %v", s, err)
			}
		})
	}
}
