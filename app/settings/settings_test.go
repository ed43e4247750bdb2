package settings

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// config has a setting of each form.
type config struct {
	Kafka struct {
		Brokers []string      `yaml:"brokers" doc:"addresses of brokers"`
		Session time.Duration `yaml:"session_timeout" doc:"how long silence lasts"`
		TLS     bool          `yaml:"tls" doc:"speak TLS"`
		SASL    struct {
			Password string `yaml:"password" secret:"true" doc:"password"`
		} `yaml:"sasl"`
	} `yaml:"kafka"`
	Ingest struct {
		Format  string             `yaml:"format" doc:"format of records"`
		Mapping *map[string]source `yaml:"mapping,omitempty"`
	} `yaml:"ingest"`
	Stop struct {
		Timeout int `yaml:"stop_timeout" doc:"seconds to stop"`
	} `yaml:",inline"`
}

type source struct {
	From   string            `yaml:"from,omitempty" doc:"key of the object"`
	Values map[string]string `yaml:"values,omitempty"`
}

// load reads a text as a file, variables, and flags.
func load(t testing.TB, text string, environ []string, args ...string) (config, *Origins, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var c config
	c.Kafka.Brokers = []string{"default:9092"}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	Bind(flags, &c, nil)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	o, err := Load(&c, From{File: file, Environ: environ, Known: []string{"WEIR_CACHE", "WEIR_TEST_*"}, Flags: flags})
	if err != nil {
		err = errors.New(strings.ReplaceAll(err.Error(), file, "weir.yaml"))
	}
	return c, o, err
}

func TestAFlagWinsOverAVariableAndThatOverTheFile(t *testing.T) {
	text := "kafka:\n  brokers: [file:1, file:2]\n  session_timeout: 5s\n  tls: true\nstop_timeout: 7\ningest:\n  format: file\n  mapping: {ip: {from: addr, values: {a: b}}}\n"
	c, o, err := load(t, text, []string{"WEIR_INGEST_FORMAT=variable", "WEIR_STOP_TIMEOUT=8"}, "--stop-timeout", "9")
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%v %v %v %v %v %v", c.Kafka.Brokers, c.Kafka.Session, c.Kafka.TLS, c.Ingest.Format, c.Stop.Timeout, *c.Ingest.Mapping)
	if want := "[file:1 file:2] 5s true variable 9 map[ip:{addr map[a:b]}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if !o.Given("kafka.tls") || !o.Given("ingest.format") || o.Given("kafka.sasl.password") {
		t.Error("it does not know what was given")
	}
}

func TestWhatIsWrongInAFileIsToldAtItsPlace(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string // each a part of the message; none: nothing is wrong
	}{
		{"nothing in it", "", nil},
		{"comments only", "# nothing\n", nil},
		{"a section of which all is commented out", "kafka:\ningest:\n", nil},
		{"what an anchor stands for", "kafka:\n  brokers: &b [x:1]\n  session_timeout: 1s\n", nil},
		{"a key with a typing error", "kafka:\n  broker: [x:1]\n", []string{"weir.yaml:2:3: there is no setting \"kafka.broker\"\n    2 |   broker: [x:1]\n      |   ^\n    did you mean \"brokers\"?"}},
		{"a key of another section", "ingest:\n  session_timeout: 1s\n", []string{`weir.yaml:2:3: there is no setting "ingest.session_timeout"`, `did you mean "kafka.session_timeout"? Each dot is a level of its own`}},
		{"a whole name as key", "kafka.tls: true\n", []string{`weir.yaml:1:1: there is no setting "kafka.tls"`, "Each dot is a level of its own"}},
		{"a text where a list belongs", "kafka:\n  brokers: x:1\n", []string{`weir.yaml:2:12: "kafka.brokers" needs a list`, "write [x:1]: addresses of brokers"}},
		{"a list where a text belongs", "ingest:\n  format: [weir]\n", []string{`weir.yaml:2:11: "ingest.format" needs a single value`}},
		{"no value", "ingest:\n  format:\n", []string{`"ingest.format" needs a single value`}},
		{"a number without a unit", "kafka:\n  session_timeout: 6\n", []string{`weir.yaml:2:20: kafka.session_timeout: "6" is not a duration such as 250ms or 10m`, "how long silence lasts"}},
		{"a word where a number belongs", "stop_timeout: soon\n", []string{`weir.yaml:1:15: stop_timeout: "soon" is not a whole number`}},
		{"a list where a section belongs", "kafka: [x]\n", []string{"weir.yaml:1:8: a mapping is needed here", "known here: brokers, sasl, session_timeout, tls"}},
		{"a key twice", "ingest:\n  format: a\n  format: b\n", []string{`weir.yaml:3:3: the key "format" stands twice`, "the first is in line 2"}},
		{"a key within a mapping of the user's", "ingest:\n  mapping:\n    ip: {form: addr}\n", []string{`weir.yaml:3:10: there is no setting "ingest.mapping.ip.form"`, `did you mean "from"?`}},
		{"no YAML", "kafka: [\n", []string{"weir.yaml:", "not YAML", "check indentation, quotes and brackets"}},
		{"a second document", "stop_timeout: 1\n---\nstop_timeout: 2\n", []string{"a second YAML document starts here"}},
		{"an alias of itself", "kafka: &k\n  sasl: *k\n", []string{"weir.yaml"}},
		{"everything at once", "kafka:\n  tls: maybe\n  sasl: {pasword: hunter2}\nstop: 1\n", []string{"2:8", "3:10", "4:1", "3 problems in the settings"}},
		{"too long", strings.Repeat("#", longestFile+1), []string{"too many for a configuration"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := load(t, c.text, nil)
			if (err != nil) != (len(c.want) > 0) {
				t.Fatalf("%v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("it does not say %q:\n%v", want, err)
				}
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("it shows a secret:\n%v", err)
			}
		})
	}
}

