package settings

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/spf13/pflag"
)

// flagValue stores a text for pflag, which is parsed after file and environment
// have been read.
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

// Bind adds a flag for each leaf of config that is selected.
func Bind(flags *pflag.FlagSet, config any, uses Selection) {
	for _, s := range uses.Of(config) {
		f := flags.VarPF(&flagValue{Setting: s}, s.Flag(), "", s.Doc)
		if s.value.Kind() == reflect.Bool {
			f.NoOptDefVal = "true"
		}
	}
}

// From lists the sources of a configuration.
type From struct {
	File    string         // YAML; empty: none
	Environ []string       // NAME=value, as os.Environ gives it
	Known   []string       // variables WEIR_… that are no settings, and are left alone
	Flags   *pflag.FlagSet // those of [Bind] that were given count
}

// Load fills config from the file, the environment, and the given flags, each
// overriding the one before. It reports every error at once.
func Load(config any, from From) (*Origins, error) {
	o := &Origins{settings: Walk(config), from: map[string]string{}, places: map[string]place{}}
	var errs []error
	if from.File != "" {
		errs = append(errs, o.loadFile(config, from.File))
	}
	errs = append(errs, o.loadEnvironment(from)...)
	from.Flags.Visit(func(f *pflag.Flag) {
		if v, ok := f.Value.(*flagValue); ok {
			o.from[v.Name] = "-" + f.Name
			if err := v.Setting.Set(v.text); err != nil {
				errs = append(errs, fmt.Errorf("-%s: %w", f.Name, err))
			}
		}
	})
	return o, errors.Join(errs...)
}
