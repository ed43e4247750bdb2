// Package chdb serves ClickHouse's own engine, loaded as a shared library, on
// ClickHouse's native protocol and its HTTP interface, so that clients use it
// exactly like a cluster.
//
// It is for demos and tests. It is no database server: one statement runs at a
// time, results are built in memory, settings sent with a query are ignored (except
// readonly), and there are no users.
package chdb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/ebitengine/purego"
)

// Version is the version of the library that tools/chdb/package.json pins.
const Version = "26.7.3-stable.1"

// ErrNoLibrary means that the engine is not on this machine; it says how to get it.
var ErrNoLibrary = errors.New("the embedded ClickHouse engine is not in the cache: `make chdb` fetches it (178 MB, with npm), " +
	"or WEIR_CHDB_LIB names a libchdb.so")

// Find returns the path of the library: WEIR_CHDB_LIB, else the cache.
func Find() (string, error) {
	if path := os.Getenv("WEIR_CHDB_LIB"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("WEIR_CHDB_LIB: %w", err)
		}
		return path, nil
	}
	cache := os.Getenv("WEIR_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return "", ErrNoLibrary
		}
		cache = filepath.Join(dir, "weir")
	}
	path := filepath.Join(cache, "chdb", Version, "libchdb.so")
	if _, err := os.Stat(path); err != nil {
		return "", ErrNoLibrary
	}
	return path, nil
}

// library is the used part of the C interface. Pointers to C objects are uintptr,
// because the garbage collector must not handle them.
type library struct {
	setSignalHandlers func(enabled int32)
	connect           func(argc int32, argv **byte) *uintptr
	closeConn         func(conn *uintptr)
	query             func(conn uintptr, sql *byte, n uint, format *byte, m uint) uintptr
	queryParams       func(conn uintptr, sql *byte, n uint, format *byte, m uint, names **byte, nameLens *uint, values **byte, valueLens *uint, count uint) uintptr
	resultBuffer      func(result uintptr) *byte
	resultLength      func(result uintptr) uint
	resultError       func(result uintptr) string
	destroyResult     func(result uintptr)
	insert            func(conn uintptr, sql *byte, n uint, format *byte, m uint) uintptr
	insertError       func(stream uintptr) string
	insertAppend      func(stream uintptr, data *byte, n uint) int32
	insertDone        func(stream uintptr) uintptr
	destroyInsert     func(stream uintptr)
}

var loadOnce = sync.OnceValues(load)

// load opens the library. It is loaded once per process, because it cannot be
// unloaded.
func load() (*library, error) {
	path, err := Find()
	if err != nil {
		return nil, err
	}
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load %s on %s/%s: %w", path, runtime.GOOS, runtime.GOARCH, err)
	}
	l := new(library)
	for name, f := range map[string]any{
		"chdb_set_signal_handlers_enabled": &l.setSignalHandlers,
		"chdb_connect":                     &l.connect,
		"chdb_close_conn":                  &l.closeConn,
		"chdb_query_n":                     &l.query,
		"chdb_query_with_params_n":         &l.queryParams,
		"chdb_result_buffer":               &l.resultBuffer,
		"chdb_result_length":               &l.resultLength,
		"chdb_result_error":                &l.resultError,
		"chdb_destroy_query_result":        &l.destroyResult,
		"chdb_stream_insert_n":             &l.insert,
		"chdb_stream_insert_error":         &l.insertError,
		"chdb_stream_append":               &l.insertAppend,
		"chdb_stream_done":                 &l.insertDone,
		"chdb_destroy_insert_stream":       &l.destroyInsert,
	} {
		symbol, err := purego.Dlsym(handle, name)
		if err != nil {
			return nil, fmt.Errorf("%s lacks %s; version %s is needed: %w", path, name, Version, err)
		}
		purego.RegisterFunc(f, symbol)
	}
	return l, nil
}
