package query

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/internal/printable"
)

// printer writes rows.
type printer struct {
	out     *bufio.Writer
	output  string
	names   []string
	types   []driver.ColumnType
	csv     *csv.Writer
	kept    [][]string // for table output
	written int
}

func newPrinter(out io.Writer, output string, rows driver.Rows) (*printer, error) {
	p := &printer{out: bufio.NewWriterSize(out, 1<<16), output: output, names: rows.Columns(), types: rows.ColumnTypes()}
	p.csv = csv.NewWriter(p.out)
	if len(p.names) == 0 {
		return p, nil
	}
	switch output {
	case "tsv":
		return p, p.tsv(p.names)
	case "csv":
		return p, p.csv.Write(p.names)
	}
	return p, nil
}

// scan reads the current row.
func (p *printer) scan(rows driver.Rows) ([]any, error) {
	into := make([]any, len(p.types))
	for i, t := range p.types {
		into[i] = reflect.New(t.ScanType()).Interface()
	}
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	for i := range into {
		into[i] = reflect.ValueOf(into[i]).Elem().Interface()
	}
	return into, nil
}

func (p *printer) row(values []any) error {
	p.written++
	if p.output == "json" {
		return p.json(values)
	}
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = text(v, p.types[i].DatabaseTypeName())
	}
	switch p.output {
	case "csv":
		return p.csv.Write(texts)
	case "tsv":
		return p.tsv(texts)
	case "vertical":
		return p.vertical(texts)
	}
	for i := range texts {
		texts[i] = printable.Text(texts[i])
	}
	p.kept = append(p.kept, texts)
	return nil
}

func (p *printer) end() error {
	p.csv.Flush()
	if err := p.csv.Error(); err != nil {
		return err
	}
	if p.output == "table" {
		p.table()
	}
	return p.out.Flush()
}

// json writes a row as one JSON object per line, with members in the order of
// columns.
func (p *printer) json(values []any) error {
	p.out.WriteByte('{')
	for i, v := range values {
		if i > 0 {
			p.out.WriteByte(',')
		}
		name, err := encode(p.names[i])
		if err != nil {
			return err
		}
		value, err := encode(plain(v, p.types[i].DatabaseTypeName()))
		if err != nil {
			return fmt.Errorf("column %s: %w", p.names[i], err)
		}
		p.out.Write(name)
		p.out.WriteByte(':')
		p.out.Write(value)
	}
	_, err := p.out.WriteString("}\n")
	return err
}

// encode returns v as JSON, without escapes for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

var tsvEscapes = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\x00", `\0`, "\b", `\b`, "\f", `\f`)

func (p *printer) tsv(texts []string) error {
	for i, t := range texts {
		if i > 0 {
			p.out.WriteByte('\t')
		}
		tsvEscapes.WriteString(p.out, t)
	}
	return p.out.WriteByte('\n')
}

// vertical writes a row as a block with one line per column, for rows with many
// columns.
func (p *printer) vertical(texts []string) error {
	widest := 0
	for _, n := range p.names {
		widest = max(widest, utf8.RuneCountInString(n))
	}
	fmt.Fprintf(p.out, "Row %d\n", p.written)
	for i, t := range texts {
		fmt.Fprintf(p.out, "  %-*s  %s\n", widest, p.names[i], printable.Text(t))
	}
	return nil
}

// table writes the kept rows, with columns as wide as their content.
func (p *printer) table() {
	if len(p.names) == 0 {
		return
	}
	widths := make([]int, len(p.names))
	right := make([]bool, len(p.names))
	for i, t := range p.types {
		widths[i], right[i] = utf8.RuneCountInString(p.names[i]), numeric(t.DatabaseTypeName())
	}
	for _, row := range p.kept {
		for i, t := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(t))
		}
	}
	p.line(p.names, widths, right)
	rules := make([]string, len(widths))
	for i, w := range widths {
		rules[i] = strings.Repeat("─", w)
	}
	p.line(rules, widths, right)
	for _, row := range p.kept {
		p.line(row, widths, right)
	}
	fmt.Fprintf(p.out, "%s\n", counted(len(p.kept)))
}

func counted(n int) string {
	if n == 1 {
		return "1 row"
	}
	return fmt.Sprintf("%d rows", n)
}

func (p *printer) line(texts []string, widths []int, right []bool) {
	var b strings.Builder
	for i, t := range texts {
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(t))
		if i > 0 {
			b.WriteString("  ")
		}
		if right[i] {
			b.WriteString(pad + t)
		} else {
			b.WriteString(t + pad)
		}
	}
	p.out.WriteString(strings.TrimRight(b.String(), " ") + "\n")
}

func numeric(kind string) bool {
	kind = strings.TrimSuffix(strings.TrimPrefix(kind, "Nullable("), ")")
	return strings.HasPrefix(kind, "UInt") || strings.HasPrefix(kind, "Int") || strings.HasPrefix(kind, "Float") || strings.HasPrefix(kind, "Decimal")
}
