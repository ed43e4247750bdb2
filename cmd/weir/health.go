package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/internal/telemetry"
)

const ownHealth = "http://127.0.0.1:9480/readyz"

func healthCommand() *cobra.Command {
	wait := 2 * time.Second
	cmd := &cobra.Command{
		Use:   "health [URL]",
		Short: "Ask a worker or a gate whether it is ready",
		Long: `health asks the admin listener (admin.listen) of a program whether it is ready, for
container images without a shell. Without a URL it asks ` + ownHealth + `, of a
URL without a path its /readyz; for whether the program lives at all, name /healthz.

Exit status 0 says that it is, 1 that it is not or does not answer.`,
		Example: `  weir health
  weir health http://127.0.0.1:9481/healthz`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().DurationVar(&wait, "wait", wait, "longest time to wait for the answer")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		at := ownHealth
		if len(args) > 0 {
			at = args[0]
		}
		u, err := url.Parse(at)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return cli.UsageError(fmt.Errorf("%q is no URL such as %s", at, ownHealth))
		}
		if u.Path == "" || u.Path == "/" {
			u.Path = "/readyz"
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), wait)
		defer cancel()
		if err := askHealth(ctx, u.String()); err != nil {
			return &cli.Error{Code: cli.Failed, Err: err}
		}
		return nil
	}
	return cmd
}

// askHealth returns what a program says of itself if its answer is not 200.
func askHealth(ctx context.Context, at string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	said, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status + ": " + telemetry.Clean(strings.TrimSpace(string(said))))
	}
	return nil
}
