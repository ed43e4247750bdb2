package settings

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/weirdev/weir/internal/problem"
)

// prefix is what the names of our variables begin with.
const prefix = "WEIR_"

// loadEnvironment reads the variables of settings. One that looks like a setting's
// and is none is a mistake: it would be ignored, and the default used instead.
func (o *Origins) loadEnvironment(from From) (errs []error) {
	known := map[string]Setting{}
	for _, s := range o.settings {
		known[s.Env()] = s
	}
	for _, variable := range from.Environ {
		name, value, _ := strings.Cut(variable, "=")
		s, ok := known[name]
		switch {
		case ok:
			o.from[s.Name] = name
			if err := s.Set(value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		case strings.HasPrefix(name, prefix) && !alone(name, value, from.Known):
			errs = append(errs, o.unknown(name, known, from.Known))
		}
	}
	return errs
}

// unknown is the error of a variable that is near to one there is; where none is,
// it is a warning.
func (o *Origins) unknown(name string, known map[string]Setting, others []string) error {
	var rest []string
	for k := range known {
		rest = append(rest, strings.TrimPrefix(k, prefix))
	}
	for _, k := range others {
		rest = append(rest, strings.TrimPrefix(k, prefix))
	}
	slices.Sort(rest)
	near := problem.Nearest(strings.TrimPrefix(name, prefix), rest)
	if near == "" {
		o.Warnings = append(o.Warnings, fmt.Sprintf("the variable %s is no setting, and is ignored; `-help` lists the settings: kafka.brokers is WEIR_KAFKA_BROKERS", name))
		return nil
	}
	return fmt.Errorf("%s is no setting; did you mean %s? Remove the variable if not", name, prefix+near)
}

// linked are the variables that orchestrators make of the services around: one
// called weir-gate gives WEIR_GATE_PORT.
var linked = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)

// alone reports whether a variable that is no setting is to be left alone. A name
// that ends in * stands for all that begin so.
func alone(name, value string, known []string) bool {
	for _, k := range known {
		if start, all := strings.CutSuffix(k, "*"); name == k || all && strings.HasPrefix(name, start) {
			return true
		}
	}
	return linked.MatchString(name) || strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
}
