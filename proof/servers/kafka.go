package servers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// KafkaVersion is the version that tools/kafka/pom.xml pins.
const KafkaVersion = "4.1.0"

// Kafka describes an Apache Kafka at addr with its data in dir: one node, KRaft. The
// given lines of server.properties override the defaults here. It formats the
// storage unless that is already done.
func Kafka(addr, dir string, settings ...string) (*Server, error) {
	jars := filepath.Join(CacheDir(), "kafka", KafkaVersion)
	if found, err := filepath.Glob(filepath.Join(jars, "*.jar")); err != nil || len(found) == 0 {
		return nil, fmt.Errorf("%w: Apache Kafka is not in the cache; `make kafka` fetches it", ErrMissing)
	}
	java, err := lookPath("java", "openjdk-17-jre-headless")
	if err != nil {
		return nil, err
	}
	config, err := kafkaConfig(addr, dir, settings)
	if err != nil {
		return nil, err
	}
	classes := filepath.Join(jars, "*")
	format := exec.Command(java, "-Xmx128m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classes, "kafka.tools.StorageTool", "format", "--ignore-formatted",
		"-t", "d2VpcndlaXJ3ZWlyd2Vpcg", "-c", config)
	if out, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format kafka's storage: %w\n%s", err, out)
	}
	return New(addr, java, "-Xmx512m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classes, "kafka.Kafka", config), nil
}

// kafkaConfig writes server.properties. Topics are not created automatically, and
// groups do not wait for further members.
func kafkaConfig(addr, dir string, settings []string) (file string, err error) {
	controller, err := FreeAddr()
	if err != nil {
		return "", err
	}
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
	file = filepath.Join(dir, "server.properties")
	return file, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}
