package chdb_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// ask sends one request; headers are names and values by turns.
func ask(t *testing.T, addr, method, args, body string, headers ...string) (status int, answer string, h http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+args, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text), res.Header
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTheHTTPInterface(t *testing.T) {
	_, addr, _ := children(t, t.TempDir())
	q := func(text string) string { return "/?query=" + url.QueryEscape(text) }
	for _, c := range []struct {
		name, method, args, body string
		headers                  []string
		status                   int
		want                     string
	}{
		{"ping", "GET", "/ping", "", nil, 200, "Ok.\n"},
		{"nothing asked", "GET", "/", "", nil, 200, "Ok.\n"},
		{"another path", "GET", "/play", "", nil, 404, "There is no handle /play"},
		{"a query in the address", "GET", q("SELECT 1, 'a'"), "", nil, 200, "1\ta\n"},
		{"a query in the body", "POST", "/", "SELECT 2", nil, 200, "2\n"},
		{"one begun here and ended there", "POST", q("SELECT"), "3", nil, 200, "3\n"},
		{"a format in the query", "POST", "/", "SELECT 1 AS x FORMAT JSONEachRow", nil, 200, `{"x":1}` + "\n"},
		{"a format in the address", "POST", "/?default_format=CSVWithNames", "SELECT 1 AS x", nil, 200, "\"x\"\n1\n"},
		{"a format in a header", "POST", "/", "SELECT 1 AS x", []string{"X-ClickHouse-Format", "JSONEachRow"}, 200, `{"x":1}` + "\n"},
		{"a parameter", "POST", "/?param_n=7", "SELECT {n:UInt8} + 1", nil, 200, "8\n"},
		{"a user and a password, which nobody checks", "POST", "/?user=u&password=p", "SELECT 1", nil, 200, "1\n"},
		{"a table by GET", "GET", q("CREATE TABLE no (n UInt8) ENGINE = Memory"), "", nil, 403, "Cannot execute query in readonly mode"},
		{"one that only reads by its own wish", "POST", "/?readonly=1", "CREATE TABLE no (n UInt8) ENGINE = Memory", nil, 403, "readonly"},
		{"an insert that hides behind WITH", "GET", q("WITH 1 AS n INSERT INTO h SELECT n, ''"), "", nil, 403, "readonly"},
		{"WITH that only reads", "GET", q("WITH 'INSERT INTO' AS n SELECT n"), "", nil, 200, "INSERT INTO\n"},
		{"a file on the server", "POST", "/", "SELECT 1 INTO OUTFILE '/tmp/weir-never'", nil, 500, "INTO OUTFILE is not for a server"},
		{"a table", "POST", "/", "CREATE TABLE h (n UInt64, s String) ENGINE = MergeTree ORDER BY n", nil, 200, ""},
		{"rows as JSON", "POST", q("INSERT INTO h FORMAT JSONEachRow"), `{"n":1,"s":"a"}` + "\n" + `{"n":2,"s":"b"}`, nil, 200, ""},
		{"rows as CSV, of some columns", "POST", q("INSERT INTO h (n) FORMAT CSV"), "3\n4\n", nil, 200, ""},
		{"rows as values", "POST", "/", "INSERT INTO h VALUES (5, 'FORMAT CSV'), (6, 'it''s')", nil, 200, ""},
		{"rows with the statement", "POST", "/", "INSERT INTO h FORMAT TSV\n7\tx\n", nil, 200, ""},
		{"rows zipped", "POST", q("INSERT INTO h FORMAT TSV"), zipped(t, "8\ty\n"), []string{"Content-Encoding", "gzip"}, 200, ""},
		{"rows of a query", "POST", "/", "INSERT INTO h SELECT 9, 'z'", nil, 200, ""},
		{"rows that do not read", "POST", q("INSERT INTO h FORMAT JSONEachRow"), "{", nil, 400, "Code: "},
		{"what became of them", "GET", q("SELECT count(), sum(n), arraySort(groupArray(s)) FROM h"), "", nil, 200, "9\t45\t['','','FORMAT CSV','a','b','it\\'s','x','y','z']\n"},
		{"an unknown table", "POST", "/", "SELECT * FROM nowhere", nil, 404, "UNKNOWN_TABLE"},
		{"no SQL", "POST", "/", "SELEC 1", nil, 400, "SYNTAX_ERROR"},
		{"another name for this machine", "POST", "/", "SELECT 1", []string{"Host", "rebound.example"}, 403, "not as \"rebound.example\""},
		{"a page of somebody else's", "POST", "/", "SELECT 1", []string{"Origin", "https://evil.example"}, 403, "evil.example"},
		{"a page of this machine's", "POST", "/", "SELECT 1", []string{"Origin", "http://localhost:3000"}, 200, "1\n"},
		{"an encoding nobody knows", "POST", "/", "SELECT 1", []string{"Content-Encoding", "br"}, 400, "Content-Encoding"},
	} {
		status, answer, _ := ask(t, addr, c.method, c.args, c.body, c.headers...)
		if status != c.status || (c.status == 200 && answer != c.want) || !strings.Contains(answer, c.want) {
			t.Errorf("%s: %d %q, want %d %q", c.name, status, answer, c.status, c.want)
		}
	}
	_, _, h := ask(t, addr, "POST", "/", "SELECT * FROM nowhere")
	if h.Get("X-ClickHouse-Exception-Code") != "60" {
		t.Errorf("headers of an error: %v", h)
	}
	_, _, h = ask(t, addr, "POST", "/", "SELECT 1 FORMAT JSON")
	if h.Get("X-ClickHouse-Format") != "JSON" || !strings.HasPrefix(h.Get("Content-Type"), "application/json") {
		t.Errorf("headers of JSON: %v", h)
	}
}

