package app

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/proof/testkit"
)

func TestEventsWithoutAKeyAreFoundOnTheEmbeddedBroker(t *testing.T) { keylessEvents(t, broker(t)) }

func TestEventsWithoutAKeyAreFoundOnApacheKafka(t *testing.T) { keylessEvents(t, testkit.Kafka(t)) }

func keylessEvents(t *testing.T, addr string) {
	line := `{"id":"%d","time":1795428303000}`
	for _, c := range []struct {
		name    string
		format  string
		mapping *format.Mapping
		line    string // text of each record, with its number
		keys    int    // every keys-th record has a key; 0: none
		want    string
	}{
		{"every event has a key", "weir", nil, line, 1, ""},
		{"none has", "weir", nil, line, 0, "of the last 200 events 200 came without a key"},
		{"of one gateway in two", "weir", nil, line, 2, "of the last 200 events 100 came without a key"},
		{"log lines without ids need none", "combined", nil, `192.0.2.%d - - [23/Nov/2026:10:05:03 +0000] "GET / HTTP/1.1" 200 8`, 0, ""},
		{"a mapping that gives ids", "mapping", &format.Mapping{"id": {From: "n"}, "time": {From: "t", Unit: "s"}}, `{"n":"%d","t":1795428303}`, 0, "of the last 200 events 200 came without a key"},
		{"a mapping that gives none", "mapping", &format.Mapping{"time": {From: "t", Unit: "s"}}, `{"n":"%d","t":1795428303}`, 0, ""},
		{"what cannot be read is a dead letter, and no event", "weir", nil, `{%d`, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, client := newStream(t, addr)
			cfg.Ingest.Format, cfg.Ingest.Mapping = c.format, c.mapping
			topics := Topics{EventPartitions: 2, FacetPartitions: 1, Replication: 1}
			makeTopics(t, client, cfg, topics)
			ps := []kafka.Produce{{Partition: 0}, {Partition: 1}}
			for i := range 400 {
				o := kafka.Outgoing{Value: []byte(fmt.Sprintf(c.line, i))}
				if c.keys > 0 && i/2%c.keys == 0 {
					o.Key = fmt.Append(nil, i)
				}
				ps[i%2].Records = append(ps[i%2].Records, o)
			}
			if err := client.Produce(t.Context(), cfg.Stream.Topic("events"), ps); err != nil {
				t.Fatal(err)
			}
			found, err := checkKeys(t.Context(), client, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" && len(found) > 0 || c.want != "" && (len(found) != 1 || found[0].Refuse || !strings.Contains(found[0].String(), c.want)) {
				t.Errorf("found %v, want %q", found, c.want)
			}
		})
	}
}

func TestOfATopicThatIsNotThereNothingIsSaidOfKeys(t *testing.T) {
	cfg, client := newStream(t, broker(t))
	if found, err := checkKeys(t.Context(), client, cfg); err != nil || len(found) > 0 {
		t.Errorf("found %v, %v", found, err)
	}
}
