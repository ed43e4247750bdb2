package chdb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"unsafe"
)

// Engine is ClickHouse's engine on one data directory. Statements run one at a
// time.
type Engine struct {
	lib *library

	mu       sync.Mutex
	conn     *uintptr
	database string // that the connection is in
}

// Parameter is a value for a placeholder {name:Type} of a query.
type Parameter struct{ Name, Value string }

// Open opens, or creates, the data directory. A directory can be open once. flags are
// those of clickhouse-local, such as --config-file=PATH.
func Open(dir string, flags ...string) (*Engine, error) {
	lib, err := loadOnce()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// The Go runtime handles signals itself.
	lib.setSignalHandlers(0)
	args := []*byte{cString("clickhouse"), cString("--path=" + filepath.Clean(dir))}
	for _, f := range flags {
		args = append(args, cString(f))
	}
	conn := lib.connect(int32(len(args)), &args[0])
	runtime.KeepAlive(args)
	if conn == nil || *conn == 0 {
		return nil, fmt.Errorf("open %s: the embedded ClickHouse does not start; is another process using the directory? ClickHouse allows one", dir)
	}
	return &Engine{lib: lib, conn: conn, database: "default"}, nil
}

// Close ends the engine. It can be opened again.
func (e *Engine) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn != nil {
		e.lib.closeConn(e.conn)
		e.conn = nil
	}
}

// Error is an error of ClickHouse.
type Error struct {
	Code    int32
	Name    string // such as UNKNOWN_TABLE
	Message string
}

func (e *Error) Error() string { return fmt.Sprintf("clickhouse: code %d: %s", e.Code, e.Message) }

var (
	errorCode = regexp.MustCompile(`^Code: (\d+)\. `)
	errorName = regexp.MustCompile(`\(([A-Z_]+)\)[^()]*$`)
)

// parseError reads the engine's error text.
func parseError(text string) error {
	if text == "" {
		return nil
	}
	e := &Error{Code: 1000, Name: "UNKNOWN_EXCEPTION", Message: strings.TrimSpace(text)}
	if m := errorCode.FindStringSubmatch(text); m != nil {
		if n, err := strconv.ParseInt(m[1], 10, 32); err == nil {
			e.Code = int32(n)
		}
	}
	if m := errorName.FindStringSubmatch(text); m != nil {
		e.Name = m[1]
	}
	return e
}

var errClosed = errors.New("the embedded ClickHouse is closed")

// Query runs a statement in a database and returns its result in a format.
func (e *Engine) Query(database, sql, format string, params []Parameter) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.use(database); err != nil {
		return nil, err
	}
	return e.run(sql, format, params)
}

// use makes database the connection's database. The caller holds the lock.
func (e *Engine) use(database string) error {
	if e.conn == nil {
		return errClosed
	}
	if database == "" {
		database = "default"
	}
	if database == e.database {
		return nil
	}
	if _, err := e.run("USE `"+strings.ReplaceAll(database, "`", "\\`")+"`", "Null", nil); err != nil {
		return err
	}
	e.database = database
	return nil
}

func (e *Engine) run(sql, format string, params []Parameter) ([]byte, error) {
	q, f := []byte(sql+"\x00"), []byte(format+"\x00")
	var result uintptr
	if len(params) == 0 {
		result = e.lib.query(*e.conn, &q[0], uint(len(sql)), &f[0], uint(len(format)))
	} else {
		result = e.runParams(q, f, params)
	}
	runtime.KeepAlive(q)
	runtime.KeepAlive(f)
	return e.take(result)
}

func (e *Engine) runParams(q, f []byte, params []Parameter) uintptr {
	var pin runtime.Pinner
	defer pin.Unpin()
	n := len(params)
	names, values := make([]*byte, n), make([]*byte, n)
	nameLens, valueLens := make([]uint, n), make([]uint, n)
	for i, p := range params {
		names[i], values[i] = cString(p.Name), cString(p.Value)
		nameLens[i], valueLens[i] = uint(len(p.Name)), uint(len(p.Value))
		pin.Pin(names[i])
		pin.Pin(values[i])
	}
	return e.lib.queryParams(*e.conn, &q[0], uint(len(q)-1), &f[0], uint(len(f)-1), &names[0], &nameLens[0], &values[0], &valueLens[0], uint(n))
}

// take copies a result and frees it.
func (e *Engine) take(result uintptr) ([]byte, error) {
	if result == 0 {
		return nil, &Error{Code: 1000, Name: "UNKNOWN_EXCEPTION", Message: "the engine returned nothing"}
	}
	defer e.lib.destroyResult(result)
	if err := parseError(e.lib.resultError(result)); err != nil {
		return nil, err
	}
	n := e.lib.resultLength(result)
	if n == 0 {
		return nil, nil
	}
	return append([]byte(nil), unsafe.Slice(e.lib.resultBuffer(result), n)...), nil
}

// Insert runs an INSERT statement without a format, with data in a format. It
// inserts everything or nothing.
func (e *Engine) Insert(database, sql, format string, data []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.use(database); err != nil {
		return err
	}
	q, f := []byte(sql+"\x00"), []byte(format+"\x00")
	stream := e.lib.insert(*e.conn, &q[0], uint(len(sql)), &f[0], uint(len(f)-1))
	runtime.KeepAlive(q)
	runtime.KeepAlive(f)
	if stream == 0 {
		return &Error{Code: 1000, Name: "UNKNOWN_EXCEPTION", Message: "the engine takes no insert"}
	}
	defer e.lib.destroyInsert(stream)
	if err := parseError(e.lib.insertError(stream)); err != nil {
		return err
	}
	if len(data) > 0 && e.lib.insertAppend(stream, &data[0], uint(len(data))) != 0 {
		if err := parseError(e.lib.insertError(stream)); err != nil {
			return err
		}
		return &Error{Code: 1000, Name: "UNKNOWN_EXCEPTION", Message: "the engine refused the data"}
	}
	runtime.KeepAlive(data)
	_, err := e.take(e.lib.insertDone(stream))
	return err
}

func cString(s string) *byte {
	b := append([]byte(s), 0)
	return &b[0]
}
