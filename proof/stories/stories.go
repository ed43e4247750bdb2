// Package stories reads and plays stories: text files with rules, events, and the
// results. So a change in what rules find shows up as a diff.
//
// A story is prose, followed by sections, each below a line "-- NAME --":
//
//	-- rules --                   a file of rules, in YAML
//	-- places --                  optional: where addresses are, as "ADDRESS LATITUDE LONGITUDE RADIUS_KM [COUNTRY]"
//	-- events [FORMAT] --         records, one a line; in format weir if none is named
//	-- findings --                each signal, and the scores at the latest event
//	-- explanation [KIND:KEY] --  the output of weir rules explain, with -entity if one is named
//
// The test writes the last two sections with -update. A story includes the one that
// it needs, or both.
package stories

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing/fstest"

	"github.com/weirdev/weir/app/dryrun"
	"github.com/weirdev/weir/app/explain"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Story is the parsed form of a story's file.
type Story struct {
	Prose    string
	Sections []Section
}

// Section is a part of a story.
type Section struct {
	Name string // rules, places, events, findings or explanation
	Of   string // format of the events, or entity of the explanation; may be empty
	Line int    // number of its first line in the file
	Body string // complete lines
}

const (
	rulesSection       = "rules"
	placesSection      = "places"
	eventsSection      = "events"
	findingsSection    = "findings"
	explanationSection = "explanation"
)

// Parse reads a story. The error names the line.
func Parse(text string) (*Story, error) {
	s := &Story{}
	seen := map[string]int{}
	body := &s.Prose
	for n, line := range strings.SplitAfter(text, "\n") {
		name, of, ok := header(line)
		if !ok {
			*body += line
			continue
		}
		switch name {
		case rulesSection, placesSection, eventsSection, findingsSection, explanationSection:
		default:
			return nil, fmt.Errorf("line %d: there is no section %q; sections are rules, places, events, findings, explanation", n+1, name)
		}
		switch heading := name + " " + of; {
		case of != "" && name != eventsSection && name != explanationSection:
			return nil, fmt.Errorf("line %d: section %s is of nothing, so leave %q out", n+1, name, of)
		case name != explanationSection && seen[name] > 0:
			return nil, fmt.Errorf("line %d: section %s stands twice; the first is in line %d", n+1, name, seen[name])
		case seen[heading] > 0:
			return nil, fmt.Errorf("line %d: section %s stands twice; the first is in line %d", n+1, strings.TrimSpace(heading), seen[heading])
		default:
			seen[name], seen[heading] = n+1, n+1
		}
		s.Sections = append(s.Sections, Section{Name: name, Of: of, Line: n + 2})
		body = &s.Sections[len(s.Sections)-1].Body
	}
	for _, name := range []string{rulesSection, eventsSection} {
		if seen[name] == 0 {
			return nil, fmt.Errorf("the section %s is missing: put it below a line \"-- %s --\"", name, name)
		}
	}
	if seen[findingsSection] == 0 && seen[explanationSection] == 0 {
		return nil, fmt.Errorf("the story tells nothing: end it with a line \"-- findings --\" or \"-- explanation --\", and have the test fill in the rest with -update")
	}
	return s, nil
}

// header parses the line above a section.
func header(line string) (name, of string, ok bool) {
	inner, ok := strings.CutPrefix(strings.TrimRight(line, " \r\n"), "-- ")
	if ok {
		inner, ok = strings.CutSuffix(inner, " --")
	}
	name, of, _ = strings.Cut(strings.TrimSpace(inner), " ")
	return name, strings.TrimSpace(of), ok
}

// String returns the story in the format of its file.
func (s *Story) String() string {
	var b strings.Builder
	b.WriteString(whole(s.Prose))
	for _, one := range s.Sections {
		fmt.Fprintf(&b, "-- %s --\n%s", strings.TrimSpace(one.Name+" "+one.Of), whole(one.Body))
	}
	return b.String()
}

// whole terminates the last line.
func whole(text string) string {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

func (s *Story) section(name string) Section {
	return s.Sections[slices.IndexFunc(s.Sections, func(one Section) bool { return one.Name == name })]
}

// Play returns the story with the current results for its events.
func (s *Story) Play() (*Story, error) {
	set, err := rules.Load(fstest.MapFS{"rules.yaml": {Data: []byte(s.section(rulesSection).Body)}}, detectors.All())
	if err != nil {
		return nil, fmt.Errorf("rules, from line %d on: %w", s.section(rulesSection).Line, err)
	}
	cfg := ingest.Defaults()
	if of := s.section(eventsSection).Of; of != "" {
		cfg.Format = of
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	where := places{}
	for _, one := range s.Sections {
		if one.Name != placesSection {
			continue
		}
		if where, err = parsePlaces(one.Body, one.Line); err != nil {
			return nil, err
		}
	}
	now := &Story{Prose: s.Prose}
	for _, one := range s.Sections {
		switch one.Name {
		case findingsSection:
			one.Body, err = s.findings(set, cfg, where)
		case explanationSection:
			one.Body, err = s.explanation(set, cfg, where, one.Of)
		}
		if err != nil {
			return nil, err
		}
		now.Sections = append(now.Sections, one)
	}
	return now, nil
}

// records returns the lines of the events.
func (s *Story) records() (all [][]byte) {
	for line := range strings.Lines(s.section(eventsSection).Body) {
		if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" {
			all = append(all, []byte(line))
		}
	}
	return all
}

func (s *Story) findings(set *rules.Set, cfg ingest.Config, where places) (string, error) {
	o := dryrun.Defaults(set)
	o.Ingest, o.Places = cfg, where
	r, err := dryrun.New(o)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, record := range s.records() {
		before := len(r.Signals)
		outcome, _, refusal, err := r.Record(record)
		if err != nil {
			return "", fmt.Errorf("record %d: %w", i+1, err)
		}
		if refusal != nil {
			fmt.Fprintf(&b, "record %d: %s: %v\n", i+1, outcome, refusal)
		}
		for _, sig := range r.Signals[before:] {
			fmt.Fprintf(&b, "record %d: %s: %s, tier %d, weight %d, reason %s", i+1, named(sig.Entity), sig.Rule, sig.Tier+1, sig.Weight, sig.Reason)
			if sig.Group.Kind != 0 {
				fmt.Fprintf(&b, ", as a member of %s", named(sig.Group))
			}
			b.WriteByte('\n')
		}
	}
	scored := r.Scored()
	slices.SortFunc(scored, func(a, b facet.Entity) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key)) })
	for _, e := range scored {
		total := score.At(r.Score(e), r.Latest())
		fmt.Fprintf(&b, "score of %s: %d\n", named(e), total.Total.Points())
	}
	if b.Len() == 0 {
		return "nothing\n", nil
	}
	return b.String(), nil
}

func named(e facet.Entity) string { return rules.Subject{Kind: e.Kind, Key: e.Key}.String() }

func (s *Story) explanation(set *rules.Set, cfg ingest.Config, where places, entity string) (string, error) {
	o := explain.Options{Rules: set, Ingest: cfg, Places: where, Detect: engine.Defaults()}
	if entity != "" {
		var err error
		if o.Entity, err = explain.ParseEntity(entity); err != nil {
			return "", err
		}
	}
	x, err := explain.New(o)
	if err != nil {
		return "", err
	}
	for _, record := range s.records() {
		if err := x.Record(record); err != nil {
			return "", err
		}
	}
	r, err := x.Report()
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	r.Write(&b, false)
	return b.String(), nil
}
