package chdb

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/ClickHouse/ch-go/proto"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/weirdev/weir/internal/telemetry"
)

// ServeHTTP serves ClickHouse's HTTP interface, as Grafana, curl and the clients of
// other languages use it. The statement is in the parameter query, in the body, or
// begins in the former and ends in the latter. GET may only read. There is no
// password, so requests from a page in a browser are refused.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if why := foreign(r); why != "" {
		http.Error(w, why, http.StatusForbidden)
		return
	}
	switch r.URL.Path {
	case "/ping", "/replicas_status":
		_, _ = io.WriteString(w, "Ok.\n")
		return
	case "/", "/query":
	default:
		http.Error(w, "There is no handle "+r.URL.Path+"\nUse / or /ping.", http.StatusNotFound)
		return
	}
	q, err := readHTTP(w, r)
	switch {
	case err != nil:
		failHTTP(w, &Error{Code: 27, Name: "CANNOT_PARSE_INPUT_ASSERTION_FAILED", Message: err.Error()})
	case strings.TrimSpace(q.sql) == "":
		_, _ = io.WriteString(w, "Ok.\n")
	case q.readOnly && !reads(q.sql):
		failHTTP(w, s.engine.refuse(q.database, q.sql))
	case writesFile(q.sql):
		failHTTP(w, errOutfile)
	default:
		s.answerHTTP(w, q)
	}
}

// ServeOverHTTP serves the HTTP interface on l until ctx ends.
func (s *Server) ServeOverHTTP(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, ErrorLog: telemetry.ErrorLog(s.log)}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// foreign says why a request is refused: its Host is not a name of this machine, or
// another site's page has sent it.
func foreign(r *http.Request) string {
	if !ownHost(r.Host) {
		return "the sandbox is asked as 127.0.0.1 or localhost, not as " + strconv.Quote(r.Host)
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || !ownHost(u.Host) {
			return "the sandbox answers no page of " + strconv.Quote(origin)
		}
	}
	return ""
}

func ownHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// httpQuery is a parsed request.
type httpQuery struct {
	database string
	sql      string // of an insert, without the data
	data     []byte // that an insert of a format is followed by
	format   string // of the data, or of the answer
	params   []Parameter
	readOnly bool
	packed   bool   // the answer is to be compressed as on the native protocol
	revision uint64 // of blocks in Native
}

// readHTTP applies readonly; it ignores all other settings, as on the native
// protocol.
func readHTTP(w http.ResponseWriter, r *http.Request) (*httpQuery, error) {
	args := r.URL.Query()
	first := func(names ...string) string {
		for _, n := range names {
			if v := args.Get(n); v != "" {
				return v
			}
			if v := r.Header.Get("X-ClickHouse-" + n); v != "" {
				return v
			}
		}
		return ""
	}
	q := &httpQuery{database: first("database"), format: first("default_format", "format"), packed: args.Get("compress") == "1"}
	q.readOnly = r.Method != http.MethodPost || (args.Get("readonly") != "" && args.Get("readonly") != "0")
	if n, err := strconv.ParseUint(args.Get("client_protocol_version"), 10, 32); err == nil && n >= revision {
		q.revision = revision
	}
	for name, values := range args {
		if p, ok := strings.CutPrefix(name, "param_"); ok {
			q.params = append(q.params, Parameter{Name: p, Value: values[0]})
		}
	}
	body, err := readBody(w, r, args.Get("decompress") == "1")
	if err != nil {
		return nil, err
	}
	q.split(args.Get("query"), body)
	if q.format == "" {
		q.format = "TabSeparated"
	}
	return q, nil
}

// readBody returns the body, decompressed.
func readBody(w http.ResponseWriter, r *http.Request, packed bool) ([]byte, error) {
	var in io.Reader = http.MaxBytesReader(w, r.Body, maxInsert)
	var err error
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "":
	case "gzip":
		in, err = gzip.NewReader(in)
	case "deflate":
		in, err = zlib.NewReader(in)
	case "lz4":
		in = lz4.NewReader(in)
	case "zstd":
		d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer d.Close()
		in = d
	default:
		err = fmt.Errorf("the sandbox does not know the Content-Encoding %q; gzip, deflate, lz4, zstd and none are possible", encoding)
	}
	if err != nil {
		return nil, err
	}
	if packed {
		in = compress.NewReader(in)
	}
	body, err := io.ReadAll(io.LimitReader(in, maxInsert+1))
	switch {
	case err == nil && len(body) > maxInsert:
		return nil, fmt.Errorf("more than %d bytes", maxInsert)
	case packed && errors.Is(err, io.EOF): // the reader of compressed pieces wraps it
		return body, nil
	}
	return body, err
}

