package chdb_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"

	"github.com/weirdev/weir/internal/chdb"
	"github.com/weirdev/weir/proof/testkit"
)

// serve starts a server on a directory, on two addresses: one for the native
// protocol, one for HTTP.
func serve(dir string) (addrs string, err error) {
	e, err := chdb.Open(dir)
	if err != nil {
		return "", err
	}
	server := chdb.NewServer(e, slog.New(slog.DiscardHandler))
	for _, run := range []func(context.Context, net.Listener) error{server.Serve, server.ServeOverHTTP} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		addrs += l.Addr().String() + " "
		go func() { _ = run(context.Background(), l) }()
	}
	return addrs, nil
}

// TestMain serves instead of testing where it is started as a server.
func TestMain(m *testing.M) {
	if dir := os.Getenv("WEIR_TEST_CHDB_DIR"); dir != "" {
		addrs, err := serve(dir)
		fmt.Println(addrs, err)
		select {}
	}
	os.Exit(m.Run())
}

// child starts the server in a process of its own, which can be killed. Only
// one process may have the engine open, and it cannot be opened on another
// directory later, so all tests use children.
func child(t *testing.T, dir string) (addr string, kill func()) {
	t.Helper()
	addr, _, kill = children(t, dir)
	return addr, kill
}

// children gives the address of HTTP, too.
func children(t *testing.T, dir string) (addr, overHTTP string, kill func()) {
	t.Helper()
	testkit.ChDB(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "WEIR_TEST_CHDB_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	kill = func() { once.Do(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) }
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, "<nil>") {
		t.Fatalf("the server says %q: %v", line, err)
	}
	at := strings.Fields(line)
	return at[0], at[1], kill
}

