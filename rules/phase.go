package rules

import "fmt"

// Phase states how far a rule has been rolled out: what its signals may cause.
type Phase uint8

const (
	Observe Phase = iota // reported, never acts
	Soft                 // acts up to asking for more proof
	Enforce              // acts fully
)

var phaseNames = [...]string{Observe: "observe", Soft: "soft", Enforce: "enforce"}

// String returns the phase's name in rules, values and answers.
func (p Phase) String() string {
	if int(p) >= len(phaseNames) {
		return "unknown"
	}
	return phaseNames[p]
}

// ParsePhase finds a phase by its name.
func ParsePhase(name string) (Phase, error) {
	for p, n := range phaseNames {
		if n == name {
			return Phase(p), nil
		}
	}
	return 0, fmt.Errorf("phase %q is none of observe, soft, enforce", name)
}

// MarshalText returns the phase's name.
func (p Phase) MarshalText() ([]byte, error) {
	if int(p) >= len(phaseNames) {
		return nil, fmt.Errorf("phase %d does not exist", p)
	}
	return []byte(phaseNames[p]), nil
}

// UnmarshalText reads a phase's name.
func (p *Phase) UnmarshalText(text []byte) error {
	v, err := ParsePhase(string(text))
	if err == nil {
		*p = v
	}
	return err
}
