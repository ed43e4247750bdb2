package main

import (
	"cmp"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/gate/policy"
)

func policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Check a gate's policies, and run their tests",
		Long: `policy works on a file of policies, which say what a gate does about a score; without
one, on the policies that are built in. docs/policy.md describes the language.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(policyCheckCommand(), policyTestCommand(), policySchemaCommand())
	return cmd
}

// policies is a policy file on the command line.
type policies struct {
	how   reporting
	rules string
}

func (p *policies) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.rules, "rules", "", "`directory` of rules, whose lists and route classes the conditions have; empty: the built-in ones")
	p.how.flags(cmd)
}

// load reads the file. Mistakes in it are added to the report, and the set is then
// nil.
func (p *policies) load(args []string) (*policy.Set, *report, error) {
	words, err := app.LoadRules(p.rules)
	if problems := problemsIn(&err); problems != nil {
		return nil, nil, findings(problems)
	}
	if err != nil {
		return nil, nil, cli.UsageError(err)
	}
	set, err := policy.Load(fileName(args), words)
	problems := problemsIn(&err)
	if err != nil {
		return nil, nil, cli.UsageError(err)
	}
	r := newReport(nil, problems)
	r.subject = "policies"
	if set != nil {
		r.Version = set.Version
	}
	return set, r, nil
}

func fileName(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func policyCheckCommand() *cobra.Command {
	var p policies
	cmd := &cobra.Command{
		Use: "check [FILE]", Short: "Report everything that is wrong with policies", Args: cobra.MaximumNArgs(1),
		Long: `check reads a file of policies as a gate does, and reports everything that is wrong
with it. It ends with 1 where there is anything.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			set, r, err := p.load(args)
			if err != nil {
				return err
			}
			return p.how.tell(cmd, r, r.checks(nil), func(w io.Writer) {
				fmt.Fprintf(w, "the policies are right: %d, version %s\n", len(set.Policies), set.Version)
			})
		},
	}
	p.flags(cmd)
	return cmd
}

func policyTestCommand() *cobra.Command {
	var p policies
	cmd := &cobra.Command{
		Use: "test [FILE]", Short: "Run the tests in a file of policies, through the code that runs live", Args: cobra.MaximumNArgs(1),
		Long: `test runs the tests that stand with the policies. It ends with 1 where one fails, or
the file is not right.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			set, r, err := p.load(args)
			if err != nil {
				return err
			}
			if set != nil {
				r.addPolicyTests(cmp.Or(fileName(args), "built-in policies"), set)
			}
			return p.how.tell(cmd, r, r.tests(), r.writeTests)
		},
	}
	p.flags(cmd)
	return cmd
}

// addPolicyTests runs the tests of policies.
func (r *report) addPolicyTests(file string, set *policy.Set) {
	t := &testsReport{Untested: []string{}, Results: []testReport{}}
	r.Tests = t
	for i := range set.Tests {
		one := &set.Tests[i]
		res := testReport{Rule: "policy", Name: one.Name, File: file, Line: one.Line, Outcome: "passed", Problems: set.Run(one)}
		if len(res.Problems) > 0 {
			res.Outcome, t.Failed, r.OK = "failed", t.Failed+1, false
		} else {
			t.Passed++
		}
		t.Results = append(t.Results, res)
	}
}

func policySchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of files of policies, for editors", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := cmd.OutOrStdout().Write(policy.Schema()); err != nil {
				return fmt.Errorf("print the schema: %w", err)
			}
			return nil
		},
	}
}
