package rules

import "github.com/weirdev/weir/internal/problem"

// Problem is one error in a rule file.
type Problem = problem.Problem

// Problems is the error of [Load] and [LoadTests]: all errors in all files, in
// order of file and line.
type Problems = problem.Problems

func didYouMean(name string, known []string) string { return problem.DidYouMean(name, known) }

func plural(n int, noun string) string { return problem.Plural(n, noun) }
