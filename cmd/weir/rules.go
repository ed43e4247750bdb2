package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/dryrun"
	"github.com/weirdev/weir/rules"
)

func rulesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Check rules, run their tests, push them, explain why they fire",
		Long: `rules works on a directory of rule files; without one, or with the name "default", on
the rules that are built in (a directory of that name is ./default). docs/rules.md
describes the language.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(rulesCheckCommand(), rulesTestCommand(), rulesExplainCommand(), rulesDraftCommand(), rulesRoutesCommand(), rulesListCommand(), rulesPushCommand(), rulesPushedCommand())
	return cmd
}

func rulesCheckCommand() *cobra.Command {
	var how reporting
	var lint rules.Lint
	cmd := &cobra.Command{
		Use: "check [DIR]", Short: "Report everything that is wrong with rules", Args: cobra.MaximumNArgs(1),
		Long: `check reads rules as a worker does, and reports everything that is wrong with them.
It ends with 1 where there is anything. What is legal and most likely not meant it
tells as a warning: entries of lists and exceptions that have expired, rules with few
tests, keys that clients choose freely, and, with -retention, rules that look back
further than the tables do.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			set, problems, err := loadRules(args)
			if err != nil {
				return err
			}
			r := newReport(set, problems)
			if set != nil {
				lint.Now = time.Now()
				r.warn(set.Warnings(lint))
			}
			return how.tell(cmd, r, r.checks(set), func(w io.Writer) {
				r.writeWarnings(w)
				fmt.Fprintf(w, "%s right; version %s\n", counted(len(set.Rules), "rule is", "rules are"), set.Version)
			})
		},
	}
	cmd.Flags().DurationVar(&lint.Retention, "retention", 0, "how long the tables keep events (clickhouse.retention)")
	how.flags(cmd)
	return cmd
}

func rulesTestCommand() *cobra.Command {
	var how reporting
	var apart string
	cmd := &cobra.Command{
		Use: "test [DIR]", Short: "Run the tests in rules, through the code that runs live", Args: cobra.MaximumNArgs(1),
		Long: `test runs the tests that stand with the rules, and those and the scenarios in the
files of -tests, through ingest's and the engine's code. It ends with 1 where one
fails, or rules or tests are not right. A test of a rule that is not there is
skipped.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			set, problems, err := loadRules(args)
			if err != nil {
				return err
			}
			var results []dryrun.TestResult
			if problems == nil {
				if results, problems, err = testRules(set, apart); err != nil {
					return err
				}
			}
			r := newReport(set, problems)
			r.add(set, results)
			return how.tell(cmd, r, r.tests(), r.writeTests)
		},
	}
	cmd.Flags().StringVar(&apart, "tests", "", "also run the tests in the *.yaml below this `directory`")
	how.flags(cmd)
	return cmd
}

func rulesListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list [DIR]", Short: "List rules: phase, severity, entity, id, title", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			set, problems, err := loadRules(args)
			switch {
			case err != nil:
				return err
			case problems != nil:
				return findings(problems)
			}
			for _, r := range set.Rules {
				fmt.Fprintf(cmd.OutOrStdout(), "%-8s %-8s %-8s %-28s %s\n", r.Phase, cmp.Or(r.Severity, "-"), r.Entity, r.ID, r.Title)
			}
			return nil
		},
	}
}

// loadRules loads a directory; the built-in rules if none is named, or [builtIn]. Mistakes in rules are
// findings, not an error.
func loadRules(args []string) (*rules.Set, *rules.Problems, error) {
	dir := ""
	if len(args) > 0 && args[0] != builtIn {
		dir = args[0]
	}
	set, err := app.LoadRules(dir)
	return set, problemsIn(&err), err
}

// problemsIn extracts mistakes in files from an error.
func problemsIn(err *error) *rules.Problems {
	var problems *rules.Problems
	if errors.As(*err, &problems) {
		*err = nil
	}
	return problems
}

// findings returns the error of a command that found mistakes.
func findings(problems *rules.Problems) error {
	return &cli.Error{Code: cli.Failed, Err: fmt.Errorf("%s are not right:\n%w", problems.In, problems)}
}

// testRules runs the tests of a set, and those of a directory if one is given.
func testRules(set *rules.Set, apart string) ([]dryrun.TestResult, *rules.Problems, error) {
	tests := set.Cases()
	if apart != "" {
		if _, err := os.Stat(apart); err != nil {
			return nil, nil, cli.UsageError(err)
		}
		more, err := rules.LoadTests(os.DirFS(apart), set)
		if problems := problemsIn(&err); problems != nil || err != nil {
			return nil, problems, err
		}
		tests = append(tests, more...)
	}
	results, err := dryrun.RunTests(set, tests)
	return results, nil, err
}
