// Package logfile keeps the last part of what a program printed in two files of
// bounded size. Offsets count from the first byte ever written, so that a reader
// can go on where it was after older text has been dropped.
package logfile
