package chdb

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/ClickHouse/ch-go/proto"
	block "github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// revision is the protocol's revision in use: the newest that clickhouse-go speaks.
const revision = 54460

// maxInsert is the largest accepted insert, in the engine's format.
const maxInsert = 1 << 30

// session is one client's connection.
type session struct {
	engine   *Engine
	conn     net.Conn
	r        *proto.Reader
	out      *bufio.Writer
	buf      proto.Buffer
	packer   *compress.Writer
	database string
}

func newSession(e *Engine, c net.Conn) *session {
	return &session{
		engine: e, conn: c, r: proto.NewReader(bufio.NewReaderSize(c, 256<<10)), out: bufio.NewWriterSize(c, 256<<10),
		packer: newPacker(),
	}
}

// run handles packets until the client disconnects; its error, never nil, says how.
func (s *session) run() error {
	if err := s.hello(); err != nil {
		return err
	}
	for {
		code, err := s.r.UVarInt()
		if err != nil {
			return err
		}
		switch proto.ClientCode(code) {
		case proto.ClientCodePing:
			s.buf.PutUVarInt(uint64(proto.ServerCodePong))
			err = s.flush()
		case proto.ClientCodeQuery:
			err = s.query()
		case proto.ClientCodeCancel:
			// The statement in question is over: statements run to their end.
		default:
			return fmt.Errorf("packet %d is not expected here", code)
		}
		if err != nil {
			return err
		}
	}
}

func (s *session) hello() error {
	_ = s.conn.SetDeadline(time.Now().Add(30 * time.Second))
	code, err := s.r.UVarInt()
	if err != nil {
		return err
	}
	if proto.ClientCode(code) != proto.ClientCodeHello {
		return fmt.Errorf("packet %d in place of a hello: no ClickHouse client", code)
	}
	var h proto.ClientHello
	if err := h.Decode(s.r); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	if h.ProtocolVersion < revision {
		return fmt.Errorf("the client speaks revision %d; %d is needed", h.ProtocolVersion, revision)
	}
	s.database = h.Database
	s.buf.PutUVarInt(uint64(proto.ServerCodeHello))
	s.buf.PutString("ClickHouse")
	for _, n := range []int{26, 7, revision} {
		s.buf.PutInt(n)
	}
	s.buf.PutString("UTC")
	s.buf.PutString("weir-sandbox")
	s.buf.PutInt(3)
	if err := s.flush(); err != nil {
		return err
	}
	if _, err := s.r.Str(); err != nil { // addendum: the quota key
		return fmt.Errorf("addendum: %w", err)
	}
	return s.conn.SetDeadline(time.Time{})
}

// flush sends what is in buf.
func (s *session) flush() error {
	_, err := s.out.Write(s.buf.Buf)
	s.buf.Reset()
	return errors.Join(err, s.out.Flush())
}

// dataInsert recognises a statement that is followed by data.
var dataInsert = regexp.MustCompile(`(?is)^\s*(INSERT\s+INTO\s+(?:TABLE\s+)?([^\s(]+)\s*(?:\(([^()]*)\))?)\s*(?:FORMAT\s+Native|VALUES)?\s*;?\s*$`)

// query answers one query. Errors of ClickHouse go to the client; an error that
// is returned ends the connection.
func (s *session) query() error {
	var q proto.Query
	if err := q.DecodeAware(s.r, revision); err != nil {
		return fmt.Errorf("query: %w", err)
	}
	packed := q.Compression == proto.CompressionEnabled
	if err := s.skipExternal(packed); err != nil {
		return err
	}
	var params []Parameter
	for _, p := range q.Parameters {
		params = append(params, Parameter{Name: p.Key, Value: unquote(p.Value)})
	}
	if readOnly(q.Settings) && !reads(q.Body) {
		return s.exception(s.engine.refuse(s.database, q.Body))
	}
	if writesFile(q.Body) {
		return s.exception(errOutfile)
	}
	if m := dataInsert.FindStringSubmatch(q.Body); m != nil {
		return s.insert(m[1], m[2], m[3], packed)
	}
	return s.answer(q.Body, params, packed)
}

// readOnly reports whether a client asked for read-only access: the one setting
// that is applied, because it protects.
func readOnly(settings []proto.Setting) bool {
	return slices.ContainsFunc(settings, func(s proto.Setting) bool { return s.Key == "readonly" && s.Value != "" && s.Value != "0" })
}

