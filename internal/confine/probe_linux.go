package confine

func Probe() []Measure { return nil }
