package rules

// expiring is what stops holding at a moment.
type expiring struct {
	file *file
	at   *value
	ends int64 // Unix ms; 0: never
	what string
}
