//go:build !race

package main_test

// raceEnabled has the program built like its tests.
const raceEnabled = false
