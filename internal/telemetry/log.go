// Package telemetry provides what operators look at: the log, and the admin
// listener with metrics, liveness and readiness.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
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

// NewLogger writes to w. It makes texts safe for terminals and line-based tools,
// because some are untrusted, and hides credentials in them.
func NewLogger(w io.Writer, c LogConfig) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // validated before; else info
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { return safe(a) }}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// longest is the longest text that is logged, bytes.
const longest = 4096

func safe(a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(Clean(HideSecrets(a.Value.String())))
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(Clean(HideSecrets(err.Error())))
		}
	}
	return a
}

// Clean replaces characters that could forge lines or control a terminal: control
// characters (C0 and C1), bidirectional overrides, line and paragraph separators,
// invalid UTF-8. It truncates very long text.
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

// hostile reports whether r controls terminals or line-based tools. Both handlers
// escape a tab and a newline inside a value.
func hostile(r rune) bool {
	switch {
	case r == '\t' || r == '\n':
		return false
	case r < 0x20, r >= 0x7f && r <= 0x9f:
		return true
	case r == 0x061c, r >= 0x200e && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}
