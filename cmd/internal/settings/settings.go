// Package settings reads a program's configuration: defaults, then a YAML
// file, then the environment, then flags, each overriding the one before.
//
// A setting has one name: `kafka.brokers` in YAML is the flag -kafka.brokers
// and the variable WEIR_KAFKA_BROKERS. The package knows no setting: it walks
// the struct that it is given.
package settings

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v4"
)

// Setting is one leaf of a configuration.
type Setting struct {
	Name   string // kafka.brokers
	Doc    string
	Secret bool // never printed
	value  reflect.Value
}

// Env is the name of the environment variable of s.
func (s Setting) Env() string {
	return "WEIR_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(s.Name))
}

// Flag is the name of the command-line flag of s.
func (s Setting) Flag() string { return strings.ReplaceAll(s.Name, "_", "-") }

// Walk lists the leaves of the struct that config points to. Members are named
// by their yaml tags; `doc` tags describe them; `secret:"true"` hides them.
// Members that are neither scalars, durations nor lists of texts (such as a
// mapping) can be set in YAML only, and are not listed.
func Walk(config any) []Setting {
	return walk(nil, "", reflect.ValueOf(config).Elem())
}

func walk(all []Setting, prefix string, v reflect.Value) []Setting {
	for i := range v.NumField() {
		f, member := v.Type().Field(i), v.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		if strings.Contains(options, "inline") {
			all = walk(all, prefix, member)
			continue
		}
		path := strings.TrimPrefix(prefix+"."+name, ".")
		switch {
		case settable(member):
			all = append(all, Setting{Name: path, Doc: f.Tag.Get("doc"), Secret: f.Tag.Get("secret") == "true", value: member})
		case member.Kind() == reflect.Struct:
			all = walk(all, path, member)
		}
	}
	return all
}

var textList = reflect.TypeFor[[]string]()

func settable(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint32, reflect.Uint64, reflect.Float64:
		return true
	}
	return v.Type() == textList
}

// Set parses text into the setting. Lists are separated by commas.
func (s Setting) Set(text string) error {
	v := s.value
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 250ms or 10m", text)
		}
		v.SetInt(int64(d))
	case v.Type() == textList:
		v.Set(reflect.ValueOf(split(text)))
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(b)
	case v.CanInt():
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		v.SetInt(n)
	case v.CanUint():
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a whole number, 0 or more", text)
		}
		v.SetUint(n)
	default:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		v.SetFloat(n)
	}
	return nil
}

func split(text string) []string {
	list := []string{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// String is the setting's present value, as Set reads it.
func (s Setting) String() string {
	v := s.value
	if v.Type() == textList {
		return strings.Join(v.Interface().([]string), ",")
	}
	return fmt.Sprint(v.Interface())
}

// flagValue lets pflag remember a text, which is parsed after file and
// environment have been read.
type flagValue struct {
	Setting
	text string
}

func (f *flagValue) String() string {
	if f.Secret || !f.value.IsValid() {
		return ""
	}
	return f.Setting.String()
}
func (f *flagValue) Set(text string) error { f.text = text; return nil }
func (f *flagValue) Type() string {
	switch {
	case f.value.Type() == reflect.TypeFor[time.Duration]():
		return "duration"
	case f.value.Type() == textList:
		return "list"
	}
	return f.value.Kind().String()
}

// Bind adds a flag for every leaf of config, or for those of some sections only:
// "ingest" is ingest.format and so on.
func Bind(flags *pflag.FlagSet, config any, sections ...string) {
	for _, s := range Walk(config) {
		section, _, _ := strings.Cut(s.Name, ".")
		if len(sections) > 0 && !slices.Contains(sections, section) {
			continue
		}
		f := flags.VarPF(&flagValue{Setting: s}, s.Flag(), "", s.Doc)
		if s.value.Kind() == reflect.Bool {
			f.NoOptDefVal = "true"
		}
	}
}

// Load fills config: the YAML file (if file is not empty), the environment as
// lookup gives it, and the flags of [Bind] that were given. It reports every
// mistake at once.
func Load(config any, file string, lookup func(string) (string, bool), flags *pflag.FlagSet) error {
	var errs []error
	if file != "" {
		errs = append(errs, loadFile(config, file))
	}
	for _, s := range Walk(config) {
		if text, ok := lookup(s.Env()); ok {
			if err := s.Set(text); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", s.Env(), err))
			}
		}
	}
	flags.Visit(func(f *pflag.Flag) {
		if v, ok := f.Value.(*flagValue); ok {
			if err := v.Setting.Set(v.text); err != nil {
				errs = append(errs, fmt.Errorf("-%s: %w", f.Name, err))
			}
		}
	})
	return errors.Join(errs...)
}

const longestFile = 1 << 20

func loadFile(config any, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if len(data) > longestFile {
		return fmt.Errorf("%s: %d bytes are too many for a configuration (%d)", file, len(data), longestFile)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	err = yaml.Load(data, config, yaml.WithKnownFields())
	var all *yaml.LoadErrors
	if !errors.As(err, &all) {
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		return nil
	}
	var errs []error
	for _, e := range all.Errors {
		errs = append(errs, fmt.Errorf("%s: %w", file, e))
	}
	return errors.Join(errs...)
}

// Dump writes the effective configuration as YAML, with secrets hidden.
func Dump(config any) ([]byte, error) {
	hidden := reflect.New(reflect.TypeOf(config).Elem())
	hidden.Elem().Set(reflect.ValueOf(config).Elem())
	for _, s := range Walk(hidden.Interface()) {
		if s.Secret && s.String() != "" {
			if err := s.Set("REDACTED"); err != nil {
				return nil, err
			}
		}
	}
	return yaml.Dump(hidden.Interface())
}
