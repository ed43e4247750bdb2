package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/cmd/internal/app"
	"github.com/weirdev/weir/cmd/internal/cli"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/rules"
)

func rulesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Check rules and run their tests",
		Long: `rules works on a directory of rule files; without one, on the rules that are built
in. docs/rules.md describes the language.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "check [DIR]", Short: "Report everything that is wrong with rules", Args: cobra.MaximumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				set, err := loadRules(args)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%d rules are right; version %s\n", len(set.Rules), set.Version)
				return nil
			},
		},
		&cobra.Command{
			Use: "test [DIR]", Short: "Run the tests in rules, through the engine that runs live", Args: cobra.MaximumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				set, err := loadRules(args)
				if err != nil {
					return err
				}
				return testRules(cmd, set)
			},
		},
		&cobra.Command{
			Use: "list [DIR]", Short: "List rules: phase, entity, id, title", Args: cobra.MaximumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				set, err := loadRules(args)
				if err != nil {
					return err
				}
				for _, r := range set.Rules {
					fmt.Fprintf(cmd.OutOrStdout(), "%-8s %-8s %-28s %s\n", r.Phase, r.Entity, r.ID, r.Title)
				}
				return nil
			},
		},
	)
	return cmd
}

// loadRules loads a directory, or the built-in rules. Mistakes in rules are
// findings.
func loadRules(args []string) (*rules.Set, error) {
	dir := ""
	if len(args) > 0 {
		dir = args[0]
	}
	set, err := app.LoadRules(dir)
	var problems *rules.Problems
	if errors.As(err, &problems) {
		return nil, &cli.Error{Code: cli.Failed, Err: fmt.Errorf("the rules are not right:\n%w", err)}
	}
	return set, err
}

func testRules(cmd *cobra.Command, set *rules.Set) error {
	results, err := engine.RunTests(set)
	if err != nil {
		return err
	}
	failed := 0
	for _, r := range results {
		if len(r.Problems) == 0 {
			continue
		}
		failed++
		fmt.Fprintf(cmd.OutOrStdout(), "FAIL  %s: %s\n", r.Rule, r.Test)
		for _, p := range r.Problems {
			fmt.Fprintf(cmd.OutOrStdout(), "        %s\n", p)
		}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d passed, %d failed\n", len(results)-failed, failed)
	if failed > 0 {
		return &cli.Error{Code: cli.Failed, Err: fmt.Errorf("%d tests of rules fail", failed)}
	}
	return nil
}
