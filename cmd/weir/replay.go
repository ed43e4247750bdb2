package main

import (
	"errors"
	"log/slog"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/geo"
)

// replaying returns the settings of a command that runs records of a format through
// both stages, and the geographic databases that they name; "" is the format of the
// settings.
func replaying(config *cli.Configured, format string) (cfg app.Config, places ingest.Places, err error) {
	cfg = config.Config
	if format != "" {
		if cfg.Ingest.Format = format; format != "mapping" {
			cfg.Ingest.Mapping = nil
		}
		if format != "pattern" {
			cfg.Ingest.Pattern = ""
		}
	}
	if err := errors.Join(cfg.Ingest.Validate(), cfg.Detect.Config.Validate()); err != nil {
		return cfg, nil, config.Invalid(err)
	}
	databases, err := geo.Open(cfg.Geo, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return cfg, nil, config.Invalid(err)
	}
	return cfg, databases.Current(), nil
}
