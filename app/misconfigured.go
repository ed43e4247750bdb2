package app

import (
	"errors"
	"fmt"
	"strings"
)

// Misconfigured is an error that the operator fixes in the configuration, or in a
// file that it names: a restart does not help.
type Misconfigured struct{ Err error }

func (e *Misconfigured) Error() string { return e.Err.Error() }
func (e *Misconfigured) Unwrap() error { return e.Err }

// part is a component of a program.
type part struct {
	name string
	make func() error
}

// makeAll creates every part, so that all errors are reported at once.
func makeAll(parts []part) error {
	var errs []error
	for _, p := range parts {
		err := p.make()
		if err != nil && !strings.HasPrefix(err.Error(), p.name) {
			err = fmt.Errorf("%s: %w", p.name, err)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
