package demo

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/stack"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/proof/testkit"
)

// run runs the demonstration with -json and returns its last line.
func run(t *testing.T, o Options) (s Summary, v Verdict, said string) {
	t.Helper()
	o.JSON = true
	var out bytes.Buffer
	v, err := Run(t.Context(), o, &out, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	d := json.NewDecoder(strings.NewReader(lines[len(lines)-1]))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		t.Fatalf("the last line is not the summary: %v\n%s", err, out.String())
	}
	return s, v, out.String()
}

func needPrograms(t *testing.T) {
	t.Helper()
	testkit.ChDB(t)
	testkit.Programs(t)
}

// write writes lines to a file, and compresses it if its name says so.
func write(t *testing.T, file string, lines []string) string {
	t.Helper()
	text := []byte(strings.Join(lines, "\n") + "\n")
	if strings.HasSuffix(file, ".gz") {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, _ = z.Write(text) // cannot fail in memory
		_ = z.Close()
		text = packed.Bytes()
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// accesses returns a log of n lines, with an unreadable line after every hundredth.
func accesses(n int) (lines []string) {
	for i := range n {
		lines = append(lines, fmt.Sprintf(`198.51.100.%d - - [17/May/2015:10:%02d:%02d +0000] "GET /items/%d HTTP/1.1" 200 512 "-" "Mozilla/5.0"`,
			i%200, i/60%60, i%60, i%40))
		if i%100 == 99 {
			lines = append(lines, fmt.Sprintf("198.51.100.1 - - [not a time] %d", i))
		}
	}
	return lines
}

// TestLogs is one test because it needs the programs, which take long to build.
func TestLogs(t *testing.T) {
	needPrograms(t)
	dir := t.TempDir()
	const good, bad = 3000, 30
	all := accesses(good)
	o := Defaults()
	o.Data, o.GeoDir = t.TempDir(), ""
	stream := ""
	for _, c := range []struct {
		name  string
		files []string
	}{
		{"a log whose format nobody named", []string{write(t, filepath.Join(dir, "access.log"), all)}},
		{"the same once more", []string{filepath.Join(dir, "access.log")}},
		{"the same, rotated and packed since, in no order", []string{
			write(t, filepath.Join(dir, "web.log"), all[2000:]), write(t, filepath.Join(dir, "web.log.2.gz"), all[:700]), write(t, filepath.Join(dir, "web.log.1"), all[700:2000]),
		}},
		{"the same from the standard input", []string{"-"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := o
			o.Inputs, o.Stdin = c.files, strings.NewReader(strings.Join(all, "\n"))
			s, v, said := run(t, o)
			if len(v.Complaints) > 0 || !s.LedgerBalanced || v.Interrupted {
				t.Errorf("%+v\n%s", v, said)
			}
			if s.EventsIn != good+bad || s.EventsStored != good || s.DeadLetters["syntax"] != bad || s.Skewed != 0 {
				t.Errorf("%+v", s)
			}
			if s.WithoutAccount != good || s.WithoutAddress != 0 || s.WithoutPath != 0 {
				t.Errorf("without account %d, address %d, path %d", s.WithoutAccount, s.WithoutAddress, s.WithoutPath)
			}
			for _, want := range []string{"format combined, which reads them best", "no event has an account", "198.51.100.1 - - [not a time] 99"} {
				if !strings.Contains(said, want) {
					t.Errorf("it does not say %q:\n%s", want, said)
				}
			}
			if stream == "" {
				stream = streamOf(said)
			} else if streamOf(said) != stream {
				t.Errorf("it is another stream:\n%s", said)
			}
		})
	}
	t.Run("with other routes it is a stream of its own", func(t *testing.T) {
		o := o
		o.Inputs, o.Settings.Ingest.Routes = []string{filepath.Join(dir, "access.log")}, []string{"/items/{item}"}
		if s, _, said := run(t, o); s.EventsStored != good || streamOf(said) == stream {
			t.Errorf("it says\n%s", said)
		}
	})
	t.Run("of which nothing can be read", func(t *testing.T) { nothingReads(t, dir) })
	t.Run("with a partition that has stopped", func(t *testing.T) { stopsPartition(t, o, filepath.Join(dir, "access.log")) })
}

func streamOf(said string) string {
	_, after, _ := strings.Cut(said, "as stream ")
	name, _, _ := strings.Cut(after, "\n")
	return name
}

func nothingReads(t *testing.T, dir string) {
	o := Defaults()
	o.GeoDir = ""
	o.Inputs, o.FormatGiven = []string{write(t, filepath.Join(dir, "junk.log"), []string{"who", "knows", "what"})}, true
	o.Settings.Ingest.Format = "combined"
	s, v, said := run(t, o)
	if len(v.Complaints) != 1 || !strings.Contains(v.Complaints[0], "nothing could be read: 3 of 3") || len(s.Complaints) != 1 {
		t.Errorf("the verdict is %+v", v)
	}
	if !strings.Contains(said, "such as\n                       who") {
		t.Errorf("no example is shown:\n%s", said)
	}
}

// stopsPartition writes a record to the facet topic that no worker has written.
func stopsPartition(t *testing.T, o Options, file string) {
	o.Inputs, o.FormatGiven, o.Settings.Ingest.Format = []string{file}, true, "combined"
	d := &demo{opts: o, out: &bytes.Buffer{}, log: slog.New(slog.DiscardHandler), unguard: func() {}}
	stream, _, err := d.history(gather(o.Inputs))
	if err != nil {
		t.Fatal(err)
	}
	s, err := stack.Start(t.Context(), stack.Options{Dir: o.Data, Stream: stream, Topics: app.TopicDefaults(), Adjust: d.adjust}, d.log)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Kafka.Produce(t.Context(), stream.Topic("facets"), []kafka.Produce{{Records: []kafka.Outgoing{{Value: []byte("no frame")}}}})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	v, err := Run(t.Context(), o, &out, d.log)
	if err == nil && len(v.Complaints) == 0 {
		t.Fatalf("all is well, it says:\n%s", out.String())
	}
	if text := fmt.Sprint(err, v.Complaints); !strings.Contains(text, "stopped") || !errors.Is(err, stack.ErrStopped) || !strings.Contains(text, "partition stopped") {
		t.Errorf("it says %v, %v\n%s", err, v, out.String())
	}
}

func TestAFullDiskIsSeen(t *testing.T) {
	if full(t.TempDir()) || full(filepath.Join(t.TempDir(), "absent")) {
		t.Error("a disk with room is full")
	}
	disk := testkit.NewDisk(t, 2048, 100)
	if full(disk.Dir) {
		t.Error("an empty disk is full")
	}
	disk.Leave(t, 10, 10)
	if !full(disk.Dir) {
		t.Error("a disk with 40 KiB of room is not full")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"negative time":        func(o *Options) { o.For = -1 },
		"no rate":              func(o *Options) { o.Rate = 0 },
		"few people":           func(o *Options) { o.People = 3 },
		"format without input": func(o *Options) { o.Settings.Ingest.Format = "combined" },
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
