package app

import (
	"errors"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/answer"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/incoming"
	"github.com/weirdev/weir/gate/listen"
)

// GateConfig is the configuration of a gate: its decisions, and its front ends.
type GateConfig struct {
	gate.Config `yaml:",inline"`

	Listen string `yaml:"listen" doc:"address that gateways ask over HTTP; empty: none"`
	Socket string `yaml:"socket" doc:"Unix socket that gateways ask over HTTP, as a path; empty: none"`

	EnvoyListen   string `yaml:"envoy_listen" doc:"address that Envoys ask over gRPC (ext_authz) and stream their access log to, host:port or unix:PATH; empty: none"`
	HAProxyListen string `yaml:"haproxy_listen" doc:"address that HAProxy's SPOE asks, host:port or unix:PATH; no token can be sent there, so beyond loopback client certificates are needed; empty: none"`

	LogListen string `yaml:"log_listen" doc:"address to which gateways write their access log, for what became of requests: host:port (UDP and TCP) or unix:PATH (datagrams), on this machine only; it needs gate.events; empty: none"`

	Incoming incoming.Config `yaml:",inline"`
	StepUp   answer.Config   `yaml:"step_up"`
	Access   listen.Config   `yaml:"access"`
}

// GateDefaults returns values that suit one machine.
func GateDefaults() GateConfig {
	return GateConfig{
		Config: gate.Defaults(), Listen: "127.0.0.1:8191",
		Incoming: incoming.Defaults(), StepUp: answer.Defaults(), Access: listen.Defaults(),
	}
}

// listeners returns the addresses that are asked over HTTP, by setting.
func (c GateConfig) listeners() map[string]string {
	all := map[string]string{}
	if c.Listen != "" {
		all["gate.listen"] = c.Listen
	}
	if c.Socket != "" {
		all["gate.socket"] = "unix:" + c.Socket
	}
	return all
}

// Validate reports all errors in c.
func (c GateConfig) Validate() error {
	errs := []error{c.Config.Validate(), c.Incoming.Validate(), c.StepUp.Validate(), c.Access.Validate()}
	for setting, addr := range c.listeners() {
		errs = append(errs, c.Access.CheckAddress(setting, addr, true))
	}
	if c.EnvoyListen != "" {
		errs = append(errs, c.Access.CheckAddress("gate.envoy_listen", c.EnvoyListen, true))
	}
	if c.HAProxyListen != "" {
		errs = append(errs, c.Access.CheckAddress("gate.haproxy_listen", c.HAProxyListen, false))
	}
	if c.LogListen != "" {
		errs = append(errs, listen.CheckLocal("gate.log_listen", c.LogListen))
		if c.Emit.Events == emit.Off {
			errs = append(errs, errors.New("gate.log_listen: the gate writes no events that could have an outcome; set gate.events: on, or leave it out"))
		}
	}
	if len(c.listeners()) == 0 && c.EnvoyListen == "" && c.HAProxyListen == "" {
		errs = append(errs, errors.New("gate.listen: nobody could ask; set gate.listen, gate.socket, gate.envoy_listen or gate.haproxy_listen"))
	}
	return errors.Join(errs...)
}
