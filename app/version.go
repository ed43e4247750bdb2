package app

// version is set by the linker.
var version = "dev"

// Version says which build this is.
func Version() string { return version }
