package settings

import (
	"reflect"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/internal/telemetry"
)

// Dump writes what is selected of the effective configuration as YAML, with secrets
// hidden, including those in URLs.
func Dump(config any, uses Selection) ([]byte, error) {
	hidden := reflect.New(reflect.TypeOf(config).Elem())
	hidden.Elem().Set(reflect.ValueOf(config).Elem())
	for _, s := range Walk(hidden.Interface()) {
		if err := s.hide(); err != nil {
			return nil, err
		}
	}
	text, err := yaml.Dump(hidden.Interface())
	if err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Load(text, &document); err != nil {
		return nil, err
	}
	uses.prune(document.Content[0], "")
	text, err = yaml.Dump(&document)
	return []byte(telemetry.HideSecrets(string(text))), err
}

// prune removes from a mapping what the selection does not have.
func (s Selection) prune(n *yaml.Node, name string) {
	var kept []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, content := n.Content[i], n.Content[i+1]
		path := join(name, k.Value)
		if !s.Touches(path) {
			continue
		}
		if !s.Has(path) {
			s.prune(content, path)
		}
		kept = append(kept, k, content)
	}
	n.Content = kept
}

func (s Setting) hide() error {
	text := s.String()
	switch hidden := telemetry.HideSecrets(text); {
	case s.Secret && text != "":
		return s.Set("REDACTED")
	case hidden != text:
		return s.Set(hidden)
	}
	return nil
}
