package clickhouse_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/decision"
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
		e.SetText(event.RequestID, fmt.Sprintf("r-%d", n))
		if err := rows.Append(t.Context(), int64(n), 1, now, e); err != nil {
			t.Fatal(err)
		}
	}
	sig := &score.Signal{Position: score.Position{Incarnation: 1}, Rule: "credential-stuffing-ip", Weight: 90, HalfLife: time.Minute,
		Entity: facet.Entity{Kind: facet.IP, Key: "203.0.113.9"}, Time: now, SourceOffset: 1, Evidence: []facet.Evidence{facet.Number("false_positive", 0)}}
	for _, make := range signalWriters {
		w, err := make(c, stream, discard(), nil)
		if err != nil {
			t.Fatal(err)
		}
		running(t, w.Run)
		caught := w.Open(0)
		if err := caught.Append(t.Context(), 0, sig); err != nil {
			t.Fatal(err)
		}
		if err := caught.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	d, err := clickhouse.NewDecisions(c, stream, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	running(t, d.Run)
	decisions := d.Open(0)
	if err := decisions.Append(t.Context(), 0, now, &decision.Record{ID: "d", Time: now, Action: "deny", Would: "deny", Entities: map[string]string{"ip": "203.0.113.9"}}); err != nil {
		t.Fatal(err)
	}
	if err := decisions.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}

	said, err := clickhouse.NewControls(c, stream, digest, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	running(t, said.Run)
	labels := said.Open()
	if err := labels.Append(t.Context(), 0, 1, now, &control.Record{ID: "c-0", Action: "false_positive", Time: now, Kind: "ip", Key: "203.0.113.9", Rule: "credential-stuffing-ip", Expires: now}); err != nil {
		t.Fatal(err)
	}
	off := control.Record{ID: "s-0", Action: control.GateOff, Time: now, Kind: "global", Who: "ann", Reason: "incident", Expires: now}
	if err := labels.Append(t.Context(), 1, 1, now, &off); err != nil {
		t.Fatal(err)
	}
	if err := labels.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}

	refused, err := clickhouse.NewDeadLetters(c, stream, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	running(t, refused.Run)
	letters := refused.Open(0)
	if err := letters.Append(t.Context(), 1, now, &event.DeadLetter{Offset: 9, Reason: "json", Detail: "not JSON"}); err != nil {
		t.Fatal(err)
	}
	if err := letters.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	versions, err := clickhouse.NewRuleVersions(c, stream, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	running(t, versions.Run)
	kept := versions.Open(0)
	if err := kept.AppendVersion(t.Context(), 0, now, &decision.RuleVersion{Time: now, Kind: decision.Rules, Version: "0011223344556677", Program: "weir-worker"}); err != nil {
		t.Fatal(err)
	}
	if err := kept.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}

	for _, stream := range []string{"history-1", "history-2"} { // a log that has grown
		if err := connect(t, c).Exec(t.Context(), "INSERT INTO "+c.Database+".events (stream, incarnation, received, time, path) SELECT '"+stream+"', 1, now64(3), toDateTime64('2026-01-02 03:04:05', 3), '/'"); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := clickhouse.OpenToRead(c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, q := range documented(t) {
		if onTables.MatchString(q) {
			t.Errorf("a view would count each row once:\n%s", q)
		}
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

var (
	onTables   = regexp.MustCompile(`(?i)\b(FROM|JOIN)\s+(weir\.)?(events|signals|shadow_signals|decisions|entity_events|event_ids|decision_ids|event_minutes|entity_minutes|labels|audit)\b`)
	sqlBlock   = regexp.MustCompile("(?s)```sql\n(.*?)```")
	sqlCommand = regexp.MustCompile(`weir query [^\n]*?(?:'(SELECT[^']*)'|"(SELECT[^"]*)")`)
)

// documented are the queries of all pages, and of commands in them.
func documented(t *testing.T) (all []string) {
	t.Helper()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../../README.md", "../../DESIGN.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range sqlBlock.FindAllStringSubmatch(string(text), -1) {
			all = append(all, m[1])
		}
		for _, m := range sqlCommand.FindAllStringSubmatch(string(text), -1) {
			all = append(all, m[1]+m[2])
		}
	}
	if len(all) < 9 {
		t.Fatalf("the pages have %d queries", len(all))
	}
	return all
}
