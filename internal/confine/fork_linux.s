// An assembly file, even an empty one, lets fork_linux.go declare functions
// whose bodies are in the Go runtime.
