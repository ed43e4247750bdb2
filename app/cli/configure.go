package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/settings"
)

// known are variables that are no settings, but are used by programs, by Weir's own
// tests, or by docker-compose.yml.
var known = []string{
	"WEIR_CONFIG", "WEIR_CACHE", "WEIR_CHDB_LIB", "WEIR_VERSION", "WEIR_LONG", "WEIR_SEED", "WEIR_HISTORIES",
	"WEIR_REQUIRE_*", "WEIR_TEST_*", "WEIR_TESTKIT_*", "WEIR_CLI_TEST_*", "WEIR_SANDBOX_TEST_*",
}

// Configured holds a command's configuration and its flags.
type Configured struct {
	Config app.Config
	file   string
	check  bool
	dump   bool
	uses   settings.Selection
	verify func(app.Config) error

	origins *settings.Origins
}

// Configure adds to cmd a flag for every setting that the program uses, and -config,
// -check, -dump. verify reads the files that the configuration names, for -check.
func Configure(cmd *cobra.Command, defaults app.Config, uses settings.Selection, verify func(app.Config) error) *Configured {
	c := configure(cmd, defaults, uses)
	c.verify = verify
	f := cmd.Flags()
	f.BoolVar(&c.check, "check", false, "check the configuration and the files that it names, and exit")
	f.BoolVar(&c.dump, "dump", false, "print the effective configuration, secrets hidden, and exit")
	return c
}

// ConfigureSections adds -config, and a flag for each setting that the command uses,
// such as "geo" (all of the section) or "gate.policy": for commands that determine the
// rest themselves.
func ConfigureSections(cmd *cobra.Command, defaults app.Config, uses ...string) *Configured {
	return configure(cmd, defaults, uses)
}

func configure(cmd *cobra.Command, defaults app.Config, uses settings.Selection) *Configured {
	c := &Configured{Config: defaults, uses: uses}
	f := cmd.Flags()
	f.StringVar(&c.file, "config", os.Getenv("WEIR_CONFIG"), "YAML `file` with settings (or WEIR_CONFIG)")
	settings.Bind(f, &c.Config, uses)
	listed := uses.Of(&c.Config)
	cmd.SetUsageFunc(func(cmd *cobra.Command) error { return usage(cmd, listed) })
	return c
}

// Read reads the configuration without validating it.
func (c *Configured) Read(cmd *cobra.Command) (err error) {
	c.origins, err = settings.Load(&c.Config, settings.From{File: c.file, Environ: os.Environ(), Known: known, Flags: cmd.Flags()})
	for _, w := range c.origins.Warnings {
		Warn(cmd, w)
	}
	if err != nil {
		err = c.origins.Explain(errors.Join(err, c.origins.OfGiven(c.Config.ValidateFor(c.uses))))
		return UsageError(fmt.Errorf("the configuration cannot be read:\n%w", err))
	}
	return nil
}

// Given reports whether the user set a setting anywhere.
func (c *Configured) Given(setting string) bool { return c.origins.Given(setting) }

// Explain adds the place in the configuration to err if the configuration is the
// cause.
func (c *Configured) Explain(err error) error {
	var wrong *app.Misconfigured
	if errors.As(err, &wrong) {
		return UsageError(c.origins.Explain(err))
	}
	return err
}

// Invalid reports errors in the configuration with their places.
func (c *Configured) Invalid(err error) error {
	return UsageError(fmt.Errorf("the configuration is not valid:\n%w", c.origins.Explain(err)))
}

// Warn writes a warning to the standard error.
func Warn(cmd *cobra.Command, text string) {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s: warning: %s\n", cmd.Root().Name(), text)
}

// Load reads and validates the configuration. done means that only -check or -dump
// was requested.
func (c *Configured) Load(cmd *cobra.Command) (done bool, err error) {
	if err := c.Read(cmd); err != nil {
		return false, err
	}
	if c.dump {
		text, err := settings.Dump(&c.Config, c.uses)
		if err != nil {
			return false, err
		}
		_, err = cmd.OutOrStdout().Write(text)
		return true, err
	}
	loose, err := c.Config.LooseFiles(c.uses)
	for _, l := range loose {
		Warn(cmd, l)
	}
	if err == nil {
		err = c.Config.ValidateFor(c.uses)
	}
	if err == nil && c.check && c.verify != nil {
		err = c.verify(c.Config)
	}
	if err != nil {
		return false, c.Invalid(err)
	}
	if c.check {
		fmt.Fprintln(cmd.OutOrStdout(), "configuration ok")
	}
	return c.check, nil
}
