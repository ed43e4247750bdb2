package settings

import (
	"slices"
	"strings"
)

// Selection names the settings that a program uses, the most important first.
// "redis" stands for the whole section, "ingest.routes" for one setting or a section
// within a section. An empty selection has every setting.
type Selection []string

// Has reports whether the selection has a setting, or all of a section.
func (s Selection) Has(name string) bool { return len(s) == 0 || s.rank(name) < len(s) }

// rank returns the first place at which the selection names a setting; len(s) if it
// does not.
func (s Selection) rank(name string) int {
	for i, one := range s {
		if rest, ok := strings.CutPrefix(name, one); ok && (rest == "" || rest[0] == '.') {
			return i
		}
	}
	return len(s)
}

// Touches reports whether the selection has a section, or anything in it.
func (s Selection) Touches(section string) bool {
	return s.Has(section) || slices.ContainsFunc(s, func(one string) bool { return strings.HasPrefix(one, section+".") })
}

// Of lists the selected leaves of config in the order of the selection. Leaves of
// one section stay together.
func (s Selection) Of(config any) []Setting {
	all := slices.DeleteFunc(Walk(config), func(one Setting) bool { return !s.Has(one.Name) })
	slices.SortStableFunc(all, func(a, b Setting) int { return s.rank(a.Name) - s.rank(b.Name) })
	first := map[string]int{}
	for i, one := range all {
		if _, ok := first[one.Section()]; !ok {
			first[one.Section()] = i
		}
	}
	slices.SortStableFunc(all, func(a, b Setting) int { return first[a.Section()] - first[b.Section()] })
	return all
}
