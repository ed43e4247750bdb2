package main

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/dryrun"
	"github.com/weirdev/weir/rules"
)

// reporting holds the flags for reporting findings.
type reporting struct {
	json  bool
	junit string
}

func (r *reporting) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&r.json, "json", false, "print the outcome as JSON")
	cmd.Flags().StringVar(&r.junit, "junit", "", "also write the outcome to this `file`, as JUnit XML")
}

// report is the outcome of a check or of tests, as printed by -json.
type report struct {
	OK       bool         `json:"ok"`
	Version  string       `json:"version,omitempty"` // of the rules; absent if they contain mistakes
	Rules    int          `json:"rules,omitempty"`
	Problems []problem    `json:"problems"`
	Warnings []problem    `json:"warnings,omitempty"`
	Tests    *testsReport `json:"tests,omitempty"`

	subject  string // rules or policies
	problems *rules.Problems
	warnings []rules.Problem
}

type problem struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	What   string `json:"what"`
	Do     string `json:"do"`
}

type testsReport struct {
	Passed   int          `json:"passed"`
	Failed   int          `json:"failed"`
	Skipped  int          `json:"skipped"`
	Untested []string     `json:"untested"` // rules without a test
	Results  []testReport `json:"results"`
}

type testReport struct {
	Rule     string   `json:"rule,omitempty"` // absent for scenarios
	Name     string   `json:"name"`
	File     string   `json:"file"`
	Line     int      `json:"line"`
	Outcome  string   `json:"outcome"` // passed, failed or skipped
	Problems []string `json:"problems,omitempty"`
	Skipped  string   `json:"skipped,omitempty"` // reason
}

// group returns the heading of the test.
func (t *testReport) group() string { return cmp.Or(t.Rule, "scenario") }

func newReport(set *rules.Set, problems *rules.Problems) *report {
	r := &report{subject: "rules", OK: problems == nil, Problems: []problem{}, problems: problems}
	if set != nil {
		r.Version, r.Rules = set.Version, len(set.Rules)
	}
	if problems != nil {
		for _, p := range problems.List {
			r.Problems = append(r.Problems, problem{p.File, p.Line, p.Column, p.What, p.Do})
		}
	}
	return r
}

// warn adds warnings.
func (r *report) warn(all []rules.Problem) {
	r.warnings = all
	for _, p := range all {
		r.Warnings = append(r.Warnings, problem{p.File, p.Line, p.Column, p.What, p.Do})
	}
}

func (r *report) writeWarnings(w io.Writer) {
	for _, p := range r.warnings {
		fmt.Fprintf(w, "warning: %s\n", p)
	}
	if n := len(r.warnings); n > 0 {
		fmt.Fprintln(w, counted(n, "warning", "warnings"))
	}
}

// counted returns a number with its word.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// add adds results of tests; set is nil if the rules contain mistakes.
func (r *report) add(set *rules.Set, results []dryrun.TestResult) {
	t := &testsReport{Untested: []string{}, Results: []testReport{}}
	r.Tests = t
	tested := map[string]bool{}
	for _, one := range results {
		res := testReport{Rule: one.Test.Rule, Name: one.Test.Name, File: one.File, Line: one.Test.Line, Problems: one.Problems, Skipped: one.Skipped}
		tested[one.Test.Rule] = true
		switch {
		case one.Skipped != "":
			res.Outcome, t.Skipped = "skipped", t.Skipped+1
		case len(one.Problems) > 0:
			res.Outcome, t.Failed = "failed", t.Failed+1
		default:
			res.Outcome, t.Passed = "passed", t.Passed+1
		}
		t.Results = append(t.Results, res)
	}
	r.OK = r.OK && t.Failed == 0
	if set == nil {
		return
	}
	for _, rule := range set.Rules {
		if !tested[rule.ID] {
			t.Untested = append(t.Untested, rule.ID)
		}
	}
}

