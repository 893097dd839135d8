//go:build linux && !amd64

package confine

// refusedHere are the calls that only this architecture has.
var refusedHere []uint32
