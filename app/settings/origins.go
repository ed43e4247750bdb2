package settings

import (
	"errors"
	"strings"

	"github.com/weirdev/weir/internal/problem"
)

// Origins records where each value of a configuration comes from, so that later
// errors can name the place.
type Origins struct {
	Warnings []string // what is no mistake for sure

	settings []Setting
	document *problem.Document // nil: no file was read
	places   map[string]place  // in the file, by name; lists by their last item
	from     map[string]string // the variable or flag that gave a setting, by name
}

type place struct{ line, column int }

// Given reports whether a setting was set in the file, the environment or a flag.
func (o *Origins) Given(setting string) bool {
	_, inFile := o.places[setting]
	return inFile || o.from[setting] != ""
}

// Explain adds to each error of err, whose text begins with the name of a setting,
// the place where that was set.
func (o *Origins) Explain(err error) error {
	var leaves []error
	flatten(err, &leaves)
	problems := &problem.Problems{In: "the settings"}
	var errs []error
	for _, e := range leaves {
		var found *problem.Problems
		if errors.As(e, &found) && found.In == problems.In {
			problems.List = append(problems.List, found.List...)
			continue
		}
		s, known := o.about(e.Error())
		at, inFile := o.places[s.Name]
		switch by := o.from[s.Name]; {
		case known && by != "":
			errs = append(errs, &told{by + ": " + strings.TrimPrefix(e.Error(), s.Name+": "), e})
		case known && inFile:
			d := problem.Document{Name: o.document.Name, Lines: o.document.Lines, Problems: problems}
			d.At(at.line, at.column, strings.ReplaceAll(e.Error(), "\n", "; "), s.Name+about(s.Doc))
		default:
			errs = append(errs, e)
		}
	}
	if len(problems.List) > 0 {
		problems.Sort()
		errs = append(errs, problems)
	}
	return errors.Join(errs...)
}

// told is an error with another text.
type told struct {
	text string
	err  error
}

func (t *told) Error() string { return t.text }
func (t *told) Unwrap() error { return t.err }

// OfGiven drops errors about settings that were not set: if others were misspelt,
// they are only a consequence.
func (o *Origins) OfGiven(err error) error {
	var leaves, given []error
	flatten(err, &leaves)
	for _, e := range leaves {
		if s, known := o.about(e.Error()); known && o.Given(s.Name) {
			given = append(given, e)
		}
	}
	return errors.Join(given...)
}

// about returns the setting with which a text begins.
func (o *Origins) about(text string) (found Setting, ok bool) {
	for _, s := range o.settings {
		if rest, is := strings.CutPrefix(text, s.Name); is && len(s.Name) > len(found.Name) && !strings.HasPrefix(rest, ".") && !strings.HasPrefix(rest, "_") {
			found, ok = s, true
		}
	}
	return found, ok
}

// flatten lists the errors that were joined.
func flatten(err error, leaves *[]error) {
	if err == nil {
		return
	}
	if inner := errors.Unwrap(err); inner != nil && inner.Error() == err.Error() {
		flatten(inner, leaves) // it only says of what kind it is
		return
	}
	all, ok := err.(interface{ Unwrap() []error })
	if !ok || errors.Join(all.Unwrap()...).Error() != err.Error() {
		*leaves = append(*leaves, err)
		return
	}
	for _, e := range all.Unwrap() {
		flatten(e, leaves)
	}
}
