// Package telemetry provides what operators look at: the log, and the admin
// listener with metrics, liveness and readiness.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"
)

// LogConfig configures a program's log.
type LogConfig struct {
	Level  string `yaml:"level" doc:"minimum level that is logged: debug, info, warn, error"`
	Format string `yaml:"format" doc:"text or json"`
}

// LogDefaults returns values that suit most installations.
func LogDefaults() LogConfig { return LogConfig{Level: "info", Format: "text"} }

// Validate reports all errors in c.
func (c LogConfig) Validate() error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return fmt.Errorf("log.level: %q is none of debug, info, warn, error", c.Level)
	}
	if c.Format != "text" && c.Format != "json" {
		return fmt.Errorf("log.format: %q is neither text nor json", c.Format)
	}
	return nil
}

// NewLogger writes to w, one line for each record. It makes texts safe for terminals
// and line-based tools, because some are untrusted, and hides credentials in them. It
// limits how often a warning or an error is repeated.
func NewLogger(w io.Writer, c LogConfig) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // validated before; else info
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { return safe(a) }}
	if c.Format == "json" {
		return slog.New(newLimiter(slog.NewJSONHandler(w, o)))
	}
	return slog.New(newLimiter(slog.NewTextHandler(w, o)))
}

// longest is the longest text that is logged, bytes.
const longest = 4096

func safe(a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = safeText(a.Value.String())
	case slog.KindAny:
		a.Value = safeAny(a.Value)
	}
	return a
}

// safeText hides credentials before it truncates, since half of one would not be
// recognised; but it does not look for them in megabytes.
func safeText(s string) slog.Value {
	return slog.StringValue(Clean(HideSecrets(s[:min(len(s), 4*longest)])))
}

// safeAny turns a value that may hold a text into that text. Numbers, and lists of
// them, stay what they are.
func safeAny(v slog.Value) slog.Value {
	switch x := v.Any().(type) {
	case nil:
		return v
	case error:
		return safeText(text(x.Error))
	case fmt.Stringer:
		return safeText(text(x.String))
	case []string:
		all := make([]string, len(x))
		for i, s := range x {
			all[i] = safeText(s).String()
		}
		return slog.AnyValue(all)
	case []byte:
		return safeText(string(x))
	case []int, []int32, []int64, []uint32, []uint64, []float64:
		return v
	default:
		return safeText(text(func() string { return fmt.Sprintf("%+v", x) }))
	}
}

// text calls a method of a value that may be a nil pointer: no log line is worth a
// panic.
func text(of func() string) (s string) {
	defer func() {
		if p := recover(); p != nil {
			s = fmt.Sprintf("!PANIC: %v", p)
		}
	}()
	return of()
}

// Clean replaces characters that could forge lines or control a terminal: control
// characters (C0 and C1), invisible ones such as bidirectional overrides, line and
// paragraph separators, invalid UTF-8. It truncates very long text.
func Clean(s string) string {
	if len(s) > longest {
		cut := longest
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	if strings.IndexFunc(s, hostile) < 0 && utf8.ValidString(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if hostile(r) {
			return '\ufffd'
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// hostile reports whether r controls terminals or line-based tools, or is invisible.
// Both handlers escape a tab and a newline inside a value.
func hostile(r rune) bool {
	switch {
	case r == '\t' || r == '\n':
		return false
	case r < 0x20, r >= 0x7f && r <= 0x9f, r == 0x2028, r == 0x2029:
		return true
	}
	return unicode.Is(unicode.Cf, r) // bidirectional overrides, zero-width characters, tags
}
