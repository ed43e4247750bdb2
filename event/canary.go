package event

import "strings"

// CanaryTenant is the tenant under which `weir canary` attacks a stream on purpose.
// Each attack has a tenant of its own, whose name begins so.
const CanaryTenant = "weir-canary"

// IsCanary reports whether a tenant is one of `weir canary`.
func IsCanary(tenant string) bool { return strings.HasPrefix(tenant, CanaryTenant) }
