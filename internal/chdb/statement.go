package chdb

import (
	"regexp"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
)

// errReadOnly is ClickHouse's own error for writes by a read-only client.
var errReadOnly = &Error{Code: 164, Name: "READONLY", Message: "Code: 164. DB::Exception: Cannot execute query in readonly mode. (READONLY)"}

// errOutfile is the error of a statement that writes its result to a file, which
// with a server is the client's task.
var errOutfile = &Error{Code: 48, Name: "NOT_IMPLEMENTED", Message: "Code: 48. DB::Exception: INTO OUTFILE is not for a server; write the answer where you want it. (NOT_IMPLEMENTED)"}

// quotedOrComment matches the parts of a statement that do not affect what it does.
var quotedOrComment = regexp.MustCompile("(?s)'(?:[^'\\\\]|\\\\.)*'|\"(?:[^\"\\\\]|\\\\.)*\"|`(?:[^`\\\\]|\\\\.)*`|--[^\n]*|#[ !][^\n]*|/\\*.*?\\*/")

// words returns a statement's words, in capitals, without comments, and with a
// quote for each quoted text.
func words(sql string) []string {
	bare := quotedOrComment.ReplaceAllStringFunc(sql, func(s string) string {
		if strings.ContainsRune("'\"`", rune(s[0])) {
			return " ' "
		}
		return " "
	})
	return strings.FieldsFunc(strings.ToUpper(bare), func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '\''
	})
}

// longestStart limits the part of a statement that is searched for its first word,
// because data may follow.
const longestStart = 64 << 10

// firstWord returns the first word of a statement.
func firstWord(sql string) string {
	for _, w := range words(sql[:min(len(sql), longestStart)]) {
		if w != "'" {
			return w
		}
	}
	return ""
}

// reads reports whether a statement changes nothing.
func reads(sql string) bool {
	switch firstWord(sql) {
	case "SELECT", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN", "FROM":
		return true
	case "WITH":
		return !follow(words(sql), "INSERT", "INTO")
	}
	return false
}

// refuse returns the error for a statement of a read-only client: it is invalid, or
// not allowed.
func (e *Engine) refuse(database, sql string) error {
	if _, err := e.Query(database, "EXPLAIN AST "+sql, "Null", nil); err != nil {
		return err
	}
	return errReadOnly
}

// writesFile reports whether a statement writes its result to a file.
func writesFile(sql string) bool {
	return firstWord(sql) != "INSERT" && follow(words(sql), "INTO", "OUTFILE")
}

// follow reports whether a comes right before b.
func follow(words []string, a, b string) bool {
	for i := 1; i < len(words); i++ {
		if words[i-1] == a && words[i] == b {
			return true
		}
	}
	return false
}

// described is a column of a table or of a result.
type described struct {
	name string
	kind column.Type
}

// columnsOf describes the result of a query.
func (e *Engine) columnsOf(database, sql string, params []Parameter) ([]described, error) {
	sql = formatClause.ReplaceAllString(sql, "")
	return e.columns(database, "("+strings.TrimRight(sql, "; \t\r\n")+"\n)", params)
}

// columns describes a table, or a query in parentheses.
func (e *Engine) columns(database, what string, params []Parameter) ([]described, error) {
	text, err := e.Query(database, "DESCRIBE TABLE "+what+" SETTINGS print_pretty_type_names = 0", "TabSeparatedRaw", params)
	if err != nil {
		return nil, err
	}
	var all []described
	for line := range strings.Lines(string(text)) {
		parts := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(parts) >= 3 && parts[2] != "MATERIALIZED" && parts[2] != "ALIAS" {
			all = append(all, described{parts[0], column.Type(parts[1])})
		}
	}
	return all, nil
}
