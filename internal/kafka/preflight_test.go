package kafka

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestABrokerThatLacksWhatIsNeededIsNamed(t *testing.T) {
	cluster := embedded(t)
	var all []kmsg.ApiVersionsResponseApiKey
	for _, n := range needed {
		all = append(all, kmsg.ApiVersionsResponseApiKey{ApiKey: int16(n.key), MinVersion: n.from, MaxVersion: n.to + 3})
	}
	at := func(key kmsg.Key) int {
		return slices.IndexFunc(all, func(k kmsg.ApiVersionsResponseApiKey) bool { return k.ApiKey == int16(key) })
	}
	all[at(kmsg.JoinGroup)].MinVersion = 5                             // as a broker that dropped what is old
	all = slices.Delete(all, at(kmsg.SyncGroup), at(kmsg.SyncGroup)+1) // as one that has no groups of that kind
	cluster.ControlKey(int16(kmsg.ApiVersions), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		res := req.ResponseKind().(*kmsg.ApiVersionsResponse)
		res.ApiKeys = all
		return res, nil, true
	})
	err := client(t, cluster.ListenAddrs()[0]).Preflight(t.Context())
	if !errors.Is(err, ErrUnsupported) {
		t.Fatalf("it says %v", err)
	}
	for _, want := range []string{"JoinGroup in one of the versions 1 to 2 (it has 5 to 5)", "SyncGroup in one of the versions 0 to 0 (it has none)"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks: %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "Fetch") {
		t.Errorf("%v\nnames what the broker has", err)
	}
}
