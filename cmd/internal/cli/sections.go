package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/cmd/internal/app"
	"github.com/weirdev/weir/cmd/internal/settings"
)

// ConfigureSections adds -config, and a flag for each setting of some sections: for
// commands that make up the rest themselves.
func ConfigureSections(cmd *cobra.Command, defaults app.Config, sections ...string) *Configured {
	c := &Configured{Config: defaults}
	f := cmd.Flags()
	f.StringVar(&c.file, "config", os.Getenv("WEIR_CONFIG"), "YAML file with settings (or WEIR_CONFIG)")
	settings.Bind(f, &c.Config, sections...)
	return c
}

// Read reads the configuration, and does not judge what can be read.
func (c *Configured) Read(cmd *cobra.Command) error {
	if err := settings.Load(&c.Config, c.file, os.LookupEnv, cmd.Flags()); err != nil {
		return UsageError(fmt.Errorf("the configuration cannot be read:\n%w", err))
	}
	return nil
}

// Invalid tells what is wrong with the configuration.
func (c *Configured) Invalid(err error) error {
	return UsageError(fmt.Errorf("the configuration is not valid:\n%w", err))
}
