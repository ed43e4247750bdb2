package settings

import (
	"reflect"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/internal/telemetry"
)

// Dump writes the effective configuration as YAML, with secrets hidden, including
// those in URLs.
func Dump(config any) ([]byte, error) {
	hidden := reflect.New(reflect.TypeOf(config).Elem())
	hidden.Elem().Set(reflect.ValueOf(config).Elem())
	for _, s := range Walk(hidden.Interface()) {
		if err := s.hide(); err != nil {
			return nil, err
		}
	}
	text, err := yaml.Dump(hidden.Interface())
	return []byte(telemetry.HideSecrets(string(text))), err
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
