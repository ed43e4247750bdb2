package telemetry

import (
	"context"
	"log"
	"log/slog"
	"strings"
)

// ErrorLog is for [net/http.Server.ErrorLog] and the like: a library's own lines
// become the detail of a constant message, because raw lines would break JSON logs.
// A panic in a handler is an error, anything else a warning.
func ErrorLog(l *slog.Logger) *log.Logger {
	return log.New(lines{l}, "", 0)
}

type lines struct{ log *slog.Logger }

// Write takes one line, with its line break.
func (l lines) Write(b []byte) (int, error) {
	line := strings.TrimSpace(string(b))
	level := slog.LevelWarn
	if strings.HasPrefix(line, "http: panic serving") {
		level = slog.LevelError
	}
	l.log.Log(context.Background(), level, "the http server reports a problem", "detail", line)
	return len(b), nil
}
