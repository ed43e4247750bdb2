package lookup

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// TestWhatWasKnownIsKnownAfterARestart restarts without the store.
func TestWhatWasKnownIsKnownAfterARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	state := func(c *Config) { c.State = dir }
	before := start(t, stored(entity(0), entity(1)), state)
	before.Look(t.Context(), []facet.Entity{entity(0), entity(1), entity(2)}, time.Now(), time.Second, false)
	before.save()
	if got := testutil.ToFloat64(before.metrics.saves["ok"]); got != 1 {
		t.Fatalf("%v written", got)
	}
	before.save()
	if got := testutil.ToFloat64(before.metrics.saves["ok"]); got != 1 {
		t.Errorf("%v written although nothing changed", got)
	}

	away := stored()
	away.fail = errors.New("away")
	after := start(t, away, state)
	if a := after.Look(t.Context(), []facet.Entity{entity(0), entity(1)}, time.Now(), time.Second, true); !a.Earlier || a.Value(0).Contributions[0].Weight != 90 || a.Value(1) == nil {
		t.Errorf("got %+v", a)
	}
	if a := after.Look(t.Context(), []facet.Entity{entity(0)}, time.Now(), time.Second, false); a.Trouble != Failed || a.Value(0) != nil {
		t.Errorf("what is from disk was taken for fresh: %+v", a)
	}
	info, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
}

// TestWhatWasUsedLastIsSaved where there is more than the file may hold.
func TestWhatWasUsedLastIsSaved(t *testing.T) {
	c := newCache(10_000)
	const all, most = 8_000, 1_600
	for i := range all {
		c.put(codec.Key(entity(i)), entry{value: value(entity(i), int64(i), 90)}, time.Time{})
	}
	saved := map[string]bool{}
	c.scores(most, 0, func(key string, _ score.Value) { saved[key] = true })
	if len(saved) != most {
		t.Errorf("%d are saved, want %d: each shard has more than its part", len(saved), most)
	}
	late := 0
	for i := range all {
		if saved[codec.Key(entity(i))] && i >= all/2 {
			late++
		}
	}
	if late < most*9/10 {
		t.Errorf("only %d of %d were used in the later half", late, most)
	}
	c.scores(most, math.MaxInt64, func(key string, _ score.Value) { t.Errorf("%s holds no more, and is saved", key) })
}

// TestAFileThatSomebodyChangedGivesNothing checks the codes of lines.
func TestAFileThatSomebodyChangedGivesNothing(t *testing.T) {
	text, err := codec.Append(nil, value(entity(0), 1, 90))
	if err != nil {
		t.Fatal(err)
	}
	good := codec.Key(entity(0)) + " " + string(text)
	for name, tc := range map[string]struct {
		file      string
		good, bad int
	}{
		"whole":                 {fileStart + "\n" + good + "\n", 1, 0},
		"another form":          {"weir scores 9\n" + good + "\n", 0, 1},
		"empty":                 {"", 0, 1},
		"a lower weight":        {fileStart + "\n" + strings.Replace(good, `"w":90`, `"w":10`, 1) + "\n", 0, 1},
		"of another key":        {fileStart + "\n" + codec.Key(entity(1)) + " " + string(text) + "\n", 0, 1},
		"cut short":             {fileStart + "\n" + good[:len(good)-5], 0, 1},
		"garbage in between":    {fileStart + "\n\x00\n" + good + "\n", 1, 1},
		"a line without an end": {fileStart + "\n" + strings.Repeat("x", 1<<20), 0, 1},
	} {
		l := start(t, stored(), nil)
		if g, b := l.read(strings.NewReader(tc.file)); g != tc.good || b != tc.bad {
			t.Errorf("%s: %d good, %d bad", name, g, b)
		}
	}
}

// TestADirectoryThatCannotBeWrittenCostsNoAnswer checks that look-ups go on.
func TestADirectoryThatCannotBeWrittenCostsNoAnswer(t *testing.T) {
	dir := t.TempDir()
	l := start(t, stored(entity(0)), func(c *Config) { c.State = dir })
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	l.Look(t.Context(), []facet.Entity{entity(0)}, time.Now(), time.Second, false)
	l.save()
	if got := testutil.ToFloat64(l.metrics.saves["failed"]); got != 1 {
		t.Errorf("%v counted as failed", got)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l.save()
	if got := testutil.ToFloat64(l.metrics.saves["ok"]); got != 1 {
		t.Errorf("%v written when there is room again", got)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Defaults()
	cfg.State = file
	if _, err := New(cfg, Dependencies{Store: stored(), Codec: codec, Timeout: time.Second}); err == nil || !strings.Contains(err.Error(), "gate.state") {
		t.Errorf("a file as directory: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	text, err := codec.Append(nil, value(entity(0), 1, 90))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(fileStart + "\n" + codec.Key(entity(0)) + " " + string(text) + "\n")
	f.Add(fileStart + "\n\n \n")
	f.Add("")
	f.Fuzz(func(t *testing.T, file string) {
		l := start(t, stored(), func(c *Config) { c.CacheEntries = 1000 })
		good, bad := l.read(strings.NewReader(file))
		if good < 0 || bad < 0 || l.cache.size() > good {
			t.Fatalf("%d good, %d bad, %d kept", good, bad, l.cache.size())
		}
	})
}
