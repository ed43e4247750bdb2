package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// spoken is a value that describes itself.
type spoken struct{ text string }

func (s *spoken) String() string { return s.text }

// valued is a value that turns into another when it is logged.
type valued struct{ text string }

func (v valued) LogValue() slog.Value { return slog.GroupValue(slog.String("inner", v.text)) }

// logged logs a text in every way there is, and returns the output.
func logged(format, text string) string {
	var b bytes.Buffer
	l := NewLogger(&b, LogConfig{Level: "debug", Format: format})
	l.With("bound", text).WithGroup("group").Error("something happened",
		"text", text, "error", fmt.Errorf("wrapped: %w", errors.New(text)), "list", []string{text}, "bytes", []byte(text), "spoken", &spoken{text}, "valued", valued{text},
		"struct", struct{ A, B string }{text, text}, "map", map[string]string{"k": text}, "address", &url.URL{Path: text}, slog.Group("more", "text", text), "numbers", []int32{1, 2})
	l.Info(text) //nolint:sloglint // what if one is not constant
	l.Warn("with a pointer that is nil", "spoken", (*spoken)(nil), "error", error(nil))
	return b.String()
}

// threeLines checks that the output is three lines in which nothing controls a terminal.
func threeLines(t *testing.T, format, text, out string) {
	t.Helper()
	all := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(all) != 3 || !utf8.ValidString(out) {
		t.Fatalf("%s, %q: %d lines\n%q", format, text, len(all), out)
	}
	for _, r := range out {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == 0x2028 || r == 0x2029) {
			t.Fatalf("%s, %q: %q is in\n%q", format, text, r, out)
		}
	}
	for _, line := range all {
		if format == "json" && !json.Valid([]byte(line)) {
			t.Fatalf("%q: no JSON: %s", text, line)
		}
		if format == "text" && !strings.HasPrefix(line, "time=") {
			t.Fatalf("%q: a forged line: %s", text, line)
		}
	}
	if len(out) > 200_000 {
		t.Fatalf("%q…: %d bytes", text[:10], len(out))
	}
}

var hostileTexts = []string{
	"plain", "a\nlevel=ERROR msg=forged", "a\r\n{\"level\":\"ERROR\"}", "\x1b[31mred\x1b]0;title\x07", "\x9b31m", "a\u202etxt.exe", "a\u2066b\u2069", "a\u2028b\u2029c\u0085d",
	"a\x00b\x7f\b\v\f", "\xff\xfe\xc3", "zero\u200bwidth\ufeff\u00ad", "tag\U000e0041\U000e007f", "quote\" back\\slash", "tab\there", strings.Repeat("long ", 100_000), "é 漢字 🙂",
}

func TestNothingInAValueForgesALineOrControlsATerminal(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		for _, text := range hostileTexts {
			threeLines(t, format, text, logged(format, text))
		}
	}
	for _, want := range []string{"é 漢字 🙂", "1", "2"} {
		if !strings.Contains(logged("json", "é 漢字 🙂"), want) {
			t.Errorf("%q does not get through", want)
		}
	}
}

func FuzzLogger(f *testing.F) {
	for _, text := range hostileTexts {
		if len(text) < 1000 {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, format := range []string{"text", "json"} {
			threeLines(t, format, text, logged(format, text))
		}
	})
}

func TestCredentialsAreHiddenInEveryValue(t *testing.T) {
	out := logged("json", "kafka://user:swordfish@broker:9092")
	if strings.Contains(out, "swordfish") {
		t.Errorf("a password is in %s", out)
	}
}

// TestRepeatedErrorsAreLimited: a store that is down says the same thousands of times.
func TestRepeatedErrorsAreLimited(t *testing.T) {
	var b bytes.Buffer
	h := NewLogger(&b, LogConfig{Level: "debug", Format: "json"}).Handler()
	start := time.UnixMilli(1_763_892_000_000)
	log := func(h slog.Handler, level slog.Level, message string, at time.Duration) {
		if err := h.Handle(context.Background(), slog.NewRecord(start.Add(at), level, message, 0)); err != nil {
			t.Fatal(err)
		}
	}
	other := h.WithAttrs([]slog.Attr{slog.Int("partition", 7)})
	for n := range 100 {
		log(h, slog.LevelError, "the store is down", time.Duration(n)*100*time.Millisecond)
		log(other, slog.LevelError, "the store is down", time.Duration(n)*100*time.Millisecond)
		log(h, slog.LevelWarn, "another", time.Duration(n)*time.Second)
		log(h, slog.LevelInfo, "what is no error", time.Duration(n)*time.Millisecond)
	}
	log(h, slog.LevelError, "the store is down", 61*time.Second)
	out := b.String()
	for message, want := range map[string]int{"the store is down": mostAlike + 1, "another": 60 + 40, "what is no error": 100} {
		if got := strings.Count(out, message); got != want {
			t.Errorf("%q is logged %d times, want %d", message, got, want)
		}
	}
	if strings.Count(out, `"left_out":"further lines`) != 2 || strings.Count(out, `"left_out_before":140`) != 1 {
		t.Errorf("it is not said what was left out: %s", out[len(out)-300:])
	}
}