// formatInsert recognises an insert of data in a format, which follows the format's
// name.
var formatInsert = regexp.MustCompile(`(?is)^\s*(INSERT\s+INTO\s+(?:TABLE\s+)?(?:[^\s(]+)\s*(?:\([^()]*\))?)\s*FORMAT\s+([a-zA-Z0-9]+)(?:[ \t]*\r?\n|\s*;\s*|\s|$)`)

// split separates statement and data: the query precedes the body.
func (q *httpQuery) split(query string, body []byte) {
	text := body
	if query != "" {
		text = append([]byte(strings.TrimRight(query, " \t\r\n")+"\n"), body...)
	}
	if m := formatInsert.FindSubmatchIndex(text); m != nil && !strings.EqualFold(string(text[m[4]:m[5]]), "Values") {
		q.sql, q.format, q.data = string(bytes.TrimSpace(text[m[2]:m[3]])), string(text[m[4]:m[5]]), text[m[1]:]
		return
	}
	q.sql = string(text)
	if m := formatClause.FindStringSubmatch(q.sql); m != nil {
		q.format = m[1]
	}
}

// formatClause matches the format of a query; the engine applies it, and the header
// names it.
var formatClause = regexp.MustCompile(`(?i)\bFORMAT\s+([a-zA-Z0-9]+)\s*;?\s*$`)

// answerHTTP runs a statement and writes its result.
func (s *Server) answerHTTP(w http.ResponseWriter, q *httpQuery) {
	if q.data != nil {
		if err := s.engine.Insert(q.database, q.sql, q.format, q.data); err != nil {
			failHTTP(w, err)
			return
		}
		headersHTTP(w, q.format)
		return
	}
	result, err := s.engine.Query(q.database, q.sql, q.format, q.params)
	if err == nil && q.format == "Native" {
		result, err = s.native(q, result)
	}
	if err == nil && q.packed {
		result, err = pack(nil, newPacker(), result)
	}
	if err != nil {
		failHTTP(w, err)
		return
	}
	headersHTTP(w, q.format)
	w.Header().Set("Content-Length", strconv.Itoa(len(result)))
	_, _ = w.Write(result) // a client that has gone needs no answer
}

// native converts the engine's blocks to the client's revision. A result without
// rows still has its columns.
func (s *Server) native(q *httpQuery, result []byte) ([]byte, error) {
	if len(result) == 0 {
		if w := firstWord(q.sql); w != "SELECT" && w != "WITH" {
			return nil, nil
		}
		columns, err := s.engine.columnsOf(q.database, q.sql, q.params)
		return header(columns, q.revision), err
	}
	if q.revision == 0 {
		return result, nil
	}
	var out proto.Buffer
	in := proto.NewReader(bytes.NewReader(result))
	for {
		b := newBlock()
		if err := b.Decode(in, 0); errors.Is(err, io.EOF) {
			return out.Buf, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the engine's result: %w", err)
		}
		if err := encode(&out, b, q.revision); err != nil {
			return nil, err
		}
	}
}

func headersHTTP(w http.ResponseWriter, format string) {
	kind := "text/plain; charset=UTF-8"
	switch f := strings.ToLower(format); {
	case f == "native":
		kind = "application/octet-stream"
	case strings.HasPrefix(f, "csv"):
		kind = "text/csv; charset=UTF-8"
	case f == "json", f == "jsoncompact", f == "jsonstrings":
		kind = "application/json; charset=UTF-8"
	case strings.HasPrefix(f, "json"):
		kind = "application/x-ndjson; charset=UTF-8"
	case strings.HasPrefix(f, "tabseparated"), strings.HasPrefix(f, "tsv"):
		kind = "text/tab-separated-values; charset=UTF-8"
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("X-ClickHouse-Format", format)
	h.Set("X-ClickHouse-Server-Display-Name", "weir-sandbox")
	h.Set("X-ClickHouse-Timezone", "UTC")
	h.Set("X-ClickHouse-Summary", `{"read_rows":"0","read_bytes":"0","written_rows":"0","written_bytes":"0","total_rows_to_read":"0","result_rows":"0","result_bytes":"0"}`)
}

// failHTTP answers with an error of ClickHouse.
func failHTTP(w http.ResponseWriter, err error) {
	e := &Error{Code: 1000, Name: "UNKNOWN_EXCEPTION", Message: err.Error()}
	errors.As(err, &e)
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("X-ClickHouse-Exception-Code", strconv.Itoa(int(e.Code)))
	status := http.StatusInternalServerError
	switch e.Code {
	case 60, 81, 46: // no such table, database, function
		status = http.StatusNotFound
	case 62, 47, 26, 27, 33, 117, 386: // the statement, or its data, cannot be understood
		status = http.StatusBadRequest
	case 164: // read only
		status = http.StatusForbidden
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, strings.TrimRight(e.Message, "\n")+"\n")
}
