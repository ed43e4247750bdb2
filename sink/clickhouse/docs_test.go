package clickhouse_test

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
	"github.com/weirdev/weir/sink/clickhouse"
)

// Every query of the documentation is run over an address that signed in to
// one account after it had failed at another, and was caught; each must find
// something.
func TestTheQueriesOfTheDocumentationFindSomething(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	now := time.Now().UnixMilli()
	stream := clickhouse.Stream{Name: "weir", Incarnation: 1}
	w := events(t, c)
	running(t, w.Run)
	rows := w.Open(0)
	for n, auth := range []string{"failure", "success"} {
		e := sample(t, n)
		e.SetNum(event.Time, now)
		e.SetText(event.ClientIP, "203.0.113.9")
		e.SetText(event.Auth, auth)
		if err := rows.Append(t.Context(), int64(n), 1, now, e); err != nil {
			t.Fatal(err)
		}
	}
	sw, err := clickhouse.NewSignals(c, stream, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	running(t, sw.Run)
	caught := sw.Open(0)
	sig := &score.Signal{Position: score.Position{Incarnation: 1}, Rule: "credential-stuffing-ip", Weight: 90, HalfLife: time.Minute,
		Entity: facet.Entity{Kind: facet.IP, Key: "203.0.113.9"}, Time: now, SourceOffset: 1}
	if err := caught.Append(t.Context(), 0, sig); err != nil {
		t.Fatal(err)
	}
	if err := rows.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := caught.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}

	page, err := os.ReadFile("../../docs/clickhouse.md")
	if err != nil {
		t.Fatal(err)
	}
	queries := strings.Split(string(page), "```sql\n")[1:]
	if len(queries) < 5 {
		t.Fatalf("the page has %d queries", len(queries))
	}
	conn, err := clickhouse.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, q := range queries {
		q, _, _ = strings.Cut(q, "```")
		found, err := conn.Query(t.Context(), strings.ReplaceAll(q, "weir.", c.Database+"."))
		if err != nil {
			t.Errorf("%v in\n%s", err, q)
			continue
		}
		if !found.Next() {
			t.Errorf("nothing was found (%v) by\n%s", found.Err(), q)
		}
		if err := found.Close(); err != nil {
			t.Error(err)
		}
	}
}
