package format

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/weirdev/weir/event"
)

// Schema returns the JSON Schema (draft 2020-12) of an event, for gateways' tests
// and for editors. The decoder also refuses some things that a schema cannot
// describe: keys in another case, duplicate keys, bytes that are no text.
func Schema() []byte {
	properties := map[string]any{}
	for _, s := range event.Fields() {
		if !s.Derived {
			properties[s.Name] = schemaOf(s)
		}
	}
	text, err := json.MarshalIndent(map[string]any{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "Weir request event",
		"type":                 "object",
		"properties":           properties,
		"required":             []string{event.ID.String(), event.Time.String()},
		"additionalProperties": true,
	}, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("event: the schema cannot be written: %v", err)) // maps, texts and numbers can
	}
	return append(text, '\n')
}

func schemaOf(s event.Spec) map[string]any {
	m := map[string]any{"description": s.Doc}
	if fate := fate(s); fate != "" {
		m["description"] = s.Doc + "; " + fate
	}
	switch s.Kind {
	case event.KindInt:
		m["type"] = []string{"integer", "null"}
		if !s.Client {
			m["minimum"], m["maximum"] = s.Min, s.Max
		}
	case event.KindBool:
		m["type"] = []string{"boolean", "null"}
	case event.KindTime:
		m["anyOf"] = schemaOfTime(s)
	case event.KindObject:
		m["type"] = []string{"object", "null"}
	default:
		m["type"] = []string{"string", "null"}
		if !s.Client {
			m["maxLength"] = s.MaxBytes
		}
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

func schemaOfTime(s event.Spec) []any {
	number := map[string]any{"type": "integer"}
	if !s.Client {
		number["minimum"], number["maximum"] = earliestMillis, s.Max
	}
	return []any{map[string]any{"type": "string", "format": "date-time"}, number, map[string]any{"type": "null"}}
}

// fate describes what happens to a client's value beyond its field's limits; "" if
// it would be the gateway's, and refused.
func fate(s event.Spec) string {
	switch {
	case !s.Client:
		return ""
	case s.Kind == event.KindObject:
		return fmt.Sprintf("what is nested, or beyond %d members and %d bytes, is left out", maxAttributes, s.MaxBytes)
	case s.Kind.Numeric():
		return "left out where it is nothing of the kind"
	case s.Field == event.ForwardedFor:
		return fmt.Sprintf("of more than %d bytes, the end is kept", s.MaxBytes)
	case s.Identifier:
		return fmt.Sprintf("of more than %d bytes, a prefix and a hash", s.MaxBytes)
	}
	return fmt.Sprintf("of more than %d bytes, the start is kept", s.MaxBytes)
}

// Reference lists all fields in Markdown: those from gateways, then those that
// ingest derives.
func Reference() string {
	var b strings.Builder
	b.WriteString("| field | value | what it is |\n|---|---|---|\n")
	for _, s := range event.Fields() {
		if !s.Derived {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Name, describeField(s), s.Doc)
		}
	}
	b.WriteString("\nMade by ingest, refused from a gateway:\n\n| field | value | what it is |\n|---|---|---|\n")
	for _, s := range event.Fields() {
		if s.Derived {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Name, describeField(s), strings.ReplaceAll(s.Doc, "|", "\\|"))
		}
	}
	return b.String()
}

// describeField states the allowed values of a field, and the limits to which
// values are cut.
func describeField(s event.Spec) string {
	verb := map[bool]string{true: "cut to", false: "up to"}[s.Client]
	switch {
	case s.Kind == event.KindInt && s.Max == maxExact:
		return fmt.Sprintf("integer from %d", s.Min)
	case s.Kind == event.KindInt:
		return fmt.Sprintf("integer, %d to %d", s.Min, s.Max)
	case s.Kind == event.KindTime:
		return "time"
	case s.Kind == event.KindBool:
		return "true or false"
	case s.Kind == event.KindAddress:
		return "IP address, or `unix:`"
	case s.Kind == event.KindObject:
		return fmt.Sprintf("object, %s %d members and %d bytes", verb, maxAttributes, s.MaxBytes)
	case s.Enum != nil:
		return "`" + strings.Join(s.Enum, "`, `") + "`"
	case s.Identifier:
		return fmt.Sprintf("identifier, %s %d bytes", verb, s.MaxBytes)
	}
	return fmt.Sprintf("text, %s %d bytes", verb, s.MaxBytes)
}

// Refusals lists the reasons of refusals in Markdown.
func Refusals() string {
	var b strings.Builder
	b.WriteString("| reason | the record |\n|---|---|\n")
	for _, r := range event.Reasons() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", r, r.Explain())
	}
	return b.String()
}
