package api

// MaxValues is how many values a JSON document may hold. Decoded, each takes a
// hundred bytes and more, however short it is written: four megabytes of "1,"
// would become two hundred and keep a core busy for seconds.
const MaxValues = 100_000

// TooManyValues reports whether a JSON document holds more than MaxValues. It
// counts what begins or separates values, outside of strings, so that text may
// hold any number of commas; of what is not JSON it says nothing useful.
func TooManyValues(document []byte) bool {
	count, quoted := 0, false
	for i := 0; i < len(document); i++ {
		switch c := document[i]; {
		case quoted && c == '\\':
			i++ // what is escaped ends no string
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == '[' || c == '{'):
			if count++; count > MaxValues {
				return true
			}
		}
	}
	return false
}
