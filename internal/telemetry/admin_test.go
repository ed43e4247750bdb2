package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestHealthIsThatEveryConditionOfLifeHolds(t *testing.T) {
	a := NewAdmin(AdminConfig{}, slog.New(slog.DiscardHandler))
	var first, second error
	a.Alive("first", func() error { return first })
	a.Alive("second", func() error { return second })
	for _, c := range []struct {
		name          string
		first, second error
		status        int
		body          string
	}{
		{"all hold", nil, nil, 200, "ok\n"},
		{"one does not", nil, errors.New("no progress:\x1b[2J detect, partition 3"), 503, "second: no progress:\ufffd[2J detect, partition 3\n"},
		{"none does", errors.New("a"), errors.New("b"), 503, "first: a\nsecond: b\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, second = c.first, c.second
			w := httptest.NewRecorder()
			a.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
			if w.Code != c.status || w.Body.String() != c.body {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, c.status, c.body)
			}
		})
	}
}

func TestReadinessIsThatEveryConditionHoldsWhateverTheNotes(t *testing.T) {
	for _, c := range []struct {
		name            string
		condition, note error
		status          int
		body            string
	}{
		{"all hold", nil, nil, 200, `{"kafka":"ok","risk":"ok"}`},
		{"a note does not", nil, errors.New("redis: away"), 200, `{"kafka":"ok","risk":"degraded: redis: away"}`},
		{"a condition does not", errors.New("away"), nil, 503, `{"kafka":"away","risk":"ok"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := NewAdmin(AdminConfig{}, slog.New(slog.DiscardHandler))
			a.Ready("kafka", func(context.Context) error { return c.condition })
			a.Note("risk", func(context.Context) error { return c.note })
			w := httptest.NewRecorder()
			a.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
			if w.Code != c.status || w.Body.String() != c.body+"\n" {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, c.status, c.body)
			}
		})
	}
}

// TestANoteDoesNotMakeReadinessLate: probes commonly give up after a second, and
// that is the same as a no.
func TestANoteDoesNotMakeReadinessLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAdmin(AdminConfig{}, slog.New(slog.DiscardHandler))
		a.Note("risk", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		start, w := time.Now(), httptest.NewRecorder()
		a.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		if took := time.Since(start); w.Code != 200 || took > 500*time.Millisecond {
			t.Errorf("%d after %v", w.Code, took)
		}
	})
}
