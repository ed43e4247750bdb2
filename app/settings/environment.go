package settings

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/weirdev/weir/internal/problem"
)

// prefix is the prefix of our variables.
const prefix = "WEIR_"

// loadEnvironment reads the variables of settings. A variable that resembles a
// setting's name is an error: it would be ignored, and the default used instead.
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

// unknown returns the error for a variable that resembles an existing one; for
// others it adds a warning.
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

// linked matches the variables that orchestrators create for services: one called
// weir-gate gives WEIR_GATE_PORT.
var linked = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)

// alone reports whether a variable that is no setting should be ignored. A name
// that ends in * is a prefix.
func alone(name, value string, known []string) bool {
	for _, k := range known {
		if start, all := strings.CutSuffix(k, "*"); name == k || all && strings.HasPrefix(name, start) {
			return true
		}
	}
	return linked.MatchString(name) || strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
}
