package event

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Schema is the JSON Schema (draft 2020-12) of an event, for gateways' tests
// and for editors. The decoder refuses some of what a schema cannot describe:
// keys in other letters, keys twice, bytes that are no text.
func Schema() []byte {
	properties := map[string]any{}
	for _, s := range Fields() {
		if !s.Derived {
			properties[s.Name] = schemaOf(s)
		}
	}
	text, err := json.MarshalIndent(map[string]any{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "Weir request event",
		"type":                 "object",
		"properties":           properties,
		"required":             []string{ID.String(), Time.String()},
		"additionalProperties": true,
	}, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("event: the schema cannot be written: %v", err)) // maps, texts and numbers can
	}
	return append(text, '\n')
}

func schemaOf(s Spec) map[string]any {
	m := map[string]any{"description": s.Doc}
	switch s.Kind {
	case KindInt:
		m["type"], m["minimum"], m["maximum"] = []string{"integer", "null"}, s.Min, s.Max
	case KindBool:
		m["type"] = []string{"boolean", "null"}
	case KindTime:
		m["anyOf"] = []any{
			map[string]any{"type": "string", "format": "date-time"},
			map[string]any{"type": "integer", "minimum": earliestMillis, "maximum": s.Max},
			map[string]any{"type": "null"},
		}
	case KindObject:
		m["type"], m["maxProperties"] = []string{"object", "null"}, maxAttributes
		m["additionalProperties"] = map[string]any{"type": []string{"string", "number", "boolean", "null"}}
	default:
		m["type"], m["maxLength"] = []string{"string", "null"}, s.MaxBytes
		if s.Enum != nil {
			values := []any{nil, ""}
			for _, v := range s.Enum {
				values = append(values, v)
			}
			m["enum"] = values
		}
	}
	return m
}

// Reference lists all fields in Markdown: what gateways send, then what ingest
// derives.
func Reference() string {
	var b strings.Builder
	b.WriteString("| field | value | what it is |\n|---|---|---|\n")
	for _, s := range Fields() {
		if !s.Derived {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Name, s.describe(), s.Doc)
		}
	}
	b.WriteString("\nMade by ingest, refused from a gateway:\n\n| field | value | what it is |\n|---|---|---|\n")
	for _, s := range Fields() {
		if s.Derived {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Name, s.describe(), strings.ReplaceAll(s.Doc, "|", "\\|"))
		}
	}
	return b.String()
}

// describe says which values a field may have.
func (s Spec) describe() string {
	switch s.Kind {
	case KindInt:
		if s.Max == maxInt {
			return fmt.Sprintf("integer from %d", s.Min)
		}
		return fmt.Sprintf("integer, %d to %d", s.Min, s.Max)
	case KindTime:
		return "time"
	case KindBool:
		return "true or false"
	case KindAddress:
		return "IP address, or `unix:`"
	case KindObject:
		return fmt.Sprintf("object, up to %d members and %d bytes", maxAttributes, s.MaxBytes)
	}
	if s.Enum != nil {
		return "`" + strings.Join(s.Enum, "`, `") + "`"
	}
	return fmt.Sprintf("text, up to %d bytes", s.MaxBytes)
}

// Refusals lists the reasons of refusals in Markdown.
func Refusals() string {
	var b strings.Builder
	b.WriteString("| reason | the record |\n|---|---|\n")
	for _, r := range Reasons() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", r, r.Explain())
	}
	return b.String()
}
