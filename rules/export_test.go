package rules

// What tests from outside need of the inside.
const (
	MaxRules     = maxRules
	MaxFileBytes = maxFileBytes
	MaxSeries    = maxSeries
)

var (
	KindNames = kindNames
)