// TestClickHouseGoOverHTTP needs no other language.
func TestClickHouseGoOverHTTP(t *testing.T) {
	_, addr, _ := children(t, t.TempDir())
	for _, method := range []clickhouse.CompressionMethod{clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionGZIP} {
		t.Run(method.String(), func(t *testing.T) {
			c, err := clickhouse.Open(&clickhouse.Options{Addr: []string{addr}, Protocol: clickhouse.HTTP, DialTimeout: 5 * time.Second,
				Auth: clickhouse.Auth{Database: "default", Username: "default"}, Compression: &clickhouse.Compression{Method: method}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx := t.Context()
			if err := c.Exec(ctx, "CREATE OR REPLACE TABLE g (n UInt64, s String, at DateTime64(3, 'UTC'), l LowCardinality(String)) ENGINE = MergeTree ORDER BY n"); err != nil {
				t.Fatal(err)
			}
			batch, err := c.PrepareBatch(ctx, "INSERT INTO g")
			if err != nil {
				t.Fatal(err)
			}
			at := time.UnixMilli(1763892000123).UTC()
			for n := range uint64(1000) {
				if err := batch.Append(n, fmt.Sprint(n), at, "low"); err != nil {
					t.Fatal(err)
				}
			}
			if err := batch.Send(); err != nil {
				t.Fatal(err)
			}
			var n, sum uint64
			var s, l string
			var when time.Time
			if err := c.QueryRow(ctx, "SELECT count(), sum(n), max(s), any(at), any(l) FROM g").Scan(&n, &sum, &s, &when, &l); err != nil ||
				n != 1000 || sum != 499500 || s != "999" || !when.Equal(at) || l != "low" {
				t.Errorf("%d %d %s %v %s: %v", n, sum, s, when, l, err)
			}
			rows, err := c.Query(ctx, "SELECT n, s FROM g WHERE n > 5000")
			if err != nil {
				t.Fatal(err)
			}
			if rows.Next() || !reflect.DeepEqual(rows.Columns(), []string{"n", "s"}) {
				t.Errorf("an empty result has columns %v", rows.Columns())
			}
			_ = rows.Close()
			var ex *clickhouse.Exception
			if err := c.Exec(ctx, "SELECT * FROM nowhere"); err == nil || !strings.Contains(err.Error(), "UNKNOWN_TABLE") && (!errors.As(err, &ex) || ex.Code != 60) {
				t.Errorf("an unknown table: %v", err)
			}
		})
	}
}