// unquote removes the quotes from a parameter, which clients send as a literal.
func unquote(v string) string {
	if len(v) >= 2 && v[0] == '\'' && v[len(v)-1] == '\'' {
		return strings.NewReplacer(`\\`, `\`, `\'`, `'`).Replace(v[1 : len(v)-1])
	}
	return v
}

// skipExternal reads the tables that come with a query, up to the final empty
// block.
func (s *session) skipExternal(packed bool) error {
	for {
		b, err := s.readBlock(packed)
		if err != nil {
			return err
		}
		if len(b.Columns) == 0 {
			return nil
		}
	}
}

// readBlock reads one data packet.
func (s *session) readBlock(packed bool) (*block.Block, error) {
	code, err := s.r.UVarInt()
	if err != nil {
		return nil, err
	}
	if proto.ClientCode(code) != proto.ClientCodeData {
		return nil, fmt.Errorf("packet %d in place of data", code)
	}
	if _, err := s.r.Str(); err != nil { // name of the table
		return nil, err
	}
	if packed {
		s.r.EnableCompression()
		defer s.r.DisableCompression()
	}
	b := newBlock()
	if err := b.Decode(s.r, revision); err != nil {
		return nil, fmt.Errorf("block: %w", err)
	}
	return b, nil
}

func newBlock() *block.Block {
	b := block.NewBlock()
	b.ServerContext.Timezone = time.UTC
	b.ServerContext.Revision = revision
	return b
}

// answer runs a statement and sends its result.
func (s *session) answer(sql string, params []Parameter, packed bool) error {
	result, err := s.engine.Query(s.database, sql, "Native", params)
	if err != nil {
		return s.exception(err)
	}
	if len(result) == 0 {
		return s.answerEmpty(sql, params, packed)
	}
	r := proto.NewReader(strings.NewReader(string(result)))
	for first := true; ; first = false {
		b := newBlock()
		if err := b.Decode(r, 0); err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			return s.exception(fmt.Errorf("read the engine's result: %w", err))
		}
		if first {
			var columns []described
			for _, c := range b.Columns {
				columns = append(columns, described{c.Name(), c.Type()})
			}
			if err := s.sendHeader(columns, packed); err != nil {
				return err
			}
		}
		if err := s.sendBlock(b, packed); err != nil {
			return err
		}
	}
	return s.end()
}

// answerEmpty sends the columns of a result without rows. Statements without a
// result have no columns either.
func (s *session) answerEmpty(sql string, params []Parameter, packed bool) error {
	if w := firstWord(sql); w == "SELECT" || w == "WITH" {
		columns, err := s.engine.columnsOf(s.database, sql, params)
		if err != nil {
			return s.exception(err)
		}
		if err := s.sendHeader(columns, packed); err != nil {
			return err
		}
	}
	return s.end()
}

func (s *session) end() error {
	s.buf.PutUVarInt(uint64(proto.ServerCodeEndOfStream))
	return s.flush()
}

// sendBlock sends a block with rows.
func (s *session) sendBlock(b *block.Block, packed bool) error {
	var body proto.Buffer
	if err := encode(&body, b, revision); err != nil {
		return err
	}
	return s.sendData(body.Buf, packed)
}

// encode appends a block with rows. The client's encoder omits the placeholder
// values of a column without values (SELECT NULL): one byte per row.
func encode(to *proto.Buffer, b *block.Block, revision uint64) error {
	err := b.EncodeHeader(to, revision)
	for i := 0; i < len(b.Columns) && err == nil; i++ {
		err = b.EncodeColumn(to, revision, i)
		if kind := b.Columns[i].Type(); kind == "Nullable(Nothing)" || kind == "Nothing" {
			to.Buf = append(to.Buf, strings.Repeat("0", b.Rows())...)
		}
	}
	if err != nil {
		return fmt.Errorf("encode block: %w", err)
	}
	return nil
}

// sendHeader sends columns without rows.
func (s *session) sendHeader(columns []described, packed bool) error {
	return s.sendData(header(columns, revision), packed)
}

// sendProfileEvents sends an empty profile. Clients of this revision wait for it
// after each block that they send, including the last, empty one.
func (s *session) sendProfileEvents() error {
	s.buf.PutUVarInt(uint64(proto.ServerProfileEvents))
	s.buf.PutString("")
	s.buf.Buf = append(s.buf.Buf, header([]described{
		{"host_name", "String"}, {"current_time", "DateTime"}, {"thread_id", "UInt64"},
		{"type", "Enum8('increment' = 1, 'gauge' = 2)"}, {"name", "String"}, {"value", "Int64"},
	}, revision)...)
	return s.flush()
}

// header is a block of columns without rows, for a revision of the protocol. The
// client's own encoder cannot be used here: it writes a prefix for some types that
// its decoder expects only before rows.
func header(columns []described, revision uint64) []byte {
	var body proto.Buffer
	if revision > 0 {
		proto.BlockInfo{BucketNum: -1}.Encode(&body)
	}
	body.PutInt(len(columns))
	body.PutInt(0)
	for _, c := range columns {
		body.PutString(c.name)
		body.PutString(string(c.kind))
		if revision > 0 {
			body.PutBool(false)
		}
	}
	return body.Buf
}

// sendData sends one data packet.
func (s *session) sendData(body []byte, packed bool) error {
	s.buf.PutUVarInt(uint64(proto.ServerCodeData))
	s.buf.PutString("")
	if !packed {
		s.buf.Buf = append(s.buf.Buf, body...)
		return s.flush()
	}
	var err error
	if s.buf.Buf, err = pack(s.buf.Buf, s.packer, body); err != nil {
		return err
	}
	return s.flush()
}

// pack appends body in compressed pieces.
func pack(to []byte, packer *compress.Writer, body []byte) ([]byte, error) {
	const most = 1 << 20 // of one piece
	for len(body) > 0 {
		n := min(len(body), most)
		if err := packer.Compress(body[:n]); err != nil {
			return nil, fmt.Errorf("compress: %w", err)
		}
		to = append(to, packer.Data...)
		body = body[n:]
	}
	return to, nil
}

func newPacker() *compress.Writer { return compress.NewWriter(compress.LevelZero, compress.LZ4) }

func (s *session) exception(err error) error {
	e := &Error{Code: 1000, Name: "UNKNOWN_EXCEPTION", Message: err.Error()}
	errors.As(err, &e)
	s.buf.PutUVarInt(uint64(proto.ServerCodeException))
	s.buf.PutInt32(e.Code)
	s.buf.PutString("DB::Exception")
	s.buf.PutString(e.Message)
	s.buf.PutString("")
	s.buf.PutBool(false)
	return s.flush()
}

// insert tells the client the columns, takes its blocks, and hands them to the
// engine in one piece.
func (s *session) insert(sql, table, list string, packed bool) error {
	columns, err := s.insertColumns(table, list)
	if err != nil {
		return s.exception(err)
	}
	if err := s.sendHeader(columns, packed); err != nil {
		return err
	}
	var data proto.Buffer
	for {
		b, err := s.readBlock(packed)
		if err != nil {
			return err
		}
		if err := s.sendProfileEvents(); err != nil {
			return err
		}
		if len(b.Columns) == 0 {
			break
		}
		if b.Rows() == 0 {
			continue
		}
		if err := b.Encode(&data, 0); err != nil {
			return fmt.Errorf("encode for the engine: %w", err)
		}
		if len(data.Buf) > maxInsert {
			return fmt.Errorf("an insert of more than %d bytes", maxInsert)
		}
	}
	if len(data.Buf) > 0 {
		if err := s.engine.Insert(s.database, sql, "Native", data.Buf); err != nil {
			return s.exception(err)
		}
	}
	return s.end()
}

// insertColumns lists the columns that an INSERT names, or all.
func (s *session) insertColumns(table, list string) ([]described, error) {
	all, err := s.engine.columns(s.database, table, nil)
	if err != nil || strings.TrimSpace(list) == "" {
		return all, err
	}
	byName := map[string]described{}
	for _, c := range all {
		byName[c.name] = c
	}
	var chosen []described
	for name := range strings.SplitSeq(list, ",") {
		name = strings.Trim(strings.TrimSpace(name), "`\"")
		c, ok := byName[name]
		if !ok {
			return nil, &Error{Code: 16, Name: "NO_SUCH_COLUMN_IN_TABLE", Message: "Code: 16. DB::Exception: No such column " + name + " in table " + table}
		}
		chosen = append(chosen, c)
	}
	return chosen, nil
}
