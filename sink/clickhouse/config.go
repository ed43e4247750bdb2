// Package clickhouse writes events, signals and decisions to ClickHouse, and creates
// the tables for them.
//
// Every row is named by its position in the log, or by its content, so a row that is
// written twice is one row to every reader with FINAL. The package never drops rows: while the store
// is down, Append blocks.
package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/internal/secret"
	"github.com/weirdev/weir/internal/tlsconfig"
)

// Config holds the address of ClickHouse and the settings for batches.
type Config struct {
	Addrs        []string         `yaml:"addrs" doc:"addresses of ClickHouse's native protocol, host:port"`
	Database     string           `yaml:"database" doc:"database of Weir's tables"`
	Cluster      string           `yaml:"cluster" doc:"ClickHouse's name of the cluster that holds the tables, replicated and distributed; empty: they are on a single node"`
	User         string           `yaml:"user" doc:"user"`
	Password     string           `yaml:"password" secret:"true" doc:"password"`
	PasswordFile string           `yaml:"password_file" doc:"file with the password, instead of password"`
	TLS          tlsconfig.Config `yaml:"tls"`
	Compression  string           `yaml:"compression" doc:"compression on the wire: none or lz4"`
	DialTimeout  time.Duration    `yaml:"dial_timeout" doc:"time limit for connecting"`
	ReadTimeout  time.Duration    `yaml:"read_timeout" doc:"time limit for a reply"`
	FlushRows    int              `yaml:"flush_rows" doc:"rows per insert"`
	FlushAge     time.Duration    `yaml:"flush_age" doc:"longest time that a row waits for more rows"`

	Retention           time.Duration `yaml:"retention" doc:"how long events are kept after receipt, and what is made from them and names entities; 0: for ever"`
	SignalRetention     time.Duration `yaml:"signal_retention" doc:"how long signals are kept, those of shadow rules too; 0: for ever"`
	DecisionRetention   time.Duration `yaml:"decision_retention" doc:"how long decisions are kept; 0: for ever"`
	DeadLetterRetention time.Duration `yaml:"dead_letter_retention" doc:"how long the table of dead letters keeps them; 0: for ever"`
	MinuteRetention     time.Duration `yaml:"minute_retention" doc:"how long counts per minute are kept, which name no entity; 0: for ever"`
}

// Defaults returns values that suit most installations.
func Defaults() Config {
	return Config{
		Addrs: []string{"127.0.0.1:9000"}, Database: "weir", User: "default", Compression: "lz4",
		DialTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
		FlushRows: 20_000, FlushAge: time.Second,
		Retention: 90 * 24 * time.Hour, SignalRetention: 90 * 24 * time.Hour, DecisionRetention: 90 * 24 * time.Hour, DeadLetterRetention: 90 * 24 * time.Hour, MinuteRetention: 400 * 24 * time.Hour,
	}
}