// tell prints the outcome, and writes suites if requested. text prints the outcome
// for people if the files contain no mistakes.
func (r *reporting) tell(cmd *cobra.Command, what *report, suites []suite, text func(io.Writer)) error {
	if r.junit != "" {
		if err := writeJUnit(r.junit, suites); err != nil {
			return err
		}
	}
	if r.json {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(what); err != nil {
			return fmt.Errorf("print the outcome: %w", err)
		}
		if !what.OK {
			return &cli.Error{Code: cli.Failed, Err: errors.New("")}
		}
		return nil
	}
	if what.problems != nil {
		return findings(what.problems)
	}
	text(cmd.OutOrStdout())
	if !what.OK {
		return &cli.Error{Code: cli.Failed, Err: fmt.Errorf("%d tests of %s fail", what.Tests.Failed, what.subject)}
	}
	return nil
}

func (r *report) writeTests(w io.Writer) {
	for _, t := range r.Tests.Results {
		switch t.Outcome {
		case "failed":
			fmt.Fprintf(w, "FAIL  %s: %s\n", t.group(), t.Name)
			for _, p := range t.Problems {
				fmt.Fprintf(w, "        %s\n", p)
			}
		case "skipped":
			fmt.Fprintf(w, "SKIP  %s: %s\n        %s\n", t.group(), t.Name, t.Skipped)
		}
	}
	if n := len(r.Tests.Untested); n > 0 {
		fmt.Fprintf(w, "without a test: %s\n", strings.Join(r.Tests.Untested, ", "))
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", r.Tests.Passed, r.Tests.Failed, r.Tests.Skipped)
}

// suite is a group of outcomes, with the terms of JUnit.
type suite struct {
	XMLName  xml.Name `xml:"testsuite"`
	Name     string   `xml:"name,attr"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Skipped  int      `xml:"skipped,attr"`
	Errors   int      `xml:"errors,attr"`
	Cases    []testcase
}

type testcase struct {
	XMLName xml.Name `xml:"testcase"`
	Class   string   `xml:"classname,attr"`
	Name    string   `xml:"name,attr"`
	File    string   `xml:"file,attr,omitempty"`
	Line    int      `xml:"line,attr,omitempty"`
	Failure *message `xml:"failure"`
	Skipped *message `xml:"skipped"`
}

type message struct {
	Text string `xml:"message,attr"`
	Body string `xml:",chardata"`
}

func (s *suite) add(c testcase) {
	s.Tests++
	if c.Failure != nil {
		s.Failures++
	}
	if c.Skipped != nil {
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}

// checks returns a test case for each rule, or for each mistake.
func (r *report) checks(set *rules.Set) []suite {
	s := suite{Name: "rules"}
	for _, p := range r.Problems {
		s.add(testcase{Class: p.File, Name: p.What, File: p.File, Line: p.Line, Failure: &message{p.What, p.Do}})
	}
	if set != nil {
		for _, rule := range set.Rules {
			s.add(testcase{Class: rule.File, Name: rule.ID, File: rule.File, Line: rule.Line})
		}
	}
	return []suite{s}
}

// tests returns a suite for each rule and one for scenarios; or one with the
// mistakes in the files.
func (r *report) tests() []suite {
	if r.problems != nil {
		return r.checks(nil)
	}
	suites := map[string]*suite{}
	for _, t := range r.Tests.Results {
		s := suites[t.group()]
		if s == nil {
			s = &suite{Name: t.group()}
			suites[t.group()] = s
		}
		c := testcase{Class: t.group(), Name: t.Name, File: t.File, Line: t.Line}
		switch t.Outcome {
		case "failed":
			c.Failure = &message{t.Problems[0], strings.Join(t.Problems, "\n")}
		case "skipped":
			c.Skipped = &message{Text: t.Skipped}
		}
		s.add(c)
	}
	var all []suite
	for _, s := range suites {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b suite) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func writeJUnit(path string, suites []suite) error {
	text, err := xml.MarshalIndent(struct {
		XMLName xml.Name `xml:"testsuites"`
		Suites  []suite
	}{Suites: suites}, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append([]byte(xml.Header), append(text, '\n')...), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the outcome: %w", err)
	}
	return nil
}
