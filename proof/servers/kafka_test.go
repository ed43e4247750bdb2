package servers

import (
	"os"
	"strings"
	"testing"
)

func TestTheVersionIsTheOneThatIsFetched(t *testing.T) {
	pom, err := os.ReadFile("../../tools/kafka/pom.xml")
	if err != nil {
		t.Fatal(err)
	}
	if want := "<kafka.version>" + KafkaVersion + "</kafka.version>"; !strings.Contains(string(pom), want) {
		t.Errorf("tools/kafka/pom.xml does not hold %s", want)
	}
}
