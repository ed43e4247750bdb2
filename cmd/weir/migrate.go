package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/internal/telemetry"
)

func migrateCommand() *cobra.Command {
	topics := app.TopicDefaults()
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Make the topics and tables that a stream needs",
		Long: `migrate makes the topics of the stream (stream.name) in Kafka and the tables in
ClickHouse, and writes down what the incarnation of the stream begins with. What
is there already is left as it is, so it may be run at every start; where it
differs from what would be made, that is said, and where a worker would refuse to
run on it, migrate fails. It waits up to two minutes for Kafka. The numbers of partitions cannot be changed later:
entities would move. Replication 3 is what a cluster should have.`,
		Example: `  weir migrate -kafka.brokers kafka:9092 -clickhouse.addrs clickhouse:9000 -stream.secret-file weir.secret -replication 3`,
		Args:    cobra.NoArgs,
	}
	c := cli.Configure(cmd, app.Defaults(), app.MigrateSettings(), app.CheckMigrate)
	f := cmd.Flags()
	f.IntVar(&topics.EventPartitions, "event-partitions", topics.EventPartitions, "partitions of the topic of events, if it is made")
	f.IntVar(&topics.FacetPartitions, "facet-partitions", topics.FacetPartitions, "partitions of the topic of facets; bounds how many workers can share detection")
	f.IntVar(&topics.Replication, "replication", topics.Replication, "replicas of each partition")
	f.DurationVar(&topics.EventRetention, "event-retention", topics.EventRetention, "how long raw events, dead letters and signals are kept in Kafka")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if done, err := c.Load(cmd); done || err != nil {
			return err
		}
		if err := topics.Validate(); err != nil {
			return cli.UsageError(err)
		}
		if err := app.Migrate(cmd.Context(), c.Config, topics, telemetry.NewLogger(cmd.ErrOrStderr(), c.Config.Log)); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "topics of stream %s and tables of database %s are ready\n", c.Config.Stream.Name, c.Config.ClickHouse.Database)
		return nil
	}
	return cmd
}
