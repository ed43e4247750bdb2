// Package settings reads a program's configuration: defaults, then a YAML file,
// then the environment, then flags, each overriding the one before.
//
// A setting has one name: `kafka.brokers` in YAML is the flag -kafka.brokers and
// the variable WEIR_KAFKA_BROKERS. The package knows no settings: it walks a given
// struct.
package settings

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Setting is one leaf of a configuration.
type Setting struct {
	Name   string // kafka.brokers
	Doc    string
	Secret bool // never printed
	value  reflect.Value
}

// Env returns the name of the setting's environment variable.
func (s Setting) Env() string {
	return "WEIR_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(s.Name))
}

// Flag returns the name of the setting's command-line flag.
func (s Setting) Flag() string { return strings.ReplaceAll(s.Name, "_", "-") }

// Section returns the first part of the setting's name: kafka. Settings without one
// are "".
func (s Setting) Section() string {
	section, _, ok := strings.Cut(s.Name, ".")
	if !ok {
		return ""
	}
	return section
}

// Walk lists the leaves of the struct that config points to. Members are named by
// their yaml tags; `doc` tags describe them; `secret:"true"` hides them. Members
// that are neither scalars, durations nor lists of texts (such as a mapping) can
// only be set in YAML, and are not listed.
func Walk(config any) []Setting {
	return walk(nil, "", reflect.ValueOf(config).Elem())
}

func walk(all []Setting, prefix string, v reflect.Value) []Setting {
	for i := range v.NumField() {
		f, member := v.Type().Field(i), v.Field(i)
		name, inline, ok := key(f)
		if !ok {
			continue
		}
		if inline {
			all = walk(all, prefix, member)
			continue
		}
		path := join(prefix, name)
		switch {
		case settable(member):
			all = append(all, Setting{Name: path, Doc: f.Tag.Get("doc"), Secret: f.Tag.Get("secret") == "true", value: member})
		case member.Kind() == reflect.Struct:
			all = walk(all, path, member)
		}
	}
	return all
}

// key returns a member's name in YAML; inline members belong to the enclosing
// struct.
func key(f reflect.StructField) (name string, inline, ok bool) {
	name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name, strings.Contains(options, "inline"), name != "-" && f.IsExported()
}

func join(prefix, name string) string { return strings.TrimPrefix(prefix+"."+name, ".") }

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

// String returns the setting's value in the form that Set reads.
func (s Setting) String() string {
	v := s.value
	if v.Type() == textList {
		return strings.Join(v.Interface().([]string), ",")
	}
	return fmt.Sprint(v.Interface())
}
