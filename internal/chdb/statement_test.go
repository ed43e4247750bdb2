package chdb

import "testing"

func TestWhatAStatementDoes(t *testing.T) {
	for _, c := range []struct {
		sql          string
		first        string
		reads, files bool
	}{
		{"SELECT 1", "SELECT", true, false},
		{"  ( select 1 )", "SELECT", true, false},
		{"-- INSERT\n/* DROP */ # x\nselect 1", "SELECT", true, false},
		{"WITH 1 AS x SELECT x", "WITH", true, false},
		{"WITH 'INSERT INTO' AS x SELECT x -- INSERT INTO", "WITH", true, false},
		{"WITH 1 AS x INSERT INTO t SELECT x", "WITH", false, false},
		{"with 1 as x insert/**/into t select x", "WITH", false, false},
		{"SHOW TABLES", "SHOW", true, false},
		{"EXPLAIN SELECT 1", "EXPLAIN", true, false},
		{"INSERT INTO t VALUES ('SELECT INTO OUTFILE')", "INSERT", false, false},
		{"DROP TABLE t", "DROP", false, false},
		{"SET readonly = 0", "SET", false, false},
		{"SYSTEM FLUSH LOGS", "SYSTEM", false, false},
		{"SELECT 1 INTO OUTFILE 'x'", "SELECT", true, true},
		{"SELECT 1 INTO\n outfile 'x'", "SELECT", true, true},
		{"SELECT ' INTO OUTFILE '", "SELECT", true, false},
		{`SELECT 'it''s \' INTO OUTFILE'`, "SELECT", true, false},
		{"", "", false, false},
		{"'", "", false, false},
		{"-- nothing but words", "", false, false},
	} {
		if f := firstWord(c.sql); f != c.first || reads(c.sql) != c.reads || writesFile(c.sql) != c.files {
			t.Errorf("%q: first word %q, reads %v, writes a file %v", c.sql, f, reads(c.sql), writesFile(c.sql))
		}
	}
}

func TestStatementAndDataAreToldApart(t *testing.T) {
	for _, c := range []struct{ name, query, body, sql, format, data string }{
		{"a query", "SELECT 1", "", "SELECT 1\n", "", ""},
		{"data in the body", "INSERT INTO t FORMAT CSV", "1,2\n", "INSERT INTO t", "CSV", "1,2\n"},
		{"data behind a line", "", "INSERT INTO db.t (a, b) FORMAT TSV\r\n1\t2\n", "INSERT INTO db.t (a, b)", "TSV", "1\t2\n"},
		{"data behind a space", "", "INSERT INTO t FORMAT JSONEachRow {}", "INSERT INTO t", "JSONEachRow", "{}"},
		{"data that begins with a line", "INSERT INTO t FORMAT TSV", "\n\n", "INSERT INTO t", "TSV", "\n\n"},
		{"values", "INSERT INTO t FORMAT Values", "(1)", "INSERT INTO t FORMAT Values\n(1)", "", ""},
		{"a word in a value", "", "INSERT INTO t VALUES (' FORMAT CSV x')", "INSERT INTO t VALUES (' FORMAT CSV x')", "", ""},
		{"a format at the end", "", "SELECT 1 FORMAT JSON;", "SELECT 1 FORMAT JSON;", "JSON", ""},
	} {
		var q httpQuery
		q.split(c.query, []byte(c.body))
		if q.sql != c.sql || q.format != c.format || string(q.data) != c.data {
			t.Errorf("%s: %q %q %q", c.name, q.sql, q.format, q.data)
		}
	}
}

func FuzzStatements(f *testing.F) {
	for _, s := range []string{"SELECT 1", "WITH 1 INSERT INTO t", "/* ' */ SELECT '--'", "INSERT INTO t (a) FORMAT CSV\n1", "SELECT 1 FORMAT JSON"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		if reads(sql) && firstWord(sql) == "INSERT" {
			t.Errorf("%q inserts and reads", sql)
		}
		var q httpQuery
		if q.split("", []byte(sql)); len(q.sql)+len(q.data) > len(sql) {
			t.Errorf("%q has grown", sql)
		}
		_ = writesFile(sql)
	})
}
