package rules

import (
	"encoding/json"
	"fmt"

	"github.com/weirdev/weir/event"
)

// Schema is the JSON Schema (draft 7) of rule files, for completion and checks
// in editors. It is made from the table that the loader checks files against,
// and cannot say all that the loader knows: conditions are plain texts to it.
func Schema(kinds []Kind) []byte { return SchemaOf("Weir rules", grammar(kinds)) }

// SchemaOf is the JSON Schema (draft 7) of files that are as k demands.
func SchemaOf(title string, k Key) []byte {
	s := schemaOf(&k)
	s["$schema"] = "http://json-schema.org/draft-07/schema#"
	s["title"] = title
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("rules: the schema cannot be written: %v", err)) // maps, texts and numbers can
	}
	return append(text, '\n')
}

func schemaOf(k *Key) map[string]any {
	s := map[string]any{}
	if k.doc != "" {
		s["description"] = k.doc
	}
	switch k.form {
	case textForm:
		schemaText(s, k)
	case countForm:
		s["type"], s["minimum"], s["maximum"] = "integer", k.min, k.max
	case durationForm:
		s["type"], s["pattern"] = "string", durationPattern
	case conditionForm:
		s["type"], s["minLength"], s["maxLength"] = []string{"string", "boolean"}, 1, k.max
	case objectForm:
		schemaObject(s, k)
	case momentForm:
		s["type"], s["minLength"] = "string", 1
	case entryForm:
		whole := map[string]any{}
		schemaObject(whole, k)
		s["anyOf"] = []map[string]any{schemaOf(k.member("value")), whole}
	case listForm:
		s["type"], s["minItems"], s["maxItems"], s["items"] = "array", k.min, k.max, schemaOf(k.item)
	case valuesForm:
		schemaValues(s)
	}
	return s
}

func schemaText(s map[string]any, k *Key) {
	switch {
	case len(k.oneOf) > 0:
		s["enum"] = k.oneOf
	case k.pattern != nil:
		s["type"], s["pattern"] = "string", k.pattern.String()
	default:
		s["type"], s["minLength"], s["maxLength"] = []string{"string", "number", "boolean"}, 1, k.max
	}
}

func schemaObject(s map[string]any, k *Key) {
	properties, needed := map[string]any{}, []string{}
	for i := range k.members {
		m := &k.members[i]
		properties[m.name] = schemaOf(m)
		if m.required {
			needed = append(needed, m.name)
		}
	}
	s["type"], s["additionalProperties"], s["properties"] = "object", false, properties
	if len(needed) > 0 {
		s["required"] = needed
	}
	if len(k.anyOfKeys) > 0 {
		var one []map[string]any
		for _, name := range k.anyOfKeys {
			one = append(one, map[string]any{"required": []string{name}})
		}
		s["anyOf"] = one
	}
	if len(k.oneOfKeys) > 0 {
		var one []map[string]any
		for _, name := range k.oneOfKeys {
			one = append(one, map[string]any{"required": []string{name}})
		}
		s["oneOf"] = one
	}
}

func schemaValues(s map[string]any) {
	properties := map[string]any{}
	for _, name := range settable() {
		spec, _ := event.Lookup(name)
		properties[name] = schemaField(spec)
	}
	s["type"], s["additionalProperties"], s["properties"] = "object", false, properties
}

func schemaField(spec event.Spec) map[string]any {
	s := map[string]any{"description": spec.Doc}
	switch spec.Kind {
	case event.KindInt:
		s["type"], s["minimum"], s["maximum"] = "integer", spec.Min, spec.Max
	case event.KindTime:
		s["type"] = []string{"integer", "string"}
	case event.KindBool:
		s["type"] = "boolean"
	default:
		if known := spec.Enum; known != nil {
			s["enum"] = known
			break
		}
		s["type"] = []string{"string", "number", "boolean"}
	}
	return s
}
