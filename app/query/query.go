// Package query runs SQL and prints the result. It uses the ClickHouse of the
// configuration, or the data that a demonstration left in a directory.
//
// It only reads. For a table it keeps all rows in memory to determine the column
// widths; the other outputs are streamed.
package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/internal/sandbox"
	"github.com/weirdev/weir/sink/clickhouse"
)

// Outputs lists the output formats.
func Outputs() []string { return []string{"table", "vertical", "tsv", "csv", "json"} }

// Options configure a query.
type Options struct {
	ClickHouse clickhouse.Config
	Data       string // directory of a demonstration or sandbox; empty: use the configured ClickHouse
	Output     string // one of Outputs
}

// Validate returns an error if o is invalid.
func (o Options) Validate() error {
	if !slices.Contains(Outputs(), o.Output) {
		return fmt.Errorf("-output %q: one of %s", o.Output, strings.Join(Outputs(), ", "))
	}
	if o.Data == "" {
		return o.ClickHouse.Validate()
	}
	return nil
}

// Run runs one statement and writes its result to out.
func Run(ctx context.Context, o Options, sql string, out io.Writer, log *slog.Logger) (err error) {
	sql = strings.TrimRight(strings.TrimSpace(sql), "; \t\r\n")
	if sql == "" {
		return errors.New("there is no SQL to run")
	}
	conn, stop, err := o.connect(log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return o.explain(err)
	}
	defer rows.Close()
	if err := print(out, o.Output, rows); err != nil {
		return o.explain(err)
	}
	return nil
}

// connect opens a connection for reading. stop closes it.
func (o *Options) connect(log *slog.Logger) (conn driver.Conn, stop func() error, err error) {
	stop = func() error { return nil }
	if o.Data != "" {
		if stop, err = o.open(log); err != nil {
			return nil, nil, err
		}
	}
	if conn, err = clickhouse.OpenToRead(o.ClickHouse); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	end := stop
	return conn, func() error { return errors.Join(conn.Close(), end()) }, nil
}

// open starts the embedded engine on a directory, and points o to it.
func (o *Options) open(log *slog.Logger) (stop func() error, err error) {
	s, err := Open(o.Data, sandbox.Config{ClickHouseAddr: "127.0.0.1:0"}, log)
	if err != nil {
		return nil, err
	}
	own := clickhouse.Defaults()
	own.Addrs, own.Database = []string{s.Addresses().ClickHouse}, o.ClickHouse.Database
	o.ClickHouse = own
	return s.Close, nil
}

// Open starts servers on the data that a demonstration or a sandbox has left in a
// directory.
func Open(data string, servers sandbox.Config, log *slog.Logger) (s *sandbox.Sandbox, err error) {
	if servers.Dir, err = find(data); err != nil {
		return nil, err
	}
	if s, err = sandbox.New(servers, log); err != nil {
		return nil, err
	}
	if err := s.Start(); err != nil {
		return nil, fmt.Errorf("-data %s: %w", data, err)
	}
	return s, nil
}

// find returns the data directory of the sandbox in a directory. It creates
// nothing.
func find(dir string) (string, error) {
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("-data: %w", err)
	}
	for _, d := range []string{filepath.Join(dir, "sandbox"), dir} {
		if _, err := os.Stat(filepath.Join(d, "clickhouse")); err == nil {
			return d, nil
		}
	}
	return "", fmt.Errorf("-data %s: ClickHouse has left nothing there; name the directory that `weir demo -data` or `weir sandbox -dir` was given", dir)
}

// explain adds advice to an error.
func (o Options) explain(err error) error {
	var e *ch.Exception
	if !errors.As(err, &e) {
		return fmt.Errorf("clickhouse at %s: %w\n(-clickhouse.addrs names another; -data DIR asks what a demonstration has left in DIR)", strings.Join(o.ClickHouse.Addrs, ", "), err)
	}
	text := strings.TrimSpace(e.Message)
	if _, after, found := strings.Cut(text, "DB::Exception: "); found && strings.HasPrefix(text, "Code: ") {
		text = after
	}
	return fmt.Errorf("ClickHouse: %s%s", text, o.advice(e.Code))
}

// advice returns advice on some error codes of ClickHouse.
func (o Options) advice(code int32) string {
	switch code {
	case 60:
		return fmt.Sprintf("\n(the tables of %s are v_events, v_signals and v_decisions, and what they are made of: `weir query 'SHOW TABLES'`)", o.ClickHouse.Database)
	case 81:
		return fmt.Sprintf("\n(-clickhouse.database is %s; `weir migrate` makes it)", o.ClickHouse.Database)
	case 47:
		return "\n(`weir query 'DESCRIBE v_events'` lists the columns; a text stands in single quotes)"
	case 164:
		return "\n(weir query only reads)"
	case 192, 193, 497, 516:
		return "\n(-clickhouse.user and -clickhouse.password-file say who asks)"
	}
	return ""
}

// print writes rows in one of the output formats.
func print(out io.Writer, output string, rows driver.Rows) error {
	p, err := newPrinter(out, output, rows)
	if err != nil {
		return err
	}
	for rows.Next() {
		values, err := p.scan(rows)
		if err != nil {
			return err
		}
		if err := p.row(values); err != nil {
			return err
		}
	}
	return errors.Join(rows.Err(), p.end())
}
