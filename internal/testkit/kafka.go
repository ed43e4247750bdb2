package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// KafkaVersion is the version that tools/kafka/pom.xml pins.
const KafkaVersion = "4.1.0"

// Kafka is the address of an Apache Kafka that tests may share: topics and
// groups need names of their own. It is started for this test unless
// WEIR_TEST_KAFKA names one.
func Kafka(t testing.TB) string {
	t.Helper()
	if addr := os.Getenv("WEIR_TEST_KAFKA"); addr != "" {
		return addr
	}
	return StartKafka(t).Addr
}

// StartKafka starts an Apache Kafka of the test's own: one node, KRaft, with
// lines of server.properties added that override ours. It takes five to
// ten seconds.
func StartKafka(t testing.TB, settings ...string) *Server {
	t.Helper()
	jars := filepath.Join(cacheDir(), "kafka", KafkaVersion)
	if found, err := filepath.Glob(filepath.Join(jars, "*.jar")); err != nil || len(found) == 0 {
		lacking(t, "WEIR_REQUIRE_KAFKA", "Apache Kafka is not in the cache; `make kafka` fetches it")
	}
	java, err := exec.LookPath("java")
	if err != nil {
		lacking(t, "WEIR_REQUIRE_KAFKA", "Apache Kafka needs java, which is missing (Debian: apt-get install openjdk-17-jre-headless)")
	}
	addr := fmt.Sprintf("127.0.0.1:%d", FreePort(t))
	config := kafkaConfig(t, addr, settings)
	classes := filepath.Join(jars, "*")
	format := exec.Command(java, "-Xmx128m", "-cp", classes, "kafka.tools.StorageTool", "format", "-t", "d2VpcndlaXJ3ZWlyd2Vpcg", "-c", config)
	if out, err := format.CombinedOutput(); err != nil {
		t.Fatalf("format kafka's storage: %v\n%s", err, out)
	}
	return newServer(t, addr, java, "-Xmx512m", "-XX:+UseSerialGC", "-cp", classes, "kafka.Kafka", config)
}

func cacheDir() string {
	if c := os.Getenv("WEIR_CACHE"); c != "" {
		return c
	}
	if c, err := os.UserCacheDir(); err == nil {
		return filepath.Join(c, "weir")
	}
	return os.TempDir()
}

// kafkaConfig writes server.properties. Topics are not made by themselves, and
// groups do not wait for members that will not come.
func kafkaConfig(t testing.TB, addr string, settings []string) string {
	t.Helper()
	dir := t.TempDir()
	controller := fmt.Sprintf("127.0.0.1:%d", FreePort(t))
	lines := slices.Concat([]string{
		"process.roles=broker,controller", "node.id=1",
		"controller.quorum.voters=1@" + controller,
		"listeners=PLAINTEXT://" + addr + ",CONTROLLER://" + controller,
		"advertised.listeners=PLAINTEXT://" + addr,
		"controller.listener.names=CONTROLLER",
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs=" + filepath.Join(dir, "log"),
		"offsets.topic.replication.factor=1", "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
		"offsets.topic.num.partitions=4", "group.initial.rebalance.delay.ms=0", "auto.create.topics.enable=false",
	}, settings) // a later line overrides an earlier one
	file := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
