package telemetry

import (
	"errors"
	"net/http/httptest"
	"testing"
)

func TestHealthIsThatEveryConditionOfLifeHolds(t *testing.T) {
	a := NewAdmin(AdminConfig{})
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