func connect(t *testing.T, addr string, compress bool) clickhouse.Conn {
	t.Helper()
	o := &clickhouse.Options{Addr: []string{addr}, Auth: clickhouse.Auth{Database: "default"}, DialTimeout: 5 * time.Second, ReadTimeout: time.Minute}
	if compress {
		o.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	}
	c, err := clickhouse.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestEveryTypeThatIsUsedGoesThereAndBack(t *testing.T) {
	addr, _ := child(t, t.TempDir())
	for _, compress := range []bool{false, true} {
		t.Run(fmt.Sprintf("compression %v", compress), func(t *testing.T) {
			c, ctx := connect(t, addr, compress), t.Context()
			if err := c.Exec(ctx, `CREATE OR REPLACE TABLE types (s String, f FixedString(4), u8 UInt8, i64 Int64, u64 UInt64, d DateTime64(3, 'UTC'),
				x Float64, l LowCardinality(String), n Nullable(String), a Array(String), m Map(String, UInt64), e Enum8('a' = 1, 'b' = 2),
				id UUID, b Bool, t Tuple(String, UInt8)) ENGINE = MergeTree ORDER BY u64`); err != nil {
				t.Fatal(err)
			}
			batch, err := c.PrepareBatch(ctx, "INSERT INTO types")
			if err != nil {
				t.Fatal(err)
			}
			at, some, id := time.UnixMilli(1763892000123).UTC(), "some", uuid.New()
			want := [][]any{
				{"é\x00", "abcd", uint8(255), int64(-1), uint64(1), at, 1.5, "low", &some, []string{"x", "y"}, map[string]uint64{"k": 7}, "b", id, true, []any{"t", uint8(3)}},
				{"", "\x00\x00\x00\x00", uint8(0), int64(1), uint64(2), at, -0.25, "", (*string)(nil), []string{}, map[string]uint64{}, "a", id, false, []any{"", uint8(0)}},
			}
			for _, row := range want {
				if err := batch.Append(row...); err != nil {
					t.Fatal(err)
				}
			}
			if err := batch.Send(); err != nil {
				t.Fatal(err)
			}
			rows, err := c.Query(ctx, "SELECT * FROM types ORDER BY u64")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			n := 0
			for ; rows.Next(); n++ {
				var got []any
				for _, ct := range rows.ColumnTypes() {
					got = append(got, reflect.New(ct.ScanType()).Interface())
				}
				if err := rows.Scan(got...); err != nil {
					t.Fatal(err)
				}
				for i := range got {
					if v := reflect.ValueOf(got[i]).Elem().Interface(); !reflect.DeepEqual(v, want[n][i]) {
						t.Errorf("row %d column %s is %#v, want %#v", n, rows.Columns()[i], v, want[n][i])
					}
				}
			}
			if n != len(want) || rows.Err() != nil {
				t.Errorf("%d rows, %v", n, rows.Err())
			}
		})
	}
}

func TestErrorsParametersAndEmptyResults(t *testing.T) {
	addr, _ := child(t, t.TempDir())
	c := connect(t, addr, true)
	ctx := t.Context()
	var ex *clickhouse.Exception
	if err := c.Exec(ctx, "SELECT * FROM nowhere"); !errors.As(err, &ex) || ex.Code != 60 {
		t.Errorf("an unknown table: %v", err)
	}
	if err := c.Ping(ctx); err != nil {
		t.Errorf("after an error: %v", err)
	}
	var n uint64
	var s string
	ctxParams := clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"n": "3", "s": `it's \ "so"`}))
	if err := c.QueryRow(ctxParams, "SELECT count(), {s:String} FROM numbers({n:UInt64})").Scan(&n, &s); err != nil || n != 3 || s != `it's \ "so"` {
		t.Errorf("parameters: %d %q %v", n, s, err)
	}
	rows, err := c.Query(ctx, "SELECT number AS n, 'x' AS x FROM numbers(10) WHERE number > 10")
	if err != nil {
		t.Fatal(err)
	}
	if rows.Next() || !reflect.DeepEqual(rows.Columns(), []string{"n", "x"}) {
		t.Errorf("an empty result has columns %v", rows.Columns())
	}
	_ = rows.Close()
	var nothing *string
	if err := c.QueryRow(ctx, "SELECT NULL, count() FROM numbers(7)").Scan(&nothing, &n); err != nil || nothing != nil || n != 7 {
		t.Errorf("a column without a type: %v, %d, %v", nothing, n, err)
	}
	if err := c.QueryRow(ctx, "SELECT sum(number) FROM (SELECT number FROM numbers(1000000))").Scan(&n); err != nil || n != 499999500000 {
		t.Errorf("sum %d %v", n, err)
	}
	count := 0
	rows, err = c.Query(ctx, "SELECT number FROM numbers(300000)")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		count++
	}
	if count != 300000 || rows.Err() != nil {
		t.Errorf("%d rows of several blocks, %v", count, rows.Err())
	}
	_ = rows.Close()
	if err := c.Exec(ctx, "CREATE DATABASE other"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PrepareBatch(ctx, "INSERT INTO nowhere"); !errors.As(err, &ex) || ex.Code != 60 {
		t.Errorf("an insert into an unknown table: %v", err)
	}
}

func TestAcknowledgedRowsSurviveKill9(t *testing.T) {
	dir := t.TempDir()
	addr, kill := child(t, dir)
	c, ctx := connect(t, addr, true), t.Context()
	if err := c.Exec(ctx, "CREATE TABLE k (n UInt64) ENGINE = MergeTree ORDER BY n"); err != nil {
		t.Fatal(err)
	}
	acknowledged, killing := uint64(0), uint64(40)
	for i := range uint64(60) {
		batch, err := c.PrepareBatch(ctx, "INSERT INTO k (n)")
		if err != nil && i > killing {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for j := range uint64(1000) {
			if err := batch.Append(i*1000 + j); err != nil {
				t.Fatal(err)
			}
		}
		if i == killing {
			time.AfterFunc(time.Millisecond, kill)
		}
		if err := batch.Send(); err != nil {
			break
		}
		acknowledged = (i + 1) * 1000
	}
	kill()
	addr, _ = child(t, dir)
	var n uint64
	if err := connect(t, addr, false).QueryRow(ctx, "SELECT uniqExact(n) FROM k").Scan(&n); err != nil || n < acknowledged {
		t.Errorf("%d rows of %d that were acknowledged: %v", n, acknowledged, err)
	}
	if acknowledged < 40_000 {
		t.Errorf("only %d rows were acknowledged before the kill", acknowledged)
	}
}

func TestGarbageEndsAConnectionAndNothingElse(t *testing.T) {
	addr, _ := child(t, t.TempDir())
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", strings.Repeat("\x01", 300)} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(garbage))
		_ = conn.Close()
	}
	if err := connect(t, addr, false).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}
