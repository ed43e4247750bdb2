// Package eventtest makes events for tests and benchmarks.
package eventtest

import "fmt"

// Sample is the nth of a series of events in Weir's own format: about 500
// bytes, 22 fields, with accounts, devices, addresses and objects that vary.
func Sample(n int) []byte {
	status, auth := 200, "success"
	if n%7 == 0 {
		status, auth = 401, "failure"
	}
	return fmt.Appendf(nil, `{"id":"gw1-%08d","time":"2026-11-23T%02d:%02d:%02d.%03dZ","tenant":"shop","account":"account-%06d",`+
		`"session":"s-%06d","token":"t-%06d","request_id":"req-%012d","method":"POST","host":"api.example.com","path":"/v1/orders/%d",`+
		`"route":"/v1/orders/{id}","status":%d,"latency_us":%d,"user_agent":"Shop/4.2.0 (Android 16; Pixel 9)","ip":"198.18.%d.%d",`+
		`"ja4":"t13d1516h2_8daaf6152771_b186095e22b6","device":"device-%06d","device_model":"Pixel 9","os":"android","app_version":"4.2.0",`+
		`"signature":"valid","auth":"%s"}`,
		n, n/3_600_000%24, n/60_000%60, n/1000%60, n%1000, n*7919%5000, n*7919%5000, n*7919%5000, n, n%100_000,
		status, 1000+n%5000, n*31%256, n*17%256, n*7919%5000, auth)
}

// Plain has the fields of [Sample], for comparison with encoding/json.
type Plain struct {
	ID, Time, Tenant, Account, Session, Token string
	RequestID                                 string `json:"request_id"`
	Method, Host, Path, Route                 string
	Status                                    int
	LatencyMicros                             int64  `json:"latency_us"`
	UserAgent                                 string `json:"user_agent"`
	IP, JA4, Device                           string
	DeviceModel                               string `json:"device_model"`
	OS                                        string
	AppVersion                                string `json:"app_version"`
	Signature, Auth                           string
}