// name is a valid database name, which statements contain unquoted.
var name = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]{0,62}$`)

// Validate reports all errors in c.
func (c Config) Validate() error {
	errs := []error{c.TLS.Validate("clickhouse.tls")}
	if len(c.Addrs) == 0 {
		errs = append(errs, errors.New("clickhouse.addrs: none is named"))
	}
	for _, a := range c.Addrs {
		if _, _, err := net.SplitHostPort(a); err != nil {
			errs = append(errs, fmt.Errorf("clickhouse.addrs: %w", err))
		}
	}
	if !name.MatchString(c.Database) {
		errs = append(errs, fmt.Errorf("clickhouse.database: %q: letters, digits and _ are allowed", c.Database))
	}
	if c.Cluster != "" && !name.MatchString(c.Cluster) {
		errs = append(errs, fmt.Errorf("clickhouse.cluster: %q: letters, digits and _ are allowed", c.Cluster))
	}
	if c.Compression != "none" && c.Compression != "lz4" {
		errs = append(errs, fmt.Errorf("clickhouse.compression: %q is neither none nor lz4", c.Compression))
	}
	if c.FlushRows < 1 || c.FlushRows > 200_000 {
		errs = append(errs, fmt.Errorf("clickhouse.flush_rows: %d is outside 1 … 200000", c.FlushRows))
	}
	if c.FlushAge < 10*time.Millisecond || c.FlushAge > time.Minute {
		errs = append(errs, fmt.Errorf("clickhouse.flush_age: %v is outside 10ms … 1m", c.FlushAge))
	}
	if c.DialTimeout <= 0 || c.ReadTimeout <= 0 {
		errs = append(errs, errors.New("clickhouse: dial_timeout and read_timeout must be more than 0"))
	}
	for _, r := range []struct {
		name string
		keep time.Duration
	}{{"retention", c.Retention}, {"signal_retention", c.SignalRetention}, {"decision_retention", c.DecisionRetention}, {"dead_letter_retention", c.DeadLetterRetention}, {"minute_retention", c.MinuteRetention}} {
		if r.keep != 0 && r.keep < time.Hour {
			errs = append(errs, fmt.Errorf("clickhouse.%s: %v; an hour at least, or 0 for ever", r.name, r.keep))
		}
	}
	return errors.Join(errs...)
}

// Open creates a pool of connections; it connects on first use.
func Open(c Config) (driver.Conn, error) {
	// This is not the database of the tables, which may not exist yet.
	settings := clickhouse.Settings{"async_insert": 0, "insert_deduplicate": 0}
	maps.Copy(settings, c.clusterSettings())
	return open(c, "default", settings)
}

// OpenToRead is Open for reading only: the server refuses every change. Table names
// refer to the database of c.
func OpenToRead(c Config) (driver.Conn, error) {
	settings := clickhouse.Settings{"readonly": 2} // 1 would refuse a query's own SETTINGS too
	if c.Cluster != "" {
		settings["distributed_product_mode"] = "global" // of a query with a view within IN or JOIN
	}
	return open(c, c.Database, settings)
}

func open(c Config, database string, settings clickhouse.Settings) (driver.Conn, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	password, err := secret.Read("clickhouse.password", c.Password, c.PasswordFile)
	if err != nil {
		return nil, err
	}
	dialer, err := c.TLS.Dialer("clickhouse.tls", c.DialTimeout)
	if err != nil {
		return nil, err
	}
	o := &clickhouse.Options{
		Addr: c.Addrs,
		Auth: clickhouse.Auth{Database: database, Username: c.User, Password: password},
		DialContext: func(ctx context.Context, addr string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", addr)
		},
		DialTimeout: c.DialTimeout, ReadTimeout: c.ReadTimeout, MaxOpenConns: 4, MaxIdleConns: 4, ConnMaxLifetime: 10 * time.Minute,
		Settings: settings,
	}
	if c.Compression == "lz4" {
		o.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	}
	conn, err := clickhouse.Open(o)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: %w", err)
	}
	return conn, nil
}

// permanent reports whether retries cannot help: the tables are not those that this
// program writes, or it may not write them.
func permanent(err error) bool {
	var e *clickhouse.Exception
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case 16, 47, 53, 60, 62, 81, 192, 193, 497, 516:
		// no such column, unknown identifier, type mismatch, unknown table,
		// syntax error, unknown database, unknown user, wrong password, access
		// denied, authentication failed
		return true
	}
	return false
}

// Final reports whether a server has answered, and would answer the same again: tables
// are missing or of another version ([ErrSchema]), or access is denied.
func Final(err error) bool { return errors.Is(err, ErrSchema) || permanent(err) }

// missing reports whether there is no such table or database.
func missing(err error) bool {
	var e *clickhouse.Exception
	return errors.As(err, &e) && (e.Code == 60 || e.Code == 81)
}

// reason returns a short name for an error, from a closed set, for metrics.
func reason(err error) string {
	var e *clickhouse.Exception
	switch {
	case errors.As(err, &e) && e.Code == 252:
		return "too_many_parts"
	case errors.As(err, &e) && e.Code == 241:
		return "memory_limit"
	case errors.As(err, &e) && (e.Code == 164 || e.Code == 242):
		return "read_only"
	case errors.As(err, &e):
		return "exception"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return "network"
}