func TestWhatIsFoundWrongLaterIsToldWhereItWasGiven(t *testing.T) {
	_, o, err := load(t, "ingest:\n  format: nope\nkafka:\n  session_timeout: 1ms\n", []string{"WEIR_STOP_TIMEOUT=900"}, "--kafka.tls")
	if err != nil {
		t.Fatal(err)
	}
	sentinel := errors.New("stop_timeout: 900 is too much")
	err = o.Explain(errors.Join(errors.Join(errors.New("ingest.format: \"nope\" is not known")), fmt.Errorf("kafka.session_timeout: %w", errors.New("too short\nby far")),
		sentinel, errors.New("kafka.tls: the broker speaks none"), errors.New("kafka.sasl.password: none is given"), errors.New("something else")))
	text := err.Error()
	for _, want := range []string{
		"weir.yaml:2:11: ingest.format: \"nope\" is not known\n    2 |   format: nope\n      |           ^\n    ingest.format: format of records",
		"weir.yaml:4:20: kafka.session_timeout: too short; by far",
		"WEIR_STOP_TIMEOUT: 900 is too much", "-kafka.tls: the broker speaks none",
		"\nkafka.sasl.password: none is given", "\nsomething else",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	if !errors.Is(err, sentinel) {
		t.Error("what the error is gets lost")
	}
	if err := o.OfGiven(errors.Join(errors.New("kafka.sasl.password: none is given"), errors.New("ingest.format: bad"))); err == nil || err.Error() != "ingest.format: bad" {
		t.Errorf("of what was given there is %v", err)
	}
}

func TestVariablesThatAreNoSettings(t *testing.T) {
	for _, c := range []struct{ name, variable, err, warning string }{
		{"a typing error", "WEIR_KAFKA_BROKER=x", "WEIR_KAFKA_BROKER is no setting; did you mean WEIR_KAFKA_BROKERS?", ""},
		{"letters in another order", "WEIR_INGEST_FROMAT=x", "did you mean WEIR_INGEST_FORMAT?", ""},
		{"one that is near to nothing", "WEIR_COLOUR_OF_THE_SKY=x", "", "WEIR_COLOUR_OF_THE_SKY is no setting, and is ignored"},
		{"one that is known", "WEIR_CACHE=x", "", ""},
		{"one near to one that is known", "WEIR_CACHES=x", "did you mean WEIR_CACHE?", ""},
		{"a family that is known", "WEIR_TEST_KAFKA=x", "", ""},
		{"what an orchestrator says of a service", "WEIR_KAFKA_PORT=tcp://10.0.0.1:9092", "", ""},
		{"and its parts", "WEIR_KAFKA_PORT_9092_TCP_ADDR=10.0.0.1", "", ""},
		{"and its host", "WEIR_KAFKA_SERVICE_HOST=10.0.0.1", "", ""},
		{"somebody else's", "WEIRD_KAFKA_BROKER=x", "", ""},
		{"a value that does not read", "WEIR_STOP_TIMEOUT=soon", `WEIR_STOP_TIMEOUT: "soon" is not a whole number`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, o, err := load(t, "", []string{c.variable})
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error %v", err)
			}
			if warned := strings.Join(o.Warnings, ""); c.warning == "" && warned != "" || !strings.Contains(warned, c.warning) {
				t.Errorf("warning %q", warned)
			}
		})
	}
}

func TestSecretsAreNotDumped(t *testing.T) {
	var c config
	c.Kafka.SASL.Password = "hunter2"
	c.Kafka.Brokers = []string{"kafka://ann:swordfish@b:1"}
	c.Ingest.Mapping = &map[string]source{"ip": {From: "redis://ann:swordfish@b:1"}}
	text, err := Dump(&c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(text); strings.Contains(s, "hunter2") || strings.Contains(s, "swordfish") || strings.Count(s, "REDACTED") != 3 {
		t.Errorf("dumped is\n%s", s)
	}
	if c.Kafka.SASL.Password != "hunter2" || c.Kafka.Brokers[0] != "kafka://ann:swordfish@b:1" {
		t.Error("the configuration itself is changed")
	}
}

func FuzzFile(f *testing.F) {
	f.Add("kafka:\n  brokers: [a, b]\ningest: {mapping: {ip: {from: x}}}\n")
	f.Add("kafka: &k\n  sasl: *k\n")
	f.Add("<<: {kafka: 1}\n? [a]\n: b\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, o, err := load(t, text, nil)
		if err == nil {
			_ = o.Explain(errors.New("ingest.format: bad"))
		}
	})
}
