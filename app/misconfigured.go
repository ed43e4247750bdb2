package app

import (
	"errors"
	"fmt"
	"strings"
)

// Misconfigured is an error that the operator mends in the configuration, or in a
// file that it names: starting again changes nothing.
type Misconfigured struct{ Err error }

func (e *Misconfigured) Error() string { return e.Err.Error() }
func (e *Misconfigured) Unwrap() error { return e.Err }

// part is something that a program consists of.
type part struct {
	name string
	make func() error
}

// makeAll makes every part, so that all that is wrong is said at once.
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
