package clickhouse_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirdev/weir/sink/clickhouse"
)

// TestTheQueriesOfTheRunbooksRun: they look for what is wrong, so they may find
// nothing, but nobody should have to mend one at night.
func TestTheQueriesOfTheRunbooksRun(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := config(t, s.addr)
	conn, err := clickhouse.OpenToRead(c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	pages, err := filepath.Glob("../../docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	queries := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range sqlBlock.FindAllStringSubmatch(string(text), -1) {
			queries++
			if onTables.MatchString(m[1]) {
				t.Errorf("%s: a view would count each row once:\n%s", page, m[1])
			}
			found, err := conn.Query(t.Context(), strings.ReplaceAll(m[1], "weir.", c.Database+"."))
			if err != nil {
				t.Errorf("%s: %v in\n%s", page, err, m[1])
				continue
			}
			if err := found.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if queries < 10 {
		t.Errorf("only %d queries were found", queries)
	}
}
