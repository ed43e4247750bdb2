package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/settings"
	"github.com/weirdev/weir/internal/problem"
)

// doubleDashes accepts every flag with one dash or two, including flags with one
// letter. -h is the help.
func doubleDashes(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if a == "--" {
			copy(out[i:], args[i:])
			break
		}
		if len(a) > 1 && a[0] == '-' && a[1] != '-' && (a[1] < '0' || a[1] > '9') && a != "-h" {
			a = "-" + a
		}
		out[i] = a
	}
	return out
}

// strict makes everything unknown a usage error, at every level: commands,
// arguments, flags, help topics. If a misspelt command did nothing and succeeded,
// scripts would believe that it had worked.
func strict(root *cobra.Command) {
	root.SetFlagErrorFunc(flagError)
	root.InitDefaultCompletionCmd()
	root.SetHelpCommand(helpCommand(root))
	eachCommand(root, func(c *cobra.Command) {
		normal := c.Flags().GetNormalizeFunc()
		c.Flags().SetNormalizeFunc(func(f *pflag.FlagSet, name string) pflag.NormalizedName {
			return normal(f, strings.ReplaceAll(name, "_", "-")) // as settings are called in files
		})
		if c.HasSubCommands() && !c.Runnable() {
			c.Args = cobra.ArbitraryArgs
			c.RunE = func(c *cobra.Command, args []string) error {
				if len(args) == 0 {
					return c.Help()
				}
				return unknownCommand(c, args[0])
			}
			return
		}
		if check := c.Args; check != nil {
			c.Args = func(c *cobra.Command, args []string) error { return argumentError(c, args, check(c, args)) }
		}
	})
}

func eachCommand(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		eachCommand(sub, do)
	}
}

func unknownCommand(c *cobra.Command, name string) error {
	if name == "version" {
		return UsageError(fmt.Errorf("there is no command \"version\" of '%s'; '%s --version' shows it", c.CommandPath(), c.Root().Name()))
	}
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return UsageError(fmt.Errorf("there is no command %q of '%s'; %s\nRun '%s --help' for its commands",
		name, c.CommandPath(), problem.DidYouMean(name, names), c.CommandPath()))
}

func argumentError(c *cobra.Command, args []string, err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	switch {
	case strings.HasPrefix(text, "unknown command"):
		text = fmt.Sprintf("'%s' takes no argument such as %q", c.CommandPath(), args[0])
	case strings.HasPrefix(text, "accepts "):
		text = fmt.Sprintf("arguments given: %d; it is called as '%s'", len(args), strings.TrimSuffix(c.UseLine(), " [flags]"))
	}
	return UsageError(fmt.Errorf("%s\nRun '%s --help' for how it is called", text, c.CommandPath()))
}

func flagError(c *cobra.Command, err error) error {
	text := err.Error()
	if name, unknown := strings.CutPrefix(text, "unknown flag: --"); unknown {
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		if by := usedBy(strings.ReplaceAll(name, "_", "-")); by != "" {
			return UsageError(fmt.Errorf("-%s is a setting of %s; '%s' does not use it\nOnly the file and variables may hold settings of other programs", name, by, c.CommandPath()))
		}
		text = fmt.Sprintf("there is no flag -%s", name)
		if near := problem.Nearest(name, names); near != "" {
			text += fmt.Sprintf("; did you mean -%s?", near)
		}
	}
	var bad *pflag.InvalidValueError
	if errors.As(err, &bad) {
		text = valueError(bad)
	}
	return UsageError(fmt.Errorf("%s\nRun '%s --help' for its flags", text, c.CommandPath()))
}

// valueError says what a flag takes. Values of flags with rules of their own have an
// error that does.
func valueError(e *pflag.InvalidValueError) string {
	takes := errors.Unwrap(e).Error()
	switch e.GetFlag().Value.Type() {
	case "duration":
		takes = "it takes a duration such as 250ms or 10m"
	case "int", "int64", "uint64", "uint":
		takes = "it takes a whole number"
	case "float64":
		takes = "it takes a number"
	case "bool":
		takes = "it takes true or false"
	}
	return fmt.Sprintf("-%s %q: %s", e.GetFlag().Name, e.GetValue(), takes)
}

// usedBy names the programs that use the setting with a flag, such as "weir-worker
// and weir-gate"; "" if there is no such setting.
func usedBy(flag string) string {
	c := app.Defaults()
	for _, s := range settings.Walk(&c) {
		if s.Flag() != flag {
			continue
		}
		var names []string
		for _, p := range app.Programs() {
			if p.Uses.Has(s.Name) {
				names = append(names, p.Name)
			}
		}
		return strings.Join(names, " and ")
	}
	return ""
}

func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Say how a command is called",
		RunE: func(_ *cobra.Command, args []string) error {
			c := root
			for _, name := range args {
				next, _, err := c.Find([]string{name})
				if err != nil || next == c {
					return unknownCommand(c, name)
				}
				c = next
			}
			c.InitDefaultHelpFlag()
			return c.Help()
		},
	}
}
